"""Rows in PostgreSQL's binary COPY format, packed by the batch.

psycopg's `write_row` costs 5 µs for a reading of five points; this costs less than half, and decides the rate of
the whole collector because only one thread at a time runs Python.
"""

import hashlib
import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from devices.points import POINTS
from devices.reading import Reading
from ingest.batch import Outcome, Planned
from ingest.errors import UnstorableError

MESSAGE_COLUMNS = (
    "received_at, message_id, arrived_at, topic, payload, sha256, qos, retained, redelivered, "
    "collector, site_id, outcome, readings"
)
"""What `messages` packs, in its order; the staged readings follow the columns of the temporary table."""

_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_TRAILER = struct.pack(">h", -1)
_NULL = struct.pack(">i", -1)
_POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_EPOCH_US = 946_684_800_000_000
_MICROSECOND = timedelta(microseconds=1)
# ordinal, device_id, ts, message_id, element, seq, the points, extra
_FIELDS = 7 + len(POINTS)


class Packed(NamedTuple):
    """The readings of a batch, ready for COPY."""

    data: bytes
    rows: int
    first: datetime | None
    last: datetime | None


class _Shape:
    """How a reading with these points is packed: one call for the whole fixed part of its row."""

    __slots__ = ("layout", "slots", "template")

    def __init__(self, names: tuple[str, ...], *, with_seq: bool) -> None:
        layout = ">hiiiiiqiqii" + ("iq" if with_seq else "4s")
        self.template: list[float | bytes] = []
        self.slots: list[tuple[int, str]] = []
        absent = 0
        for name in (*POINTS, None):
            if name is not None and name not in names:
                absent += 1
                continue
            if absent:
                layout += f"{4 * absent}s"
                self.template.append(_NULL * absent)
                absent = 0
            if name is not None:
                layout += "id"
                self.template += (8, 0.0)
                self.slots.append((len(self.template) - 1, name))
        self.layout = struct.Struct(layout)


_shapes: dict[tuple[tuple[str, ...], bool], _Shape] = {}


def timestamp(time: datetime) -> int:
    """Microseconds since 2000-01-01 UTC, as PostgreSQL counts."""
    return (time - _POSTGRES_EPOCH) // _MICROSECOND


def readings(batch: Sequence[Planned], message_ids: Sequence[int]) -> Packed:
    """Pack every good reading of a batch, numbered by its place in it.

    Raises
    ------
    UnstorableError
        A value does not fit its column.
    """
    parts = [_HEADER]
    first = last = None
    ordinal = 0
    try:
        for planned, message_id in zip(batch, message_ids, strict=True):
            device_id = planned.device_id
            for element, reading in planned.readings:
                parts.append(_reading(ordinal, device_id, message_id, element, reading))
                ordinal += 1
                ts = reading.ts
                if first is None or last is None:
                    first = last = ts
                elif ts < first:
                    first = ts
                elif ts > last:
                    last = ts
    except (struct.error, TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise UnstorableError(f"a value does not fit its column: {type(error).__name__}") from error
    parts.append(_TRAILER)
    return Packed(b"".join(parts), ordinal, first, last)


def _reading(ordinal: int, device_id: int | None, message_id: int, element: int, reading: Reading) -> bytes:
    values = reading.values
    seq = reading.seq
    key = (tuple(values), seq is not None)
    shape = _shapes.get(key)
    if shape is None:
        shape = _Shape(key[0], with_seq=key[1])
        # A shape for every order in which a device names its points; a stranger's orders must not fill the memory.
        if len(_shapes) < 10_000:
            _shapes[key] = shape
    fields = shape.template.copy()
    for slot, name in shape.slots:
        fields[slot] = values[name]
    ts = (reading.ts - _POSTGRES_EPOCH) // _MICROSECOND
    tail = (_NULL,) if seq is None else (8, seq)
    row = shape.layout.pack(_FIELDS, 4, ordinal, 4, device_id, 8, ts, 8, message_id, 4, element, *tail, *fields)
    if not reading.extra:
        return row + _NULL
    text = msgspec.json.encode(reading.extra)
    return row + struct.pack(">ib", len(text) + 1, 1) + text


_MESSAGE_HEAD = struct.Struct(">hiqiqiqi")
_MESSAGE_TAIL = struct.Struct(">i32sihi?i?")
_LENGTH = struct.Struct(">i")
_READINGS = struct.Struct(">ii")
_OUTCOMES = {outcome: _LENGTH.pack(len(outcome)) + outcome.encode() for outcome in Outcome}


def messages(
    batch: Sequence[Planned],
    message_ids: Sequence[int],
    outcomes: Sequence[Outcome],
    *,
    received_at: datetime,
    collector: str,
) -> bytes:
    """Pack the messages of a batch with how each ended.

    Raises
    ------
    UnstorableError
        A topic has no form in UTF-8.
    """
    received = timestamp(received_at)
    collector_field = _text(collector)
    sites: dict[str | None, bytes] = {None: _NULL}
    parts = [_HEADER]
    try:
        for planned, message_id, outcome in zip(batch, message_ids, outcomes, strict=True):
            message = planned.received
            site = sites.get(planned.site_id)
            if site is None:
                site = sites[planned.site_id] = _text(planned.site_id or "")
            topic = message.topic.encode()
            payload = message.payload
            arrived = round(message.arrived_at * 1e6) - _EPOCH_US
            parts += (
                _MESSAGE_HEAD.pack(13, 8, received, 8, message_id, 8, arrived, len(topic)),
                topic,
                _LENGTH.pack(len(payload)),
                payload,
                _MESSAGE_TAIL.pack(
                    32, hashlib.sha256(payload).digest(), 2, message.qos, 1, message.retained, 1, message.redelivered
                ),
                collector_field,
                site,
                _OUTCOMES[outcome],
                _READINGS.pack(4, planned.elements),
            )
    except ValueError as error:
        raise UnstorableError(f"a topic cannot be kept: {type(error).__name__}") from error
    parts.append(_TRAILER)
    return b"".join(parts)


def _text(text: str) -> bytes:
    data = text.encode()
    return _LENGTH.pack(len(data)) + data
