"""The documentation says what the code does: settings, commands, errors, points, reasons, rules."""

import re
from pathlib import Path

import click
import pytest

from deploy.cli import cli
from deploy.reference import _walk, render
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


def commands() -> dict[str, set[str]]:
    """The options of every command, by its words."""
    context = click.Context(cli, info_name="jcm-mrv")
    return {
        path.removeprefix("jcm-mrv "): {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
        for path, command in _walk(cli, context, "jcm-mrv")
    }


def shown(page: Path) -> list[str]:
    """Command lines of a page, in a block or within a line, without what follows in a pipe or a comment."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.findall(r"jcm-mrv ([a-z][^`\n]*)", text)
    return [re.split(r"\s+(?:[#|;&(]|$)", line)[0] for line in found]


@pytest.mark.parametrize("page", [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda page: page.name)
def test_commands_that_a_page_shows_exist_with_their_options(page: Path) -> None:
    known = commands()
    wrong = []
    for line in shown(page):
        words = line.split()
        # `jcm-mrv is` and the like are prose; a command's first word is one.
        if words[0].split("|")[0] not in {path.split()[0] for path in known}:
            continue
        path = next((path for path in sorted(known, key=len, reverse=True) if f"{line} ".startswith(f"{path} ")), None)
        options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", line))
        if path is not None and options - known[path] - {"--help"}:
            wrong.append(line)
        groups = {other.rpartition(" ")[0] for other in known}
        if path is None and len(words) > 1 and words[0] in groups and re.fullmatch(r"[a-z-]+", words[1]):
            wrong.append(line)
    assert wrong == []


def test_every_table_is_told_in_the_architecture_and_no_other() -> None:
    made = {
        name
        for path in (DOCS.parent / "sql" / "migrations").glob("[0-9]*.sql")
        if not path.name.endswith(".down.sql")
        for name in re.findall(r"^\s*create table (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    store = (DOCS / "architecture.md").read_text(encoding="utf-8").split("\n## The store\n")[1].split("\n| role |")[0]
    cells = re.findall(r"^\| ([^|]+) \|", store, re.MULTILINE)
    assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} == made
