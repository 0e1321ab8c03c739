"""What changed between two revisions of a period: tonnes, energy by device and day, and what made them change.

Both revisions are told from their own cut-offs and declarations, so the difference is the same whenever it is asked.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import psycopg

from mrv.basis import Credited
from mrv.calendar import day_bounds
from mrv.computation import device_days
from mrv.errors import PeriodError
from mrv.inputs import Series, StoredReadings
from mrv.quality.registers import is_solar
from mrv.quality.rules import rule_set
from mrv.result import PeriodResult
from mrv.revisions import Revision, differences, find_revision
from mrv.store import snapshot
from sql.named import load

_QUERIES = load("verification")
_KG_PER_T = 1000
_THREE_PLACES = Decimal("0.001")
"""Exact for both: RE has 6 places of a tonne, a register 3 of a watt-hour."""
MESSAGES_LISTED = 1000
"""Most messages of a device that are listed one by one; the count and the ends are of all."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A number that differs: of what, before and after."""

    what: tuple[str, ...]
    before: Decimal
    after: Decimal

    @property
    def change(self) -> Decimal:
        """After less before."""
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class LateMessage:
    """A message that brought readings of the period between the two cut-offs."""

    message_id: int
    received_at: datetime
    readings: int
    first: datetime
    last: datetime


@dataclass(frozen=True)
class LateReadings:
    """What a device's readings of the period were completed by between the two cut-offs."""

    device: str
    readings: int
    first: datetime
    last: datetime
    messages_count: int
    messages: tuple[LateMessage, ...]
    """The first `MESSAGES_LISTED`, in the order of receipt."""


@dataclass(frozen=True)
class RevisionDifference:
    """How a revision differs from an earlier one."""

    before: Revision
    after: Revision
    vintages: tuple[Changed, ...]
    """Whole tonnes, by year."""
    systems: tuple[Changed, ...]
    """RE [kg CO2], by system and year."""
    days: tuple[Changed, ...]
    """Energy [Wh] of the local day, by device and register, before what meters and the period's own ends take off."""
    late: tuple[LateReadings, ...]
    declarations: tuple[str, ...]
    methodology: tuple[str, ...]
    rules: tuple[Changed, ...]
    checks: tuple[str, ...]
    """What else was found: the rule set, meters and invoices; notes that came or went."""

    @property
    def er_tco2(self) -> Changed:
        """The period's whole tonnes."""
        return Changed(("ER",), Decimal(self.before.result.er_tco2), Decimal(self.after.result.er_tco2))

    @property
    def kg(self) -> Decimal:
        """By how much RE of all systems changed [kg CO2]."""
        return sum((changed.change for changed in self.systems), Decimal("0.000"))

    def as_json(self) -> dict[str, Any]:
        """For scripts; exact numbers are strings."""
        result = self.after.result
        return {
            "project": result.project,
            "from": result.first_day.isoformat(),
            "to": result.last_day.isoformat(),
            "revisions": [self.before.number, self.after.number],
            "received_until": [self.before.received_until.isoformat(), self.after.received_until.isoformat()],
            "code_version": [self.before.code_version, self.after.code_version],
            "er_tco2": [self.before.result.er_tco2, result.er_tco2],
            "re_change_kg": str(self.kg),
            "vintages": [
                {"year": int(entry.what[0]), "er_tco2": [int(entry.before), int(entry.after)]}
                for entry in self.vintages
            ],
            "systems": [
                {"system": entry.what[0], "year": int(entry.what[1]), **_numbers(entry, "re_kg")}
                for entry in self.systems
            ],
            "days": [
                {"device": entry.what[0], "point": entry.what[1], "day": entry.what[2], **_numbers(entry, "energy_wh")}
                for entry in self.days
            ],
            "late_readings": [
                {
                    "device": entry.device,
                    "readings": entry.readings,
                    "first": entry.first.isoformat(),
                    "last": entry.last.isoformat(),
                    "messages_count": entry.messages_count,
                    "messages": [
                        {
                            "message_id": message.message_id,
                            "received_at": message.received_at.isoformat(),
                            "readings": message.readings,
                            "first": message.first.isoformat(),
                            "last": message.last.isoformat(),
                        }
                        for message in entry.messages
                    ],
                }
                for entry in self.late
            ],
            "declarations": list(self.declarations),
            "methodology": list(self.methodology),
            "rules": [{"rule": entry.what[0], "count": [int(entry.before), int(entry.after)]} for entry in self.rules],
        }


def difference(
    connection: psycopg.Connection,
    project: str,
    first: date,
    last: date,
    before: int | None = None,
    after: int | None = None,
    *,
    with_days: bool = True,
) -> RevisionDifference:
    """Tell what changed between two revisions; by default between the latest and the one before it.

    Without days it reads no series, and costs little.

    Raises
    ------
    WrongUseError
        FROM lies after TO.
    PeriodError
        A revision is not there or unfinished, or both are the same.
    """
    later = find_revision(connection, project, first, last, after)
    earlier_number = later.number - 1 if before is None else before
    if earlier_number < 1:
        raise PeriodError(f"{first} to {last} of {project} has one revision; there is nothing to compare it with")
    if earlier_number == later.number:
        raise PeriodError(f"revision {later.number} differs from itself in nothing; give two revisions")
    earlier = find_revision(connection, project, first, last, earlier_number)
    one, other = earlier.result, later.result
    with snapshot(connection):
        days = tuple(_days(connection, earlier, later)) if with_days else ()
        late = tuple(_late(connection, earlier, later))
    return RevisionDifference(
        before=earlier,
        after=later,
        vintages=_changes(_vintages(one), _vintages(other)),
        systems=_changes(_systems(one), _systems(other)),
        days=days,
        late=late,
        declarations=tuple(_texts(earlier.basis.declarations_text, later.basis.declarations_text)),
        methodology=tuple(_texts(earlier.basis.methodology_text, later.basis.methodology_text)),
        rules=_changes(_rules(one), _rules(other)),
        checks=tuple(_checks(one, other)),
    )


def _numbers(entry: Changed, name: str) -> dict[str, Any]:
    return {name: [str(entry.before), str(entry.after)], "change": str(entry.change)}


_Numbers = Mapping[tuple[str, ...], Decimal]


def _vintages(result: PeriodResult) -> _Numbers:
    return {(str(vintage.year),): Decimal(vintage.er_tco2) for vintage in result.vintages}


def _systems(result: PeriodResult) -> _Numbers:
    return {
        (system.id, str(year.year)): (year.re_tco2 * _KG_PER_T).quantize(_THREE_PLACES)
        for system in result.systems
        for year in system.years
    }


def _rules(result: PeriodResult) -> _Numbers:
    return {(rule,): Decimal(count) for rule, count in result.rules.items()}


def _found(result: PeriodResult) -> dict[str, Any]:
    return {
        "rule_set": result.rule_set,
        "meters": [entry.as_json() for entry in result.meters],
        "invoices": [entry.as_json() for entry in result.invoices],
    }


def _checks(one: PeriodResult, other: PeriodResult) -> Iterator[str]:
    yield from differences(_found(one), _found(other))
    for note in one.notes:
        if note not in other.notes:
            yield f"no longer noted: {note}"
    for note in other.notes:
        if note not in one.notes:
            yield f"newly noted: {note}"


def _changes(before: _Numbers, after: _Numbers) -> tuple[Changed, ...]:
    zero = Decimal(0)
    return tuple(
        Changed(what, before.get(what, zero), after.get(what, zero))
        for what in sorted({*before, *after})
        if before.get(what, zero) != after.get(what, zero)
    )


def _registers(revision: Revision) -> dict[tuple[str, str], Credited]:
    """Every register that counts, by device and point."""
    basis = revision.basis
    return {
        (credited.label, credited.point): credited
        for credited in [*basis.credited(), *(entry for place in basis.further() for entry in place)]
    }


def _days(connection: psycopg.Connection, earlier: Revision, later: Revision) -> Iterator[Changed]:
    """Compute the days of the registers whose readings, declaration or rules differ, one register at a time."""
    result = later.result
    first, last = result.first_day, result.last_day
    both = (earlier, later)
    registers = [_registers(revision) for revision in both]
    readings = [StoredReadings(connection, result.project, revision.received_until) for revision in both]
    same_rules = earlier.result.rule_set == result.rule_set
    for key in sorted({*registers[0], *registers[1]}):
        credited = [known.get(key) for known in registers]
        series = [_series(read, entry, first, last) for read, entry in zip(readings, credited, strict=True)]
        if same_rules and credited[0] == credited[1] and _same(*series):
            continue
        before, after = (_energies(*each) for each in zip(both, credited, series, strict=True))
        for changed in _changes(before, after):
            yield Changed((*key, *changed.what), changed.before, changed.after)


def _series(readings: StoredReadings, credited: Credited | None, first: date, last: date) -> Series:
    if credited is None:
        return Series.empty()
    zone = credited.site.time_zone
    return readings.read(credited, day_bounds(first, zone)[0], day_bounds(last, zone)[1])


def _same(one: Series, other: Series) -> bool:
    return (
        one.t_us.tobytes() == other.t_us.tobytes()
        and one.register_mwh.tobytes() == other.register_mwh.tobytes()
        and one.power_w.tobytes() == other.power_w.tobytes()
    )


def _energies(revision: Revision, credited: Credited | None, series: Series) -> _Numbers:
    if credited is None:
        return {}
    result, solar = revision.result, is_solar(revision.basis.methodology, revision.basis.version)
    days = result.first_day, result.last_day
    found, _ = device_days(credited, lambda *_: series, *days, solar=solar, rules=rule_set(result.rule_set))
    return {
        (day.energy.day.isoformat(),): (day.energy.within_wh + day.energy.carried_wh).quantize(_THREE_PLACES)
        for day in found
    }


def _late(connection: psycopg.Connection, earlier: Revision, later: Revision) -> Iterator[LateReadings]:
    result = later.result
    stored = StoredReadings(connection, result.project)
    devices = {credited.label: credited for credited in {**_registers(earlier), **_registers(later)}.values()}
    for label, credited in sorted(devices.items()):
        zone = credited.site.time_zone
        rows = connection.execute(
            _QUERIES["late_messages"],
            {
                "device": stored.number(credited),
                "start": day_bounds(result.first_day, zone)[0],
                "end": day_bounds(result.last_day, zone)[1],
                "after": earlier.received_until,
                "until": later.received_until,
            },
        ).fetchall()
        messages = [LateMessage(*row) for row in rows]
        if messages:
            yield LateReadings(
                device=label,
                readings=sum(message.readings for message in messages),
                first=min(message.first for message in messages),
                last=max(message.last for message in messages),
                messages_count=len(messages),
                messages=tuple(messages[:MESSAGES_LISTED]),
            )


def _texts(before: str, after: str) -> Iterable[str]:
    if before == after:
        return []
    return differences(_by_name(json.loads(before)), _by_name(json.loads(after)))


def _by_name(content: Any) -> Any:
    """Put lists of what has an id under their ids, so that one more device is one difference and not a new list."""
    if isinstance(content, Mapping):
        return {key: _by_name(value) for key, value in content.items()}
    if isinstance(content, list) and content and all(isinstance(entry, Mapping) and "id" in entry for entry in content):
        named = {f"{entry['site']}/{entry['id']}" if "kind" in entry else entry["id"]: entry for entry in content}
        return {name: _by_name(entry) for name, entry in named.items()}
    return content
