"""`jcm-mrv apply`: projects, sites and devices from declaration files."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from devices.declarations import ProjectDeclaration, PvSystem
from devices.errors import DeclarationError

if TYPE_CHECKING:
    from deploy.registry_plan import Plan
    from devices.decoding.catalogue import Catalogue

# A plant has tens of inverters; the first ones show which, `--json` lists all.
_LINES_PER_TABLE = 8


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON, for scripts.")
def apply(files: tuple[Path, ...], *, dry_run: bool, as_json: bool) -> None:
    """Declare projects, their sites, PV systems and devices from TOML files.

    Prints what changes: + added, ~ changed. What was declared before and is not in the files stays. Applying the
    same files again changes nothing.
    """
    from deploy.registry import apply as carry_out
    from deploy.servers import endpoints
    from deploy.settings import load_settings
    from devices.decoding.catalogue import load as load_families
    from sql.connection import Role, connect, reported
    from sql.migrator import check

    settings = load_settings()
    families = load_families(settings.profiles)
    declarations = [(str(file), read(file, families)) for file in files]
    with reported(), connect(endpoints(settings).database_url, Role.OWNER, application="jcm-mrv apply") as connection:
        check(connection)
        plans = carry_out(connection, declarations, dry_run=dry_run)
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, "projects": [plan.as_json() for plan in plans]}, indent=2))
        return
    for plan in plans:
        for line in lines(plan, dry_run=dry_run):
            click.echo(line)


def read(file: Path, families: "Catalogue | None" = None) -> ProjectDeclaration:
    """Read a declaration file and see that its methodology and factors are in the catalogue.

    Raises
    ------
    DeclarationError
        The file is wrong, names a methodology that is not in the catalogue, leaves a factor open that has no default,
        or lacks what the methodology counts.
    """
    from devices.declaration_file import load
    from mrv.basis import what_is_lacking
    from mrv.catalogue import factor_for, find
    from mrv.errors import CatalogueError

    declaration = load(file, families)
    try:
        methodology = find(declaration.project.methodology, declaration.project.methodology_version)
    except CatalogueError as error:
        raise DeclarationError(file, [f"project.methodology: {error}"]) from None
    problems = []
    for system in _without_factor(declaration.pv_systems):
        try:
            factor_for(methodology, system.connection, system.grid_region, fuel=system.captive_fuel)
        except CatalogueError as error:
            problems.append(f'pv_system "{system.id}": emission_factor: {error}')
    if methodology.not_computed is None:
        problems += what_is_lacking(methodology, declaration)
    if problems:
        raise DeclarationError(file, problems)
    return declaration


def _without_factor(systems: Iterable[PvSystem]) -> list[PvSystem]:
    """List the systems that need a default: those without a factor, or with a category of days without one."""
    return [
        system
        for system in systems
        if system.emission_factor is None
        and (not system.day_categories or any(entry.emission_factor is None for entry in system.day_categories))
    ]


def lines(plan: "Plan", *, dry_run: bool) -> list[str]:
    """Write a plan for a person."""
    if not plan.changes:
        said = [f"{plan.project}: nothing to change ({plan.unchanged} entries as declared, revision {plan.revision})"]
    else:
        would = "would become" if dry_run else "is now"
        said = [f"{plan.project}: {would} revision {plan.revision}"]
        added: dict[str, list[str]] = {}
        for change in plan.changes:
            if change.action == "add":
                added.setdefault(change.table, []).append(f"  {change}")
        for each in added.values():
            rest = len(each) - _LINES_PER_TABLE
            said += each if rest <= 1 else [*each[:_LINES_PER_TABLE], f"  + and {rest} more (--json lists all)"]
        said += [f"  {change}" for change in plan.changes if change.action == "change"]
        changed = len({(change.table, change.name) for change in plan.changes if change.action == "change"})
        total = sum(map(len, added.values()))
        said.append(f"  {total} added, {changed} changed, {plan.unchanged} unchanged, {len(plan.kept)} kept")
    if plan.kept:
        shown = ", ".join(plan.kept[:_LINES_PER_TABLE])
        more = f" and {len(plan.kept) - _LINES_PER_TABLE} more" if len(plan.kept) > _LINES_PER_TABLE else ""
        said.append(f"  kept, though not in {plan.file}: {shown}{more}")
    return said
