"""What the rules are judged on, read from the database in a few queries of milliseconds."""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from psycopg import Connection, IsolationLevel

from deploy.alerts.config import AlertsFile
from deploy.alerts.rules import DeviceSilent, QuarantineRising, RegisterAnomaly, SiteSilent
from ingest.quarantine_replay import COLLECTOR as REPLAY
from sql.named import load

LAG_READINGS = 12
_QUERIES = load("alerts")
_DAY = timedelta(days=1)
_EVER = datetime(1970, 1, 1, tzinfo=UTC)
_RECENT = timedelta(days=3)
_HABIT = timedelta(days=5)
"""A habit is that of three days, the first at most one before the last reading, and half a day around each."""


@dataclass(frozen=True, slots=True)
class SiteFacts:
    """A declared site with a device that is installed now."""

    site: str
    project: str
    latitude: float | None = None
    longitude: float | None = None
    installed_at: datetime | None = None
    """Of its first device; None where no installation is declared."""
    last_received: datetime | None = None
    """Its newest message, whatever became of it."""


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """A declared device that is installed now."""

    site: str
    project: str
    device: str
    kind: str
    installed_at: datetime | None = None
    last_ts: datetime | None = None
    last_received: datetime | None = None
    """When the reading with the newest time came."""
    habit: bool | None = None
    """Whether it gave readings at this time of day on most of the last days on which it gave any; None: not known, as
    of a device that is heard, or that has given readings on fewer than two earlier days."""
    lag_least_s: float | None = None
    lag_most_s: float | None = None
    """Time of receipt less time of reading, over the last readings of the last two hours [s]; None: too few."""
    anomalies: Mapping[date, Mapping[str, int]] | None = None
    """How often each rule decided, on the latest computed days; None: no day of the last week is computed."""

    @property
    def subject(self) -> str:
        """As alerts name it."""
        return f"{self.site}/{self.device}"


@dataclass(frozen=True, slots=True)
class Overdue:
    """A day that is over and not computed."""

    job: str
    site: str
    days: int
    first: datetime
    failure: str | None


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume of the database."""

    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Certificate:
    """One that ends before long, of what this process can see."""

    what: str
    """certificate, authority or revocation list."""
    name: str
    """Of whom; empty for the others."""
    ends: datetime
    said: str


class Quarantined(NamedTuple):
    """What came into quarantine within the rule's window."""

    entries: int
    first: datetime
    """When the first of them was received."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything, at one instant of the database's clock."""

    at: datetime
    sites: tuple[SiteFacts, ...] = ()
    devices: tuple[DeviceFacts, ...] = ()
    quarantined: Mapping[str, Quarantined] = field(default_factory=dict)
    """What was received within the rule's window, by site; `""` for messages that name no declared one."""
    unbalanced: Mapping[str, str] = field(default_factory=dict)
    """What does not hold, by site."""
    accounts: tuple[str, ...] = ()
    """Sites with an account."""
    seals: bool = False
    """Whether days are sealed here: there are seals, or there is a key."""
    last_sealed: date | None = None
    unsealed_from: datetime | None = None
    """The oldest message of a day that is not sealed."""
    last_look: datetime | None = None
    """When a replica of the schedule last looked for work, or was at work."""
    overdue: tuple[Overdue, ...] = ()
    database_bytes: int = 0
    volume: Volume | None = None
    certificates: tuple[Certificate, ...] = ()
    """The first to end first."""


def gather(connection: Connection, config: AlertsFile, *, sealing: bool = False, folder: Path | None = None) -> Facts:
    """Read the facts, from one snapshot of the database.

    Parameters
    ----------
    connection
        With the reader's rights, in autocommit mode.
    sealing
        Whether this installation has a key that seals.
    folder
        A folder on the database's volume, where this process can see it.
    """
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    try:
        with connection.transaction():
            connection.execute(_QUERIES["patience"])
            return _gather(connection, config, sealing=sealing, folder=folder)
    finally:
        connection.isolation_level = None
        connection.read_only = None


def _gather(connection: Connection, config: AlertsFile, *, sealing: bool, folder: Path | None) -> Facts:
    now: datetime = _one(connection, "now")[0]
    sites = [SiteFacts(*row) for row in connection.execute(_QUERIES["sites"], {"replay": REPLAY})]
    last_sealed: date | None = _one(connection, "sealed")[0]
    sealed_until = _EVER if last_sealed is None else datetime.combine(last_sealed + _DAY, time(), UTC)
    last_look = _one(connection, "last_look")[0]
    overdue = connection.execute(
        _QUERIES["overdue"], {"after": timedelta(seconds=config.rules.schedule_missed.day_after_s)}
    )
    return Facts(
        at=now,
        sites=tuple(sites),
        devices=tuple(_devices(connection, config, sites, now)),
        quarantined=_quarantined(connection, config, sites),
        unbalanced=dict(_unbalanced(connection, sealed_until, now)),
        accounts=tuple(site for (site,) in connection.execute(_QUERIES["accounts"])),
        seals=sealing or last_sealed is not None,
        last_sealed=last_sealed,
        unsealed_from=_one(connection, "unsealed", after=sealed_until)[0],
        last_look=last_look,
        overdue=tuple(Overdue(*row) for row in overdue),
        database_bytes=_one(connection, "database_bytes")[0],
        volume=_volume(config.rules.disk_filling.folder or folder),
    )


def _devices(
    connection: Connection, config: AlertsFile, sites: Iterable[SiteFacts], now: datetime
) -> Iterable[DeviceFacts]:
    heard = {site.site: site.last_received for site in sites}
    # A reading counts as late or early by itself only within two hours of now; it is looked for at no other.
    rows = connection.execute(_QUERIES["devices"], {"readings": LAG_READINGS}).fetchall()
    days = max(config.of(RegisterAnomaly, "register_anomaly", row[1]).days for row in rows) if rows else 1
    anomalies: dict[int, list[dict[str, Any]]] = dict(
        connection.execute(_QUERIES["computed_days"], {"days": days}).fetchall()
    )
    quiet = {
        number: last_ts
        for number, site, _, device, _, _, last_ts, last_received, *_ in rows
        if last_ts is not None and _is_quiet(config, f"{site}/{device}", now, last_received, heard.get(site))
    }
    habits: dict[int, bool | None] = {}
    if quiet:
        after = min(quiet.values()) - _HABIT
        given = {"devices": list(quiet), "lasts": list(quiet.values()), "after": after}
        for number, recorded, at_this_time in connection.execute(_QUERIES["habits"], given):
            habits[number] = at_this_time * 2 > recorded if recorded >= 2 else None
    for number, site, project, device, kind, installed_at, last_ts, last_received, count, least_s, most_s in rows:
        known = count >= LAG_READINGS // 2
        yield DeviceFacts(
            site,
            project,
            device,
            kind,
            installed_at,
            last_ts,
            last_received,
            habits.get(number),
            least_s if known else None,
            most_s if known else None,
            _by_day(anomalies.get(number)),
        )


def _is_quiet(config: AlertsFile, subject: str, now: datetime, last_received: datetime, heard: datetime | None) -> bool:
    """Tell whether the habits of a device are needed: it, or its site, was not heard for as long as a rule allows."""
    device = timedelta(seconds=config.of(DeviceSilent, "device_silent", subject).after_s)
    site = timedelta(
        seconds=min(
            config.of(SiteSilent, "site_silent", subject.partition("/")[0]).after_s, config.rules.collector_away.after_s
        )
    )
    return now - last_received > device or heard is None or now - heard > site


def _by_day(days: list[dict[str, Any]] | None) -> dict[date, dict[str, int]] | None:
    if days is None:
        return None
    return {date.fromisoformat(one["day"]): one["rules"] for one in days}


def _quarantined(connection: Connection, config: AlertsFile, sites: Iterable[SiteFacts]) -> dict[str, Quarantined]:
    windows: dict[int, set[str]] = {}
    for name in ("", *(site.site for site in sites)):
        window_s = config.of(QuarantineRising, "quarantine_rising", name).window_s
        windows.setdefault(window_s, set()).add(name)
    found: dict[str, Quarantined] = {}
    for window_s, names in windows.items():
        counted = connection.execute(_QUERIES["quarantined"], {"window": timedelta(seconds=window_s)})
        found.update({site: Quarantined(count, first) for site, count, first in counted if site in names})
    return found


def _unbalanced(connection: Connection, sealed_until: datetime, now: datetime) -> Iterable[tuple[str, str]]:
    for site, kind in connection.execute(_QUERIES["unbalanced"]):
        yield site, f"{kind} received are not stored + duplicate + conflict + quarantined"
    # What is sealed was counted when it was sealed; where that is recent, the rest is counted now.
    if now - sealed_until <= _RECENT:
        for site, counted, kept in connection.execute(_QUERIES["kept"], {"after": sealed_until}):
            yield site, f"{counted:,} messages were counted, {kept:,} are kept or sealed"


def _volume(folder: Path | None) -> Volume | None:
    if folder is None:
        return None
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return Volume(usage.total, usage.free)


def _one(connection: Connection, name: str, **given: object) -> tuple[Any, ...]:
    row = connection.execute(_QUERIES[name], given).fetchone()
    assert row is not None  # noqa: S101 - these queries give one row
    return row
