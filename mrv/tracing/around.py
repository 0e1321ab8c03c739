"""What stands around a revision's energy: late readings, conflicts, rules that decided, calibrations of its meters."""

from dataclasses import astuple, dataclass
from datetime import date, datetime
from decimal import Decimal

import psycopg

from mrv.calendar import EPOCH, day_bounds
from mrv.day_account import INVOICE, PERMISSIBLE_ERROR
from mrv.meters.rules import MeterRule
from mrv.quality.rules import EXCLUSION_CODES
from mrv.tracing.device_days import ConflictLine
from mrv.tracing.exact import Exact
from mrv.tracing.frozen import QUERIES, Frozen, RevisionKey, frozen
from mrv.tracing.rules import RuleText, rule_text

PAGE = 200
_RULE_OF_LINE = {PERMISSIBLE_ERROR: MeterRule.DELAYED_CALIBRATION.id, INVOICE: MeterRule.INVOICE_APPLIED.id}
_KNOWN = frozenset(rule.id for rule in EXCLUSION_CODES)


@dataclass(frozen=True, slots=True)
class LateLine:
    """A message that brought readings of the period after the cut-off."""

    site: str
    device: str
    received_at: datetime
    message_id: int
    readings: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class LateCursor:
    """Place in the list of late messages."""

    received_at: datetime
    message_id: int
    site: str
    device: str


@dataclass(frozen=True, slots=True)
class Late:
    """A page of what came too late for the revision."""

    rows: tuple[LateLine, ...]
    next: LateCursor | None


@dataclass(frozen=True, slots=True)
class ConflictCursor:
    """Place in the list of conflicts."""

    site: str
    device: str
    ts: datetime
    received_at: datetime
    message_id: int
    element: int


@dataclass(frozen=True, slots=True)
class Conflicts:
    """A page of other values that were offered up to the cut-off."""

    rows: tuple[ConflictLine, ...]
    next: ConflictCursor | None


@dataclass(frozen=True, slots=True)
class FlagPlace:
    """A register on whose days a rule fired."""

    system: str
    site: str
    device: str
    quantity: str
    count: int
    days: int
    first_day: date
    last_day: date
    withheld_wh: Exact


@dataclass(frozen=True, slots=True)
class Flag:
    """A rule that fired, and its effect on the credit; none raises it."""

    rule: RuleText
    count: int
    """As the result has it, over all devices, sites and meters."""
    withheld_wh: Exact | None
    """What it took out of the credit [Wh]; None where it takes nothing, or where what it took is not known."""
    places: tuple[FlagPlace, ...]
    """None for a rule about a site, a system or a meter."""
    said: tuple[str, ...]
    """What meters and invoices are told, in sentences."""


@dataclass(frozen=True, slots=True)
class NotCheckedLine:
    """Rules that could not be held against some devices, and why."""

    reason: str
    where: tuple[str, ...]
    rules: tuple[RuleText, ...]


@dataclass(frozen=True, slots=True)
class Flags:
    """Every rule that fired, and those that could not be held."""

    flags: tuple[Flag, ...]
    not_checked: tuple[NotCheckedLine, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CalibrationLine:
    """A calibration as it was declared with the revision."""

    performed: date
    valid_until: date
    error_percent: Exact | None
    laboratory: str | None
    certificate: str | None


@dataclass(frozen=True, slots=True)
class CalibrationState:
    """Consecutive days of one state of a meter's calibration."""

    first_day: date
    last_day: date
    state: str
    """valid, expired, not yet or missing."""
    error_percent: Exact
    taken_wh: Exact


@dataclass(frozen=True, slots=True)
class MeterLine:
    """A device that counts, with its calibrations and its time in its place."""

    system: str
    site: str
    device: str
    kind: str
    quantity: str
    serial_number: str | None
    accuracy_class: str | None
    error_percent: Exact | None
    """Maximum permissible error that held for it; None where it is not held to calibration."""
    error_source: str
    installed: datetime
    removed: datetime | None
    replaced_by: str | None
    opening_register_wh: Exact | None
    closing_register_wh: Exact | None
    calibrations: tuple[CalibrationLine, ...]
    states: tuple[CalibrationState, ...]
    """Over the period; none where it is not held to calibration."""
    findings: tuple[tuple[RuleText, str], ...]


def late(
    connection: psycopg.Connection, key: RevisionKey, *, limit: int = PAGE, after: LateCursor | None = None
) -> Late:
    """List the messages that brought readings of the period after the cut-off, in the order of receipt.

    Raises
    ------
    NotThereError
        There is no such revision.
    """
    revision = frozen(connection, key)
    by_zone: dict[str, set[tuple[str, str]]] = {}
    for one in revision.registers():
        by_zone.setdefault(one.site.time_zone, set()).add((one.site.id, one.device.id))
    begin = (revision.received_until, 0, "", "") if after is None else astuple(after)
    rows: list[LateLine] = []
    # A day is the site's own: the devices of each zone have the same span.
    for name, devices in sorted(by_zone.items()):
        start, end = _bounds(revision, name)
        numbers = connection.execute(QUERIES["devices"], {"project": revision.result.project})
        given = {
            "devices": [number for site, device, number in numbers if (site, device) in devices],
            "start": start,
            "end": end,
            "cut_off": revision.received_until,
            "received_at": begin[0],
            "message_id": begin[1],
            "site": begin[2],
            "device": begin[3],
            "limit": limit + 1,
        }
        # A plan for any cut-off reads every chunk whole: 370 ms instead of 30.
        rows += [LateLine(*row) for row in connection.execute(QUERIES["late"], given, prepare=False)]
    rows.sort(key=lambda one: (one.received_at, one.message_id, one.site, one.device))
    page = tuple(rows[:limit])
    last = page[-1] if len(rows) > limit else None
    return Late(page, None if last is None else LateCursor(last.received_at, last.message_id, last.site, last.device))


def conflicts(
    connection: psycopg.Connection, key: RevisionKey, *, limit: int = PAGE, after: ConflictCursor | None = None
) -> Conflicts:
    """List the other values that were offered for instants of the period up to the cut-off, device by device.

    Raises
    ------
    NotThereError
        There is no such revision.
    """
    revision = frozen(connection, key)
    begin = ("", "", EPOCH, EPOCH, 0, 0) if after is None else astuple(after)
    devices = sorted({(one.site.id, one.device.id, one.site.time_zone) for one in revision.registers()})
    numbers = {
        (site, device): number
        for site, device, number in connection.execute(QUERIES["devices"], {"project": revision.result.project})
    }
    rows: list[ConflictLine] = []
    for site, device, name in devices:
        if (site, device) < begin[:2] or (site, device) not in numbers:
            continue
        start, end = _bounds(revision, name)
        goes_on = (site, device) == begin[:2]
        given = {
            "device": numbers[site, device],
            "start": start,
            "end": end,
            "cut_off": revision.received_until,
            "ts": begin[2] if goes_on else EPOCH,
            "received_at": begin[3] if goes_on else EPOCH,
            "message_id": begin[4] if goes_on else 0,
            "element": begin[5] if goes_on else 0,
            "limit": limit + 1 - len(rows),
        }
        rows += [ConflictLine(*row) for row in connection.execute(QUERIES["conflicts"], given)]
        if len(rows) > limit:
            break
    page = tuple(rows[:limit])
    last = page[-1] if len(rows) > limit else None
    return Conflicts(page, None if last is None else ConflictCursor(*astuple(last)[:6]))


def _bounds(revision: Frozen, time_zone: str) -> tuple[datetime, datetime]:
    result = revision.result
    return day_bounds(result.first_day, time_zone)[0], day_bounds(result.last_day, time_zone)[1]


def flags(connection: psycopg.Connection, key: RevisionKey) -> Flags:
    """List every rule that fired, with its effect on the credit, and where.

    The counts are the result's; where a rule fired is told from the days, if they are kept.

    Raises
    ------
    NotThereError
        There is no such revision.
    """
    revision = frozen(connection, key)
    result = revision.result
    places: dict[str, list[FlagPlace]] = {}
    for rule, system, site, device, quantity, count, days, first, last, withheld in connection.execute(
        QUERIES["flags"], revision.row
    ):
        wh = Decimal("0.000") if withheld is None else withheld
        place = FlagPlace(system, site, device, quantity, int(count), days, first, last, wh)
        places.setdefault(rule, []).append(place)
    taken = _taken_by_meters(connection, revision)
    said: dict[str, list[str]] = {}
    for finding in (one for group in (result.meters, result.invoices) for entry in group for one in entry.findings):
        said.setdefault(finding.rule, []).append(finding.message)
    return Flags(
        flags=tuple(
            Flag(
                rule=rule_text(rule),
                count=count,
                withheld_wh=_withheld(rule, places.get(rule, []), taken, has_days=revision.has_days),
                places=tuple(places.get(rule, ())),
                said=tuple(said.get(rule, ())),
            )
            for rule, count in sorted(result.rules.items())
            if count
        ),
        not_checked=tuple(
            NotCheckedLine(entry.reason, entry.where, tuple(rule_text(rule) for rule in entry.rules))
            for entry in result.not_checked
        ),
        notes=result.notes,
    )


def _taken_by_meters(connection: psycopg.Connection, revision: Frozen) -> dict[str, Decimal]:
    """Sum what calibration and invoices took out of the credit [Wh], by rule id."""
    taken: dict[str, Decimal] = {}
    for _, _, name, _, _, _, wh in connection.execute(QUERIES["lines"], revision.row):
        rule = _RULE_OF_LINE.get(name)
        if rule is not None:
            taken[rule] = taken.get(rule, Decimal("0.000")) - wh
    return taken


def _withheld(rule: str, places: list[FlagPlace], taken: dict[str, Decimal], *, has_days: bool) -> Decimal | None:
    if not rule_text(rule).takes or not has_days:
        return None
    if rule in taken:
        return taken[rule]
    # What a reset or a set-aside reading had would be a guess: only quality rules take a known energy out.
    return sum((one.withheld_wh for one in places), Decimal("0.000")) if rule in _KNOWN else None


def calibrations(connection: psycopg.Connection, key: RevisionKey) -> tuple[MeterLine, ...]:
    """Show calibrations, their validity and gaps, and exchanges of each meter, by system and place.

    Raises
    ------
    NotThereError
        There is no such revision.
    """
    revision = frozen(connection, key)
    told = {(one.system, one.site, one.id, one.quantity): one for one in revision.result.meters}
    found = []
    for credited in revision.registers():
        device = credited.device
        meter = told.get((credited.system.id, credited.site.id, device.id, credited.quantity))
        found.append(
            MeterLine(
                system=credited.system.id,
                site=credited.site.id,
                device=device.id,
                kind=device.kind,
                quantity=credited.quantity,
                serial_number=device.serial_number,
                accuracy_class=device.accuracy_class,
                error_percent=None if meter is None else meter.error_percent,
                error_source="" if meter is None else meter.error_source,
                installed=device.installed,
                removed=None if device.removed is None else device.removed.at,
                replaced_by=device.replaced_by,
                opening_register_wh=device.opening_register_wh,
                closing_register_wh=None if device.removed is None else device.removed.closing_register_wh,
                calibrations=tuple(
                    CalibrationLine(
                        done.performed, done.valid_until, done.error_percent, done.laboratory, done.certificate
                    )
                    for done in device.calibrations
                ),
                states=()
                if meter is None
                else tuple(
                    CalibrationState(span.first_day, span.last_day, span.state, span.error_percent, span.taken_wh)
                    for span in meter.calibration
                ),
                findings=() if meter is None else tuple((rule_text(one.rule), one.message) for one in meter.findings),
            )
        )
    return tuple(found)
