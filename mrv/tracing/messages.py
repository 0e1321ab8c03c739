"""A reading with the message that it came from, and a message with its payload and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg

from mrv.tracing.device_days import ConflictLine
from mrv.tracing.errors import NotThereError
from mrv.tracing.frozen import QUERIES


@dataclass(frozen=True, slots=True)
class MessageKey:
    """A message, as evidence knows it."""

    received_at: datetime
    message_id: int


@dataclass(frozen=True, slots=True)
class PartLine:
    """A message that a joined reading was made of."""

    device: str
    ts: datetime
    field: str
    message: MessageKey
    note: str | None
    """Why no reading was made of it; None: one was."""


@dataclass(frozen=True, slots=True)
class ReadingTrace:
    """A reading with all of its points, and where it came from."""

    site: str
    device: str
    kind: str
    profile: str
    """The device family."""
    ts: datetime
    time_zone: str
    local_day: date
    """The local day of its site that it lies on."""
    seq: int | None
    points: Mapping[str, float]
    """By column of `reading`, the unit in its name; those that it has."""
    extra: Mapping[str, Any] | None
    """What was in the payload and is no point of ours."""
    received_at: datetime
    message: MessageKey
    """The message that brought the register."""
    element: int
    """Its place among the readings of that message."""
    topic: str | None
    """Of the message; None where it is not in the database any more."""
    parts: tuple[PartLine, ...]
    """The messages of a joined reading, field by field; none of one that came whole."""
    conflicts: tuple[ConflictLine, ...]


@dataclass(frozen=True, slots=True)
class DecodedReading:
    """A reading that the payload holds by decoding it again."""

    device: str
    element: int
    ts: datetime
    points: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class StoredReading:
    """A reading that came of the message."""

    site: str
    device: str
    ts: datetime
    element: int
    energy_exported_wh: float | None
    energy_imported_wh: float | None
    power_w: float | None
    received_at: datetime


@dataclass(frozen=True, slots=True)
class QuarantineLine:
    """Why the message, or an element of it, is no reading."""

    quarantine_id: int
    element: int | None
    """None: the whole message."""
    reason: str
    detail: str
    released_at: datetime | None


@dataclass(frozen=True, slots=True)
class PayloadTrace:
    """A message as it was received, and what came of it."""

    message: MessageKey
    site: str | None
    topic: str
    payload: bytes
    sha256: str
    """Of the payload, in hexadecimal, as it was kept at receipt."""
    sha256_holds: bool
    """Whether the payload still has it."""
    qos: int
    retained: bool
    redelivered: bool
    arrived_at: datetime
    """By the collector's clock."""
    collector: str
    outcome: str
    """stored, duplicate, conflict or quarantined."""
    note: str | None
    readings_count: int
    decoded: tuple[DecodedReading, ...]
    fields: tuple[tuple[str, str, str], ...]
    """Device, field and text that it holds of readings that are joined from several messages."""
    not_decoded: str | None
    """Why it was not decoded again; None: it was."""
    stored: tuple[StoredReading, ...]
    parts: tuple[PartLine, ...]
    conflicts: tuple[ConflictLine, ...]
    quarantined: tuple[QuarantineLine, ...]


def reading(connection: psycopg.Connection, site: str, device: str, ts: datetime) -> ReadingTrace:
    """Show a reading with all of its points and its message.

    Raises
    ------
    NotThereError
        There is no such device or reading, or it is not seen.
    """
    raise NotThereError("to be written")


def payload(
    connection: psycopg.Connection, received_at: datetime, message_id: int, *, families: Mapping[str, str]
) -> PayloadTrace:
    """Show a message with its payload, how it decodes, and what came of it.

    Parameters
    ----------
    families
        Texts of the device families that there are, by name, as `mrv.evidence.export.export` takes them.

    Raises
    ------
    NotThereError
        There is no such message, or it is not seen.
    """
    raise NotThereError("to be written")
