"""The documentation says what the code does: settings, commands, errors, points, reasons, rules."""

import re
from pathlib import Path

import pytest

from deploy.reference import render
from ingest.quarantine import REASONS
from mrv.register_rules import Rule

DOCS = Path(__file__).resolve().parents[2] / "docs"


def rows(page: str) -> dict[str, str]:
    """Table rows of a page, by the code in their first cell."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return {match[1]: match[0] for match in re.finditer(r"^\| `([^`]+)`.*$", text, re.MULTILINE)}


def test_the_reference_is_what_the_code_says() -> None:
    assert (DOCS / "reference.md").read_text(encoding="utf-8") == render(), "run `make docs`"


@pytest.mark.parametrize("reason", REASONS)
def test_every_quarantine_reason_is_explained_to_operators(reason: str) -> None:
    text = (DOCS / "operators.md").read_text(encoding="utf-8")
    assert re.search(rf"^\|[^|]*`{reason}`[^|]*\|", text, re.MULTILINE)


@pytest.mark.parametrize("rule", list(Rule))
def test_every_register_rule_is_explained_to_verifiers_with_its_effect(rule: Rule) -> None:
    row = rows("verifiers.md")[rule.id]
    credited = row.rstrip(" |").endswith("| credited")
    assert credited == (rule.effect.value == "credits"), row


@pytest.mark.parametrize(
    "link", sorted(re.findall(r"\]\((docs/[^)]+|[A-Z]+(?:\.md)?)\)", (DOCS.parent / "README.md").read_text()))
)
def test_links_of_the_readme_lead_somewhere(link: str) -> None:
    assert (DOCS.parent / link).exists()
