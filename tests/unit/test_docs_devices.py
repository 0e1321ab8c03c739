"""The guide to connecting devices says what the code does, and its examples can be used as they stand."""

import json
import re
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest

from deploy.families import _PARTS, attribute_docs, render
from devices.declarations import Device
from devices.decoding import catalogue, judging, messages, profile
from devices.native import Reason
from devices.sparkplug.payload import Reason as SparkplugReason

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "devices.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


def table(heading: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)` \|", PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0], re.MULTILINE)


def test_the_guide_is_what_the_code_says() -> None:
    assert render(PAGE) == PAGE, "run `make docs`"


def test_what_is_written_is_all_there() -> None:
    assert table("Families") == list(catalogue.built_in())
    for _, part in _PARTS:
        assert all(attribute_docs(part).values()), part


def test_every_reason_of_a_message_is_explained_and_no_other() -> None:
    known = {*map(str, Reason), *map(str, SparkplugReason)}
    known |= {judging.TOPIC_UNKNOWN, judging.TOPIC_AMBIGUOUS, messages.DEVICE_UNKNOWN}
    assert set(table("Reasons")) == known


def test_every_shape_is_explained() -> None:
    assert set(profile.SHAPES) <= set(table("A family of one's own"))


@pytest.mark.parametrize("example", [one for one in EXAMPLES if one.startswith("[[device]]")])
def test_examples_of_declarations_fit_their_families(example: str) -> None:
    for content in tomllib.loads(example, parse_float=Decimal)["device"]:
        content["installed"] = f"{content['installed']}T00:00:00Z"
        device = Device.model_validate_json(json.dumps(content))
        completed, problems = catalogue.complete(device, catalogue.built_in())
        assert problems == []
        assert completed.energy_register is not None


def test_the_example_of_a_family_is_one() -> None:
    [example] = [one for one in EXAMPLES if not one.startswith("[[device]]")]
    assert catalogue.parse(example, "example.toml").fields
