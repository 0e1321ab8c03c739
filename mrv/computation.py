"""A monitoring period computed: from each device's readings to whole tonnes per calendar year.

Knows no database: whoever has the declarations, the methodology and the readings gets the same result, to the byte.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_DOWN, Decimal

from mrv.basis import Basis, Credited
from mrv.calendar import day_bounds, local_dates, split_by_year, to_us
from mrv.energy import EnergyDay, daily, vintage_energy
from mrv.inputs import InputsDigest, Series
from mrv.register_rules import Rule
from mrv.registers import DECLARED, Intervals, intervals
from mrv.result import DeviceEnergy, PeriodResult, SystemResult, SystemYear
from mrv.solar_pv import system_year, vintage

_FOUR_PLACES = Decimal("0.0001")
_DAYS_NAMED = 5

Read = Callable[[Credited, datetime, datetime], Series]
"""Readings of a device over a span (start included, end not), with what the rules need around it."""
Progress = Callable[[Credited, int, int], None]
"""Told before each device: which, how many are done, how many there are."""


@dataclass(frozen=True, slots=True)
class DeviceDay:
    """A device's local day, and the digest of the readings of that day."""

    energy: EnergyDay
    sha256: bytes


@dataclass(frozen=True)
class Computation:
    """A computed period and the days it was summed from."""

    result: PeriodResult
    days: Mapping[str, Sequence[DeviceDay]]
    """By device, as `Credited.label`."""


@dataclass(frozen=True)
class _Device:
    credited: Credited
    years: Mapping[int, Decimal]
    energy: DeviceEnergy
    covered_us: int
    length_us: int
    silent: tuple[date, ...]


def device_days(credited: Credited, read: Read, first: date, last: date) -> tuple[list[DeviceDay], Intervals]:
    """Compute the local days of one device from its readings, both included."""
    zone = credited.site.time_zone
    start, end = day_bounds(first, zone)[0], day_bounds(last, zone)[1]
    series = read(credited, start, end)
    return _days(credited, series, first, last)


def _days(credited: Credited, series: Series, first: date, last: date) -> tuple[list[DeviceDay], Intervals]:
    zone = credited.site.time_zone
    found = intervals(
        series.t_us,
        series.register_mwh,
        credited.spec,
        power_w=series.power_or_none,
        opening=series.opening,
        closing=series.closing,
    )
    days = []
    for day in daily(found, zone, first, last):
        begin, end = day_bounds(day.day, zone)
        days.append(DeviceDay(day, series.part_digest(to_us(begin), to_us(end))))
    return days, found


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

    Raises
    ------
    PeriodError
        The declarations credit nothing, or a device twice.
    """
    entries = basis.credited()
    digest = InputsDigest(basis, first, last)
    devices: list[_Device] = []
    days: dict[str, Sequence[DeviceDay]] = {}
    for number, credited in enumerate(entries):
        if progress is not None:
            progress(credited, number, len(entries))
        zone = credited.site.time_zone
        series = read(credited, day_bounds(first, zone)[0], day_bounds(last, zone)[1])
        digest.add(credited, series)
        found, chain = _days(credited, series, first, last)
        days[credited.label] = found
        devices.append(_device(credited, [day.energy for day in found], chain, (first, last), as_of))

    systems = tuple(
        _system(basis, system.id, [d for d in devices if d.credited.system.id == system.id])
        for system in basis.declaration.pv_systems
    )
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
        systems=systems,
        vintages=vintages,
        coverage=_share(sum(d.covered_us for d in devices), sum(d.length_us for d in devices)),
        rules=_sum_rules([device.energy.rules for device in devices]),
        inputs_digest=digest.text(),
        code_version=code_version,
        notes=(*basis.notes, *_unfinished(basis, last, as_of), *_silence(devices)),
    )
    return Computation(result, days)


def _device(
    credited: Credited, days: list[EnergyDay], found: Intervals, period: tuple[date, date], as_of: datetime | None
) -> _Device:
    first, last = period
    zone, device = credited.site.time_zone, credited.device
    years = vintage_energy(days, first, last)
    rules = _sum_rules([day.rules for day in days])
    if len(found.t_us) and int(found.source[0]) != DECLARED:
        opened = local_dates(found.t_us[:1], zone)[0].item()
        rules[Rule.OPENING.id] = int(first <= opened <= last)
    # A device owes readings for the whole days it was in its place, and for no day that is still to come.
    bounds = {day.day: day_bounds(day.day, zone) for day in days}
    until = min(filter(None, (as_of, device.removed.at if device.removed else None)), default=None)
    owed = [
        day for day in days if bounds[day.day][0] >= device.installed and (until is None or bounds[day.day][1] <= until)
    ]
    covered = sum(day.covered_us for day in owed)
    length = sum(day.length_us for day in owed)
    energy = DeviceEnergy(
        site=credited.site.id,
        id=device.id,
        serial_number=device.serial_number,
        kind=device.kind,
        energy_wh=sum(years.values(), Decimal("0.000")),
        coverage=_share(covered, length),
        rules=rules,
    )
    return _Device(credited, years, energy, covered, length, tuple(day.day for day in owed if day.samples == 0))


def _system(basis: Basis, system_id: str, devices: list[_Device]) -> SystemResult:
    system = devices[0].credited.system
    factor = basis.factors[system_id]
    years: list[SystemYear] = []
    for year in devices[0].years:
        energy_wh = sum((device.years[year] for device in devices), Decimal(0))
        years.append(system_year(year, energy_wh, factor.value))
    return SystemResult(
        id=system.id,
        site=system.site,
        connection=system.connection,
        capacity_kw=system.capacity_kw,
        factor=factor,
        years=tuple(years),
        devices=tuple(device.energy for device in devices),
    )


def _share(part_us: int, whole_us: int) -> Decimal:
    return (Decimal(part_us) / max(whole_us, 1)).quantize(_FOUR_PLACES, ROUND_DOWN)


def _sum_rules(counts: list[Mapping[str, int]]) -> dict[str, int]:
    total = Counter({rule.id: 0 for rule in Rule})
    for count in counts:
        total.update(count)
    return dict(total)


def _unfinished(basis: Basis, last: date, as_of: datetime | None) -> list[str]:
    over = max(day_bounds(last, site.time_zone)[1] for site in basis.declaration.sites)
    if as_of is None or over <= as_of:
        return []
    return [f"the period is not over before {over.isoformat()}; this is what was received until {as_of.isoformat()}"]


def _silence(devices: list[_Device]) -> list[str]:
    """Say which days have no reading, once for the devices that miss the same ones."""
    by_days: dict[tuple[date, ...], list[str]] = {}
    for device in devices:
        if device.silent:
            by_days.setdefault(device.silent, []).append(device.credited.label)
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
