"""Energies with the error that a meter may have had taken against the credit, in decimal arithmetic.

An interval that touches a day without valid calibration counts as measured on it. What raises EG is multiplied by
(1 − error), what lowers EG by (1 + error); each register is rounded once, down or up to a milliwatt-hour.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import ROUND_DOWN, ROUND_UP, Context, Decimal

import numpy as np
from numpy.typing import NDArray

from mrv.calendar import day_bounds, day_edges, days_between, to_us
from mrv.energy import DayEnergy, counted_days
from mrv.register_rules import MWH_PER_WH
from mrv.registers import Intervals
from mrv.spans import Span

EXACT = Context(prec=60)
MILLIWATT_HOUR = Decimal("0.001")
Percents = Mapping[date, Decimal]


@dataclass(frozen=True)
class Counted:
    """An energy [Wh] as it was metered and as it is credited."""

    metered_wh: Decimal = Decimal(0)
    credited_wh: Decimal = Decimal(0)
    taken_wh: Mapping[date, Decimal] = field(default_factory=dict)
    """By day: what was taken from it, or added to it where it lowers EG."""
    by_day: Mapping[date, Decimal] = field(default_factory=dict)
    """As metered, by the day that it counts on: the one in which an interval ends, or the last one of the span."""

    def plus(self, other: "Counted") -> "Counted":
        """Add two energies of different days."""
        return Counted(
            EXACT.add(self.metered_wh, other.metered_wh),
            EXACT.add(self.credited_wh, other.credited_wh),
            {
                **self.taken_wh,
                **{d: EXACT.add(wh, self.taken_wh.get(d, Decimal(0))) for d, wh in other.taken_wh.items()},
            },
            {**self.by_day, **other.by_day},
        )

    def rounded(self, *, up: bool) -> "Counted":
        """Round what is credited to the milliwatt-hour, against the credit."""
        rounding = ROUND_UP if up else ROUND_DOWN
        return replace(self, credited_wh=self.credited_wh.quantize(MILLIWATT_HOUR, rounding, EXACT))


def lowered(days: Iterable[DayEnergy], first: date, last: date, percents: Percents) -> Counted:
    """Count a register that raises EG, over a run of days, as `period_energy` does, less the error of each day.

    Parameters
    ----------
    days
        The register's days.
    first, last
        The run, both included.
    percents
        The error to assume by day [%]; a day that is not in it has none.
    """
    metered = taken = Decimal(0)
    by_day: dict[date, Decimal] = {}
    counted: dict[date, Decimal] = {}
    for row, carried_wh in counted_days(days, first, last):
        counted[row.day] = EXACT.add(row.within_wh, carried_wh)
        metered = EXACT.add(metered, counted[row.day])
        for wh, since in ((row.within_wh, row.day), (carried_wh, row.carried_from or row.day)):
            if wh == 0:
                continue
            day, percent = _worst(percents, since, row.day)
            if percent > 0:
                part = EXACT.multiply(wh, EXACT.scaleb(percent, -2))
                taken = EXACT.add(taken, part)
                by_day[day] = EXACT.add(by_day.get(day, Decimal(0)), part)
    return Counted(metered, EXACT.subtract(metered, taken), by_day, counted)


def raised(found: Intervals, span: Span, zone: str, percents: Percents) -> Counted:
    """Count a register that lowers EG: the intervals that lie in a span, wholly or in part, plus each day's error."""
    start, end = span.bounds_us(zone)
    inside = (found.t1_us > start) & (found.t0_us < end)
    metered = Decimal(int(found.energy_mwh[inside].sum())) / MWH_PER_WH
    day_of = np.full(len(found.energy_mwh), -1, dtype=np.int64)
    worst = sorted(percents, key=lambda day: (percents[day], day))
    # The day with the largest error is written last, so it stands.
    for number, day in enumerate(worst):
        begin, over = (to_us(instant) for instant in day_bounds(day, zone))
        lo, hi = np.searchsorted(found.t1_us, begin, side="right"), np.searchsorted(found.t0_us, over, side="left")
        day_of[lo:hi] = number
    by_day: dict[date, Decimal] = {}
    taken = Decimal(0)
    for number in np.unique(day_of[inside & (day_of >= 0)]).tolist():
        energy = Decimal(int(found.energy_mwh[inside & (day_of == number)].sum())) / MWH_PER_WH
        if energy:
            part = EXACT.multiply(energy, EXACT.scaleb(percents[worst[number]], -2))
            by_day[worst[number]] = part
            taken = EXACT.add(taken, part)
    return Counted(metered, EXACT.add(metered, taken), by_day, _by_day(found, inside, span, zone))


def _by_day(found: Intervals, inside: NDArray[np.bool_], span: Span, zone: str) -> dict[date, Decimal]:
    """Sum intervals by the day in which they end; one that ends behind the span counts on its last day."""
    if not inside.any():
        return {}
    edges = day_edges(span.first, span.last, zone)
    at = np.clip(np.searchsorted(edges, found.t1_us[inside], side="left") - 1, 0, len(edges) - 2)
    mwh = np.zeros(len(edges) - 1, dtype=np.int64)
    np.add.at(mwh, at, found.energy_mwh[inside])
    days = days_between(span.first, span.last)
    return {days[n]: Decimal(int(mwh[n])) / MWH_PER_WH for n in np.flatnonzero(mwh).tolist()}


def _worst(percents: Percents, first: date, last: date) -> tuple[date, Decimal]:
    """Return the day with the largest error from first to last."""
    if not percents:
        return last, Decimal(0)
    if first == last:
        return last, percents.get(last, Decimal(0))
    day = max(days_between(first, last), key=lambda one: percents.get(one, Decimal(0)))
    return day, percents.get(day, Decimal(0))
