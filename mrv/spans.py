"""The parts of a period that are summed by themselves: a calendar year, or the days of a category within one.

An interval that crosses from one span into another is credited to neither, as at the period's own ends; of a register
that lowers EG it is counted on both sides.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import groupby
from typing import NamedTuple

from devices.declarations import PvSystem
from mrv.calendar import MICROSECOND, day_bounds, days_between, split_by_year, to_us
from mrv.errors import PeriodError

_US_PER_HOUR = timedelta(hours=1) // MICROSECOND
_DAYS_NAMED = 5


class Key(NamedTuple):
    """What a span is summed under."""

    year: int
    category: str | None
    """Category of its days; None where the methodology has none."""


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive days with one key, both ends included."""

    key: Key
    first: date
    last: date

    def bounds_us(self, zone: str) -> tuple[int, int]:
        """Start and end [µs UTC]."""
        return to_us(day_bounds(self.first, zone)[0]), to_us(day_bounds(self.last, zone)[1])

    def hours(self, zone: str) -> Decimal:
        """Length [h]; a day on which clocks change has 23 or 25."""
        start, end = self.bounds_us(zone)
        return Decimal(end - start) / _US_PER_HOUR


def spans_of(system: PvSystem, first: date, last: date) -> list[Span]:
    """Cut a period into the spans of a system.

    Raises
    ------
    PeriodError
        The system has categories of days, and a day has none.
    """
    years = split_by_year(first, last)
    if not system.day_categories:
        return [Span(Key(year, None), begin, end) for year, begin, end in years]
    missing = [day for day in days_between(first, last) if system.category_of(day) is None]
    if missing:
        named = ", ".join(day.isoformat() for day in missing[:_DAYS_NAMED])
        more = f" and {len(missing) - _DAYS_NAMED} more" if len(missing) > _DAYS_NAMED else ""
        raise PeriodError(
            f"system {system.id}: no category is declared for {named}{more}; add [[pv_system.day_category]]"
        )
    spans = []
    for year, begin, end in years:
        for category, run in groupby(days_between(begin, end), system.category_of):
            listed = list(run)
            spans.append(Span(Key(year, category), listed[0], listed[-1]))
    return spans


def without(span: Span, days: frozenset[date]) -> Iterator[tuple[date, date]]:
    """Cut days out of a span: what remains, as first and last days."""
    if not days:
        yield span.first, span.last
        return
    for out, run in groupby(days_between(span.first, span.last), lambda day: day in days):
        if not out:
            listed = list(run)
            yield listed[0], listed[-1]
