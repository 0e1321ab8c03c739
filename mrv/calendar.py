"""Site-local calendar days as spans of UTC time.

A day is the site's own: 23 or 25 hours long where clocks change, and without any length at all where a zone skipped it
(Pacific/Apia, 2011-12-30). Instants are int64 microseconds since 1970-01-01T00:00Z, the resolution of PostgreSQL's
`timestamptz`. Days partition time: each begins where the one before it ends, so no instant belongs to two or to none.
"""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from mrv.errors import CalendarError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
_DAY = timedelta(days=1)


def zone(name: str) -> ZoneInfo:
    """Return the time zone of that IANA name.

    Raises
    ------
    CalendarError
        If the name is not one of the IANA time zone database.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise CalendarError(
            f"unknown time zone {name!r}: use a name of the IANA database such as 'Asia/Bangkok'"
        ) from None


def to_us(instant: datetime) -> int:
    """Microseconds since the epoch of an aware instant.

    Raises
    ------
    CalendarError
        If the instant has no time zone: a naive time names no instant.
    """
    if instant.tzinfo is None:
        raise CalendarError(f"{instant.isoformat()} has no time zone: give an aware time")
    return (instant - EPOCH) // MICROSECOND


def from_us(t_us: int) -> datetime:
    """Return the aware UTC instant of microseconds since the epoch."""
    return EPOCH + timedelta(microseconds=t_us)


@lru_cache(maxsize=65_536)
def _start_of(day: date, tz: str) -> datetime:
    """First instant of a local day, in UTC.

    Where midnight comes twice (America/St_Johns put its clocks back at 00:01 until 2011) the first one opens the day;
    where it never comes, the day opens with the jump across it.
    """
    site = zone(tz)
    midnight = datetime(day.year, day.month, day.day, tzinfo=site)
    start = midnight.astimezone(UTC)
    if start.astimezone(site).replace(tzinfo=None) == midnight.replace(tzinfo=None):
        return start
    before, after = midnight.replace(fold=1).astimezone(UTC) - timedelta(seconds=1), start
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        if middle.astimezone(site).date() >= day:
            after = middle
        else:
            before = middle
    return after


def day_bounds(day: date, tz: str) -> tuple[datetime, datetime]:
    """Start and end of a local day in UTC; the end is the start of the next day.

    Parameters
    ----------
    day
        The local date.
    tz
        IANA name of the site's time zone.

    Returns
    -------
    tuple of datetime
        Aware UTC instants. They are equal for a day that the zone skipped.

    Raises
    ------
    CalendarError
        If the zone is unknown or the day is the last one that can be written.
    """
    if day >= date.max - _DAY or day <= date.min + _DAY:
        raise CalendarError(f"{day} is at the edge of the calendar: use a day of the years 2 to 9998")
    return _start_of(day, tz), _start_of(day + _DAY, tz)


def day_edges(first: date, last: date, tz: str) -> NDArray[np.int64]:
    """Starts of the local days from first to last, and the end of last [µs UTC]; shape (days + 1,)."""
    days = days_between(first, last)
    starts = [to_us(day_bounds(day, tz)[0]) for day in days]
    return np.array([*starts, to_us(day_bounds(last, tz)[1])], dtype=np.int64)


def local_dates(t_us: NDArray[np.int64], tz: str) -> NDArray[np.datetime64]:
    """Local date of each instant.

    Parameters
    ----------
    t_us
        Instants in microseconds since the epoch, UTC, in any order; shape (n,).
    tz
        IANA name of the site's time zone.

    Returns
    -------
    NDArray of datetime64[D]
        Shape (n,). An instant exactly at a day's start belongs to that day.
    """
    zone(tz)
    if t_us.size == 0:
        return np.empty(0, dtype="datetime64[D]")
    # Offsets stay within ±26 h, date line included, so one UTC day on each side is enough.
    first = from_us(int(t_us.min())).date() - _DAY
    last = from_us(int(t_us.max())).date() + _DAY
    edges = day_edges(first, last, tz)
    # side="right" passes over a skipped day, whose two edges are the same instant.
    index = np.searchsorted(edges, t_us, side="right") - 1
    return np.datetime64(first, "D") + index.astype("timedelta64[D]")


def days_between(first: date, last: date) -> list[date]:
    """All dates from first to last, both included.

    Raises
    ------
    CalendarError
        If the first day lies after the last.
    """
    if first > last:
        raise CalendarError(f"{first} lies after {last}: give the first day before the last")
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def split_by_year(first: date, last: date) -> list[tuple[int, date, date]]:
    """Cut a range of days at the calendar years, the JCM's vintages.

    Returns
    -------
    list of (year, first day, last day)
        In order, both days included, without gap or overlap.

    Raises
    ------
    CalendarError
        If the first day lies after the last.
    """
    if first > last:
        raise CalendarError(f"{first} lies after {last}: give the first day before the last")
    return [
        (year, max(first, date(year, 1, 1)), min(last, date(year, 12, 31))) for year in range(first.year, last.year + 1)
    ]
