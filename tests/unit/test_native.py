import json
import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.native import ELEMENT_LIMIT, decode
from devices.points import POINTS, REGISTER_LIMIT_WH

NOW = datetime(2026, 11, 22, 7, 0, tzinfo=UTC)
LATEST = NOW + timedelta(seconds=300)


def one(payload, **keywords):
    if not isinstance(payload, bytes):
        payload = json.dumps(payload).encode()
    return decode(payload, latest=LATEST, **keywords)


def reading(payload):
    readings, rejections = one(payload)
    assert rejections == []
    [(index, found)] = readings
    assert index == 0
    return found


def reason(payload, **keywords):
    readings, [rejection] = one(payload, **keywords)
    assert readings == []
    assert rejection.detail
    assert "\n" not in rejection.detail
    return rejection.reason, rejection.element


def element(**changes):
    return {"ts": "2026-11-22T07:00:00Z", "seq": 17, "points": {"W": 1234.5, "TotWhExp": 9876543}} | changes


def test_an_object_is_a_reading():
    found = reading(element(points={"W": 1234.5, "TotWhExp": 9876543, "Hz": None, "Fault": "none", "Door": True}))
    assert found.ts == NOW
    assert found.seq == 17
    assert found.values == {"W": 1234.5, "TotWhExp": 9876543.0}
    assert found.extra == {"Fault": "none", "Door": True}


@pytest.mark.parametrize(
    "ts",
    [
        "2026-11-22T07:00:00Z",
        "2026-11-22T16:00:00+09:00",
        "2026-11-22T07:00:00.000Z",
        "2026-11-22 07:00:00+00:00",
        int(NOW.timestamp() * 1000),
        NOW.timestamp() * 1000,
    ],
)
def test_a_time_in_any_accepted_form_is_the_same_instant_in_utc(ts):
    found = reading(element(ts=ts))
    assert found.ts == NOW
    assert found.ts.tzinfo is UTC


@pytest.mark.parametrize(
    ("ts", "expected"),
    [
        (None, "time_missing"),
        ("2026-11-22T07:00:00", "time_naive"),
        ("2026-11-22", "time_undecodable"),
        ("noon", "time_undecodable"),
        (True, "time_undecodable"),
        ([1], "time_undecodable"),
        (0, "time_absurd"),
        (NOW.timestamp(), "time_absurd"),
        (1e30, "time_absurd"),
        (10**400, "time_absurd"),
        (-1, "time_absurd"),
        ("1999-12-31T23:59:59Z", "time_absurd"),
        ("0001-01-01T00:00:00+14:00", "time_absurd"),
        ("9999-12-31T23:59:59-14:00", "time_absurd"),
        ("2026-11-22T07:05:00.000001Z", "time_in_future"),
        ("9999-12-31T23:59:59Z", "time_in_future"),
    ],
)
def test_a_time_that_is_none_is_refused(ts, expected):
    assert reason(element(ts=ts)) == (expected, 0)


def test_the_bounds_of_time_themselves_are_accepted():
    assert reading(element(ts="2000-01-01T00:00:00Z")).ts == datetime(2000, 1, 1, tzinfo=UTC)
    assert reading(element(ts="2026-11-22T07:05:00Z")).ts == LATEST


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", "payload_empty"),
        (b"  \n", "payload_empty"),
        (b"[]", "payload_empty"),
        (b"{", "payload_undecodable"),
        (b"{} {}", "payload_undecodable"),
        (b"\xff\xfe", "payload_undecodable"),
        (b"null", "payload_undecodable"),
        (b'"text"', "payload_undecodable"),
        (b"17", "payload_undecodable"),
        (b"[" * 100_000, "payload_undecodable"),
        (b"[" + b"{}," * ELEMENT_LIMIT + b"{}]", "payload_too_large"),
    ],
)
def test_a_payload_that_says_nothing_is_refused_as_a_whole(payload, expected):
    assert reason(payload) == (expected, None)


def test_a_payload_beyond_the_limit_is_not_looked_into():
    payload = json.dumps(element()).encode()
    assert reason(payload, limit_bytes=len(payload) - 1) == ("payload_too_large", None)
    assert one(payload, limit_bytes=len(payload))[1] == []


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (None, "no_points"),
        ({}, "no_points"),
        ({"W": None, "x": None}, "no_points"),
        ([1], "element_invalid"),
        ({"W": "1234"}, "value_not_a_number"),
        ({"W": True}, "value_not_a_number"),
        ({"W": [1]}, "value_not_a_number"),
        ({"W": math.nan}, "value_not_finite"),
        ({"W": math.inf}, "value_not_finite"),
        ({"W": -math.inf}, "value_not_finite"),
        ({"W": 10**400}, "value_not_finite"),
        ({"W": 1.0, "x": math.nan}, "value_not_finite"),
        ({"TotWhExp": -1}, "register_out_of_range"),
        ({"TotWhImp": REGISTER_LIMIT_WH * 1.001}, "register_out_of_range"),
        ({"W": 1.0, "x": {"y": 1}}, "element_invalid"),
        ({"W": 1.0, "x": "a\0b"}, "unstorable"),
        ({"W": 1.0, "x\0": "a"}, "unstorable"),
        ({"W": 1.0, "x": "\ud800"}, "unstorable"),
    ],
)
def test_points_that_cannot_be_kept_are_refused(points, expected):
    assert reason(element(points=points)) == (expected, 0)


def test_a_number_too_large_for_a_float_in_json_is_not_finite():
    assert reason(b'{"ts": "2026-11-22T07:00:00Z", "points": {"W": 1e999}}') == ("value_not_finite", 0)


@pytest.mark.parametrize("seq", [1.5, "1", True, 2**63])
def test_a_seq_that_is_no_number_of_64_bits_is_refused(seq):
    assert reason(element(seq=seq)) == ("seq_invalid", 0)


def test_zero_is_a_value_and_the_register_limit_is_within():
    found = reading(element(points={"W": 0, "TotWhExp": REGISTER_LIMIT_WH, "TotWhImp": 0}))
    assert found.values == {"W": 0.0, "TotWhExp": REGISTER_LIMIT_WH, "TotWhImp": 0.0}


def test_identity_and_other_keys_in_a_payload_are_left_alone():
    assert reading(element(site="other", device="other", quality="bad")).values == {"W": 1234.5, "TotWhExp": 9876543.0}


def test_good_elements_of_a_list_do_not_pay_for_bad_ones():
    elements = [element(seq=0), element(seq=1, points={"W": math.nan}), 3, element(seq=3), element(seq=4, ts=None)]
    readings, rejections = one(elements)
    assert [(index, found.seq) for index, found in readings] == [(0, 0), (3, 3)]
    assert [(found.element, found.reason) for found in rejections] == [
        (1, "value_not_finite"),
        (2, "element_invalid"),
        (4, "time_missing"),
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
elements = st.fixed_dictionaries(
    {},
    optional={
        "ts": json_values | st.just("2026-11-22T07:00:00Z"),
        "seq": json_values,
        "points": json_values | st.dictionaries(st.sampled_from([*POINTS, "x"]), json_values),
    },
)


@given(st.lists(elements | json_values, min_size=1))
def test_every_element_is_exactly_one_of_reading_and_rejection(payload):
    readings, rejections = one(payload)
    assert sorted([index for index, _ in readings] + [rejection.element for rejection in rejections]) == list(
        range(len(payload))
    )
    for _, found in readings:
        assert found.values or found.extra
        assert found.ts.tzinfo is UTC
        assert all(type(value) is float and math.isfinite(value) for value in found.values.values())


@given(st.binary())
def test_any_bytes_are_decoded_or_refused(payload):
    readings, rejections = one(payload)
    assert readings or rejections


@given(
    st.dictionaries(
        st.sampled_from(sorted(POINTS)), st.floats(min_value=0, max_value=REGISTER_LIMIT_WH), min_size=1
    )
)  # fmt: skip
def test_what_is_published_is_what_is_read_bit_for_bit(points):
    assert reading(element(points=points)).values == points


@given(
    st.sampled_from(["2026-11-22T07:00:00Z", "2026-11-22T16:00:00.5+09:00", 1763800000000, 1763800000000.5, None, "x"]),
    st.none() | st.integers(-(2**64), 2**64),
    st.dictionaries(
        st.sampled_from(sorted(POINTS)),
        st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70) | st.just("1"),
    ),
)
def test_the_fast_way_reads_what_the_tolerant_way_reads(ts, seq, points):
    """A foreign point in a second element sends the whole payload the tolerant way."""
    given = {"ts": ts, "seq": seq, "points": points}
    fast, refused = one([given])
    tolerant, refused_too = one([given, element(points={"foreign": 1.0})])
    assert repr(tolerant[:-1]) == repr(fast)
    assert [rejection.reason for rejection in refused_too] == [rejection.reason for rejection in refused]
