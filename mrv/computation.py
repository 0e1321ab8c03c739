"""A monitoring period computed: from each device's readings to whole tonnes per calendar year.

Knows no database: whoever has the declarations, the methodology and the readings gets the same result, to the byte.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_DOWN, Decimal

import numpy as np
from numpy.typing import NDArray

from devices.declarations import PvSystem, SystemMeter
from mrv.basis import Basis, Credited, row_id
from mrv.calendar import day_bounds, local_dates, split_by_year, to_us
from mrv.day_account import Account, CountedDay, DeviceDay, Line, counted_days, lines, withheld_by_day
from mrv.energy import EnergyDay, daily
from mrv.formulas.counted import SUBTRACTED, Quantity, counted
from mrv.formulas.plausibility import check as check_plausible
from mrv.inputs import InputsDigest, Series
from mrv.meters.crediting import SystemCredit, credit
from mrv.meters.deduction import Counted, lowered, raised
from mrv.quality import registers as quality
from mrv.quality.judge import Verdict
from mrv.quality.receipts import Deliveries
from mrv.quality.rules import CURRENT, RuleSet
from mrv.quality.summary import Summary
from mrv.register_rules import Rule
from mrv.registers import DECLARED, Intervals, intervals
from mrv.result import DeviceEnergy, PeriodResult, SystemResult, SystemYear
from mrv.solar_pv import eg_mwh, system_year, vintage
from mrv.spans import Key, Span, spans_of, without

_FOUR_PLACES = Decimal("0.0001")
_DAYS_NAMED = 5
_LEAVES_DOUBT = (Rule.DIP, Rule.SPIKE, Rule.UNRESOLVED)

Read = Callable[[Credited, datetime, datetime], Series]
"""Readings of a device over a span (start included, end not), with what the rules need around it."""
ReadDeliveries = Callable[[str, datetime, datetime], Deliveries]
"""Messages of a site over a span of receipt (start included, end not)."""
Progress = Callable[[Credited, int, int], None]
"""Told before each device: which, how many are done, how many there are."""


@dataclass(frozen=True)
class Computation:
    """A computed period and the days it was summed from."""

    result: PeriodResult
    days: Mapping[str, Sequence[DeviceDay]]
    """By device, as `Credited.label`."""
    account: Account
    """What each day of each register counts for, and what stands between the days and EG."""


@dataclass(frozen=True)
class Judged:
    """A register's readings after the register rules and the quality rules."""

    days: list[DeviceDay]
    intervals: Intervals
    made_mwh: NDArray[np.int64]
    """Energy of each interval before the quality rules [mWh], shape (n,)."""
    verdict: Verdict | None
    """None where the rule set has no quality rules."""


@dataclass(frozen=True)
class _Register:
    """One register as it was read: its days, its intervals, what it owed."""

    credited: Credited
    days: Sequence[EnergyDay]
    intervals: Intervals
    """Of a register that is subtracted; none of the others, so that a fleet's are not held together."""
    interval_s: float | None
    rules: Mapping[str, int]
    covered_us: int
    length_us: int
    silent: tuple[date, ...]
    found: Sequence[DeviceDay]
    owed: frozenset[date]

    @property
    def label(self) -> str:
        label, quantity = self.credited.label, self.credited.quantity
        return label if self.credited.meter is None else f"{label} ({quantity})"

    def energy(self, wh: Decimal) -> DeviceEnergy:
        device = self.credited.device
        return DeviceEnergy(
            site=self.credited.site.id,
            id=device.id,
            serial_number=device.serial_number,
            kind=device.kind,
            energy_wh=wh,
            coverage=_share(self.covered_us, self.length_us),
            rules=self.rules,
            quantity=self.credited.quantity,
        )


def device_days(
    credited: Credited, read: Read, first: date, last: date, *, solar: bool = False, rules: RuleSet = CURRENT
) -> tuple[list[DeviceDay], Intervals]:
    """Compute the local days of one device from its readings, both included.

    `solar` says whether its methodology credits what solar modules alone make; `rules` are those of a frozen revision
    where its days are asked for.
    """
    zone = credited.site.time_zone
    start, end = day_bounds(first, zone)[0], day_bounds(last, zone)[1]
    judged = judge_register(credited, read(credited, start, end), first, last, rules, solar=solar)
    return judged.days, judged.intervals


def judge_register(
    credited: Credited, series: Series, first: date, last: date, rules: RuleSet, *, solar: bool
) -> Judged:
    """Hold the readings of a register against the rules, and sort what remains into its local days."""
    zone = credited.site.time_zone
    found = intervals(
        series.t_us,
        series.register_mwh,
        credited.spec,
        # A meter's power is the sum of what its registers count: it says nothing about one that counts beside another.
        power_w=series.power_or_none if credited.meter is None else None,
        opening=series.opening,
        closing=series.closing,
    )
    made = found.energy_mwh
    verdict = quality.hold(credited, series, found, first, last, solar=solar) if rules.quality else None
    if verdict is not None:
        found = verdict.intervals
    energies = daily(found, zone, first, last)
    if verdict is not None:
        energies = quality.told(energies, verdict)
    withheld = withheld_by_day(found, made, zone)
    days = []
    for day in energies:
        begin, end = day_bounds(day.day, zone)
        digest = series.part_digest(to_us(begin), to_us(end))
        days.append(DeviceDay(day, digest, withheld.get(day.day, {})))
    return Judged(days, found, made, verdict)


def compute(
    basis: Basis,
    first: date,
    last: date,
    read: Read,
    *,
    revision: int,
    received_until: datetime | None,
    code_version: str,
    as_of: datetime | None = None,
    progress: Progress | None = None,
    rules: RuleSet = CURRENT,
    read_deliveries: ReadDeliveries | None = None,
) -> Computation:
    """Compute a period.

    Parameters
    ----------
    basis
        The declarations, the methodology and the factors.
    first, last
        The period's days, both included, each site's own.
    read
        Gives the readings of a device; called once a device, so that one device's readings are held at a time.
    revision, received_until
        The frozen revision and its cut-off; 0 and None for a draft.
    code_version
        The version of the code that computes, or that froze the revision.
    as_of
        For a draft of a period that is not over: days after it are not missed yet.
    progress
        Told before each device.
    rules
        The rules that decide; those of a frozen revision where it is computed again.
    read_deliveries
        Gives a site's messages; None: what they would tell is named as not checked.

    Raises
    ------
    PeriodError
        The declarations credit nothing, or a device twice, or leave a day without its category.
    ImplausibleError
        A system's EG is more than its capacity can make.
    """
    entries, places = basis.credited(), basis.further()
    further = [credited for place in places for credited in place]
    checking = quality.behind_meters(basis.declaration, entries) if rules.quality else []
    solar = quality.is_solar(basis.methodology, basis.version)
    summary = Summary(rules, first, last)
    digest = InputsDigest(basis, first, last, rules)
    registers: list[_Register] = []
    days: dict[str, Sequence[DeviceDay]] = {}
    everything = [*entries, *further, *checking]
    for number, credited in enumerate(everything):
        if progress is not None:
            progress(credited, number, len(everything))
        zone = credited.site.time_zone
        series = read(credited, day_bounds(first, zone)[0], day_bounds(last, zone)[1])
        digest.add(credited, series)
        judged = judge_register(credited, series, first, last, rules, solar=solar)
        found, verdict = judged.days, judged.verdict
        del series
        if number >= len(entries) + len(further):
            summary.add_check(credited, [day.energy for day in found])
            continue
        if verdict is not None:
            summary.add(credited, verdict, [day.energy for day in found])
        if credited.meter is None:
            days[credited.label] = found
        registers.append(_register(credited, found, judged.intervals, (first, last), as_of, rules))
        # A year of minutes is 60 MB in these; the next one's readings are not to lie beside them.
        del judged, verdict
    if rules.quality:
        for site in basis.declaration.sites:
            zone = site.time_zone
            span = day_bounds(first, zone)[0], day_bounds(last, zone)[1]
            deliveries = None if read_deliveries is None else read_deliveries(site.id, *span)
            digest.add_deliveries(site.id, deliveries)
            summary.add_site(site, deliveries)
        summary.compare(basis.declaration)

    systems: list[SystemResult] = []
    notes: list[str] = []
    credits_: list[SystemCredit] = []
    days_: list[CountedDay] = []
    lines_: list[Line] = []
    for system in basis.declaration.pv_systems:
        of_system = [register for register in registers if register.credited.system.id == system.id]
        doubtful = _doubtful(of_system)
        notes += _doubts(system, doubtful)
        spans = spans_of(system, first, last)
        if rules.meters:
            credits_.append(credit(basis.declaration, system, of_system, spans, (first, last), frozenset(doubtful)))
            energies, accounts = credits_[-1].energies, credits_[-1].counted
            doubted, not_invoiced = credits_[-1].doubtful, credits_[-1].not_invoiced
        else:
            doubted, not_invoiced = frozenset(doubtful), [frozenset()] * len(of_system)
            accounts = [_counted(one, spans, one.credited.site.time_zone, doubted) for one in of_system]
            energies = [{key: one.metered_wh for key, one in by_key.items()} for by_key in accounts]
        rows, lines_of_rows = _rows(basis, system, of_system, spans, energies, accounts)
        systems += rows
        lines_ += lines_of_rows
        for one, counts, bare in zip(of_system, accounts, not_invoiced, strict=True):
            days_ += counted_days(one.credited, one.found, counts, one.owed, doubtful=doubted, not_invoiced=bare)
    vintages = tuple(
        vintage(begin, end, [row for system in systems for row in system.years if row.year == year])
        for year, begin, end in split_by_year(first, last)
    )
    project = basis.declaration.project
    result = PeriodResult(
        project=project.id,
        title=project.title,
        host_country=project.host_country,
        methodology=basis.methodology,
        methodology_version=basis.version,
        methodology_title=basis.title,
        first_day=first,
        last_day=last,
        revision=revision,
        received_until=received_until,
        systems=tuple(systems),
        vintages=vintages,
        coverage=_share(
            sum(register.covered_us for register in registers if register.credited.meter is None),
            sum(register.length_us for register in registers if register.credited.meter is None),
        ),
        rules=_sum_rules(
            [*(register.rules for register in registers), summary.told, *(one.told for one in credits_)], rules
        ),
        inputs_digest=digest.text(),
        code_version=code_version,
        notes=(
            *basis.notes,
            *_unfinished(basis, last, as_of),
            *_silence(registers),
            *notes,
            *summary.notes(),
            *(note for one in credits_ for note in one.notes()),
        ),
        rule_set=rules.name,
        not_checked=summary.not_checked(),
        meters=tuple(meter for one in credits_ for meter in one.meters),
        invoices=tuple(invoice for one in credits_ for invoice in one.invoices),
    )
    return Computation(result, days, Account(tuple(days_), tuple(lines_)))


def _register(
    credited: Credited,
    judged_days: list[DeviceDay],
    found: Intervals,
    period: tuple[date, date],
    as_of: datetime | None,
    rule_set: RuleSet,
) -> _Register:
    first, last = period
    zone, device = credited.site.time_zone, credited.device
    days = [one.energy for one in judged_days]
    rules = _sum_rules([day.rules for day in days], rule_set)
    if len(found.t_us) and int(found.source[0]) != DECLARED:
        opened = local_dates(found.t_us[:1], zone)[0].item()
        rules[Rule.OPENING.id] = int(first <= opened <= last)
    # A device owes readings for the whole days it was in its place, and for no day that is still to come.
    bounds = {day.day: day_bounds(day.day, zone) for day in days}
    until = min(filter(None, (as_of, device.removed.at if device.removed else None)), default=None)
    owed = [
        day for day in days if bounds[day.day][0] >= device.installed and (until is None or bounds[day.day][1] <= until)
    ]
    return _Register(
        credited=credited,
        days=days,
        intervals=found if credited.quantity in SUBTRACTED else Intervals.none(),
        interval_s=found.seconds,
        rules=rules,
        covered_us=sum(day.covered_us for day in owed),
        length_us=sum(day.length_us for day in owed),
        silent=tuple(day.day for day in owed if day.samples == 0),
        found=judged_days,
        owed=frozenset(day.day for day in owed),
    )


def _doubtful(registers: list[_Register]) -> list[date]:
    """List the days on which a register that lowers EG was not counted from end to end, in its place.

    What it missed is unknown, so the generation of such a day is not counted: a silent meter must not raise the credit.
    Neither must readings set aside as a dip or a spike: a register that fell for good and soon passed its old level
    looks the same, and then counts too little.
    """
    found: set[date] = set()
    counted_us: dict[SystemMeter, Counter[date]] = {}
    lengths: dict[date, int] = {}
    for register in registers:
        meter = register.credited.meter
        if meter is None or meter.quantity not in SUBTRACTED:
            continue
        place = counted_us.setdefault(meter, Counter())
        for day in register.days:
            place[day.day] += day.covered_us + day.bridged_us
            lengths[day.day] = day.length_us
            if any(day.rules.get(rule.id) for rule in _LEAVES_DOUBT):
                found.add(day.day)
    found.update(day for day, length in lengths.items() if any(place[day] < length for place in counted_us.values()))
    return sorted(found)


def _doubts(system: PvSystem, doubtful: list[date]) -> list[str]:
    if not doubtful:
        return []
    said = f"the generation of {system.id} is not counted on {len(doubtful)} day{'s' if len(doubtful) > 1 else ''}"
    why = "a register that is subtracted was not counted from end to end"
    return [f"{said} ({_ranges(tuple(doubtful))}): {why}"]


def _rows(
    basis: Basis,
    system: PvSystem,
    registers: list[_Register],
    spans: Sequence[Span],
    energies: Sequence[Mapping[Key, Decimal]],
    accounts: Sequence[Mapping[Key, Counted]],
) -> tuple[list[SystemResult], list[Line]]:
    """Compute a system, in one row, or in one for each category of its days."""
    zone = basis.declaration.site(system.site).time_zone
    rows: list[SystemResult] = []
    between: list[Line] = []
    for category in dict.fromkeys(span.key.category for span in spans):
        name = row_id(system, category)
        factor = basis.factors[name]
        keys = list(dict.fromkeys(span.key for span in spans if span.key.category == category))
        years: list[SystemYear] = []
        for key in keys:
            quantities: dict[Quantity, Decimal] = {}
            for register, energy in zip(registers, energies, strict=True):
                quantity = register.credited.quantity
                quantities[quantity] = quantities.get(quantity, Decimal(0)) + energy[key]
            energy_wh = counted(basis.monitored, quantities)
            hours = sum((span.hours(zone) for span in spans if span.key == key), Decimal(0))
            check_plausible(eg_mwh(energy_wh), system.capacity_kw, hours, f"EG of {name} in {key.year}")
            years.append(system_year(key.year, energy_wh, factor.value))
            counts = [
                (register.credited, account[key], energy[key])
                for register, account, energy in zip(registers, accounts, energies, strict=True)
            ]
            between += lines(counts, key, energy_wh, years[-1].eg_mwh)
        rows.append(
            SystemResult(
                id=name,
                site=system.site,
                connection=system.connection,
                capacity_kw=system.capacity_kw,
                factor=factor,
                years=tuple(years),
                devices=tuple(
                    register.energy(sum((energy[key] for key in keys), Decimal("0.000")))
                    for register, energy in zip(registers, energies, strict=True)
                ),
            )
        )
    return rows, between


def _counted(register: _Register, spans: Sequence[Span], zone: str, doubtful: frozenset[date]) -> dict[Key, Counted]:
    """Count a register over the spans of each key: what lowers EG from above, everything else from below."""
    total: dict[Key, Counted] = {}
    for span in spans:
        found = total.get(span.key, Counted())
        if register.credited.quantity in SUBTRACTED:
            found = found.plus(raised(register.intervals, span, zone, {}))
        else:
            for run in without(span, doubtful):
                found = found.plus(lowered(register.days, *run, {}))
        total[span.key] = found
    return total


def _share(part_us: int, whole_us: int) -> Decimal:
    return (Decimal(part_us) / max(whole_us, 1)).quantize(_FOUR_PLACES, ROUND_DOWN)


def _sum_rules(counts: list[Mapping[str, int]], rules: RuleSet) -> dict[str, int]:
    total = Counter(dict.fromkeys(rules.ids, 0))
    for count in counts:
        total.update(count)
    return dict(total)


def _unfinished(basis: Basis, last: date, as_of: datetime | None) -> list[str]:
    over = max(day_bounds(last, site.time_zone)[1] for site in basis.declaration.sites)
    if as_of is None or over <= as_of:
        return []
    return [f"the period is not over before {over.isoformat()}; this is what was received until {as_of.isoformat()}"]


def _silence(devices: list[_Register]) -> list[str]:
    """Say which days have no reading, once for the devices that miss the same ones."""
    by_days: dict[tuple[date, ...], list[str]] = {}
    for device in devices:
        if device.silent:
            by_days.setdefault(device.silent, []).append(device.label)
    return [
        f"no reading on {len(days)} day{'s' if len(days) > 1 else ''} ({_ranges(days)}): {', '.join(labels)}"
        for days, labels in sorted(by_days.items())
    ]


def _ranges(days: tuple[date, ...]) -> str:
    runs: list[list[date]] = []
    for day in days:
        if runs and day - runs[-1][-1] == timedelta(days=1):
            runs[-1].append(day)
        else:
            runs.append([day])
    named = [run[0].isoformat() if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs[:_DAYS_NAMED]]
    more = len(runs) - _DAYS_NAMED
    return ", ".join([*named, f"and {more} more"] if more > 0 else named)
