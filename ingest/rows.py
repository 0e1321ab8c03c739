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

from devices.points import POINTS
from ingest.batch import Outcome, Planned

Row = tuple[Any, ...]

READING_TYPES = ("int4", "timestamptz", "timestamptz", "int8", "int4", "int8", *("float8" for _ in POINTS), "jsonb")
"""Of `readings`: device_id, ts, received_at, message_id, element, seq, the points in the table's order, extra."""

STAGED_TYPES = (*READING_TYPES, "int4")
"""Of `numbered`: as `READING_TYPES`, and the place in the batch."""

MESSAGE_TYPES = (
    "timestamptz", "int8", "timestamptz", "text", "bytea", "bytea", "int2", "bool", "bool", "text", "text", "text",
    "int4",
)  # fmt: skip
"""Of `messages`, in the order of the statement `copy_message`."""

QUARANTINE_TYPES = ("timestamptz", "int8", "int4", "text", "text", "text", "text")
"""Of the statement `copy_quarantine`."""


def readings(batch: Sequence[Planned], message_ids: Sequence[int], received_at: datetime) -> list[Row]:
    """Make a row of every good reading of a batch, in its order."""
    return [
        (
            planned.device_id,
            reading.ts,
            received_at,
            message_id,
            element,
            reading.seq,
            *reading.columns,
            Jsonb(reading.extra, msgspec.json.encode) if reading.extra else None,
        )
        for planned, message_id in zip(batch, message_ids, strict=True)
        for element, reading in planned.readings
    ]


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
        )
