"""What the registers of a plain Modbus meter say, by the table in its declaration."""

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from devices.points import POINTS

Table = Literal["holding", "input"]
Type = Literal["i16", "u16", "i32", "u32", "i64", "u64", "f32", "f64"]
WordOrder = Literal["big", "little"]

_CODES: Mapping[Type, str] = {
    "i16": "h", "u16": "H", "i32": "i", "u32": "I", "i64": "q", "u64": "Q", "f32": "f", "f64": "d",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Field:
    """One value in a meter's registers."""

    point: str
    address: int
    """As sent on the wire: the first register is 0. A manual that counts from 40001 means 0 in table `holding`."""
    type: Type
    table: Table = "holding"
    word_order: WordOrder = "big"
    scale: Decimal = Decimal(1)
    missing: tuple[int, ...] = ()
    """Raw values that mean "no value", as the type reads them."""
    zero_is_value: bool = False
    """For a lifetime register: 0 is a count. By default it means "asleep" or "failed", as in most of the field."""

    @property
    def size(self) -> int:
        """How many registers it takes."""
        return struct.calcsize(_CODES[self.type]) // 2

    @property
    def end(self) -> int:
        """The address behind it."""
        return self.address + self.size


@dataclass(frozen=True, slots=True)
class Block:
    """Registers that are read with one request."""

    table: Table
    address: int
    count: int


def blocks(fields: Iterable[Field], limit: int = 125) -> list[Block]:
    """Cover the fields with requests; only what touches is joined: many meters refuse to read what they do not have."""
    found: list[Block] = []
    for one in sorted(fields, key=lambda field: (field.table, field.address)):
        last = found[-1] if found else None
        if last and last.table == one.table and one.address <= last.address + last.count:
            end = max(one.end, last.address + last.count)
            if end - last.address <= limit:
                found[-1] = Block(last.table, last.address, end - last.address)
                continue
        found.append(Block(one.table, one.address, one.size))
    return found


def points(fields: Iterable[Field], answers: Mapping[Block, Sequence[int]]) -> dict[str, float]:
    """Give the points in SI units, by the fields' scales; what is missing is not there."""
    given: dict[str, float] = {}
    for one in fields:
        value = _value(one, _registers(one, answers))
        if value is not None:
            given[one.point] = value
    return given


def _registers(one: Field, answers: Mapping[Block, Sequence[int]]) -> Sequence[int]:
    for block, registers in answers.items():
        if block.table == one.table and block.address <= one.address and one.end <= block.address + block.count:
            start = one.address - block.address
            return registers[start : start + one.size]
    raise ValueError(f"no answer holds register {one.address}")


def _value(one: Field, registers: Sequence[int]) -> float | None:
    words = registers if one.word_order == "big" else registers[::-1]
    raw: int | float = struct.unpack(f">{_CODES[one.type]}", struct.pack(f">{one.size}H", *words))[0]
    if not math.isfinite(raw) or raw in one.missing:
        return None
    known = POINTS.get(one.point)
    if raw == 0 and known is not None and known.register and not one.zero_is_value:
        return None
    value = float(Decimal(raw) * one.scale)
    return value if math.isfinite(value) else None
