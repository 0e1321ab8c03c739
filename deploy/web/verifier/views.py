"""What pages draw and list, made of what was traced: pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import groupby, pairwise
from statistics import median
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from deploy.web.charts import Band, Cell, Event, Line, Prefix, Row, Series, Span, prefix
from mrv.day_account import sign
from mrv.tracing.around import MeterLine
from mrv.tracing.device_days import DeviceDayTrace, IntervalTrace, RegisterTrace
from mrv.tracing.energy import BetweenLine, DayEnergyRow, MonthEnergy, Months, YearTotal
from mrv.tracing.rules import rule_text

_SERIES = 6
_QUIET = frozenset({"register.normal@1", "register.opening@1"})
"""Rules that say nothing unusual."""
_STATES = {"valid": "good", "expired": "bad", "not yet": "bad", "missing": "bad"}
_MARGIN_DAYS = 60
_TICK = timedelta(hours=3)
_GAP_S = 900.0
_COLUMNS = {"TotWhExp": "energy_exported_wh", "TotWhImp": "energy_imported_wh"}


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars as `deploy.web.charts.bars` draws them."""

    categories: tuple[str, ...]
    series: tuple[Series, ...]
    unit: str


@dataclass(frozen=True, slots=True)
class Account:
    """A row of the result in a year: months and lines, that add up to its EG and RE."""

    total: YearTotal
    months: tuple[MonthEnergy, ...]
    lines: tuple[BetweenLine, ...]


@dataclass(frozen=True, slots=True)
class MonthAccount:
    """How a month's energy adds up to the EG of its year."""

    month: MonthEnergy
    others_wh: Decimal
    others_tco2: Decimal
    lines: tuple[BetweenLine, ...]
    total: YearTotal


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """A register's days in a month."""

    system: str
    site: str
    device: str
    quantity: str
    days: Mapping[date, DayEnergyRow]
    credited_wh: Decimal


def energy_by_month(found: Months) -> Chart:
    """Draw EG by system and month."""
    months = sorted({one.month for one in found.months})
    by_system: dict[str, dict[date, Decimal]] = {}
    for one in found.months:
        by_system.setdefault(one.system, {})[one.month] = one.eg_wh
    return _stacked([f"{month:%Y-%m}" for month in months], months, by_system)


def energy_by_day(rows: Iterable[DayEnergyRow], days: Sequence[date]) -> Chart:
    """Draw what each day counts for, by system."""
    by_system: dict[str, dict[date, Decimal]] = {}
    for row in rows:
        of_day = by_system.setdefault(row.system, {})
        of_day[row.day] = of_day.get(row.day, Decimal(0)) + sign(row.quantity) * row.credited_wh
    return _stacked([f"{day.day}" for day in days], days, by_system)


def _stacked(labels: Sequence[str], at: Sequence[date], by_system: Mapping[str, Mapping[date, Decimal]]) -> Chart:
    """Stack systems; where there are more than colours, the smaller ones are one."""
    largest = sorted(by_system, key=lambda name: -sum(by_system[name].values()))
    shown = sorted(largest[: _SERIES if len(largest) <= _SERIES else _SERIES - 1])
    rest = [name for name in largest if name not in shown]
    sums = {name: {day: by_system[name].get(day, Decimal(0)) for day in at} for name in shown}
    if rest:
        sums[f"+ {len(rest)}"] = {day: sum((by_system[name].get(day, Decimal(0)) for name in rest), Decimal(0))
                                  for day in at}  # fmt: skip
    unit = prefix([sum((of[day] for of in sums.values()), Decimal(0)) for day in at])
    series = tuple(Series(name, [unit.of(of[day]) for day in at]) for name, of in sums.items())
    return Chart(tuple(labels), series, f"{unit.sign}Wh")


def accounts(found: Months) -> list[Account]:
    """Put months and lines under the row and year whose EG they add up to."""
    return [
        Account(
            total,
            tuple(one for one in found.months if (one.system, one.year) == (total.system, total.year)),
            tuple(one for one in found.lines if (one.system, one.year) == (total.system, total.year)),
        )
        for total in found.years
    ]


def month_accounts(found: Months, month: date) -> list[MonthAccount]:
    """Say of each row that has energy in a month what is missing from it to the EG of the year."""
    made = []
    for account in accounts(found):
        own = [one for one in account.months if one.month == month]
        if own:
            others = [one for one in account.months if one.month != month]
            made.append(
                MonthAccount(
                    own[0],
                    sum((one.eg_wh for one in others), Decimal("0.000")),
                    sum((one.tco2 for one in others), Decimal(0)),
                    account.lines,
                    account.total,
                )
            )
    return made


def device_rows(rows: Sequence[DayEnergyRow]) -> list[DeviceRow]:
    """Put the days of each register together."""

    def register(row: DayEnergyRow) -> tuple[str, str, str, str]:
        return row.system, row.site, row.device, row.quantity

    found = []
    for (system, site, device, quantity), of in groupby(sorted(rows, key=register), register):
        days = {row.day: row for row in of}
        total = sum((row.credited_wh for row in days.values()), Decimal("0.000"))
        found.append(DeviceRow(system, site, device, quantity, days, total))
    return found


def day_path(base: str, site: str, device: str, day: date) -> str:
    """Address a device's day."""
    return f"{base}/{quote(site, safe='')}/{quote(device, safe='')}/{day}"


def heat_rows(
    rows: Sequence[DeviceRow], days: Sequence[date], base: str, words: Mapping[str, str]
) -> tuple[list[tuple[str, str | None, list[Cell | None]]], str]:
    """Make the cells of a month's heat map, and tell their unit.

    Parameters
    ----------
    words
        In the reader's language: `not_credited`, `set_aside`, `no_reading`.
    """
    unit = prefix([one.credited_wh for row in rows for one in row.days.values()])
    several = len({(row.system, row.site, row.device) for row in rows}) < len(rows)
    found: list[tuple[str, str | None, list[Cell | None]]] = []
    for row in rows:
        device = f"{row.site}/{row.device}"
        name = f"{device} {row.quantity}" if several else device
        cells = [_cell(row.days.get(day), unit, base, words) for day in days]
        found.append((name, None, cells))
    return found, f"{unit.sign}Wh"


def _cell(row: DayEnergyRow | None, unit: Prefix, base: str, words: Mapping[str, str]) -> Cell | None:
    if row is None:
        return None
    value = unit.of(row.credited_wh)
    said = f"{row.site}/{row.device}, {row.day}: {value:,.3f} {unit.sign}Wh"
    flag = "!" if is_lost(row) else "·" if row.has_withheld else ""
    said += {"!": f", {words['not_credited']}", "·": f", {words['set_aside']}", "": ""}[flag]
    said += f", {words['no_reading']}" if not row.samples else ""
    return Cell(
        value if row.samples or row.credited_wh else None,
        said,
        day_path(base, row.site, row.device, row.day),
        flag,
    )


def is_lost(row: DayEnergyRow) -> bool:
    """Tell whether energy of the day was not credited; false where only readings were set aside."""
    return (
        bool(row.withheld_wh)
        or row.left_out is not None
        or any(
            count and rule_text(rule).takes and rule_text(rule).counts != "readings"
            for rule, count in row.rules.items()
        )
    )


def unusual_intervals(register: RegisterTrace) -> list[IntervalTrace]:
    """Choose the intervals that something unusual was decided about."""
    return [one for one in register.intervals if one.rule.id not in _QUIET or one.withheld_wh or not one.counts]


def unusual(rules: Mapping[str, int]) -> dict[str, int]:
    """Keep the rules that say something."""
    return {rule: count for rule, count in sorted(rules.items()) if count and rule not in _QUIET}


def calibration_rows(
    meters: Sequence[MeterLine], first: date, last: date, words: Mapping[str, str]
) -> tuple[list[Row], date, date]:
    """Make the rows of the time line of calibrations, with a margin around the period.

    Parameters
    ----------
    words
        In the reader's language: `calibrated`, `valid`, `installed`, `removed`, and the states.
    """
    begin, end = first - timedelta(days=_MARGIN_DAYS), last + timedelta(days=_MARGIN_DAYS)
    rows = []
    seen = set()
    for meter in meters:
        if (meter.site, meter.device) in seen:
            continue
        seen.add((meter.site, meter.device))
        spans = [
            Span(one.performed, one.valid_until, "good", f"{words['valid']}: {one.performed} – {one.valid_until}")
            for one in meter.calibrations
        ]
        spans += [
            Span(one.first_day, one.last_day, _STATES.get(one.state, "watch"),
                 f"{words.get(one.state, one.state)}: {one.first_day} – {one.last_day}")
            for one in meter.states
            if one.state != "valid"
        ]  # fmt: skip
        events = [Event(one.performed, f"{words['calibrated']}: {one.performed}") for one in meter.calibrations]
        events.append(Event(meter.installed.date(), f"{words['installed']}: {meter.installed.date()}"))
        if meter.removed is not None:
            events.append(Event(meter.removed.date(), f"{words['removed']}: {meter.removed.date()}"))
        rows.append(Row(f"{meter.site}/{meter.device}", spans, events))
    return rows, begin, end


@dataclass(frozen=True, slots=True)
class DayChart:
    """A line over a device's day as `deploy.web.charts.line` draws it."""

    name: str
    line: Line
    unit: str
    bands: tuple[Band, ...]


def day_charts(trace: DeviceDayTrace) -> list[DayChart]:
    """Draw the power and each register over the day, with bands where something unusual was decided."""
    found = []
    power = [(one.ts, one.power_w) for one in trace.readings if one.power_w is not None]
    if power:
        unit = prefix([value for _, value in power])
        found.append(DayChart("W", Line(_points(power, trace.start, unit.of), 2, area=True), f"{unit.sign}W", ()))
    for register in trace.registers:
        column = _COLUMNS.get(register.point)
        values = [] if column is None else [(one.ts, getattr(one, column)) for one in trace.readings]
        read = [(ts, value) for ts, value in values if value is not None]
        if read:
            unit = prefix([value for _, value in read])
            line = Line(_points(read, trace.start, unit.of))
            found.append(DayChart(register.point, line, f"{unit.sign}Wh", tuple(_bands(register, trace.start))))
    return found


def _points(values: Sequence[tuple[datetime, float]], start: datetime, of: Any) -> list[tuple[float, float | None]]:
    """Put values on the axis; where readings are missing the line is broken."""
    at = [(ts - start).total_seconds() for ts, _ in values]
    steps = [b - a for a, b in pairwise(at)]
    longest = max(_GAP_S, 3 * median(steps)) if steps else _GAP_S
    points: list[tuple[float, float | None]] = []
    for n, (_, value) in enumerate(values):
        if n and at[n] - at[n - 1] > longest:
            points.append(((at[n] + at[n - 1]) / 2, None))
        points.append((at[n], of(value)))
    return points


def _bands(register: RegisterTrace, start: datetime) -> Iterable[Band]:
    for one in register.intervals:
        if one.rule.id in _QUIET and not one.withheld_wh:
            continue
        kind = "bad" if one.rule.takes or one.withheld_wh else "watch"
        begin, end = ((at - start).total_seconds() for at in (one.t0, one.t1))
        yield Band(begin, end, kind, f"{one.rule.id}: {one.t0:%H:%M}–{one.t1:%H:%M}Z")


def hours(trace: DeviceDayTrace) -> list[tuple[float, str]]:
    """Choose the ticks of a day: every third hour, in the time of the site."""
    zone = ZoneInfo(trace.time_zone)
    length = trace.end - trace.start
    return [
        ((_TICK * n).total_seconds(), f"{(trace.start + _TICK * n).astimezone(zone):%H:%M}")
        for n in range(int(length / _TICK) + 1)
        if _TICK * n <= length
    ]


def clock_of(trace: DeviceDayTrace) -> Callable[[datetime], str]:
    """Write instants in the time of the site; those of another day with their date."""
    zone = ZoneInfo(trace.time_zone)

    def clock(at: datetime) -> str:
        local = at.astimezone(zone)
        return f"{local:%H:%M:%S}" if local.date() == trace.day else f"{local:%m-%d %H:%M:%S}"

    return clock


def audit_path(place: int, count: int, hidden: Iterable[tuple[int, int, str]]) -> list[dict[str, str]]:
    """Order the roots of a proof from the leaf up, each with its side: what a reader folds in one line.

    Parameters
    ----------
    place, count
        Of the leaf, and of all leaves.
    hidden
        First place, the one behind the last, and root of each subtree beside the leaf.
    """
    roots = {(first, end): root for first, end, root in hidden}
    found: list[dict[str, str]] = []
    first, end = 0, count
    while end - first > 1:
        middle = first + (1 << (end - first - 1).bit_length() - 1)
        if place < middle:
            found.append({"side": "right", "hash": roots[middle, end]})
            end = middle
        else:
            found.append({"side": "left", "hash": roots[first, middle]})
            first = middle
    return found[::-1]
