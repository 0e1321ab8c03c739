"""`jcm-mrv status`."""

import json
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import click
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from deploy.certificates_due import certificates_due
from deploy.errors import AuthorityError
from deploy.servers import endpoints
from deploy.settings import Settings, load_settings
from devices.decoding.catalogue import load as load_families
from devices.errors import BrokerTlsError
from ingest.health import Count, DeviceHealth, Health, SiteHealth, health
from sql.connection import Role, connect, reported
from sql.migrator import check


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@click.option("--recount", is_flag=True, help="Also count all rows and hold the account against them; may take long.")
def status(*, as_json: bool, recount: bool) -> None:
    """Show how ingestion stands, per site and device; exit 1 when the account does not hold."""
    servers = endpoints()
    found = read(servers.database_url, recount=recount)
    due = _due(servers.settings, found.at)
    if as_json:
        click.echo(json.dumps(as_document(found) | {"certificates_due": due}, indent=2))
    else:
        Console().print(as_table(found))
        for line in due:
            click.echo(f"jcm-mrv: {line}", err=True)
    if not found.balanced:
        raise SystemExit(1)


def _due(settings: Settings, at: datetime) -> list[str]:
    try:
        return [one.text(at) for one in certificates_due(settings, at)]
    except (AuthorityError, BrokerTlsError) as error:
        return [str(error)]


def read(database_url: str, *, recount: bool = False) -> Health:
    """Read the health from a database."""
    with reported(), connect(database_url, Role.READER, application="jcm-mrv status") as connection:
        check(connection)
        return health(connection, recount=recount, families=lambda: load_families(load_settings().profiles))


def as_document(found: Health) -> dict[str, Any]:
    """Put the health in the shape of `status --json`; times are ISO 8601 in UTC."""
    messages, readings = found.total()
    return {
        "at": found.at.isoformat(),
        "balanced": found.balanced,
        "messages": _count(messages),
        "readings": _count(readings),
        "sites": [_site(site) for site in found.sites],
    }


def _site(site: SiteHealth) -> dict[str, Any]:
    return {
        "site": site.site,
        "last_reading": _time(site.last_reading),
        "last_received": _time(site.last_received),
        "messages": _count(site.messages),
        "readings": _count(site.readings),
        "balanced": site.balanced,
        "recounted": site.recounted,
        "quarantine": site.quarantine,
        "silent": site.silent,
        "devices": [_device(device) for device in site.devices],
    }


def _device(device: DeviceHealth) -> dict[str, Any]:
    return asdict(device) | {
        "last_reading": _time(device.last_reading),
        "last_received": _time(device.last_received),
        "offline_since": _time(device.offline_since),
    }


def _count(count: Count) -> dict[str, Any]:
    return asdict(count) | {"balanced": count.balanced}


def _time(time: datetime | None) -> str | None:
    return time.isoformat() if time is not None else None


def as_table(found: Health) -> RenderableType:
    """Draw the health for people."""
    parts: list[RenderableType] = []
    for site in found.sites:
        parts += [_site_table(site, found.at), _site_lines(site), ""]
    if not found.sites:
        parts.append("No site is declared; `jcm-mrv apply FILE` declares one.")
    messages, readings = found.total()
    parts.append(
        Text.assemble(
            ("All sites  ", "bold"),
            f"{messages.received:,} messages, {readings.received:,} readings received; account ",
            _verdict(holds=found.balanced),
        )
    )
    return Group(*parts)


def _site_table(site: SiteHealth, now: datetime) -> RenderableType:
    if not site.site:
        return Text("Messages that name no declared site", style="bold")
    table = Table(title=site.site, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("Device", overflow="fold")
    table.add_column("Kind")
    table.add_column("Last reading (UTC)")
    for heading in ("Lag", "1 min", "1 h", "1 d", "Conflicts"):
        table.add_column(heading, justify="right")
    for device in site.devices:
        last = device.last_reading
        table.add_row(
            device.device,
            device.kind,
            f"{last:%Y-%m-%d %H:%M:%S}" if last is not None else Text("never", style="yellow"),
            _span(now - last) if last is not None else "",
            f"{device.readings_last_minute:,}",
            f"{device.readings_last_hour:,}",
            f"{device.readings_last_day:,}",
            Text(f"{device.conflicts:,}", style="yellow" if device.conflicts else ""),
        )
    return table


def _site_lines(site: SiteHealth) -> RenderableType:
    lines = [_balance("Messages", site.messages), _balance("Readings", site.readings)]
    if site.recounted is not None:
        lines.append(Text.assemble("  Rows counted again: the account ", _verdict(holds=site.recounted)))
    if site.quarantine:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in site.quarantine.items())
        lines.append(Text(f"  Quarantine: {reasons}", style="yellow"))
    for device in site.devices:
        if device.offline:
            since = f"since {device.offline_since:%Y-%m-%d %H:%M:%S} UTC" if device.offline_since else "not born yet"
            lines.append(Text(f"  {device.device} is offline: {since}", style="yellow"))
        if device.unread_last_day is not None:
            lines.append(Text(f"  {device.device}: {_why_silent(device.unread_last_day)}", style="yellow"))
    return Group(*lines)


def _why_silent(unread: dict[str, int]) -> str:
    if not unread:
        return "nothing came on its topics in the last day"
    said = ", ".join(f"{note or 'without a note'} {count:,}" for note, count in sorted(unread.items()))
    return f"no reading in the last day; its messages: {said}"


def _balance(what: str, count: Count) -> Text:
    return Text.assemble(
        f"  {what}: {count.received:,} received = {count.stored:,} stored + {count.duplicate:,} duplicate"
        f" + {count.conflict:,} conflict + {count.quarantined:,} quarantined  ",
        _verdict(holds=count.balanced),
    )


def _verdict(*, holds: bool) -> tuple[str, str]:
    return ("holds ✓", "green") if holds else ("DOES NOT HOLD ✗", "bold red")


def _span(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    if seconds < 0:
        return f"-{_span(-span)}"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
