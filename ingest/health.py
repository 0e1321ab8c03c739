"""How ingestion stands: last readings, rates, quarantine, and whether the account holds."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self

from psycopg import Connection, IsolationLevel

from devices import topics
from devices.declarations import NATIVE
from devices.decoding.bindings import Declared, bind
from devices.decoding.catalogue import Catalogue, built_in
from devices.decoding.elements import Note
from devices.decoding.routes import Found, Route, Routes
from devices.sparkplug import topics as sparkplug_topics
from devices.sparkplug.topics import Address
from ingest.batch import Outcome
from sql.named import load


@dataclass(slots=True)
class DeviceHealth:
    """One declared device."""

    site: str
    device: str
    kind: str
    last_reading: datetime | None
    last_received: datetime | None
    lag_s: float | None
    """From the last reading's own time to now."""
    readings_last_minute: int = 0
    readings_last_hour: int = 0
    """Received in the last hour, good and bad, whatever their own time."""
    readings_last_day: int = 0
    conflicts: int = 0
    offline: bool = False
    """Said so by its Sparkplug node, by its death or that of its node."""
    offline_since: datetime | None = None
    """When the first death after its last birth was received; None: it was never born."""
    unread_last_day: dict[str, int] | None = None
    """Of a foreign family without a reading in the last day: messages on its topics by their note, or `quarantined`,
    or empty where nothing was noted. None: it has readings, or is native."""


@dataclass(slots=True)
class Count:
    """Of messages or of readings: what was received, and what became of it."""

    received: int = 0
    stored: int = 0
    duplicate: int = 0
    conflict: int = 0
    quarantined: int = 0

    @property
    def balanced(self) -> bool:
        """Whether everything received ended as exactly one of the four."""
        return self.received == self.stored + self.duplicate + self.conflict + self.quarantined

    def __iadd__(self, other: "Count") -> Self:
        self.received += other.received
        self.stored += other.stored
        self.duplicate += other.duplicate
        self.conflict += other.conflict
        self.quarantined += other.quarantined
        return self


@dataclass(slots=True)
class SiteHealth:
    """One declared site; the site `""` stands for messages that named none."""

    site: str
    devices: list[DeviceHealth] = field(default_factory=list)
    messages: Count = field(default_factory=Count)
    readings: Count = field(default_factory=Count)
    last_received: datetime | None = None
    quarantine: dict[str, int] = field(default_factory=dict)
    """Entries that nobody has released, by reason; one message may have several."""
    recounted: bool | None = None
    """Whether the account agrees with the rows themselves; None when they were not counted."""

    @property
    def last_reading(self) -> datetime | None:
        """The newest time of a reading of this site."""
        return max((one.last_reading for one in self.devices if one.last_reading is not None), default=None)

    @property
    def silent(self) -> list[str]:
        """Declared devices that never sent a reading."""
        return [one.device for one in self.devices if one.last_reading is None]

    @property
    def balanced(self) -> bool:
        """Whether the account's identity holds for messages and readings, and, if they were counted, for the rows."""
        return self.messages.balanced and self.readings.balanced and self.recounted is not False


@dataclass(slots=True)
class Health:
    """Everything, at one instant of the database's clock."""

    at: datetime
    sites: list[SiteHealth]

    @property
    def balanced(self) -> bool:
        """Whether the account holds for every site."""
        return all(site.balanced for site in self.sites)

    def total(self) -> tuple[Count, Count]:
        """Add up messages and readings of all sites."""
        messages, readings = Count(), Count()
        for site in self.sites:
            messages += site.messages
            readings += site.readings
        return messages, readings


def received(connection: Connection, site: str) -> int:
    """Say how many messages were ever committed for a site, whatever became of them."""
    return int(connection.execute(load("status")["received"], {"site": site}).fetchall()[0][0])


def last_readings(connection: Connection) -> list[tuple[str, datetime]]:
    """Read the newest time of a reading of each site that has one."""
    return connection.execute(load("status")["last_readings"]).fetchall()


def last_registers(connection: Connection, site: str) -> dict[str, float]:
    """Read where the export register of each device of a site stands [Wh]; devices without one are left out."""
    return dict(connection.execute(load("status")["last_registers"], {"site": site}).fetchall())


def health(connection: Connection, *, recount: bool = False, families: Callable[[], Catalogue] = built_in) -> Health:
    """Read how ingestion stands, from one snapshot of the database.

    Parameters
    ----------
    connection
        With the reader's rights, in autocommit mode.
    recount
        Also count every kept message, reading, conflict and quarantine entry and hold the account against them;
        this reads the whole store.
    families
        Gives the families of devices; asked for only when a device of one is silent.
    """
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    try:
        with connection.transaction():
            return _health(connection, recount=recount, families=families)
    finally:
        connection.isolation_level = None
        connection.read_only = None


def _health(connection: Connection, *, recount: bool, families: Callable[[], Catalogue]) -> Health:
    queries = load("status")
    now = connection.execute(queries["now"]).fetchall()[0][0]
    sites: dict[str, SiteHealth] = {}
    for (site,) in connection.execute(queries["sites"]):
        sites[site] = SiteHealth(site)

    conflicts: dict[int, int] = dict(connection.execute(queries["conflicts"]).fetchall())
    rates = {topic: counts for _, topic, *counts in connection.execute(queries["rates"])}
    foreign_rates = {device_id: counts for device_id, *counts in connection.execute(queries["foreign_rates"])}
    offline: dict[int, datetime | None] = dict(connection.execute(queries["offline"]).fetchall())
    silent: dict[int, DeviceHealth] = {}
    for site, device, device_id, kind, family, ts, received_at in connection.execute(queries["devices"]):
        lag_s = (now - ts) / timedelta(seconds=1) if ts is not None else None
        found = DeviceHealth(site, device, kind, ts, received_at, lag_s, conflicts=conflicts.get(device_id, 0))
        found.offline, found.offline_since = device_id in offline, offline.get(device_id)
        native = family == NATIVE
        counts = rates.get(topics.readings(site, device)) if native else foreign_rates.get(device_id)
        if counts is not None:
            found.readings_last_minute, found.readings_last_hour, found.readings_last_day = counts
        elif not native:
            silent[device_id] = found
        sites[site].devices.append(found)
    if silent:
        _say_why(connection, silent, families())

    for site, *numbers, last_received in connection.execute(queries["accounts"]):
        one = sites.setdefault(site, SiteHealth(site))
        one.messages, one.readings = Count(*numbers[:5]), Count(*numbers[5:])
        one.last_received = last_received
    for site, reason, count in connection.execute(queries["quarantine"]):
        sites.setdefault(site, SiteHealth(site)).quarantine[reason] = count
    if recount:
        _recount(connection, sites)
    return Health(now, [sites[site] for site in sorted(sites)])


def _say_why(connection: Connection, silent: Mapping[int, DeviceHealth], families: Catalogue) -> None:
    """Count what came on the topics of silent devices; one topic may be of several devices, and counts for each."""
    routes = Routes(bind([Declared(*row) for row in connection.execute(load("ingest")["foreign"])], families)[0])
    for device in silent.values():
        device.unread_last_day = {}
    sites = sorted({device.site for device in silent.values()})
    told: list[tuple[int, str | None, int]] = []
    for site, topic, note, count in connection.execute(load("status")["heard"], {"sites": sites}):
        found = routes.find(topic)
        # A device of another site has no part in it, whatever it is declared for.
        meant = {route.bound.device_id for route in _routes(found) if route.bound.device.site == site}
        told += [(device_id, note, count) for device_id in meant]
    told += connection.execute(load("status")["not_joined"], {"devices": list(silent)}).fetchall()
    for device_id, note, count in told:
        if device_id not in silent:
            continue
        why = silent[device_id].unread_last_day
        assert why is not None  # noqa: S101 - set above
        for one in set((note or "").split(",")) - {Note.PART}:
            why[one] = why.get(one, 0) + count


def _routes(found: Found | None) -> Iterator[Route]:
    if found is None:
        return
    address = sparkplug_topics.parse(found.topic)
    for route in found.routes:
        # Every device of an edge node hears the others, to count with them.
        if not isinstance(address, Address) or address.device in {None, route.bound.address.get("device", "")}:
            yield route


def _recount(connection: Connection, sites: dict[str, SiteHealth]) -> None:
    queries = load("status")
    messages: dict[str, list[int]] = defaultdict(lambda: [0] * 6)
    for site, *numbers in connection.execute(queries["kept"]):
        messages[site] = numbers
    readings: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for site, stored, conflict in connection.execute(queries["kept_readings"]):
        readings[site] = (stored, conflict)
    quarantined: dict[str, int] = defaultdict(int)
    quarantined.update(connection.execute(queries["kept_quarantined"]))
    for name in {*sites, *messages, *readings, *quarantined}:
        site = sites.setdefault(name, SiteHealth(name))
        account = site.messages
        counted = [account.received, *(getattr(account, outcome) for outcome in _ORDER), site.readings.received]
        # Duplicates leave no row but their message, so they are what the other readings leave over.
        rest = messages[name][5] - sum(readings[name]) - quarantined[name]
        site.recounted = (
            messages[name] == counted
            and readings[name] == (site.readings.stored, site.readings.conflict)
            and quarantined[name] == site.readings.quarantined
            and rest == site.readings.duplicate
        )


_ORDER = (Outcome.STORED, Outcome.DUPLICATE, Outcome.CONFLICT, Outcome.QUARANTINED)
