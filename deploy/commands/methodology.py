"""`jcm-mrv methodology`: what is computed, from which sources, and how sure of it we are."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mrv.catalogue import Methodology

_JSON = click.option("--json", "as_json", is_flag=True, help="For scripts.")


@click.group()
def methodology() -> None:
    """Show the methodologies: formula, parameters, factors, sources, worked examples.

    Marks: V read verbatim, S read in a paraphrase, D derived from published numbers, M believed and not confirmed.
    """


@methodology.command("list")
@_JSON
def list_(*, as_json: bool) -> None:
    """List every version that is carried, with how its parameters and factors are known."""
    from mrv.catalogue import all_methodologies
    from mrv.methodology_text import marks

    found = list(all_methodologies().values())
    if as_json:
        listed = [
            {
                "id": m.id,
                "version": m.version,
                "title": m.title,
                "kind": m.kind,
                "host_country": m.host_country,
                "computed": m.not_computed is None,
                "marks": marks(m),
                "examples": len(m.examples),
            }
            for m in found
        ]
        click.echo(json.dumps(listed, indent=2, ensure_ascii=False))
        return
    rows = [("id", "version", "country", "kind", "periods", "marks", "title")]
    for m in found:
        computed = "computed" if m.not_computed is None else "-"
        rows.append((m.id, m.version, m.host_country, m.kind, computed, marks(m), m.title))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@methodology.command()
@click.argument("methodology_id", metavar="ID")
@click.argument("version", required=False)
@_JSON
def show(methodology_id: str, version: str | None, *, as_json: bool) -> None:
    """Show a methodology: of one version, or of each version that is carried."""
    from mrv.catalogue import all_methodologies, find
    from mrv.methodology_text import as_json as described

    wanted = methodology_id.upper()
    if version is None:
        found = [m for m in all_methodologies().values() if m.id == wanted] or [find(wanted, "")]
    else:
        found = [find(wanted, version)]
    if as_json:
        click.echo(json.dumps([described(m) for m in found], indent=2, ensure_ascii=False))
        return
    for number, m in enumerate(found):
        if number:
            click.echo()
        for line in _lines(m):
            click.echo(line)


@methodology.command()
@_JSON
def check(*, as_json: bool) -> None:
    """Compute every worked example and hold the data against its rules; exit 1 with the first that fails."""
    from mrv.catalogue import all_methodologies
    from mrv.methodology_rules import RULES
    from mrv.methodology_rules import check as check_all

    catalogue = all_methodologies()
    _, examples = check_all(catalogue)
    if as_json:
        click.echo(json.dumps({"methodologies": len(catalogue), "examples": examples, "rules": list(RULES)}, indent=2))
        return
    click.echo(f"{len(catalogue)} methodologies: {examples} worked examples come out, {len(RULES)} rules hold for each")


def _lines(m: "Methodology") -> Iterator[str]:
    from mrv.methodology_text import as_json, case

    content = as_json(m)
    yield f"{m.id} {m.version}  {m.title}"
    approved = f", approved {m.approved}" if m.approved else ""
    yield f"{m.kind}, {m.host_country}{approved}; marks: {content['marks']}"
    if m.scope is not None:
        yield f"scope = {m.scope}"
    if m.not_computed is not None:
        yield f"no period is computed: {m.not_computed}"
    yield "\nformula"
    yield from (f"  {line}" for line in content["formula"] or ["not read"])
    yield "\nparameters"
    for parameter in m.parameters:
        value = "monitored or as registered" if parameter.value is None else f"= {parameter.value}"
        yield f"  {parameter.name} [{parameter.unit}] {value} ({parameter.mark}): {parameter.description}"
        yield f"    {parameter.source}"
    yield "\nfactor"
    yield f"  {content['rule']}"
    for factor in m.factors:
        value = "not read" if factor.value is None else f"{factor.value} {factor.unit}"
        yield f"  {case(factor)}: {value} ({factor.mark})"
        yield f"    {factor.source}"
    yield "\nworked examples"
    for one in content["examples"]:
        yield from _example(one)
    yield "\nunconfirmed"
    yield from (f"  {line}" for line in content["unconfirmed"] or ["nothing"])
    yield "\nnotes"
    yield from (f"  {line}" for line in [*m.notes, *(f"source: {source}" for source in m.sources)])


def _example(one: dict[str, Any]) -> Iterator[str]:
    given = dict(one["given"])
    yield f"  {given.pop('name')}"
    given = {name: value for name, value in given.items() if name not in ("re_tco2", "pe_tco2", "er_tco2", "refused")}
    for part in given.pop("parts", []):
        yield f"    {_pairs(part)}"
    if given:
        yield f"    {_pairs(given)}"
    yield f"    refused: {one['refusal']}" if "refusal" in one else f"    → {_pairs(one['computed'])}"


def _pairs(values: dict[str, Any]) -> str:
    flat = [
        pair for name, value in values.items() for pair in (value if isinstance(value, dict) else {name: value}).items()
    ]
    return ", ".join(f"{name} {value}" for name, value in flat)
