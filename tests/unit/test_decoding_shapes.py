"""Payload shapes: from bytes to elements, exactly, and never an exception but the one with a reason."""

import json
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.decoding.profile import SHAPES
from devices.decoding.shapes import BAD, REPEATED, ShapeError, crc16, elements
from devices.native import ELEMENT_LIMIT, Reason

DECODED = [shape for shape in SHAPES if shape not in {"native", "sparkplug", "ignored"}]


def reason_of(shape: str, payload: bytes, **more: str) -> Reason:
    with pytest.raises(ShapeError) as caught:
        elements(shape, payload, **more)
    return caught.value.reason


@given(st.sampled_from(DECODED), st.binary(max_size=200), st.sampled_from(["", "a", "a.b"]))
def test_whatever_bytes_come_give_elements_or_a_reason(shape: str, payload: bytes, path: str) -> None:
    with suppress(ShapeError):
        found = elements(shape, payload, name="x", path=path)
        assert all(isinstance(one, dict) for one in found)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(st.sampled_from(DECODED), json_values)
def test_whatever_json_comes_gives_elements_or_a_reason(shape: str, value: object) -> None:
    with suppress(ShapeError):
        found = elements(shape, json.dumps(value).encode(), name="x", path="a")
        assert all(isinstance(one, dict) for one in found)


@pytest.mark.parametrize("shape", DECODED)
def test_what_is_not_text_is_undecodable(shape: str) -> None:
    assert reason_of(shape, b"\xff\xfe12") is Reason.PAYLOAD_UNDECODABLE


@pytest.mark.parametrize("shape", [shape for shape in DECODED if shape != "dsmr-telegram"])
@pytest.mark.parametrize("payload", [b"", b"  \n"])
def test_nothing_is_empty(shape: str, payload: bytes) -> None:
    assert reason_of(shape, payload, name="x") is Reason.PAYLOAD_EMPTY


def test_more_elements_than_are_looked_into() -> None:
    payload = b"[" + b"1," * ELEMENT_LIMIT + b"1]"
    assert reason_of("json", payload) is Reason.PAYLOAD_TOO_LARGE


class TestJson:
    def test_numbers_stay_as_they_were_written(self) -> None:
        [found] = elements("json", b'{"a": 465.2940000000000001, "b": 18446744073709551616, "c": 1e-3}')
        assert found == {"a": Decimal("465.2940000000000001"), "b": 2**64, "c": Decimal("0.001")}

    def test_paths_and_lists(self) -> None:
        [found] = elements("json", b'{"a": {"b": [1, {"c": 2}]}}')
        assert found == {"a.b": [1, {"c": 2}], "a.b.0": 1, "a.b.1.c": 2}

    def test_nan_and_infinity_are_no_numbers(self) -> None:
        [found] = elements("json", b'{"a": NaN, "b": Infinity, "c": -Infinity}')
        assert found == {"a": None, "b": None, "c": None}

    def test_a_name_twice_is_nobodys_unless_both_say_the_same(self) -> None:
        [found] = elements("json", b'{"a": 1, "a": 2, "b": 1, "b": 1}')
        assert found == {"a": REPEATED, "b": 1}

    def test_what_stands_beside_a_list_belongs_to_each_of_it(self) -> None:
        found = elements("json", b'{"du": "X", "data": [{"v": 1}, {"v": 2}]}', path="data")
        assert found == [{"du": "X", "v": 1}, {"du": "X", "v": 2}]

    def test_without_the_list_the_payload_is_the_element(self) -> None:
        assert elements("json", b'{"v": 1}', path="metrics") == [{"v": 1}]

    @pytest.mark.parametrize("payload", [b"{", b"nonsense", b'{"a": 1} x', b"[" * 100_000])
    def test_what_is_no_json(self, payload: bytes) -> None:
        assert reason_of("json", payload) is Reason.PAYLOAD_UNDECODABLE


class TestSenml:
    def test_base_fields_are_carried_over_until_others_come(self) -> None:
        found = elements(
            "senml",
            b'[{"bn":"a:","bt":2e9,"bu":"W","n":"p","v":1},{"n":"q","v":2},{"bn":"b:","bu":"V","n":"p","t":5,"v":3}]',
        )
        assert found == [
            {"@device": "a", "@time": 2 * 10**9, "p": 1, "p@unit": "W", "a:p": 1, "a:p@unit": "W",
             "q": 2, "q@unit": "W", "a:q": 2, "a:q@unit": "W"},
            {"@device": "b", "@time": 2 * 10**9 + 5, "p": 3, "p@unit": "V", "b:p": 3, "b:p@unit": "V"},
        ]  # fmt: skip

    def test_base_values_are_added(self) -> None:
        [found] = elements("senml", b'[{"bt":2e9,"bv":100,"bs":1000,"n":"p","v":1},{"n":"q","s":5},{"n":"r"}]')
        assert (found["p"], found["q.sum"], found["r"]) == (101, 1005, 100)

    def test_a_sum_is_in_the_unit_times_a_second(self) -> None:
        [found] = elements("senml", b'[{"n":"p","u":"W","v":1,"s":2},{"n":"v","u":"V","s":2}]')
        assert (found["p@unit"], found["p.sum@unit"], found["v.sum@unit"]) == ("W", "J", "V·s")

    @pytest.mark.parametrize(("time", "relative"), [("268435455", True), ("268435456", False), ("-5", True)])
    def test_below_2_to_28_a_time_is_relative(self, time: str, relative: bool) -> None:
        [found] = elements("senml", f'[{{"n":"p","t":{time},"v":1}}]'.encode())
        assert found.get("@relative", False) is relative

    def test_two_values_of_one_name_and_time_are_nobodys(self) -> None:
        [found] = elements("senml", b'[{"n":"e","v":1},{"n":"e","v":2},{"n":"f","v":3},{"n":"f","v":3}]')
        assert (found["e"], found["f"]) == (REPEATED, 3)

    @pytest.mark.parametrize("payload", [b"{}", b"[1]", b"5"])
    def test_what_is_no_pack(self, payload: bytes) -> None:
        assert reason_of("senml", payload) is Reason.PAYLOAD_UNDECODABLE

    def test_a_value_that_is_a_text(self) -> None:
        assert reason_of("senml", b'[{"n":"e","v":"1"}]') is Reason.VALUE_NOT_A_NUMBER


class TestLineProtocol:
    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("m e=45i", {"measurement": "m", "e": 45}),
            ("m e=45u 17", {"measurement": "m", "e": 45, "@time": 17}),
            ('m e=4.5e3,b=t,s="x, y=1" -5', {"measurement": "m", "e": "4.5e3", "b": True, "s": "x, y=1", "@time": -5}),
            (r"m\ 1,a\,b=c\ d\=e f\ g=1i", {"measurement": "m 1", "tags.a,b": "c d=e", "f g": 1}),
            (r'm s="a\"b\\c"', {"measurement": "m", "s": r'a"b\c'}),
            ("m,t=1,u=2  e=1i  3 ", {"measurement": "m", "tags.t": "1", "tags.u": "2", "e": 1, "@time": 3}),
        ],
    )
    def test_lines(self, line: str, expected: dict[str, object]) -> None:
        assert elements("line-protocol", line.encode()) == [expected]

    def test_comments_and_empty_lines_are_no_elements(self) -> None:
        assert len(elements("line-protocol", b"# a e=1i\n\nm e=1i\r\nm e=2i\n")) == 2

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (b"m", Reason.PAYLOAD_UNDECODABLE),
            (b"m ", Reason.PAYLOAD_UNDECODABLE),
            (b"m nonsense", Reason.PAYLOAD_UNDECODABLE),
            (b"m e=1i yesterday", Reason.TIME_UNDECODABLE),
            (b"m e=1i 1.5", Reason.TIME_UNDECODABLE),
        ],
    )
    def test_what_is_no_line(self, line: bytes, reason: Reason) -> None:
        assert reason_of("line-protocol", line) is reason


class TestOthers:
    def test_scalar_and_value(self) -> None:
        assert elements("scalar", b" 465.294\n", name="0/yieldtotal") == [{"0/yieldtotal": "465.294"}]
        assert elements("value", b'{"value": null, "max": 1}', name="Ac/Power") == [{"Ac/Power": None}]
        assert reason_of("value", b'{"max": 1}', name="x") is Reason.PAYLOAD_UNDECODABLE

    def test_thingsboards_three_layouts(self) -> None:
        assert elements("thingsboard", b'{"e": 1}') == [{"e": 1}]
        assert elements("thingsboard", b'[{"ts": 5, "values": {"e": 1}}, {"e": 2}]') == [{"e": 1, "@time": 5}, {"e": 2}]
        assert elements("thingsboard", b'{"A": [{"ts": 5, "values": {"e": 1}}], "B": [{"e": 2}]}') == [
            {"@device": "A", "e": 1, "@time": 5},
            {"@device": "B", "e": 2},
        ]

    def test_neurons_two_layouts_say_the_same(self) -> None:
        head = b'{"timestamp": 5, "node": "n", "group": "g", '
        values = head + b'"values": {"a": 1}, "errors": {"b": 2014}}'
        tags = head + b'"tags": [{"name": "a", "value": 1}, {"name": "b", "error": 9}]}'
        assert elements("neuron", values) == elements("neuron", tags)
        assert elements("neuron", values) == [{"a": 1, "b": BAD, "@device": "n", "@group": "g", "@time": 5}]

    def test_siemens_items_that_contradict_each_other(self) -> None:
        items = '{"name": "e", "value": "1", "quality": "valid"}, {"name": "e", "value": "2", "quality": "valid"}'
        [found] = elements("siemens", f'{{"_embedded": {{"item": [{items}, 5]}}}}'.encode())
        assert found["e"] == REPEATED

    def test_siemens_trailing_comma_is_taken_out_nowhere_else(self) -> None:
        [found] = elements("siemens", b'{"Name": "a,}", "datapoints": [{"Measurement": "1", "Quality_Code": "192"}]}')
        assert found["a,}"] == "1"
        assert reason_of("json", b'{"a": 1,}') is Reason.PAYLOAD_UNDECODABLE


class TestTelegram:
    BODY = "/XYZ\r\n\r\n1-3:0.2.8(50)\r\n0-0:1.0.0(260601120000S)\r\n1-0:1.8.1(001.5*kWh)\r\n!"

    def test_crc_16_arc(self) -> None:
        assert crc16(b"123456789") == 0xBB3D

    @pytest.mark.parametrize("line_end", ["\r\n", "\n"])
    def test_a_telegram(self, line_end: str) -> None:
        text = f"{self.BODY}{crc16(self.BODY.encode()):04x}\r\n".replace("\r\n", line_end)
        assert elements("dsmr-telegram", text.encode()) == [{"0.2.8": "50", "1.0.0": "260601120000S", "1.8.1": "001.5"}]

    @given(st.integers(0, 10**6), st.integers(0, 7))
    def test_no_single_bit_can_change_unseen(self, place: int, bit: int) -> None:
        whole = bytearray(f"{self.BODY}{crc16(self.BODY.encode()):04X}\r\n".encode())
        place %= len(self.BODY)
        whole[place] ^= 1 << bit
        with pytest.raises(ShapeError):
            elements("dsmr-telegram", bytes(whole))

    def test_a_lost_checksum_is_seen_from_dsmr_4_on(self) -> None:
        assert reason_of("dsmr-telegram", self.BODY.encode()) is Reason.PAYLOAD_UNDECODABLE
        older = self.BODY.replace("1-3:0.2.8(50)\r\n", "")
        assert elements("dsmr-telegram", older.encode())[0]["1.8.1"] == "001.5"
