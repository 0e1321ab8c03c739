"""All sites at a glance: which are silent, how fast readings come, and whether every message is accounted for."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import psycopg

from ingest.health import Count, DeviceHealth, Health, SiteHealth, health
from sql.named import load

QUIET_S = 900.0
"""From so long without a message on a site counts as quiet here; whether that is wrong is for the alerts to say."""


class SiteState(StrEnum):
    """How a site stands, the most urgent first."""

    NEVER = "never"
    """Nothing was ever received."""
    QUIET = "quiet"
    """No message for a quarter of an hour."""
    WATCH = "watch"
    """Messages come, but a declared device is silent or something waits in quarantine."""
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class SiteLine:
    """One declared site."""

    id: str
    name: str
    project: str
    time_zone: str
    latitude: float | None
    longitude: float | None
    state: SiteState
    last_received: datetime | None
    quiet_s: float | None
    """Since the last message."""
    readings_last_minute: int
    readings_last_hour: int
    readings_last_day: int
    lag_s: float | None
    """The least of its devices: from a newest reading's own time to now."""
    silent_devices: tuple[str, ...]
    """Declared devices without a reading in the last day."""
    devices: int
    quarantine: int
    conflicts: int
    messages: Count
    readings: Count
    balanced: bool


@dataclass(frozen=True, slots=True)
class Fleet:
    """All sites that somebody may see, at one instant."""

    at: datetime
    sites: tuple[SiteLine, ...]
    """Silence first."""
    undeclared: Count
    """Messages of no declared site; zero for who may not see all projects."""
    messages: Count
    readings: Count

    @property
    def balanced(self) -> bool:
        """Whether everything received ended as exactly one of the four, at every site."""
        return self.messages.balanced and self.readings.balanced and all(site.balanced for site in self.sites)

    def count(self, state: SiteState) -> int:
        """Count the sites of a state."""
        return sum(site.state is state for site in self.sites)


def fleet(connection: psycopg.Connection) -> Fleet:
    """Read how all sites stand."""
    found = health(connection)
    places = {row[0]: row[1:] for row in connection.execute(load("operator")["sites"])}
    lines = [_line(site, places[site.site], found.at) for site in found.sites if site.site in places]
    order = list(SiteState)
    lines.sort(key=lambda one: (order.index(one.state), -(one.quiet_s or 0.0), one.id))
    messages, readings = found.total()
    return Fleet(found.at, tuple(lines), _undeclared(found), messages, readings)


def _undeclared(found: Health) -> Count:
    return next((site.messages for site in found.sites if not site.site), Count())


def _line(site: SiteHealth, place: tuple[str, str, str, float | None, float | None], now: datetime) -> SiteLine:
    name, project, zone, latitude, longitude = place
    quiet_s = None if site.last_received is None else (now - site.last_received) / timedelta(seconds=1)
    silent = tuple(one.device for one in site.devices if not one.readings_last_day)
    quarantine = sum(site.quarantine.values())
    return SiteLine(
        id=site.site,
        name=name,
        project=project,
        time_zone=zone,
        latitude=latitude,
        longitude=longitude,
        state=_state(quiet_s, silent=bool(silent), quarantine=bool(quarantine)),
        last_received=site.last_received,
        quiet_s=quiet_s,
        readings_last_minute=_sum(site, lambda one: one.readings_last_minute),
        readings_last_hour=_sum(site, lambda one: one.readings_last_hour),
        readings_last_day=_sum(site, lambda one: one.readings_last_day),
        lag_s=min((one.lag_s for one in site.devices if one.lag_s is not None), default=None),
        silent_devices=silent,
        devices=len(site.devices),
        quarantine=quarantine,
        conflicts=_sum(site, lambda one: one.conflicts),
        messages=site.messages,
        readings=site.readings,
        balanced=site.balanced,
    )


def _state(quiet_s: float | None, *, silent: bool, quarantine: bool) -> SiteState:
    if quiet_s is None:
        return SiteState.NEVER
    if quiet_s > QUIET_S:
        return SiteState.QUIET
    return SiteState.WATCH if silent or quarantine else SiteState.LIVE


def _sum(site: SiteHealth, of: Callable[[DeviceHealth], int]) -> int:
    return sum(of(one) for one in site.devices)


class Kept:
    """What was read a moment ago, for all who watch: each set of projects is read once a while, not once a watcher.

    Parameters
    ----------
    seconds
        How long it is shown before it is read again.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._known: dict[frozenset[str] | None, tuple[float, Fleet]] = {}

    def get(self, projects: frozenset[str] | None, read: Callable[[], Fleet]) -> Fleet:
        """Return what is known of these projects, or `read` it."""
        with self._lock:
            known = self._known.get(projects)
            if known is not None and time.monotonic() - known[0] < self._seconds:
                return known[1]
        found = read()
        with self._lock:
            horizon = time.monotonic() - self._seconds
            self._known = {key: one for key, one in self._known.items() if one[0] > horizon}
            self._known[projects] = (time.monotonic(), found)
        return found
