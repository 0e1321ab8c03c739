"""Write `docs/methodologies.md` from the catalogue: `make docs`. A test fails when the file is stale."""

import sys
from collections.abc import Iterator

from mrv.catalogue import Methodology, all_methodologies
from mrv.methodology_rules import RULES
from mrv.methodology_text import MARKS, formula, marks, rule, unconfirmed

_HEAD = """\
# Methodologies

Written from `mrv/methodologies/*.toml` by `make docs`; `jcm-mrv methodology show ID` gives parameters, sources and
worked examples, `jcm-mrv methodology check` computes every example. What the pieces mean is told in
[verifiers](verifiers.md#methodologies).
"""


def render() -> str:
    """Return the whole page."""
    found = list(all_methodologies().values())
    return "\n".join([_HEAD, *_marks(), *_table(found), *_formulas(found), *_unconfirmed(found), *_rules()]) + "\n"


def _marks() -> Iterator[str]:
    yield "| mark | what it means |"
    yield "| --- | --- |"
    for mark, meaning in MARKS.items():
        yield f"| {mark.value} | {meaning} |"
    yield ""


def _table(found: list[Methodology]) -> Iterator[str]:
    yield "## What is carried\n"
    yield "| methodology | version | country | kind | title | marks | periods | examples |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for m in found:
        computed = "computed" if m.not_computed is None else f"not computed: {m.not_computed}"
        cells = (f"`{m.id}`", m.version, m.host_country, m.kind, m.title, marks(m), computed, len(m.examples))
        yield f"| {' | '.join(map(str, cells))} |"
    yield ""


def _formulas(found: list[Methodology]) -> Iterator[str]:
    yield "## Formulas\n"
    by_lines: dict[tuple[str, ...], list[str]] = {}
    for m in found:
        if lines := tuple(formula(m)):
            by_lines.setdefault(lines, []).append(f"{m.id} {m.version}")
    for lines, names in by_lines.items():
        yield f"{', '.join(names)}:\n"
        yield "```text"
        yield from lines
        yield "```\n"
    yield "Which factor a system gets:\n"
    by_rule: dict[str, list[str]] = {}
    for m in found:
        by_rule.setdefault(rule(m), []).append(f"{m.id} {m.version}")
    for said, names in by_rule.items():
        yield f"- {', '.join(names)}: {said}."
    yield ""


def _unconfirmed(found: list[Methodology]) -> Iterator[str]:
    yield "## Unconfirmed\n"
    for m in found:
        lines = unconfirmed(m)
        yield f"- {m.id} {m.version}: {'; '.join(lines) if lines else 'nothing'}."
    yield ""


def _rules() -> Iterator[str]:
    yield "## Rules of the data\n"
    for name, (said, _) in RULES.items():
        yield f"- {name}: {said}."


if __name__ == "__main__":
    sys.stdout.write(render())
