"""The decoder: what was on the wire, and what it means under a datatype."""

import gzip
import math
import struct
import tracemalloc
import zlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.sparkplug import messages
from devices.sparkplug import sparkplug_b_pb2 as wire
from devices.sparkplug.payload import (
    LIMIT_BYTES,
    METRIC_LIMIT,
    NAME_LIMIT,
    DataType,
    Metric,
    Reason,
    SparkplugError,
    decode,
    value_of,
)

AT = datetime(2026, 11, 22, 7, 0, 0, 123000, tzinfo=UTC)
AT_MS = 1_795_330_800_123
SIGNED = {DataType.INT8: 8, DataType.INT16: 16, DataType.INT32: 32, DataType.INT64: 64}
UNSIGNED = {DataType.UINT8: 8, DataType.UINT16: 16, DataType.UINT32: 32, DataType.UINT64: 64}


def sent(**metric) -> Metric:
    """One metric, through protobuf and back."""
    return decode(wire.Payload(metrics=[wire.Payload.Metric(**metric)]).SerializeToString()).metrics[0]


def refused(metric: Metric, datatype: DataType | None) -> Reason:
    with pytest.raises(SparkplugError) as caught:
        value_of(metric, datatype)
    return caught.value.reason


def test_what_is_given_is_kept_and_what_is_not_is_none():
    given_ = sent(
        name="W", alias=0, timestamp=AT_MS, datatype=9, is_historical=True, is_transient=True, float_value=1.5,
        properties={"keys": ["unit", "Quality"], "values": [{"string_value": "kW"}, {"type": 3, "int_value": 500}]},
    )  # fmt: skip
    assert given_ == Metric("W", 0, AT, DataType.FLOAT, "float_value", 1.5, False, True, True, 500)
    assert sent() == Metric()
    assert decode(b"") == decode(wire.Payload().SerializeToString())
    assert (decode(b"").timestamp, decode(b"").seq, decode(b"").metrics) == (None, None, ())
    payload = decode(wire.Payload(timestamp=AT_MS, seq=0).SerializeToString())
    assert (payload.timestamp, payload.seq) == (AT, 0)
    assert payload.timestamp.tzinfo is UTC


@pytest.mark.parametrize(
    ("datatype", "field", "raw", "value"),
    [
        # npm sparkplug-client extends the sign to 32 bits, PyPI pysparkplug does not (devices.md A14).
        (DataType.INT16, "int_value", 4_294_967_284, -12),
        (DataType.INT16, "int_value", 65_524, -12),
        (DataType.INT8, "int_value", 4_294_967_295, -1),
        (DataType.INT8, "int_value", 255, -1),
        (DataType.INT8, "int_value", 127, 127),
        (DataType.INT32, "int_value", 4_294_967_284, -12),
        # mqtt-spb-wrapper puts every integer into long_value, as an Int64.
        (DataType.INT64, "long_value", 2**64 - 12, -12),
        (DataType.INT32, "long_value", 2**64 - 12, -12),
        (DataType.INT32, "long_value", 2**32 - 12, -12),
        (DataType.INT16, "long_value", 2**32 - 12, -12),
        (DataType.INT16, "long_value", 65_524, -12),
        (DataType.UINT16, "int_value", 65_524, 65_524),
        (DataType.UINT16, "int_value", 4_294_967_284, 65_524),
        (DataType.UINT32, "long_value", 4_294_967_284, 4_294_967_284),
        (DataType.UINT64, "long_value", 2**53 + 1, 2**53 + 1),
        (DataType.UINT64, "long_value", 2**64 - 1, 2**64 - 1),
        (DataType.INT64, "int_value", 4_294_967_284, 4_294_967_284),
        (DataType.DOUBLE, "double_value", 12.345678901234, 12.345678901234),
        (DataType.DOUBLE, "float_value", 0.5, 0.5),
        (DataType.FLOAT, "double_value", 0.1, 0.1),
        (DataType.BOOLEAN, "boolean_value", False, False),
        (DataType.STRING, "string_value", "MPPT", "MPPT"),
        (DataType.TEXT, "string_value", "", ""),
        (DataType.UUID, "string_value", "0191-x", "0191-x"),
        (DataType.DATETIME, "long_value", AT_MS, "2026-11-22T07:00:00.123+00:00"),
        (None, "boolean_value", True, True),
        (None, "string_value", "a", "a"),
        (None, "double_value", 2.5, 2.5),
    ],
)
def test_a_value_is_what_the_datatype_makes_of_the_wire(datatype, field, raw, value):
    found = value_of(sent(**{field: raw}), datatype)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("datatype", "field", "raw", "reason"),
    [
        (DataType.INT16, "int_value", 70_000, Reason.VALUE_OUT_OF_RANGE),
        (DataType.UINT8, "int_value", 300, Reason.VALUE_OUT_OF_RANGE),
        (DataType.UINT32, "long_value", 2**32 + 5, Reason.VALUE_OUT_OF_RANGE),
        (DataType.INT8, "int_value", 4_294_967_168 - 1, Reason.VALUE_OUT_OF_RANGE),
        (DataType.INT32, "long_value", 2**63, Reason.VALUE_OUT_OF_RANGE),
        (DataType.DATETIME, "long_value", 2**63, Reason.VALUE_OUT_OF_RANGE),
        (DataType.INT32, "float_value", 1.0, Reason.DATATYPE_CONTRADICTED),
        (DataType.FLOAT, "int_value", 1, Reason.DATATYPE_CONTRADICTED),
        (DataType.BOOLEAN, "int_value", 1, Reason.DATATYPE_CONTRADICTED),
        (DataType.INT8, "boolean_value", True, Reason.DATATYPE_CONTRADICTED),
        (DataType.UINT64, "string_value", "5", Reason.DATATYPE_CONTRADICTED),
        (DataType.STRING, "long_value", 5, Reason.DATATYPE_CONTRADICTED),
        (None, "int_value", 1, Reason.DATATYPE_UNKNOWN),
        (None, "long_value", 1, Reason.DATATYPE_UNKNOWN),
        (DataType.DOUBLE, "double_value", math.nan, Reason.VALUE_NOT_FINITE),
        (DataType.FLOAT, "float_value", -math.inf, Reason.VALUE_NOT_FINITE),
        (None, "float_value", math.inf, Reason.VALUE_NOT_FINITE),
        (DataType.BYTES, "bytes_value", b"\x01", Reason.VALUE_UNSUPPORTED),
        (DataType.UINT16_ARRAY, "bytes_value", b"\x01\x00", Reason.VALUE_UNSUPPORTED),
        (None, "bytes_value", b"\x01", Reason.VALUE_UNSUPPORTED),
        (DataType.DATASET, "dataset_value", {"num_of_columns": 0}, Reason.VALUE_UNSUPPORTED),
        (DataType.TEMPLATE, "template_value", {"is_definition": True}, Reason.VALUE_UNSUPPORTED),
        (DataType.UNKNOWN, "int_value", 1, Reason.VALUE_UNSUPPORTED),
        (DataType.STRING, "string_value", "a\0b", Reason.VALUE_UNSUPPORTED),
    ],
)
def test_what_is_no_value_is_refused_with_its_reason(datatype, field, raw, reason):
    assert refused(sent(**{field: raw}), datatype) is reason


@given(datatype=st.sampled_from(list(SIGNED)), data=st.data())
def test_every_signed_integer_survives_every_way_of_writing_it(datatype, data):
    bits = SIGNED[datatype]
    value = data.draw(st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
    written = {("long_value", value % 2**64), ("long_value", value % 2**bits)}
    if bits <= 32:
        written |= {("int_value", value % 2**32), ("int_value", value % 2**bits), ("long_value", value % 2**32)}
    assert {value_of(Metric(field=field, raw=raw), datatype) for field, raw in written} == {value}


@given(datatype=st.sampled_from(list(UNSIGNED)), data=st.data())
def test_every_unsigned_integer_is_itself(datatype, data):
    value = data.draw(st.integers(0, 2 ** UNSIGNED[datatype] - 1))
    fields = ["long_value"] + ["int_value"] * (value < 2**32)
    assert {value_of(Metric(field=field, raw=value), datatype) for field in fields} == {value}


@given(datatype=st.sampled_from([*SIGNED, *UNSIGNED]), raw=st.integers(0, 2**64 - 1))
def test_an_integer_is_masked_and_extended_or_refused(datatype, raw):
    bits = SIGNED.get(datatype) or UNSIGNED[datatype]
    expected = raw & (2**bits - 1)
    if datatype in SIGNED and expected >= 2 ** (bits - 1):
        expected -= 2**bits
    metric = Metric(field="long_value", raw=raw)
    if raw < 2**bits or raw >= 2**64 - 2 ** (bits - 1):
        assert value_of(metric, datatype) == expected
    elif not 2**32 - 2 ** (bits - 1) <= raw < 2**32:
        assert refused(metric, datatype) is Reason.VALUE_OUT_OF_RANGE


def test_a_float_is_the_wires_float_exactly():
    assert value_of(sent(float_value=49.95), DataType.FLOAT) == struct.unpack("<f", struct.pack("<f", 49.95))[0]


def test_null_and_nothing_sent_are_no_value_whatever_the_datatype():
    for datatype in [*DataType, None]:
        assert value_of(sent(is_null=True, int_value=7), datatype) is None
        assert value_of(sent(name="a"), datatype) is None


def test_a_datatype_of_a_later_version_is_unknown_and_none_is_not_said():
    assert sent(datatype=99).datatype is DataType.UNKNOWN
    assert sent(datatype=0).datatype is None
    assert sent(datatype=34).datatype is DataType.DATETIME_ARRAY


def test_a_text_in_latin_1_costs_only_itself():
    # protobuf does not check proto2 texts when it parses; nanopb clients send what they have.
    umlaut = bytes([0x7A, 1, 0xFC])
    payload = decode(bytes([0x12, len(umlaut)]) + umlaut + wire.Payload(seq=3).SerializeToString())
    assert payload.seq == 3
    assert refused(payload.metrics[0], DataType.STRING) is Reason.VALUE_UNSUPPORTED


@pytest.mark.parametrize("name", [b"\xff", b"a\0b", b"x" * (NAME_LIMIT + 1)])
def test_a_name_that_cannot_be_kept_is_a_fault_of_its_metric(name):
    metric = wire.Payload.Metric(alias=3).SerializeToString() + b"\x0a" + _varint(len(name)) + name
    found = decode(b"\x12" + _varint(len(metric)) + metric).metrics[0]
    assert (found.name, found.alias, found.fault) == (None, 3, Reason.NAME_INVALID)


def test_a_time_that_no_calendar_has_is_said_not_replaced():
    assert sent(name="a", timestamp=2**63).fault is Reason.TIME_ABSURD
    payload = decode(wire.Payload(timestamp=2**64 - 1).SerializeToString())
    assert payload.timestamp is None
    assert payload.time_absurd
    assert not decode(b"").time_absurd
    assert sent(timestamp=0).timestamp == datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("compress", [zlib.compress, gzip.compress])
def test_a_compressed_payload_is_read_as_if_it_were_not(compress):
    inner = wire.Payload(seq=7, metrics=[wire.Payload.Metric(name="a", datatype=3, int_value=1)]).SerializeToString()
    outer = wire.Payload(uuid="SPBV1.0_COMPRESSED", body=compress(inner))
    assert decode(outer.SerializeToString()) == decode(inner)


def test_a_compressed_payload_cannot_fill_the_memory():
    bomb = wire.Payload(uuid="SPBV1.0_COMPRESSED", body=zlib.compress(b"\0" * 20 * LIMIT_BYTES)).SerializeToString()
    tracemalloc.start()
    with pytest.raises(SparkplugError) as caught:
        decode(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.reason is Reason.TOO_LARGE
    assert peak < 4 * LIMIT_BYTES


@pytest.mark.parametrize("body", [b"", b"no zlib", zlib.compress(b"\x18\x07")[:-3]])
def test_what_cannot_be_decompressed_is_undecodable(body):
    with pytest.raises(SparkplugError) as caught:
        decode(wire.Payload(uuid="SPBV1.0_COMPRESSED", body=body).SerializeToString())
    assert caught.value.reason is Reason.UNDECODABLE


def test_too_much_is_not_looked_into():
    with pytest.raises(SparkplugError) as caught:
        decode(b"\x12\x00" * (METRIC_LIMIT + 1))
    assert caught.value.reason is Reason.TOO_LARGE
    assert len(decode(b"\x12\x00" * METRIC_LIMIT).metrics) == METRIC_LIMIT
    with pytest.raises(SparkplugError) as caught:
        decode(b"\x18\x01" * 6, limit_bytes=11)
    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("payload", [b"\xff", b'{"W": 1}', b"\x12\x05\x0a", b"ONLINE", b"\x12\x02" * 200])
def test_what_is_no_payload_is_undecodable_and_not_quoted(payload):
    with pytest.raises(SparkplugError) as caught:
        decode(payload)
    assert caught.value.reason is Reason.UNDECODABLE
    assert str(caught.value) == "sparkplug_undecodable: not a payload of Sparkplug B"


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_else(payload):
    try:
        metrics = decode(payload).metrics
    except SparkplugError:
        return
    for metric in metrics:
        for datatype in [metric.datatype, *DataType, None]:
            try:
                value_of(metric, datatype)
            except SparkplugError:
                continue


def test_a_rebirth_command_is_a_payload_without_seq():
    payload = decode(messages.rebirth_command(AT))
    assert (payload.timestamp, payload.seq) == (AT, None)
    assert payload.metrics == (
        Metric("Node Control/Rebirth", None, AT, DataType.BOOLEAN, "boolean_value", True),
    )  # fmt: skip


def test_a_hosts_state_is_json():
    assert messages.host_state(online=True, at=AT) == b'{"online": true, "timestamp": 1795330800123}'
    assert messages.host_state(online=False, at=AT) == b'{"online": false, "timestamp": 1795330800123}'


def _varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number % 128 | 128]) + _varint(number // 128)
