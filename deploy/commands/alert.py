"""`jcm-mrv alert`: what is wrong, who sees to it, and whether notices arrive."""

import getpass
import json
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from psycopg import Connection
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.alerts import state
from deploy.alerts.composition import alerting
from deploy.alerts.config import load_alerts
from deploy.alerts.errors import NoticeError
from deploy.alerts.judge import Firing
from deploy.alerts.rules import RULES, Severity
from deploy.alerts.service import send
from deploy.alerts.state import Alert
from deploy.errors import DeployError
from deploy.servers import endpoints
from deploy.settings import load_settings
from sql.connection import Role, connect, reported
from sql.migrator import check as check_schema

_SPAN = re.compile(r"(\d{1,5})(min|h|d)")
_UNITS = {"min": "minutes", "h": "hours", "d": "days"}
_json = click.option("--json", "as_json", is_flag=True, help="For scripts.")
_number = click.argument("number", metavar="ID", type=click.IntRange(min=1))
_by = click.option("--by", metavar="NAME", help="Who does it; the login on this machine where it is left out.")


@click.group()
def alert() -> None:
    """See what is wrong, acknowledge and mute alerts, try whether notices arrive."""


@alert.command("list")
@click.option("--project", "projects", multiple=True, metavar="PROJECT", help="Only alerts of it; repeatable.")
@click.option("--history", "past", is_flag=True, help="What is over, the latest first.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Most of what is over.")
@_json
def list_(*, projects: tuple[str, ...], past: bool, limit: int, as_json: bool) -> None:
    """Show the alerts that are open, as the schedule last saw them, or those that are over."""
    only = frozenset(projects) or None
    with _connected(Role.READER) as connection:
        found = state.history(connection, only, limit=limit) if past else state.open_alerts(connection, only)
        told = state.notices_of(connection, [one.id for one in found]) if as_json else []
    if as_json:
        click.echo(_as_json({"alerts": [_document(one) for one in found], "notices": [asdict(one) for one in told]}))
    elif found:
        Console().print(_table(found))
    else:
        click.echo("nothing is over yet" if past else "no alert is open")


@alert.command()
@_json
def check(*, as_json: bool) -> None:
    """Judge all rules now, and change nothing; exit 1 when something fires.

    What is new still waits for the rule's `for_s` in the schedule. What cannot be told now is listed with the reason.
    """
    settings = load_settings()
    made = alerting(settings, endpoints(settings).database_url, role=Role.READER, application="jcm-mrv alert")
    with reported(), made.connect() as connection:
        check_schema(connection)
        facts, judged = made.look(connection)
    firing = sorted(judged.firing.values(), key=lambda one: (one.severity, one.rule, one.subject))
    undecided = sorted((rule, subject, why) for (rule, subject), why in judged.undecided.items())
    if as_json:
        document = {
            "at": facts.at,
            "firing": [asdict(one) for one in firing],
            "undecided": [{"rule": rule, "subject": subject, "why": why} for rule, subject, why in undecided],
        }
        click.echo(_as_json(document))
    else:
        _print_judged(firing, undecided)
    if firing:
        raise SystemExit(1)


@alert.command()
@_number
@click.option("--note", default="", metavar="TEXT", help="What is being done about it.")
@_by
def acknowledge(*, number: int, note: str, by: str | None) -> None:
    """Say that you know of an open alert and see to it; its recovery is still told."""
    with _connected(Role.MRV) as connection:
        state.acknowledge(connection, number, _who(by), note)
    click.echo(f"alert {number} is acknowledged")


@alert.command()
@_number
@click.option("--for", "span", default="8h", show_default=True, metavar="SPAN", help="As 30min, 8h or 3d.")
@_by
def mute(*, number: int, span: str, by: str | None) -> None:
    """Send nothing of an open alert for a time, also when it recovers or comes again."""
    match = _SPAN.fullmatch(span)
    if match is None:
        raise click.UsageError(f"--for {span}: give a number with min, h or d, such as 8h")
    until = datetime.now(UTC) + timedelta(**{_UNITS[match[2]]: int(match[1])})
    with _connected(Role.MRV) as connection:
        state.mute(connection, number, _who(by), until)
    click.echo(f"alert {number} is muted until {until:%Y-%m-%d %H:%M} UTC")


@alert.command()
@_number
@_by
def unmute(*, number: int, by: str | None) -> None:
    """Let notices of an alert be sent again."""
    with _connected(Role.MRV) as connection:
        state.unmute(connection, number, _who(by))
    click.echo(f"alert {number} is not muted any more")


@alert.command()
@click.option("--target", "only", multiple=True, metavar="NAME", help="Only this one, as webhook.NAME; repeatable.")
@_json
def test(*, only: tuple[str, ...], as_json: bool) -> None:
    """Send a test notice to each target, and say what came of it; exit 1 when one did not take it."""
    settings = load_settings()
    config = load_alerts(settings.alerts_file)
    for name in only:
        if name not in config.targets:
            raise click.UsageError(f"--target {name}: the file has {', '.join(config.targets) or 'no target'}")
    targets = {name: one for name, one in config.targets.items() if not only or name in only}
    if not targets:
        raise DeployError("there is nobody to tell: name a file with a target in JCM_MRV_ALERTS_FILE (docs/alerts.md)")
    outcomes = []
    for name, target in targets.items():
        begun = time.monotonic()
        try:
            taken, said = True, send(target, name, uuid.uuid4().hex, _test_content(config.external_url))
        except (NoticeError, DeployError) as error:
            taken, said = False, str(error)
        outcomes.append({"target": name, "taken": taken, "said": said, "seconds": round(time.monotonic() - begun, 3)})
    if as_json:
        click.echo(_as_json({"targets": outcomes}))
    else:
        for one in outcomes:
            click.echo(f"{one['target']}: {one['said']}")
    if not all(one["taken"] for one in outcomes):
        raise SystemExit(1)


def _test_content(external_url: str | None) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    one = {
        "id": 0, "rule": "test", "title": "test notice", "do": "nothing; this was sent by jcm-mrv alert test",
        "subject": "test", "project": None, "site": None, "severity": Severity.WARNING.value,
        "said": "this is a test, nothing is wrong", "since": now, "firing_since": now, "resolved_at": None,
    }  # fmt: skip
    return {"kind": "firing", "group": 0, "at": now, "external_url": external_url, "answers": None, "alerts": [one]}


@contextmanager
def _connected(role: Role) -> Iterator[Connection]:
    url = endpoints().database_url
    with reported(), connect(url, role, application="jcm-mrv alert") as connection:
        check_schema(connection)
        yield connection


def _who(by: str | None) -> str:
    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without a name
        raise click.UsageError("this login has no name: give --by NAME") from None


def _document(one: Alert) -> dict[str, Any]:
    return {**asdict(one), "state": one.state}


def _as_json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False, default=_plain)


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _table(found: Sequence[Alert]) -> Table:
    now = datetime.now(UTC)
    table = Table(box=None, pad_edge=False)
    for heading in ("ID", "State", "Severity", "Rule", "What", "Since (UTC)", ""):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("ID", "Rule"))
    for one in found:
        notes = []
        if one.resolved_at is not None:
            notes.append(f"over {one.resolved_at:%Y-%m-%d %H:%M}")
        if one.acknowledged_by is not None:
            note = f": {one.acknowledged_note}" if one.acknowledged_note else ""
            notes.append(f"{one.acknowledged_by} sees to it{note}")
        if one.is_muted(now):
            notes.append(f"muted until {one.muted_until:%Y-%m-%d %H:%M}")
        table.add_row(
            str(one.id),
            one.state,
            _severity(one.severity),
            one.rule,
            Text(one.said),
            f"{one.since:%Y-%m-%d %H:%M}",
            Text("; ".join(notes)),
        )
    return table


def _print_judged(firing: Sequence[Firing], undecided: Sequence[tuple[str, str, str]]) -> None:
    console = Console(soft_wrap=True)
    for one in firing:
        console.print(_severity(one.severity), Text(f"{one.rule}: {one.said}"))
    if not firing:
        console.print("nothing fires")
    for rule, subject, why in undecided:
        console.print(Text(f"not checked  {rule} {subject}: {why}", style="dim"))
    console.print(Text(f"{len(RULES)} rules judged", style="dim"))


def _severity(severity: Severity) -> Text:
    return Text(severity.value, style="bold red" if severity is Severity.CRITICAL else "yellow")
