"""The payload of Sparkplug B: protobuf in, plain values out.

The specification (3.0.0, chapter 6) sends every integer in an unsigned field and does not say how a negative one is
written; its DATA messages should not carry a datatype. So `decode` keeps what was on the wire, and `value_of` is asked
once the datatype is known from the birth.
"""

import zlib
from datetime import UTC, datetime, timedelta
from enum import IntEnum, StrEnum
from math import isfinite

import msgspec
from google.protobuf.message import DecodeError

from devices.errors import DevicesError
from devices.sparkplug import sparkplug_b_pb2 as wire

LIMIT_BYTES = 1_048_576
"""A longer payload is not looked into, before and after decompression."""
METRIC_LIMIT = 10_000
"""Most metrics in one payload; a birth's are kept as the state of its edge node."""
NAME_LIMIT = 1_000
"""Longest name of a metric."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Not in the specification: the clients of Eclipse Tahu (and npm sparkplug-client's `compress` option) put a whole
# compressed payload into `body` and say so in `uuid`.
_COMPRESSED = "SPBV1.0_COMPRESSED"
_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS

Value = int | float | bool | str | None
Raw = int | float | bool | str | bytes | None


class Reason(StrEnum):
    """Why a payload, or a metric of it, cannot be read; the codes are stable."""

    UNDECODABLE = "sparkplug_undecodable"
    TOO_LARGE = "sparkplug_too_large"
    ALIAS_UNKNOWN = "sparkplug_alias_unknown"
    NAME_MISSING = "sparkplug_name_missing"
    NAME_INVALID = "sparkplug_name_invalid"
    TIME_ABSURD = "sparkplug_time_absurd"
    DATATYPE_UNKNOWN = "sparkplug_datatype_unknown"
    DATATYPE_CONTRADICTED = "sparkplug_datatype_contradicted"
    VALUE_OUT_OF_RANGE = "sparkplug_value_out_of_range"
    VALUE_NOT_FINITE = "sparkplug_value_not_finite"
    VALUE_UNSUPPORTED = "sparkplug_value_unsupported"


class SparkplugError(DevicesError):
    """A Sparkplug payload or value cannot be read."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


class DataType(IntEnum):
    """The datatypes of chapter 6, with their numbers."""

    UNKNOWN = 0
    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATETIME = 13
    TEXT = 14
    UUID = 15
    DATASET = 16
    BYTES = 17
    FILE = 18
    TEMPLATE = 19
    PROPERTY_SET = 20
    PROPERTY_SET_LIST = 21
    INT8_ARRAY = 22
    INT16_ARRAY = 23
    INT32_ARRAY = 24
    INT64_ARRAY = 25
    UINT8_ARRAY = 26
    UINT16_ARRAY = 27
    UINT32_ARRAY = 28
    UINT64_ARRAY = 29
    FLOAT_ARRAY = 30
    DOUBLE_ARRAY = 31
    BOOLEAN_ARRAY = 32
    STRING_ARRAY = 33
    DATETIME_ARRAY = 34


_WIDTHS = {
    DataType.INT8: (8, True), DataType.INT16: (16, True), DataType.INT32: (32, True), DataType.INT64: (64, True),
    DataType.UINT8: (8, False), DataType.UINT16: (16, False), DataType.UINT32: (32, False),
    DataType.UINT64: (64, False),
}  # fmt: skip
_WHOLE = frozenset({"int_value", "long_value"})
_REAL = frozenset({"float_value", "double_value"})
_TRUTH = frozenset({"boolean_value"})
_TEXT = frozenset({"string_value"})
# mqtt-spb-wrapper and Tahu's own clients differ in which integers go into which field, so either is taken.
_FIELDS = dict.fromkeys(_WIDTHS, _WHOLE) | {
    DataType.FLOAT: _REAL, DataType.DOUBLE: _REAL, DataType.BOOLEAN: _TRUTH, DataType.DATETIME: _WHOLE,
    DataType.STRING: _TEXT, DataType.TEXT: _TEXT, DataType.UUID: _TEXT,
}  # fmt: skip
SELF_DESCRIBING = _REAL | _TRUTH | _TEXT
"""Fields whose value means the same whatever the datatype; an integer's sign and width come from the datatype alone."""
_SCALAR = SELF_DESCRIBING | _WHOLE


class Metric(msgspec.Struct, frozen=True, gc=False):
    """One metric as it was on the wire."""

    name: str | None = None
    alias: int | None = None
    timestamp: datetime | None = None
    """Aware, UTC, milliseconds."""
    datatype: DataType | None = None
    """None: not said. UNKNOWN: a number that this version of the specification does not have."""
    field: str | None = None
    """Which field of the `value` oneof was sent."""
    raw: Raw = None
    """What stood in it; integers unsigned as sent; None where the field is no scalar or no text in UTF-8."""
    is_null: bool = False
    is_historical: bool = False
    is_transient: bool = False
    quality: int | None = None
    """The property `Quality`: 0 bad, 192 good, 500 stale."""
    fault: Reason | None = None
    """Why this metric cannot be used whatever a birth says."""


class Payload(msgspec.Struct, frozen=True, gc=False):
    """One message of an edge node."""

    timestamp: datetime | None
    """Aware, UTC, milliseconds; when it was published."""
    seq: int | None
    metrics: tuple[Metric, ...]
    time_absurd: bool = False
    """A timestamp was sent that no calendar has."""


def decode(payload: bytes, *, limit_bytes: int = LIMIT_BYTES) -> Payload:
    """Read a payload, compressed or not.

    Raises
    ------
    SparkplugError
        It is not a payload of Sparkplug B, or too large. Nothing else is raised, whatever the bytes.
    """
    message = _parse(payload, limit_bytes)
    if message.uuid == _COMPRESSED:
        message = _parse(_inflate(message.body, limit_bytes), limit_bytes)
    if len(message.metrics) > METRIC_LIMIT:
        raise SparkplugError(Reason.TOO_LARGE, f"{len(message.metrics)} metrics; at most {METRIC_LIMIT} are decoded")
    sent = time_of(message.timestamp) if message.HasField("timestamp") else None
    return Payload(
        timestamp=sent,
        seq=message.seq if message.HasField("seq") else None,
        metrics=tuple([_metric(metric) for metric in message.metrics]),
        time_absurd=sent is None and message.HasField("timestamp"),
    )


def value_of(metric: Metric, datatype: DataType | None) -> Value:
    """Give the value of a metric under a datatype; None where it is null or no value was sent.

    An n-bit integer is the low n bits of what was sent, with the sign of the top one when signed: npm sparkplug-client
    sends an Int16 of -12 as 4294967284, PyPI pysparkplug as 65524. Upper bits that are neither all 0 nor an extension
    of the sign are not cut off: that number never stood in n bits. A Float is the wire's float32 exactly, a DateTime
    is text as in RFC 3339.

    Raises
    ------
    SparkplugError
        The field that was sent cannot hold the datatype, the number does not fit it or is not finite, the datatype is
        not known, or is one that is no single value (DataSet, Template, Bytes, File, arrays).
    """
    if metric.is_null or metric.field is None:
        return None
    if metric.field not in _SCALAR or (datatype is not None and datatype not in _FIELDS):
        raise SparkplugError(Reason.VALUE_UNSUPPORTED, "no single number or text")
    if datatype is None:
        if metric.field in _WHOLE:
            raise SparkplugError(Reason.DATATYPE_UNKNOWN, "an integer whose width and sign no birth has told")
    elif metric.field not in _FIELDS[datatype]:
        raise SparkplugError(Reason.DATATYPE_CONTRADICTED, f"{metric.field} was sent for {datatype.name}")
    raw = metric.raw
    if isinstance(raw, float):
        return _finite(raw)
    if isinstance(raw, int) and not isinstance(raw, bool):
        width = _WIDTHS.get(datatype) if datatype else None
        return _integer(raw, *width) if width else _date_text(raw)
    if raw is None or isinstance(raw, bytes):
        raise SparkplugError(Reason.VALUE_UNSUPPORTED, "a text that is not UTF-8 or holds U+0000")
    return raw


def time_of(milliseconds: int) -> datetime | None:
    """Give the time that so many milliseconds after 1970 are, None when no calendar has it."""
    try:
        return EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None


def _parse(payload: bytes, limit_bytes: int) -> wire.Payload:
    if len(payload) > limit_bytes:
        raise SparkplugError(Reason.TOO_LARGE, f"{len(payload)} bytes; at most {limit_bytes} are decoded")
    try:
        return wire.Payload.FromString(payload)
    except (DecodeError, UnicodeDecodeError):
        # Not the parser's words: they may quote the payload.
        raise SparkplugError(Reason.UNDECODABLE, "not a payload of Sparkplug B") from None


def _inflate(body: bytes, limit_bytes: int) -> bytes:
    stream = zlib.decompressobj(_ZLIB_OR_GZIP)
    try:
        found = stream.decompress(body, limit_bytes + 1)
    except zlib.error:
        raise SparkplugError(Reason.UNDECODABLE, "the compressed payload cannot be decompressed") from None
    if len(found) > limit_bytes:
        raise SparkplugError(Reason.TOO_LARGE, f"more than {limit_bytes} bytes when decompressed")
    if not stream.eof:
        raise SparkplugError(Reason.UNDECODABLE, "the compressed payload is cut off")
    return found


def _metric(metric: wire.Payload.Metric) -> Metric:
    # upb gives the bytes of a text that is not UTF-8; C clients send Latin-1, which must not cost the energy beside it.
    name = _text(metric.name) if metric.name else None
    time = time_of(metric.timestamp) if metric.HasField("timestamp") else None
    field = metric.WhichOneof("value")
    fault = None
    if metric.name and (name is None or len(name) > NAME_LIMIT):
        name, fault = None, Reason.NAME_INVALID
    elif time is None and metric.HasField("timestamp"):
        fault = Reason.TIME_ABSURD
    return Metric(
        name=name,
        alias=metric.alias if metric.HasField("alias") else None,
        timestamp=time,
        datatype=_datatype(metric.datatype) if metric.datatype else None,
        field=field,
        raw=_raw(metric, field),
        is_null=metric.is_null,
        is_historical=metric.is_historical,
        is_transient=metric.is_transient,
        quality=_quality(metric.properties) if metric.HasField("properties") else None,
        fault=fault,
    )


def _raw(metric: wire.Payload.Metric, field: str | None) -> Raw:
    if field is None or (field not in _SCALAR and field != "bytes_value"):
        return None
    raw: Raw = getattr(metric, field)
    return _text(raw) if field == "string_value" else raw


def _text(given: object) -> str | None:
    """Give a text that PostgreSQL can keep, or None."""
    return given if isinstance(given, str) and "\0" not in given else None


def _datatype(number: int) -> DataType:
    try:
        return DataType(number)
    except ValueError:
        return DataType.UNKNOWN


def _quality(properties: wire.Payload.PropertySet) -> int | None:
    for key, value in zip(properties.keys, properties.values, strict=False):
        if key == "Quality":
            return value.int_value if value.HasField("int_value") else None
    return None


def _integer(raw: int, bits: int, signed: bool) -> int:
    span = 1 << bits
    low = raw & (span - 1)
    negative = low >= span >> 1
    if raw != low and not (negative and raw in {(1 << 32) - span + low, (1 << 64) - span + low}):
        raise SparkplugError(Reason.VALUE_OUT_OF_RANGE, f"an integer that does not fit {bits} bits")
    return low - span if signed and negative else low


def _finite(number: float) -> float:
    if not isfinite(number):
        raise SparkplugError(Reason.VALUE_NOT_FINITE, "not a number, or infinite")
    return number


def _date_text(milliseconds: int) -> str:
    time = time_of(milliseconds)
    if time is None:
        raise SparkplugError(Reason.VALUE_OUT_OF_RANGE, "a date that no calendar has")
    return time.isoformat(timespec="milliseconds")
