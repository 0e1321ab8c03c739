"""The native profile: JSON with SunSpec's point names and SI units.

One object or a list of objects: `{"ts": "2026-11-22T07:00:00Z" | epoch ms, "seq": 17, "points": {"W": 1234.5, …}}`.
A point whose value is null was not given. Names that are no point of ours are kept as extra. Other keys are left alone:
the payload itself is kept as received.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from math import isfinite
from typing import Annotated, Any

import msgspec

from devices.points import POINTS, REGISTER_LIMIT_WH
from devices.reading import Decoded, Reading, Rejection, in_columns

ELEMENT_LIMIT = 10_000
"""Most elements in one payload: a megabyte of `[1,1,…]` would make half a million lines of quarantine."""

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""A clock before this was never set: devices start at 1970 or at their firmware's year."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_REGISTERS = frozenset(point.name for point in POINTS.values() if point.register)
_SEQ_RANGE = range(-(2**63), 2**63)


class Reason(StrEnum):
    """Why a payload or an element of it is not a reading; the codes are stable."""

    PAYLOAD_EMPTY = "payload_empty"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    PAYLOAD_UNDECODABLE = "payload_undecodable"
    ELEMENT_INVALID = "element_invalid"
    TIME_MISSING = "time_missing"
    TIME_UNDECODABLE = "time_undecodable"
    TIME_NAIVE = "time_naive"
    TIME_ABSURD = "time_absurd"
    TIME_IN_FUTURE = "time_in_future"
    TIME_TOO_OLD = "time_too_old"
    TIME_LOCAL = "time_local"
    SEQ_INVALID = "seq_invalid"
    NO_POINTS = "no_points"
    VALUE_NOT_A_NUMBER = "value_not_a_number"
    VALUE_NOT_FINITE = "value_not_finite"
    REGISTER_OUT_OF_RANGE = "register_out_of_range"
    UNSTORABLE = "unstorable"


class _Element(msgspec.Struct):
    ts: datetime | int | float | None = None
    seq: int | None = None
    points: dict[str, float | str | bool | None] | None = None


class _Refused(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason = reason
        self.detail = detail


_decoder = msgspec.json.Decoder(_Element | list[_Element])

# What nearly every payload is: points of ours only, all of them good. msgspec then checks names, types, registers and
# seq by itself and gives the columns in their order: 2.2 µs a reading of five points instead of 4.4. Whatever it
# refuses is read again by the code below, which says why and costs no other element.
_Plain = msgspec.defstruct(
    "_Plain",
    [
        (point.name, Annotated[float, msgspec.Meta(ge=0, le=REGISTER_LIMIT_WH)] | None if point.register
         else float | None, None)
        for point in POINTS.values()
    ],
    forbid_unknown_fields=True,
    gc=False,
)  # fmt: skip
_Seq = Annotated[int, msgspec.Meta(ge=_SEQ_RANGE[0], le=_SEQ_RANGE[-1])]


class _PlainElement(msgspec.Struct, gc=False):
    ts: datetime | int | float
    points: _Plain  # type: ignore[valid-type]
    seq: _Seq | None = None


_plain_decoder = msgspec.json.Decoder(_PlainElement | list[_PlainElement])
_NOTHING = (None,) * len(POINTS)
_columns = msgspec.structs.astuple


def decode(payload: bytes, *, latest: datetime, limit_bytes: int = 1_048_576) -> Decoded:
    """Turn a payload into readings and rejections; every element becomes exactly one of them.

    Parameters
    ----------
    payload
        As received. NaN and Infinity, which JSON does not have but many encoders write, cost their own element only.
    latest
        Aware. The latest time that a reading may carry: the collector's clock and a tolerance.
    limit_bytes
        A longer payload is not looked into.

    Returns
    -------
    Decoded
        Readings with their index (0 for a single object), and rejections; a rejection of the whole payload has no
        index and comes alone.
    """
    try:
        elements = _elements(payload, limit_bytes)
    except _Refused as refused:
        return [], [Rejection(refused.reason, refused.detail)]
    readings: list[tuple[int, Reading]] = []
    rejections: list[Rejection] = []
    for index, element in enumerate(elements):
        try:
            readings.append((index, _reading(element, latest)))
        except _Refused as refused:
            rejections.append(Rejection(refused.reason, refused.detail, index))
    return readings, rejections


def _elements(payload: bytes, limit_bytes: int) -> list[Any]:
    if len(payload) > limit_bytes:
        raise _Refused(Reason.PAYLOAD_TOO_LARGE, f"{len(payload)} bytes; at most {limit_bytes} are decoded")
    try:
        decoded: Any = _plain_decoder.decode(payload)
    # The second is raised where a name that is not UTF-8 would be put into the first.
    except (msgspec.DecodeError, UnicodeDecodeError):
        decoded = _any_shape(payload)
    if not isinstance(decoded, list):
        return [decoded]
    if not decoded:
        raise _Refused(Reason.PAYLOAD_EMPTY, "the list is empty")
    if len(decoded) > ELEMENT_LIMIT:
        raise _Refused(Reason.PAYLOAD_TOO_LARGE, f"{len(decoded)} elements; at most {ELEMENT_LIMIT} are decoded")
    return decoded


def _any_shape(payload: bytes) -> Any:
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if not payload.strip():
            raise _Refused(Reason.PAYLOAD_EMPTY, "the payload is empty") from None
        return _tolerant(payload, error)


def _tolerant(payload: bytes, error: Exception) -> Any:
    """Read again what is not of the expected shape, so that one bad element does not cost the others."""
    try:
        decoded = json.loads(payload.decode("utf-8"))
    except (ValueError, RecursionError):
        # The parser's own words name a place, not a content.
        raise _Refused(Reason.PAYLOAD_UNDECODABLE, f"not JSON in UTF-8: {error}") from None
    if not isinstance(decoded, (dict, list)):
        raise _Refused(Reason.PAYLOAD_UNDECODABLE, "neither an object nor a list of objects")
    return decoded


def _reading(element: Any, latest: datetime) -> Reading:
    if type(element) is _PlainElement:
        time = _time(element.ts, latest)
        columns = _columns(element.points)
        if columns == _NOTHING:
            raise _Refused(Reason.NO_POINTS, "no points are given, or every one is null")
        return Reading(time, columns, {}, element.seq)
    if type(element) is _Element:
        ts, seq, points = element.ts, element.seq, element.points
    elif isinstance(element, dict):
        ts, seq, points = element.get("ts"), element.get("seq"), element.get("points")
    else:
        raise _Refused(Reason.ELEMENT_INVALID, "not an object")
    time = _time(ts, latest)
    if seq is not None and (type(seq) is not int or seq not in _SEQ_RANGE):
        raise _Refused(Reason.SEQ_INVALID, "seq is not a whole number of 64 bits")
    if not points:
        raise _Refused(Reason.NO_POINTS, "no points are given")
    if not isinstance(points, dict):
        raise _Refused(Reason.ELEMENT_INVALID, "points is not an object")
    values, extra = _values(points)
    if not values and not extra:
        raise _Refused(Reason.NO_POINTS, "every point is null")
    return Reading(time, in_columns(values), extra, seq)


def _time(ts: Any, latest: datetime) -> datetime:
    if ts is None:
        raise _Refused(Reason.TIME_MISSING, "no ts is given")
    if isinstance(ts, str):
        try:
            ts = msgspec.convert(ts, datetime)
        except msgspec.ValidationError:
            raise _Refused(Reason.TIME_UNDECODABLE, "ts is not a time as in RFC 3339") from None
    try:
        if isinstance(ts, datetime):
            if ts.tzinfo is None:
                raise _Refused(Reason.TIME_NAIVE, "ts has no offset from UTC")
            time = ts if ts.tzinfo is UTC else ts.astimezone(UTC)
        elif type(ts) in {int, float}:
            time = _EPOCH + timedelta(milliseconds=ts)
        else:
            raise _Refused(Reason.TIME_UNDECODABLE, "ts is neither a time as in RFC 3339 nor epoch milliseconds")
    except (OverflowError, ValueError):
        raise _Refused(Reason.TIME_ABSURD, "ts is outside the calendar") from None
    if time < EARLIEST:
        raise _Refused(Reason.TIME_ABSURD, "ts is before the year 2000; a number means epoch milliseconds, not seconds")
    if time > latest:
        raise _Refused(Reason.TIME_IN_FUTURE, f"ts is {time - latest} beyond what the collector's clock allows")
    return time


def _values(points: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, float | str | bool]]:
    values: dict[str, float] = {}
    extra: dict[str, float | str | bool] = {}
    for name, given in points.items():
        if given is None:
            continue
        value = given
        if name not in POINTS:
            extra[name] = _extra(name, value)
            continue
        if type(value) is not float:
            value = _number(name, value)
        if not isfinite(value):
            raise _Refused(Reason.VALUE_NOT_FINITE, f"{name} is not finite")
        if name in _REGISTERS and not 0 <= value <= REGISTER_LIMIT_WH:
            raise _Refused(
                Reason.REGISTER_OUT_OF_RANGE, f"{name} is {'negative' if value < 0 else 'beyond any register'}"
            )
        values[name] = value
    return values, extra


def _number(name: str, value: Any) -> float:
    if type(value) is not int:
        raise _Refused(Reason.VALUE_NOT_A_NUMBER, f"{name} is not a number")
    try:
        return float(value)
    except OverflowError:
        raise _Refused(Reason.VALUE_NOT_FINITE, f"{name} is beyond any number that can be kept") from None


def _extra(name: str, value: Any) -> float | str | bool:
    """Keep a value under a foreign name as it is, when PostgreSQL's jsonb can (it has no U+0000, no lone surrogate)."""
    if not _storable(name) or (isinstance(value, str) and not _storable(value)):
        raise _Refused(Reason.UNSTORABLE, "a text holds U+0000 or half a surrogate pair, which the store cannot keep")
    if isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        number = float(value) if isinstance(value, float) else _number(name, value)
        if not isfinite(number):
            raise _Refused(Reason.VALUE_NOT_FINITE, f"{_short(name)} is not finite")
        return number
    raise _Refused(Reason.ELEMENT_INVALID, f"{_short(name)} is neither a number nor a text nor true or false")


def _storable(text: str) -> bool:
    return "\0" not in text and (text.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in text))


def _short(name: str) -> str:
    return repr(name if len(name) <= 40 else f"{name[:40]}…")
