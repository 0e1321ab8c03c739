"""Energy per device and local day, and what a period may credit of it.

An interval between two readings belongs to the local day in which it ends. What a day credits is kept in two parts:
*within*, from intervals that begin on that day, and *carried*, from the one interval that began before it. So the
energy of any run of days can be told from its days alone: all of it but the interval that crosses into its first day.
That interval is credited to neither side of the boundary; a reading exactly at the boundary ends one side and begins
the other.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mrv.calendar import day_edges, days_between, local_dates, split_by_year
from mrv.errors import CalendarError
from mrv.quality.rules import EXCLUSION_CODES
from mrv.register_rules import MWH_PER_WH, Rule
from mrv.registers import CREDITED_CODES, DECLARED, RULE_OF_CODE, Intervals

_COVERAGE_STEP = Decimal("0.000001")
_ID_OF_CODE = {code: rule.id for code, rule in RULE_OF_CODE.items()} | {
    code: rule.id for rule, code in EXCLUSION_CODES.items()
}


class DayEnergy(Protocol):
    """What the energy of a period needs to know about each of its days."""

    @property
    def day(self) -> date:
        """Local date."""

    @property
    def within_wh(self) -> Decimal:
        """Energy of intervals that begin and end on the day [Wh]."""

    @property
    def carried_wh(self) -> Decimal:
        """Energy of the interval that ends on the day and began before it [Wh]."""

    @property
    def carried_from(self) -> date | None:
        """Local date on which that interval began; None if there is none, or it is not known."""


@dataclass(frozen=True, slots=True)
class EnergyDay:
    """Energy of one device on one local day.

    Attributes
    ----------
    day
        Local date at the site.
    within_mwh, carried_mwh
        Credited energy [mWh] of the intervals that end on the day: those that began on it, the one that began before.
    carried_from
        Local date on which the carried interval began.
    samples
        Readings of that day, retained or set aside.
    covered_us, bridged_us, length_us
        Time of the day that credited intervals cover with readings, and that they bridge over a gap; length of the day.
    rules
        How often each rule decided, by rule id: intervals that end on the day and readings set aside on it.
    """

    day: date
    within_mwh: int
    carried_mwh: int
    carried_from: date | None
    samples: int
    covered_us: int
    bridged_us: int
    length_us: int
    rules: Mapping[str, int]

    @property
    def within_wh(self) -> Decimal:
        """Energy of intervals that begin and end on the day [Wh], exact."""
        return Decimal(self.within_mwh) / MWH_PER_WH

    @property
    def carried_wh(self) -> Decimal:
        """Energy of the interval that ends on the day and began before it [Wh], exact."""
        return Decimal(self.carried_mwh) / MWH_PER_WH

    @property
    def coverage(self) -> Decimal:
        """Share of the day that has readings and is credited, 0 to 1, rounded down to a millionth."""
        return (Decimal(self.covered_us) / self.length_us).quantize(_COVERAGE_STEP, rounding="ROUND_DOWN")


def daily(found: Intervals, tz: str, first: date | None = None, last: date | None = None) -> list[EnergyDay]:
    """Sort the intervals of one device into local days.

    Parameters
    ----------
    found
        Intervals of the device's register.
    tz
        IANA name of the site's time zone.
    first, last
        Days wanted, both included; left out, the days of the first and of the last reading.

    Returns
    -------
    list of EnergyDay
        One for every day in the range, also for those without a reading; none for a day that the zone skipped.

    Raises
    ------
    CalendarError
        If the zone is unknown or the first day lies after the last.
    """
    readings = np.sort(np.concatenate((found.t_us[found.source != DECLARED], found.dropped_t_us)))
    if first is None or last is None:
        ends = np.concatenate((readings, found.t_us))
        if len(ends) == 0:
            return []
        seen = local_dates(np.array([ends.min(), ends.max()], dtype=np.int64), tz)
        first, last = first or seen[0].item(), last or seen[1].item()
    edges = day_edges(first, last, tz)

    # Intervals that end in (start, end] of a day: the instant at midnight ends the day before.
    reach = np.searchsorted(found.t1_us, edges, side="right")
    credited = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(found.energy_mwh)))
    # Readings at midnight belong to the day that begins.
    count = np.searchsorted(readings, edges, side="left")
    reach_dropped = np.searchsorted(found.dropped_t_us, edges, side="left")
    bridged = found.rule == Rule.GAP.code
    covered_until = _time_until(edges, found, np.isin(found.rule, list(CREDITED_CODES)) & ~bridged)
    bridged_until = _time_until(edges, found, bridged)

    result = []
    for n, day in enumerate(days_between(first, last)):
        length_us = int(edges[n + 1] - edges[n])
        if length_us == 0:
            continue
        lo, hi = int(reach[n]), int(reach[n + 1])
        carried, carried_from = 0, None
        if lo < hi and found.t0_us[lo] < edges[n]:
            carried = int(found.energy_mwh[lo])
            carried_from = local_dates(found.t0_us[lo : lo + 1], tz)[0].item()
        codes = np.concatenate((found.rule[lo:hi], found.dropped_rule[reach_dropped[n] : reach_dropped[n + 1]]))
        decided = np.bincount(codes)
        result.append(
            EnergyDay(
                day=day,
                within_mwh=int(credited[hi] - credited[lo]) - carried,
                carried_mwh=carried,
                carried_from=carried_from,
                samples=int(count[n + 1] - count[n]),
                covered_us=int(covered_until[n + 1] - covered_until[n]),
                bridged_us=int(bridged_until[n + 1] - bridged_until[n]),
                length_us=length_us,
                rules={_ID_OF_CODE[code]: int(decided[code]) for code in np.flatnonzero(decided).tolist()},
            )
        )
    return result


def _time_until(edges: NDArray[np.int64], found: Intervals, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Time in the chosen intervals before each edge [µs]."""
    if len(chosen) == 0:
        return np.zeros(len(edges), dtype=np.int64)
    length = np.where(chosen, found.t1_us - found.t0_us, 0)
    until = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(length)))
    at = np.searchsorted(found.t_us, edges, side="right") - 1  # interval that contains the edge
    inside = at.clip(0, len(chosen) - 1)
    part = np.where((at >= 0) & (at < len(chosen)) & chosen[inside], edges - found.t_us[inside], 0)
    total: NDArray[np.int64] = until[at.clip(0, len(chosen))] + part
    return total


def period_energy(days: Iterable[DayEnergy], first_day: date, last_day: date) -> Decimal:
    """Energy of one device that a period may credit.

    Parameters
    ----------
    days
        Days of the device, in any order; those outside the period are passed over, a day without a row has no energy.
    first_day, last_day
        The period's local days, both included.

    Returns
    -------
    Decimal
        Energy [Wh], exact: all of its days but the interval that crosses into the period. Where `carried_from` is not
        known, the first carried energy of the period is taken to have crossed.

    Raises
    ------
    CalendarError
        If the first day lies after the last, or a day comes twice.
    """
    return sum((row.within_wh + carried for row, carried in counted_days(days, first_day, last_day)), Decimal(0))


def counted_days(days: Iterable[DayEnergy], first_day: date, last_day: date) -> Iterator[tuple[DayEnergy, Decimal]]:
    """Give the days of a period in order, each with what counts of its carried energy [Wh]; see `period_energy`."""
    if first_day > last_day:
        raise CalendarError(f"{first_day} lies after {last_day}: give the first day before the last")
    inside = sorted((d for d in days if first_day <= d.day <= last_day), key=lambda d: d.day)
    # Only one interval can cross into the period: the first that ends in it.
    may_cross = True
    for before, row in zip([None, *inside], inside, strict=False):
        if before is not None and before.day == row.day:
            raise CalendarError(f"{row.day} comes twice: give each day of one device once")
        crosses = row.carried_from < first_day if row.carried_from is not None else may_cross
        yield row, Decimal(0) if crosses else row.carried_wh
        if row.carried_wh > 0:
            may_cross = False


def vintage_energy(days: Iterable[DayEnergy], first_day: date, last_day: date) -> dict[int, Decimal]:
    """Energy of one device per calendar year of a period [Wh], by the same rule at each turn of the year."""
    rows = list(days)
    return {year: period_energy(rows, first, last) for year, first, last in split_by_year(first_day, last_day)}
