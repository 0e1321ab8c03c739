"""What profiles rely on beyond their vectors: choosing messages, −0, fields tried in turn, and what is asked for."""

from datetime import UTC, datetime
from math import copysign
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.declarations import FieldMap
from devices.decoding import catalogue, vectors
from devices.decoding.elements import Bound
from devices.decoding.profile import Profile
from devices.decoding.routes import Routes
from devices.decoding.vectors import Outcome
from devices.topics import Topic

AT = datetime(2026, 6, 1, 4, tzinfo=UTC)
MADE = """
title = "made"
about = "made"
support = "documentation"
references = []
[address]
number = { default = "1", about = "a number" }
[[source]]
topic = "made/all"
shape = "json"
where = { kind = ["a", 7, true] }
[[source]]
topic = "made/+"
shape = "ignored"
[[field]]
point = "W"
names = ["units.{number}.power"]
factor = -1
[[field]]
point = "Hz"
names = ["f1"]
between = [45, 66]
[[field]]
point = "Hz"
names = ["f2"]
between = [45, 66]
"""


def made() -> Profile:
    return catalogue.parse(MADE, "made.toml")


def bound(number: str = "1", own: dict[str, FieldMap] | None = None) -> Bound:
    profile = made()
    return Bound(
        Topic("site", "device"), 1, profile, profile.parameters({"number": number}), own or {}, ZoneInfo("UTC")
    )


def decode(payload: str, **given: object) -> Outcome:
    said = vectors.Said("made/all", payload.encode(), retained=False, at=AT)
    return vectors.decode([bound(**given)], [said])  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ['"a"', "7", '"7"', "true"])
def test_a_source_takes_each_of_its_values(kind: str) -> None:
    assert decode(f'{{"kind": {kind}, "f1": 50}}').readings[0].values == {"Hz": 50.0}


@pytest.mark.parametrize("kind", ['"b"', "8", "false", "null", '"A"', "[7]"])
def test_a_source_leaves_every_other_value(kind: str) -> None:
    outcome = decode(f'{{"kind": {kind}, "f1": 50}}')
    assert (outcome.readings, outcome.rejections, outcome.notes) == ([], [], {"other"})


@pytest.mark.parametrize("zero", ["0", "0.0", "-0.0", '"0"'])
def test_a_negative_factor_makes_no_negative_zero(zero: str) -> None:
    (reading,) = decode(f'{{"kind": "a", "units": {{"1": {{"power": {zero}}}}}}}').readings
    assert copysign(1, reading.values["W"]) == 1


@given(st.floats(-1000, 1000), st.floats(-1000, 1000))
def test_a_point_of_two_fields_is_the_first_that_can_be(first: float, second: float) -> None:
    outcome = decode(f'{{"kind": "a", "f1": {first!r}, "f2": {second!r}}}')
    good = [value for value in (first, second) if 45 <= value <= 66]
    assert [reading.values for reading in outcome.readings] == [{"Hz": value} for value in good[:1]]


def test_a_declared_field_takes_the_place_of_both() -> None:
    outcome = decode(
        '{"kind": "a", "f1": 50, "f2": 51, "f3": 52}', own={"Hz": FieldMap.model_validate({"names": ["f3"]})}
    )
    assert [reading.values for reading in outcome.readings] == [{"Hz": 52.0}]


def test_an_address_is_put_into_names() -> None:
    outcome = decode('{"kind": "a", "units": {"1": {"power": 5}, "2": {"power": 6}}}', number="2")
    assert [reading.values for reading in outcome.readings] == [{"W": -6.0}]


def test_what_is_ignored_is_not_asked_for() -> None:
    assert Routes([bound()]).direct_filters() == ["made/all"]
    assert Routes([bound()]).find("made/state") is not None
