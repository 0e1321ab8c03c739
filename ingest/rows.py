"""The rows of a batch, for binary COPY.

psycopg's compiled `write_row` takes 1.4 µs for a reading of five points in 27 columns, as little as rows packed by
hand with `struct` (both measured, with the building of the row), so it does the packing.
"""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from psycopg.types.json import Jsonb

from devices.decoding.frames import Part
from devices.decoding.memory import Aside, Joined
from devices.points import POINTS
from devices.reading import Reading
from ingest.batch import Outcome, Planned

Row = tuple[Any, ...]

READING_TYPES = ("int4", "timestamptz", "timestamptz", "int8", "int4", "int8", *("float8" for _ in POINTS), "jsonb")
"""Of `readings`: device_id, ts, received_at, message_id, element, seq, the points in the table's order, extra."""

STAGED_TYPES = (*READING_TYPES, "int4")
"""Of `numbered`: as `READING_TYPES`, and the place in the batch."""

MESSAGE_TYPES = (
    "timestamptz", "int8", "timestamptz", "text", "bytea", "bytea", "int2", "bool", "bool", "text", "text", "text",
    "int4", "text",
)  # fmt: skip
"""Of `messages`, in the order of the statement `copy_message`."""

QUARANTINE_TYPES = ("timestamptz", "int8", "int4", "text", "text", "text", "text")
"""Of the statement `copy_quarantine`."""


PART_TYPES = ("int4", "timestamptz", "timestamptz", "int8", "text", "text")
"""Of `parts`, in the order of the statement `copy_reading_part`."""

EVENT_TYPES = ("timestamptz", "int8", "text", "text", "text", "text")
"""Of the statement `copy_device_event`."""

_REGISTERS = tuple(place for place, point in enumerate(POINTS.values()) if point.register)


def readings(batch: Sequence[Planned], message_ids: Sequence[int], received_at: datetime) -> list[Row]:
    """Make a row of every good reading of a batch, in its order."""
    return [
        (
            planned.device_id if planned.device_ids is None else planned.device_ids[number],
            reading.ts,
            received_at,
            message_id,
            element,
            reading.seq,
            *reading.columns,
            Jsonb(reading.extra, msgspec.json.encode) if reading.extra else None,
        )
        for planned, message_id in zip(batch, message_ids, strict=True)
        for number, (element, reading) in enumerate(planned.readings)
    ]


def joined(aside: Aside, received_at: datetime) -> list[Row]:
    """Make a row of every joined reading; it is traced to the message that carried its register."""
    return [
        (
            device_id,
            reading.ts,
            received_at,
            origin(one, reading).message,
            element,
            reading.seq,
            *reading.columns,
            Jsonb(reading.extra, msgspec.json.encode) if reading.extra else None,
        )
        for one in aside.joined
        for element, device_id, reading in one.judged.readings
    ]


def origin(one: Joined, reading: Reading | None) -> Part:
    """Find the part that a joined reading is traced to: of its register, else the last."""
    if reading is not None and any(reading.columns[place] is not None for place in _REGISTERS):
        names = {
            name
            for point, field in one.bound.fields
            if POINTS.get(point) is not None and POINTS[point].register
            for name in (*field.names, *field.total_of)
        }
        for part in reversed(one.frame.parts):
            if part.name in names:
                return part
    return one.frame.parts[-1]


def name(one: Joined) -> str:
    """Write in the place of a topic whose reading was joined: its fields came on several."""
    return f"jcm/v1/{one.bound.device.site}/{one.bound.device.device}"


def parts(aside: Aside) -> Iterator[Row]:
    """Make the rows that say which messages each joined reading was made of, or was not."""
    for one in aside.joined:
        ts = one.judged.readings[0][2].ts if one.judged.readings else one.frame.started_at
        note = ",".join(sorted(one.judged.notes)) or None
        for part in one.frame.parts:
            yield one.bound.device_id, ts, part.received_at, part.message, part.name, note


def numbered(readings: Sequence[Row]) -> Iterator[Row]:
    """Give each row its place in the batch."""
    return ((*row, number) for number, row in enumerate(readings))


def messages(
    batch: Sequence[Planned],
    message_ids: Sequence[int],
    outcomes: Sequence[Outcome],
    *,
    received_at: datetime,
    collector: str,
) -> Iterator[Row]:
    """Make the rows of the messages of a batch, with how each ended."""
    for planned, message_id, outcome in zip(batch, message_ids, outcomes, strict=True):
        message = planned.received
        yield (
            received_at,
            message_id,
            datetime.fromtimestamp(message.arrived_at, UTC),
            message.topic,
            message.payload,
            hashlib.sha256(message.payload).digest(),
            message.qos,
            message.retained,
            message.redelivered,
            collector,
            planned.site_id,
            outcome.value,
            planned.elements,
            planned.note,
        )
