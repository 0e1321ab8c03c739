"""What is missing of the last days, device by device and hour by hour, and how far each device's clock is off."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

import psycopg

from sql.named import load

_HOUR = timedelta(hours=1)
_ENOUGH = 0.9
"""An hour with this share of the usual readings is whole: a device that sends every minute may slip by seconds."""


@dataclass(frozen=True, slots=True)
class DeviceHours:
    """One device's hours."""

    device: str
    counts: tuple[int, ...]
    """Readings by hour, the oldest first."""
    usual: int
    """What an hour with readings usually has; 0: there is none."""

    def share(self, hour: int) -> float:
        """Tell how much of the usual an hour has, 0 to 1."""
        return min(1.0, self.counts[hour] / self.usual) if self.usual else 0.0

    def is_whole(self, hour: int) -> bool:
        """Tell whether an hour has about what is usual."""
        return self.usual > 0 and self.share(hour) >= _ENOUGH

    @property
    def empty(self) -> int:
        """Hours without any reading; those of a night are among them where a device sleeps."""
        return sum(not count for count in self.counts)


@dataclass(frozen=True, slots=True)
class Gaps:
    """The hours of a site's devices."""

    start: datetime
    hours: int
    devices: tuple[DeviceHours, ...]

    def hour(self, index: int) -> datetime:
        """Tell when an hour begins."""
        return self.start + index * _HOUR


def hours_of(
    devices: Sequence[str], counted: Mapping[tuple[str, datetime], int], start: datetime, hours: int
) -> list[DeviceHours]:
    """Arrange counts by device and hour; what is usual is the median of a device's hours with readings."""
    found = []
    for device in devices:
        counts = tuple(counted.get((device, start + hour * _HOUR), 0) for hour in range(hours))
        some = [count for count in counts if count]
        found.append(DeviceHours(device, counts, int(median(some)) if some else 0))
    return found


def gaps(connection: psycopg.Connection, site: str, now: datetime, days: int) -> Gaps:
    """Read the hours of the last `days` days, up to the hour that is going on (not included).

    Where a site has no reading in them, those before its newest reading.
    """
    queries = load("operator")
    (newest,) = connection.execute(queries["newest"], {"site": site}).fetchall()[0]
    end = now.replace(minute=0, second=0, microsecond=0)
    if newest is not None and newest < end - timedelta(days=days):
        end = newest.replace(minute=0, second=0, microsecond=0) + _HOUR
    start = end - timedelta(days=days)
    devices = [row[0] for row in connection.execute(queries["devices"], {"site": site})]
    rows = connection.execute(queries["gaps"], {"site": site, "start": start, "end": end})
    counted = {(device, hour): count for device, hour, count in rows}
    return Gaps(start, days * 24, tuple(hours_of(devices, counted, start, days * 24)))


@dataclass(frozen=True, slots=True)
class Clock:
    """How a device's clock seems to be off, from its newest readings."""

    site: str
    device: str
    readings: int
    ahead_s: float
    """How far it is ahead at least; 0 where no reading came before its own time."""
    usual_delay_s: float
    """The median from a reading's own time to its receipt: what is under way, and what the clock is behind."""
    newest: datetime


def clocks(connection: psycopg.Connection, site: str | None = None) -> list[Clock]:
    """Read how far the newest readings of each device lie from their receipt."""
    rows = connection.execute(load("operator")["clocks"], {"site": site})
    return [
        Clock(name, device, count, max(0.0, -float(least)), float(middle), newest)
        for name, device, count, least, middle, newest in rows
    ]
