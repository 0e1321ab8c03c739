"""`jcm-mrv quarantine`: what is no reading, why, and putting it through again."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click
from psycopg import Connection
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from deploy.servers import endpoints
from deploy.settings import load_settings
from deploy.visible import visible
from devices.decoding.catalogue import load as load_families
from ingest.quarantine import REASONS, Detail, Entry, Selection, Waiting, newest, show, waiting
from ingest.quarantine_replay import Replay, Replayed
from sql.connection import Role, connect, reported
from sql.migrator import check

_PAYLOAD_SHOWN = 4096

_reason = click.option("--reason", type=click.Choice(REASONS), metavar="REASON", help="Only entries with this reason.")
_site = click.option("--site", metavar="SITE", help="Only entries whose topic names this site, declared or not.")
_json = click.option("--json", "as_json", is_flag=True, help="For scripts.")


@click.group()
def quarantine() -> None:
    """Look at what is no reading, and replay it after a fix."""


@quarantine.command("list")
@_reason
@_site
@click.option(
    "--limit",
    type=click.IntRange(0, 10_000),
    default=20,
    show_default=True,
    metavar="N",
    help="How many of the newest entries to show.",
)
@_json
def list_(*, reason: str | None, site: str | None, limit: int, as_json: bool) -> None:
    """Count what waits in quarantine, by site and reason, and show the newest entries."""
    selection = Selection(reason, site)
    with _reading() as connection:
        counts, entries = waiting(connection, selection), newest(connection, selection, limit)
    if as_json:
        document = {
            "entries": sum(one.entries for one in counts),
            "counts": [one._asdict() for one in counts],
            "newest": [one._asdict() for one in entries],
        }
        click.echo(_as_json(document))
    else:
        _print_list(counts, entries, chosen=selection != Selection())


@quarantine.command("show")
@click.argument("number", metavar="ID", type=click.IntRange(min=1))
@_json
@click.option("--raw", is_flag=True, help="Write the payload's bytes to standard output, and nothing else.")
def show_(*, number: int, as_json: bool, raw: bool) -> None:
    """Show an entry, its message, and what else was made of that message."""
    if as_json and raw:
        raise click.UsageError("give either --json or --raw")
    with _reading() as connection:
        found = show(connection, number)
    if raw:
        sys.stdout.buffer.write(found.payload)
        sys.stdout.buffer.flush()
    elif as_json:
        click.echo(_as_json(_document(found)))
    else:
        _print_detail(found)


@quarantine.command()
@_reason
@_site
@click.option("--id", "ids", type=click.IntRange(min=1), multiple=True, metavar="ID", help="This entry; repeatable.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N messages, the oldest first.")
@click.option("--dry-run", is_flag=True, help="Say what would become of them, and change nothing.")
@_json
def replay(
    *, reason: str | None, site: str | None, ids: tuple[int, ...], limit: int | None, dry_run: bool, as_json: bool
) -> None:
    """Put what waits through the collector's way again, with what is declared now.

    A message of which something became a reading is kept and counted once more, under the collector quarantine-replay,
    and its entries are released in the same transaction. What is refused again stays as it was. A time in the future
    is held against the first arrival of its message, not against now.
    """
    settings = load_settings()
    again = Replay(
        endpoints(settings).database_url,
        future_tolerance=settings.future_tolerance,
        limit_bytes=settings.payload_limit_bytes,
        dry_run=dry_run,
        catalogue=load_families(settings.profiles),
    )
    try:
        with reported(), _progress() as tell:
            done = again.run(Selection(reason, site, ids or None), limit=limit, tell=tell)
    finally:
        again.close()
    if as_json:
        click.echo(_as_json(_outcome(done, dry_run=dry_run)))
    else:
        click.echo(_summary(done, dry_run=dry_run))


@contextmanager
def _reading() -> Iterator[Connection]:
    with reported(), connect(endpoints().database_url, Role.READER, application="jcm-mrv quarantine") as connection:
        check(connection)
        yield connection


def _outcome(done: Replayed, *, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "messages": done.messages,
        "written": {str(outcome): count for outcome, count in done.outcomes.items()},
        "readings": {str(outcome): count for outcome, count in done.readings.items()},
        "released": done.released,
        "refused": dict(done.refused),
    }


def _summary(done: Replayed, *, dry_run: bool) -> str:
    if not done.messages:
        return "nothing waits that was asked for"
    would = "would be " if dry_run else ""
    released = _counted(done.released, "entry", "entries")
    judged = _counted(done.messages, "message")
    lines = [f"{judged} judged again: {done.outcomes.total():,} {would}written, {released} {would}released"]
    if done.readings.total():
        lines.append(f"  readings: {_listed(done.readings)}")
    if done.refused:
        lines.append(f"  {_counted(done.refused.total(), 'message')} refused again and left as before: "
                     f"{_listed(done.refused)}")  # fmt: skip
    return "\n".join(lines)


def _counted(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _listed(counts: Counter[Any]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common() if count)


def _print_list(counts: list[Waiting], entries: list[Entry], *, chosen: bool) -> None:
    console = Console()
    if not counts:
        console.print("Nothing waits that was asked for." if chosen else "Nothing waits in quarantine.")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("Entries", justify="right")
    # Reason and site are what `--reason` and `--site` take: whole, however narrow the terminal.
    table.add_column("Reason", no_wrap=True)
    table.add_column("Site", overflow="fold")
    for heading in ("First received (UTC)", "Last received (UTC)"):
        table.add_column(heading)
    for one in counts:
        table.add_row(
            f"{one.entries:,}", Text(one.reason), Text(visible(one.site) or "(not declared)"), _time(one.first),
            _time(one.last)
        )  # fmt: skip
    console.print(table)
    click.echo()
    # Plain lines: a topic that a table folds can neither be read nor copied.
    for entry in entries:
        at = "" if entry.element is None else f" element {entry.element}"
        click.echo(
            f"{entry.quarantine_id}  {_time(entry.received_at)}  {entry.reason}  {visible(entry.topic)}{at}: "
            f"{visible(entry.detail)}"
        )


def _print_detail(found: Detail) -> None:
    entry = found.entry
    flags = ("retained",) * found.retained + ("redelivered",) * found.redelivered
    lines = [
        ("entry", str(entry.quarantine_id)),
        ("reason", entry.reason),
        ("detail", visible(entry.detail)),
        ("element", "the whole message" if entry.element is None else str(entry.element)),
        ("topic", visible(entry.topic)),
        ("site", visible(entry.site) or "not declared when it came"),
        ("arrived", f"{_time(found.arrived_at)} UTC, by the clock of the collector {visible(found.collector)}"),
        ("received", f"{_time(entry.received_at)} UTC, message {found.message_id}"),
        ("message", ", ".join((found.outcome, _counted(found.elements, "reading"), f"QoS {found.qos}", *flags))),
        ("released", f"{_time(found.released_at)} UTC" if found.released_at else "no"),
        ("sha-256", found.sha256.hex()),
    ]  # fmt: skip
    for name, said in lines:
        click.echo(f"{name:<10}{said}")
    for sibling in found.siblings:
        which = "whole message" if sibling.element is None else f"element {sibling.element}"
        click.echo(f"{'also':<10}entry {sibling.quarantine_id}, {which}: {sibling.reason}, {visible(sibling.detail)}")
    for one in found.readings:
        values = [
            f"{name} {value:g}"
            for name, value in (("W", one.power_w), ("TotWhExp", one.energy_exported_wh))
            if value is not None
        ]
        click.echo(
            f"{'stored':<10}element {one.element}: {one.site}/{one.device} {_time(one.ts)} UTC {' '.join(values)}"
        )
    text, kind, whole = _payload(found.payload)
    rest = "" if whole else f", the first {_PAYLOAD_SHOWN:,} (--raw writes all)"
    click.echo(f"{'payload':<10}{_counted(len(found.payload), 'byte')}, {kind}{rest}")
    click.echo(visible(text) if kind == "text" else text)


def _document(found: Detail) -> dict[str, Any]:
    text, kind, whole = _payload(found.payload)
    return found.entry._asdict() | {
        "message_id": found.message_id,
        "released_at": found.released_at,
        "arrived_at": found.arrived_at,
        "collector": found.collector,
        "outcome": found.outcome,
        "elements": found.elements,
        "qos": found.qos,
        "retained": found.retained,
        "redelivered": found.redelivered,
        "sha256": found.sha256.hex(),
        "payload_bytes": len(found.payload),
        f"payload_{kind}": text,
        "payload_whole": whole,
        "siblings": [one._asdict() for one in found.siblings],
        "readings": [one._asdict() for one in found.readings],
    }


def _payload(payload: bytes) -> tuple[str, str, bool]:
    """Give the beginning of a payload as text, or as hexadecimal where it is none, and whether that is all of it."""
    shown = payload[:_PAYLOAD_SHOWN]
    whole = len(shown) == len(payload)
    try:
        payload.decode("utf-8")
    except UnicodeDecodeError:
        return shown.hex(), "hex", whole
    # The cut may lie inside a character.
    return shown.decode("utf-8", "ignore"), "text", whole


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}"


def _as_json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, default=datetime.isoformat)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    if not sys.stderr.isatty():
        yield lambda _done, _of: None
        return
    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)
