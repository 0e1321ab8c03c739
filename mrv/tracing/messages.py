"""A reading with the message that it came from, and a message with its payload and what came of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import sha256
from typing import Any

import psycopg
from psycopg.rows import dict_row

from devices.points import COLUMNS
from mrv.calendar import MICROSECOND, zone
from mrv.evidence.canonical import Message, instant
from mrv.evidence.errors import BundleError
from mrv.evidence.export import like
from mrv.evidence.redecoding import Decoded, Decoder
from mrv.tracing.device_days import ConflictLine
from mrv.tracing.energy import device_number
from mrv.tracing.errors import NotThereError
from mrv.tracing.frozen import QUERIES

# Every message since a Sparkplug node's birth is decoded for the one that is shown: 0.1 ms each.
_MOST_SINCE_BIRTH = 2000
_NEAR = timedelta(days=1)


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
    number = device_number(connection, site, device)
    given = {"device": number, "ts": ts}
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(QUERIES["reading"], given).fetchone()
    if row is None:
        raise NotThereError(f"{site}/{device} has no reading of {ts.isoformat()}")
    found = connection.execute(QUERIES["parts_of_reading"], given).fetchall()
    parts = tuple(_part(entry) for entry in found)
    brought = next((one.message for one in parts if one.message.message_id == row["message_id"]), None)
    message = brought or MessageKey(row["received_at"], row["message_id"])
    topic = connection.execute(
        QUERIES["topic"], {"received_at": message.received_at, "message_id": message.message_id}
    ).fetchone()
    until = {"start": ts, "end": ts + MICROSECOND, "cut_off": "infinity"}
    return ReadingTrace(
        site=site,
        device=device,
        kind=row["kind"],
        profile=row["profile"],
        ts=row["ts"],
        time_zone=row["time_zone"],
        local_day=ts.astimezone(zone(row["time_zone"])).date(),
        seq=row["seq"],
        points={name: row[name] for name in COLUMNS if row[name] is not None},
        extra=row["extra"],
        received_at=row["received_at"],
        message=message,
        element=row["element"],
        topic=None if topic is None else topic[0],
        parts=parts,
        conflicts=tuple(
            ConflictLine(*entry) for entry in connection.execute(QUERIES["conflicts_of_day"], given | until)
        ),
    )


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
    given = {"received_at": received_at, "message_id": message_id}
    row = connection.execute(QUERIES["message"], given).fetchone()
    if row is None:
        raise NotThereError(f"there is no message {message_id} received at {received_at.isoformat()}")
    *fields, kept = row
    message = Message(*fields)
    decoded, texts, problem = _decoded(connection, message, families)
    near = {**given, "start": received_at - _NEAR, "end": received_at + _NEAR}
    anywhen = {**given, "start": "-infinity", "end": "infinity"}
    rows = connection.execute(QUERIES["readings_of_message"], near).fetchall()
    if len(rows) < message.readings:
        rows = connection.execute(QUERIES["readings_of_message"], anywhen).fetchall()
    stored = [StoredReading(*entry) for entry in rows]
    found = connection.execute(QUERIES["parts_of_message"], near).fetchall()
    if not found and (texts or problem):
        found = connection.execute(QUERIES["parts_of_message"], anywhen).fetchall()
    parts = [(site, _part(entry)) for site, *entry in found]
    joined = {(site, one.device, one.ts) for site, one in parts if one.note is None}
    known = {(one.site, one.device, one.ts) for one in stored}
    for site, device, ts in sorted(joined - known):
        # A joined reading is stored later than the message, which need not be the one that brought its register.
        one = connection.execute(QUERIES["joined_reading"], {"site": site, "device": device, "ts": ts}).fetchone()
        if one is not None:
            stored.append(StoredReading(*one))
    return PayloadTrace(
        message=MessageKey(received_at, message_id),
        site=message.site or None,
        topic=message.topic,
        payload=message.payload,
        sha256=bytes(kept).hex(),
        sha256_holds=sha256(message.payload).digest() == bytes(kept),
        qos=message.qos,
        retained=message.retained,
        redelivered=message.redelivered,
        arrived_at=instant(message.arrived_us),
        collector=message.collector,
        outcome=message.outcome,
        note=message.note,
        readings_count=message.readings,
        decoded=tuple(decoded),
        fields=tuple(texts),
        not_decoded=problem,
        stored=tuple(stored),
        parts=tuple(one for _, one in parts),
        conflicts=tuple(ConflictLine(*entry) for entry in connection.execute(QUERIES["conflicts_of_message"], given)),
        quarantined=tuple(
            QuarantineLine(*entry) for entry in connection.execute(QUERIES["quarantine_of_message"], given)
        ),
    )


def _part(row: Sequence[Any]) -> PartLine:
    device, ts, field, received_at, message_id, note = row
    return PartLine(device, ts, field, MessageKey(received_at, message_id), note)


def _decoded(
    connection: psycopg.Connection, message: Message, families: Mapping[str, str]
) -> tuple[list[DecodedReading], list[tuple[str, str, str]], str | None]:
    """Decode a message again, under the declaration that was in force when it was received."""
    rows = connection.execute(
        QUERIES["in_force"], {"site": message.site, "received_at": instant(message.received_us)}
    ).fetchall()
    if not rows:
        return [], [], "its site is not declared"
    history = [
        {"revision": number, "applied_us": applied, "declaration": json.loads(content)}
        for number, applied, content in rows
    ]
    used = {device.get("profile") for one in history for device in one["declaration"].get("device", [])}
    try:
        decoder = Decoder(history, {name: text for name, text in families.items() if name in used}, ())
        texts: list[tuple[str, str, str]] = []
        if decoder.is_sparkplug(message):
            found = _sparkplug(connection, decoder, message)
            if found is None:
                return [], [], f"over {_MOST_SINCE_BIRTH:,} messages came since the node's birth, on which it hangs"
        else:
            found = decoder.decode(message, message.received_us)
            texts = [(topic.device, name, text) for topic, name, text in decoder.fields(message)]
    except BundleError as error:
        return [], [], str(error)
    lines = [
        DecodedReading(one.device.device, one.element, one.reading.ts, _points(one.reading.columns))
        for one in next((candidates for candidates in found if candidates), [])
    ]
    return lines, texts, None


def _points(columns: Sequence[float | None]) -> dict[str, float]:
    return {name: value for name, value in zip(COLUMNS, columns, strict=True) if value is not None}


def _sparkplug(connection: psycopg.Connection, decoder: Decoder, message: Message) -> list[list[Decoded]] | None:
    """Decode a Sparkplug message after those of its node since its birth, in their order."""
    parts = message.topic.split("/")
    at = next(n for n, part in enumerate(parts) if part == "spBv1.0")
    group, edge = parts[at + 1], parts[at + 3]
    given = {"site": message.site, "subject": f"{group}/{edge}", "before": instant(message.received_us)}
    born = connection.execute(QUERIES["last_birth"], given).fetchone()
    below = {
        "site": message.site,
        "start": instant(message.received_us) if born is None else born[0],
        "end": instant(message.received_us),
        "end_id": message.message_id,
        "node": f"%/{like(group)}/%/{like(edge)}",
        "device": f"%/{like(group)}/%/{like(edge)}/%",
        "limit": _MOST_SINCE_BIRTH + 1,
    }
    found: list[list[Decoded]] = []
    rows = connection.execute(QUERIES["messages_since_birth"], below).fetchall()
    if len(rows) > _MOST_SINCE_BIRTH:
        return None
    for row in rows:
        found = decoder.sparkplug(Message(*row))
    return found
