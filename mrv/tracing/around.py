"""What stands around a revision's energy: late readings, conflicts, rules that decided, calibrations of its meters."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

import psycopg

from mrv.tracing.device_days import ConflictLine
from mrv.tracing.errors import NotThereError
from mrv.tracing.frozen import RevisionKey
from mrv.tracing.rules import RuleText

PAGE = 200


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
    withheld_wh: Decimal


@dataclass(frozen=True, slots=True)
class Flag:
    """A rule that fired, and its effect on the credit; none raises it."""

    rule: RuleText
    count: int
    """As the result has it, over all devices, sites and meters."""
    withheld_wh: Decimal | None
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
    error_percent: Decimal | None
    laboratory: str | None
    certificate: str | None


@dataclass(frozen=True, slots=True)
class CalibrationState:
    """Consecutive days of one state of a meter's calibration."""

    first_day: date
    last_day: date
    state: str
    """valid, expired, not yet or missing."""
    error_percent: Decimal
    taken_wh: Decimal


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
    error_percent: Decimal | None
    """Maximum permissible error that held for it; None where it is not held to calibration."""
    error_source: str
    installed: datetime
    removed: datetime | None
    replaced_by: str | None
    opening_register_wh: Decimal | None
    closing_register_wh: Decimal | None
    calibrations: tuple[CalibrationLine, ...]
    states: tuple[CalibrationState, ...]
    """Over the period; none where it is not held to calibration."""
    findings: tuple[tuple[RuleText, str], ...]


def late(
    connection: psycopg.Connection, key: RevisionKey, *, limit: int = PAGE, after: LateCursor | None = None
) -> Late:
    """List the messages that brought readings of the period after the cut-off, in the order of receipt."""
    raise NotThereError("to be written")


def conflicts(
    connection: psycopg.Connection, key: RevisionKey, *, limit: int = PAGE, after: ConflictCursor | None = None
) -> Conflicts:
    """List the other values that were offered for instants of the period up to the cut-off."""
    raise NotThereError("to be written")


def flags(connection: psycopg.Connection, key: RevisionKey) -> Flags:
    """List every rule that fired, with its effect on the credit, and where."""
    raise NotThereError("to be written")


def calibrations(connection: psycopg.Connection, key: RevisionKey) -> tuple[MeterLine, ...]:
    """Show calibrations, their validity and gaps, and exchanges of each meter, by system and place."""
    raise NotThereError("to be written")
