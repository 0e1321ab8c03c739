"""What each day of each register counts for in a computed period, and what stands between the days and EG.

EG of a system's year is the sum of its days, each with the sign of its quantity, and of the lines, exactly. The lines
are what is no day's own: the permissible error over a late calibration, roundings, invoices, and where a formula's
`max` holds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrv.basis import Credited, row_id
from mrv.calendar import local_dates
from mrv.energy import EnergyDay
from mrv.formulas.counted import SUBTRACTED
from mrv.meters.deduction import EXACT, Counted
from mrv.quality.rules import EXCLUSION_CODES
from mrv.register_rules import MWH_PER_WH
from mrv.registers import Intervals
from mrv.spans import Key

_EXCLUDING = {code: rule.id for rule, code in EXCLUSION_CODES.items()}

CROSSING, DOUBTFUL, NOT_INVOICED = "crossing", "doubtful", "not_invoiced"
PERMISSIBLE_ERROR, REGISTER_ROUNDING, INVOICE = "permissible_error", "register_rounding", "invoice"
FORMULA, ROUNDING = "formula", "rounding"

LEFT_OUT: Mapping[str, str] = {
    CROSSING: "an interval crosses into or out of the days that are summed together: the period, a calendar year, a "
    "category of days, an invoice, or what follows a day that does not count; what raises EG counts on neither side, "
    "what lowers it on both",
    DOUBTFUL: "a register that is subtracted was not counted from end to end on this day, or not invoiced",
    NOT_INVOICED: "monitoring option B: no invoice covers the day",
}
"""Why a day's energy is not what it counts for."""
LINES: Mapping[str, str] = {
    PERMISSIBLE_ERROR: "deduction for the permissible error of the meter on days without a valid calibration",
    REGISTER_ROUNDING: "rounding of the register to a milliwatt-hour, against the credit",
    INVOICE: "invoice: of metered and invoiced energy the one that credits less",
    FORMULA: "what the formula leaves out: a battery gives back no more than it was charged with, EG is not below zero",
    ROUNDING: "rounding down to a watt-hour",
}
"""What a line stands for."""


@dataclass(frozen=True, slots=True)
class DeviceDay:
    """A device's local day, the digest of the readings of that day, and what quality rules took out of it."""

    energy: EnergyDay
    sha256: bytes
    withheld_wh: Mapping[str, Decimal]
    """By rule id [Wh]."""


@dataclass(frozen=True, slots=True)
class CountedDay:
    """A register's day as a period counts it."""

    credited: Credited
    day: DeviceDay
    category: str | None
    credited_wh: Decimal
    """What counts of it [Wh], before the permissible error."""
    error_wh: Decimal
    """The permissible error on the day [Wh]: taken from what raises EG, added to what lowers it."""
    left_out: str | None
    """Why not all of it counts: a key of `LEFT_OUT`."""
    owed: bool
    """Whether the device owed readings of the whole day."""


@dataclass(frozen=True, slots=True)
class Line:
    """What stands between the days of a row's year and its EG."""

    system: str
    """The row of the result, as `row_id`."""
    year: int
    name: str
    """A key of `LINES`."""
    wh: Decimal
    """Its effect on EG [Wh]."""
    credited: Credited | None = None
    """The register that it is about; None: the whole system."""


class Account(NamedTuple):
    """The days of all registers of a period, and the lines."""

    days: tuple[CountedDay, ...]
    lines: tuple[Line, ...]


def sign(quantity: str) -> int:
    """Return 1 for what raises EG, -1 for what lowers it."""
    return -1 if quantity in SUBTRACTED else 1


def counted_days(
    credited: Credited,
    days: Sequence[DeviceDay],
    counted: Mapping[Key, Counted],
    owed: frozenset[date],
    *,
    doubtful: frozenset[date],
    not_invoiced: frozenset[date],
) -> Iterator[CountedDay]:
    """Tell what each day of a register counts for.

    Parameters
    ----------
    credited, days
        The register and its days.
    counted
        What was counted of it in each part of the period that is summed by itself.
    owed
        Days of which it owed readings.
    doubtful, not_invoiced
        Days that do not count, of all that raises EG and of this register.
    """
    by_day: dict[date, Decimal] = {}
    errors: dict[date, Decimal] = {}
    for part in counted.values():
        by_day |= part.by_day
        for day, wh in part.taken_wh.items():
            errors[day] = EXACT.add(errors.get(day, Decimal(0)), wh)
    for one in days:
        energy = one.energy
        counts = by_day.get(energy.day, Decimal(0))
        reason = None
        if counts != energy.within_wh + energy.carried_wh:
            reason = CROSSING
            if sign(credited.quantity) > 0 and energy.day in doubtful:
                reason = DOUBTFUL
            elif sign(credited.quantity) > 0 and energy.day in not_invoiced:
                reason = NOT_INVOICED
        yield CountedDay(
            credited=credited,
            day=one,
            category=credited.system.category_of(energy.day) if credited.system.day_categories else None,
            credited_wh=counts,
            error_wh=errors.get(energy.day, Decimal(0)),
            left_out=reason,
            owed=energy.day in owed,
        )


def lines(
    registers: Sequence[tuple[Credited, Counted, Decimal]], key: Key, formula_wh: Decimal, eg_mwh: Decimal
) -> list[Line]:
    """List what stands between the days of a system's year and its EG; what is zero is left out.

    Parameters
    ----------
    registers
        Of each register: what was counted of it under the key, and its energy after rounding and invoices [Wh].
    key
        The year, and the category of its days.
    formula_wh
        What the methodology's formula makes of the energies [Wh].
    eg_mwh
        EG as it is reported [MWh].
    """
    found: list[Line] = []
    total = Decimal(0)
    row = row_id(registers[0][0].system, key.category)
    for credited, counted, energy_wh in registers:
        factor = sign(credited.quantity)
        rounded = counted.rounded(up=factor < 0).credited_wh
        total = EXACT.add(total, factor * energy_wh)
        steps = (
            (PERMISSIBLE_ERROR, EXACT.subtract(counted.credited_wh, counted.metered_wh)),
            (REGISTER_ROUNDING, EXACT.subtract(rounded, counted.credited_wh)),
            (INVOICE, EXACT.subtract(energy_wh, rounded)),
        )
        found += [Line(row, key.year, name, factor * wh, credited) for name, wh in steps if wh]
    steps_of_system = (
        (FORMULA, EXACT.subtract(formula_wh, total)),
        (ROUNDING, EXACT.subtract(EXACT.scaleb(eg_mwh, 6), formula_wh)),
    )
    return found + [Line(row, key.year, name, wh) for name, wh in steps_of_system if wh]


def withheld_by_day(found: Intervals, made_mwh: NDArray[np.int64], zone: str) -> dict[date, dict[str, Decimal]]:
    """Sum what quality rules took out of each interval by the day in which it ends and the rule that decided last [Wh].

    Parameters
    ----------
    found
        Intervals after the quality rules.
    made_mwh
        Energy of each before them [mWh], shape (n,).
    """
    at = np.flatnonzero(made_mwh > found.energy_mwh)
    total: dict[date, dict[str, Decimal]] = {}
    if len(at) == 0:
        return total
    # An interval that ends at midnight belongs to the day before.
    days = local_dates(found.t1_us[at] - 1, zone).tolist()
    taken = (made_mwh[at] - found.energy_mwh[at]).tolist()
    for day, code, mwh in zip(days, found.rule[at].tolist(), taken, strict=True):
        rule = _EXCLUDING[code]
        of_day = total.setdefault(day, {})
        of_day[rule] = of_day.get(rule, Decimal(0)) + Decimal(mwh) / MWH_PER_WH
    return total
