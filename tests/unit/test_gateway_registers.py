"""Plain Modbus registers to points."""

import struct
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.gateway.registers import Block, Field, blocks, points


def words(code: str, value: float) -> list[int]:
    data = struct.pack(f">{code}", value)
    return list(struct.unpack(f">{len(data) // 2}H", data))


def one(field: Field, registers: list[int]) -> dict[str, float]:
    return points([field], {Block(field.table, field.address, len(registers)): registers})


@pytest.mark.parametrize(
    ("kind", "code", "value"),
    [("i16", "h", -5), ("u16", "H", 65531), ("i32", "i", -70000), ("u32", "I", 4_000_000_000), ("i64", "q", -(2**40)),
     ("u64", "Q", 2**52), ("f32", "f", 1.5), ("f64", "d", 230.1)],
)  # fmt: skip
def test_types_and_word_orders(kind, code, value):
    assert one(Field("W", 7, kind), words(code, value)) == {"W": value}
    assert one(Field("W", 7, kind, word_order="little"), words(code, value)[::-1]) == {"W": value}


def test_a_scale_is_exact():
    # 1234567 tenths of a kWh; in binary fractions 0.1 * 3 is not 0.3.
    assert one(Field("TotWhExp", 0, "u32", scale=Decimal(100)), words("I", 1234567)) == {"TotWhExp": 123_456_700.0}
    assert one(Field("Hz", 0, "u16", scale=Decimal("0.1")), [3]) == {"Hz": 0.3}


def test_what_is_missing_is_not_there():
    field = Field("W", 0, "i32", missing=(0x7FFFFFFF,))
    assert one(field, words("i", 0x7FFFFFFF)) == {}
    assert one(Field("W", 0, "f32"), words("f", float("nan"))) == {}
    assert one(Field("W", 0, "f64"), words("d", float("inf"))) == {}
    assert one(Field("W", 0, "f64", scale=Decimal(1000)), words("d", 1e307)) == {}


def test_0_in_a_lifetime_register_is_no_reading_unless_declared():
    assert one(Field("TotWhImp", 0, "u32"), [0, 0]) == {}
    assert one(Field("TotWhImp", 0, "u32", zero_is_value=True), [0, 0]) == {"TotWhImp": 0.0}
    assert one(Field("W", 0, "u32"), [0, 0]) == {"W": 0.0}


def test_only_what_touches_is_read_together():
    fields = [Field("W", 12, "f32"), Field("A", 0, "u16"), Field("Hz", 1, "f32"), Field("VA", 0, "u16", "input")]
    assert blocks(fields) == [Block("holding", 0, 3), Block("holding", 12, 2), Block("input", 0, 1)]


def test_an_answer_holds_125_registers():
    assert [block.count for block in blocks(Field(f"p{n}", n, "u16") for n in range(300))] == [125, 125, 50]
    assert [block.count for block in blocks(Field(f"p{n}", 4 * n, "u64") for n in range(40))] == [124, 36]


@given(st.lists(st.tuples(st.integers(0, 400), st.sampled_from(["u16", "f32", "u64"])), min_size=1, max_size=60))
def test_blocks_hold_every_field_and_nothing_else_and_fit_an_answer(drawn):
    fields = [Field(f"p{number}", address, kind) for number, (address, kind) in enumerate(drawn)]
    found = blocks(fields)
    wanted = {address for field in fields for address in range(field.address, field.end)}
    covered = [set(range(block.address, block.address + block.count)) for block in found]
    assert set().union(*covered) == wanted
    assert all(block.count <= 125 for block in found)
    given = points(fields, {block: [1] * block.count for block in found})
    assert set(given) == {field.point for field in fields}
