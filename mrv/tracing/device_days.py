"""One device on one local day, interval by interval and reading by reading, as the revision's computation made it.

The day is computed again from the readings around it and held against what was kept; where a few days around it do not
come to the same, as when a register rose falsely for weeks, from more of the period, at last from all of it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import psycopg

from mrv.basis import Credited
from mrv.calendar import day_bounds, from_us, to_us
from mrv.computation import Judged, judge_register
from mrv.day_account import CROSSING, sign
from mrv.inputs import Series, StoredReadings
from mrv.quality.registers import is_solar
from mrv.quality.rules import EXCLUSION_CODES, rule_set
from mrv.register_rules import MWH_PER_WH
from mrv.registers import DECLARED, RULE_OF_CODE
from mrv.tracing.energy import DayEnergyRow, device_number, stored_days
from mrv.tracing.errors import NotThereError
from mrv.tracing.exact import Exact
from mrv.tracing.frozen import QUERIES, Frozen, RevisionKey, frozen
from mrv.tracing.rules import RuleText, rule_text

_RULE_OF_CODE = {code: rule.id for code, rule in RULE_OF_CODE.items()} | {
    code: rule.id for rule, code in EXCLUSION_CODES.items()
}
_DECIDES_ENERGY = frozenset(_RULE_OF_CODE.values())
# The readings around a span reach as far as confirms a level, a day or more; a false rise may take weeks.
_MARGINS = (timedelta(0), timedelta(days=7), timedelta(days=31))


@dataclass(frozen=True, slots=True)
class IntervalTrace:
    """The time between two readings, and what was credited of it."""

    t0: datetime
    t1: datetime
    register0_wh: Exact
    register1_wh: Exact
    declared0: bool
    """Whether the register at its start is one that was declared, not read."""
    declared1: bool
    credited_wh: Exact
    """After the rules, before the meter's permissible error."""
    withheld_wh: Exact
    """What quality rules took out of it."""
    rule: RuleText
    """The rule that decided."""
    counts: bool
    """Whether it is in what the day counts for."""


@dataclass(frozen=True, slots=True)
class AsideTrace:
    """A reading that was set aside."""

    ts: datetime
    register_wh: Exact | None
    """None: no register can be that."""
    rule: RuleText


@dataclass(frozen=True, slots=True)
class RuleCount:
    """How often a rule decided or told on the day."""

    rule: RuleText
    count: int
    at: tuple[datetime, ...]
    """The readings it is about, where the day alone shows them; none where it looks at weeks, or at the whole day."""


@dataclass(frozen=True, slots=True)
class RegisterTrace:
    """A register of the device on the day."""

    system: str
    point: str
    quantity: str
    sign: int
    intervals: tuple[IntervalTrace, ...]
    """Those that end on the day; of a register that is subtracted also one that ends later and counts here."""
    aside: tuple[AsideTrace, ...]
    rules: tuple[RuleCount, ...]
    """As they were kept; computed now where nothing is kept."""
    stored: DayEnergyRow | None
    """What was kept when the revision was frozen."""
    within_wh: Exact
    carried_wh: Exact
    differs: tuple[str, ...]
    """What does not come to what was kept; none: it is the same."""


@dataclass(frozen=True, slots=True)
class ReadingLine:
    """A reading of the day."""

    ts: datetime
    energy_exported_wh: float | None
    energy_imported_wh: float | None
    power_w: float | None
    received_at: datetime
    late: bool
    """Received after the cut-off: it does not count in this revision."""
    message_received_at: datetime
    message_id: int
    element: int
    rules: tuple[str, ...]
    """Ids of the rules that set it aside or tell of it."""


@dataclass(frozen=True, slots=True)
class ConflictLine:
    """Another value that was offered for an instant that had one."""

    site: str
    device: str
    ts: datetime
    received_at: datetime
    message_id: int
    element: int
    stored: Mapping[str, Any]
    offered: Mapping[str, Any]
    late: bool
    """Offered after the cut-off."""


@dataclass(frozen=True, slots=True)
class DeviceDayTrace:
    """A device on a local day of its site."""

    revision: RevisionKey
    site: str
    device: str
    kind: str
    day: date
    time_zone: str
    start: datetime
    end: datetime
    received_until: datetime
    registers: tuple[RegisterTrace, ...]
    readings: tuple[ReadingLine, ...]
    conflicts: tuple[ConflictLine, ...]

    @property
    def holds(self) -> bool:
        """Whether the day comes to what was kept."""
        return not any(register.differs for register in self.registers)


def device_day(connection: psycopg.Connection, key: RevisionKey, site: str, device: str, day: date) -> DeviceDayTrace:
    """Show a device's local day as the revision's computation made it.

    Raises
    ------
    NotThereError
        There is no such revision or device, the device counts for nothing in it, or the day is not in its period.
    """
    revision = frozen(connection, key)
    result = revision.result
    counted = [one for one in revision.registers() if (one.site.id, one.device.id) == (site, device)]
    if not counted:
        raise NotThereError(f"device {site}/{device} counts for nothing in {revision.name}; choose one that does")
    if not result.first_day <= day <= result.last_day:
        raise NotThereError(f"{day} is not in {revision.name}; choose one of its days")
    number = device_number(connection, site, device)
    zone = counted[0].site.time_zone
    start, end = day_bounds(day, zone)
    stored = {(row.system, row.quantity, row.point): row for row in stored_days(connection, revision, number, day)}
    readings = StoredReadings(connection, result.project, revision.received_until)
    registers = [
        _register(revision, readings, one, day, stored.get((one.system.id, one.quantity, one.point))) for one in counted
    ]
    about: dict[datetime, set[str]] = {}
    for register in registers:
        for aside in register.aside:
            about.setdefault(aside.ts, set()).add(aside.rule.id)
        for entry in register.rules:
            for ts in entry.at:
                about.setdefault(ts, set()).add(entry.rule.id)
    given = {"device": number, "start": start, "end": end, "cut_off": revision.received_until}
    return DeviceDayTrace(
        revision=revision.key,
        site=site,
        device=device,
        kind=counted[0].device.kind,
        day=day,
        time_zone=zone,
        start=start,
        end=end,
        received_until=revision.received_until,
        registers=tuple(registers),
        readings=tuple(
            ReadingLine(*(*row, tuple(sorted(about.get(row[0], ())))))
            for row in connection.execute(QUERIES["readings_of_day"], given)
        ),
        conflicts=tuple(ConflictLine(*row) for row in connection.execute(QUERIES["conflicts_of_day"], given)),
    )


def _register(
    revision: Frozen, readings: StoredReadings, credited: Credited, day: date, stored: DayEnergyRow | None
) -> RegisterTrace:
    judged, series = _judged(revision, readings, credited, day, stored)
    energy = judged.days[0].energy
    start_us, end_us = (to_us(instant) for instant in day_bounds(day, credited.site.time_zone))
    found = judged.intervals
    return RegisterTrace(
        system=credited.system.id,
        point=credited.point,
        quantity=credited.quantity,
        sign=sign(credited.quantity),
        intervals=tuple(_intervals(judged, stored, credited, start_us, end_us)),
        aside=tuple(
            AsideTrace(from_us(t_us), _wh_or_none(int(series.register_mwh[at])), rule_text(_RULE_OF_CODE[code]))
            for t_us, at, code in zip(
                found.dropped_t_us.tolist(), found.dropped_source.tolist(), found.dropped_rule.tolist(), strict=True
            )
            if start_us <= t_us < end_us
        ),
        rules=tuple(_rules(judged, stored, start_us, end_us)),
        stored=stored,
        within_wh=energy.within_wh,
        carried_wh=energy.carried_wh,
        differs=tuple(_differences(judged, stored)),
    )


def _judged(
    revision: Frozen, readings: StoredReadings, credited: Credited, day: date, stored: DayEnergyRow | None
) -> tuple[Judged, Series]:
    """Compute the day from as many days around it as come to what was kept; without that, from the whole period."""
    result, zone = revision.result, credited.site.time_zone
    solar = is_solar(revision.basis.methodology, revision.basis.version)
    rules = rule_set(result.rule_set)
    spans = [(result.first_day, result.last_day)]
    if stored is not None:
        around = [(day - margin, day + margin) for margin in _MARGINS]
        spans = [(max(begin, result.first_day), min(last, result.last_day)) for begin, last in around] + spans
    for span in spans:
        start, end = day_bounds(span[0], zone)[0], day_bounds(span[1], zone)[1]
        series = readings.read(credited, start, end)
        judged = judge_register(credited, series, day, day, rules, solar=solar)
        # Other readings of the day itself are not made the same by what lies around it.
        if (
            stored is None
            or not any(_differences(judged, stored))
            or judged.days[0].sha256.hex() != stored.inputs_sha256
        ):
            break
    return judged, series


def _differences(judged: Judged, stored: DayEnergyRow | None) -> Iterator[str]:
    """Name what of the day does not come to what was kept."""
    if stored is None:
        return
    found = judged.days[0]
    energy = found.energy
    if found.sha256.hex() != stored.inputs_sha256:
        yield "the readings of the day are not those that were frozen"
    pairs: tuple[tuple[str, object, object], ...] = (
        ("energy within the day [Wh]", energy.within_wh, stored.within_wh),
        ("energy carried into the day [Wh]", energy.carried_wh, stored.carried_wh),
        ("readings", energy.samples, stored.samples),
        ("withheld [Wh]", dict(found.withheld_wh), dict(stored.withheld_wh)),
        ("rules", _deciding(energy.rules), _deciding(stored.rules)),
    )
    for what, now, kept in pairs:
        if now != kept:
            yield f"{what}: {kept} when it was frozen, {now} now"


def _deciding(rules: Mapping[str, int]) -> dict[str, int]:
    """Those that decide energies; what others tell may hang on weeks around the day."""
    return {rule: count for rule, count in rules.items() if rule in _DECIDES_ENERGY}


def _intervals(
    judged: Judged, stored: DayEnergyRow | None, credited: Credited, start_us: int, end_us: int
) -> Iterator[IntervalTrace]:
    found = judged.intervals
    lo, hi = np.searchsorted(found.t1_us, [start_us, end_us], side="right").tolist()
    raises = sign(credited.quantity) > 0
    left_out = None if stored is None else stored.left_out
    if stored is not None and not raises and left_out == CROSSING:
        # What lowers EG counts on both sides: the interval that leaves the days that are summed together, too.
        hi += int(hi < len(found.energy_mwh) and stored.credited_wh > stored.within_wh + stored.carried_wh)
    for n in range(lo, hi):
        carried = int(found.t_us[n]) < start_us
        energy = int(found.energy_mwh[n])
        yield IntervalTrace(
            t0=from_us(int(found.t_us[n])),
            t1=from_us(int(found.t_us[n + 1])),
            register0_wh=_wh(int(found.register_mwh[n])),
            register1_wh=_wh(int(found.register_mwh[n + 1])),
            declared0=int(found.source[n]) == DECLARED,
            declared1=int(found.source[n + 1]) == DECLARED,
            credited_wh=_wh(energy),
            withheld_wh=_wh(int(judged.made_mwh[n]) - energy),
            rule=rule_text(_RULE_OF_CODE[int(found.rule[n])]),
            counts=not raises or left_out is None or (left_out == CROSSING and not carried),
        )


def _rules(judged: Judged, stored: DayEnergyRow | None, start_us: int, end_us: int) -> Iterator[RuleCount]:
    counts = judged.days[0].energy.rules if stored is None else stored.rules
    marked = {} if judged.verdict is None else {rule.id: at for rule, at in judged.verdict.marked_us.items()}
    for rule, count in sorted(counts.items()):
        at_us = marked.get(rule, np.empty(0, np.int64))
        inside = at_us[(at_us >= start_us) & (at_us < end_us)]
        # A rule that looks further than the readings around the day may mark others here: then the count alone is told.
        shown = inside.tolist() if len(inside) == count else []
        yield RuleCount(rule_text(rule), count, tuple(from_us(t_us) for t_us in shown))


def _wh(mwh: int) -> Decimal:
    return Decimal(mwh) / MWH_PER_WH


def _wh_or_none(mwh: int) -> Decimal | None:
    return _wh(mwh) if abs(mwh) <= 2**53 else None
