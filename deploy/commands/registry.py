"""`jcm-mrv registry`: what registries and governments take over, and whether it holds together."""

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploy.commands.report import day

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import psycopg

    from mrv.registry.handover import Handover, Notification, Part

_DECLARED = click.option(
    "--declared",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="The hand-over file: what was verified, notified, authorized and issued (docs/registry.md).",
)
_OUT = click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="The file to write; its ending decides.",
)


@click.group()
def registry() -> None:
    """Hand a project's tonnes over to registries: Article 6.2 tables, CAD Trust records.

    Nothing is decided here. The hand-over file says what verifier, governments and registries decided; the tonnes in it
    must sum, and no vintage may have more than its frozen revision.
    """


@registry.command()
@click.argument("projects", metavar="PROJECT...", nargs=-1, required=True)
@click.option("--year", type=click.IntRange(2021, 2100), required=True, metavar="Y", help="The reported calendar year.")
@_DECLARED
@_OUT
def aef(projects: tuple[str, ...], *, year: int, declared: Path, out: Path) -> None:
    """Write the five tables of Article 6.2's Agreed Electronic Format, as .xlsx or .csv.

    Table 3 has the actions of the reported year, whatever their vintage, and Table 4 the holdings on its 31 December.
    """
    from deploy.files import check_writable, write_whole
    from mrv.registry import aef as tables

    as_workbook = _ending(out, (".xlsx", ".csv")) == ".xlsx"
    check_writable(out)
    handover = _read(declared)
    handover, kinds = _settled(handover, projects)
    report = tables.build(handover, projects, year, kinds)
    write_whole(out, tables.write(report, as_workbook=as_workbook))
    counts = ", ".join(f"{len(sheet.rows)} {sheet.title}" for sheet in tables.sheets_of(report))
    click.echo(f"{out}: rows: {counts}")


@registry.command()
@click.argument("project")
@click.argument("first", metavar="FROM", type=day)
@click.argument("last", metavar="TO", type=day)
@_DECLARED
@_OUT
def cadtrust(project: str, first: date, last: date, *, declared: Path, out: Path) -> None:
    """Write a period's issuances and units for CAD Trust, as .json or .csv.

    Ids are UUIDs made from the project, the vintage and the block, so the same decision always has the same id.
    """
    from deploy.files import check_writable, write_whole
    from mrv.registry import cad_trust
    from mrv.revisions import check_order

    check_order(first, last)
    as_json = _ending(out, (".json", ".csv")) == ".json"
    check_writable(out)
    handover = _read(declared)
    cad_trust.find(handover, project, first, last)
    handover, _ = _settled(handover, [project], (first, last))
    records = cad_trust.build(handover, project, first, last)
    write_whole(out, cad_trust.as_json(records) if as_json else cad_trust.write_csv(records))
    click.echo(f"{out}: {len(records.issuances)} issuances, {len(records.units)} units")


@registry.command()
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
def check(file: Path) -> None:
    """Check a file: the Article 6.2 tables in a .xlsx or .csv, or a hand-over file (.toml).

    Needs no database. Each problem is a line on standard output; the exit status is 1 where there is one.
    """
    from mrv.errors import RegistryError
    from mrv.registry import aef as tables
    from mrv.registry.aef_rules import problems

    ending = _ending(file, (".xlsx", ".csv", ".toml"), "FILE")
    if ending == ".toml":
        handover = _read(file)
        blocks, notified = len(handover.blocks), len(handover.notifications)
        click.echo(f"{file}: holds together: {notified} notifications, {blocks} blocks")
        return
    try:
        report = tables.read(_bytes(file), as_workbook=ending == ".xlsx")
    except RegistryError as error:
        raise RegistryError(f"{file} {error}") from None
    found = problems(report)
    for line in found:
        click.echo(line)
    if found:
        raise RegistryError(
            f"{file} has {len(found)} problem{'' if len(found) == 1 else 's'}; correct them and check again"
        )
    rows = ", ".join(f"{len(sheet.rows)} {sheet.title}" for sheet in tables.sheets_of(report))
    click.echo(f"{file}: holds together: {rows}")


def _ending(path: Path, known: tuple[str, ...], name: str = "--out FILE") -> str:
    if path.suffix.lower() not in known:
        raise click.UsageError(f"{path} is of no known kind; give {name} that ends in {' or '.join(known)}")
    return path.suffix.lower()


def _bytes(path: Path) -> bytes:
    from mrv.errors import RegistryError

    try:
        return path.read_bytes()
    except OSError as error:
        raise RegistryError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from None


def _read(path: Path) -> "Handover":
    from mrv.errors import RegistryError
    from mrv.registry.handover_file import read

    try:
        text = _bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RegistryError(f"{path} is not UTF-8 text: byte {error.start} is wrong") from None
    return read(text, str(path))


def _settled(
    handover: "Handover", projects: "Collection[str]", period: tuple[date, date] | None = None
) -> "tuple[Handover, Mapping[str, str]]":
    """Hold a hand-over file against the database; return it complete, with each project's kind of methodology."""
    from deploy.servers import endpoints
    from mrv.catalogue import all_methodologies
    from mrv.registry.handover_file import against_computed, completed
    from mrv.revisions import find_revision
    from sql.connection import Role, connect
    from sql.connection import reported as database_errors_reported
    from sql.migrator import check as check_schema

    chosen = [
        one
        for project in dict.fromkeys(projects)
        for one in handover.of_project(project)
        if period is None or (one.first_day, one.last_day) == period
    ]
    kinds, notified = {}, {}
    url = endpoints().database_url
    with database_errors_reported(), connect(url, Role.READER, application="jcm-mrv registry") as store:
        check_schema(store)
        for one in chosen:
            result = find_revision(store, one.project, one.first_day, one.last_day, one.revision).result
            parts = _notified(store, one, result.host_country)
            if parts is not None:
                notified[one.project, one.first_day, one.last_day, one.revision] = parts
            for note in against_computed(one, {vintage.year: vintage.er_tco2 for vintage in result.vintages}):
                click.echo(note, err=True)
            known = all_methodologies().get((result.methodology, result.methodology_version))
            if known is not None:
                kinds[one.project] = known.kind
    # What was not chosen is left out: it was not looked up.
    return completed(handover.only(chosen), notified), kinds


def _notified(store: "psycopg.Connection", one: "Notification", host: str) -> "tuple[Part, ...] | None":
    """Return what was notified of a revision, its attestation checked again; None, and said so, where nothing was."""
    from mrv.registry.handover import Part
    from mrv.verification import attestation
    from mrv.verification.notification import notification_of
    from mrv.verification.steps import state_of

    state = state_of(store, one.project, one.first_day, one.last_day, one.revision)
    if state.is_verified:
        attestation.check(store, state)
    if state.state != "notified":
        click.echo(f"{state.name} is {state.state}, not notified here: its parts are the hand-over file's", err=True)
        return None
    sides = {"host": host, "japan": "JPN"}
    return tuple(
        Part(vintage=share.vintage, side=sides[share.side], holder=share.holder, tco2=share.tco2)
        for share in notification_of(store, state).shares
    )
