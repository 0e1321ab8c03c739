"""What a block of SunSpec registers says: from registers to points, without a bus.

The layout of each model is the SunSpec Alliance's own, from the files that pysunspec2 carries. A point is given only
when it is implemented and its scale factor, read in the same block, is too: pysunspec2 1.3.7 itself gives the raw
value where the scale factor is 0x8000, which would be wrong by powers of ten.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache

from sunspec2.device import get_model_def

from devices.errors import PollError

MARK = (0x5375, 0x6E53)
"""`SunS`, which the map of a SunSpec device begins with."""

BASE_ADDRESSES = (40000, 50000, 0)
"""Where the map may begin, in the order they are tried."""

END = 0xFFFF
"""The model id behind the last model."""

COMMON, NAMEPLATE = 1, 120
INVERTERS = (101, 102, 103, 111, 112, 113, 701)
METERS = (201, 202, 203, 204)
MEASURING = INVERTERS + METERS
"""The models that readings are made of."""

READ_LIMIT = 125
"""Most registers in one Modbus answer. Of model 701 the rest is text; every scale factor lies within."""

_SCALES = range(-10, 11)
_HUNDREDTH = Decimal("0.01")
_KINDS = {
    "int16": ("h", -0x8000), "sunssf": ("h", -0x8000), "uint16": ("H", 0xFFFF), "enum16": ("H", 0xFFFF),
    "bitfield16": ("H", 0xFFFF), "acc16": ("H", 0), "int32": ("i", -0x80000000), "uint32": ("I", 0xFFFFFFFF),
    "enum32": ("I", 0xFFFFFFFF), "bitfield32": ("I", 0xFFFFFFFF), "acc32": ("I", 0), "int64": ("q", -(2**63)),
    "uint64": ("Q", 2**64 - 1), "acc64": ("Q", 0), "float32": ("f", None), "float64": ("d", None),
}  # fmt: skip
"""How each type is packed, and the raw value that means "not implemented" (SunSpec Device Information Model, 1.2)."""


@dataclass(frozen=True, slots=True)
class _Source:
    name: str
    factor: Decimal = Decimal(1)
    add: int = 0
    register: bool = False
    """A lifetime counter: 0 means "not accumulated", whatever its type, and is never a reading."""


_INVERTER = {
    "A": _Source("A"), "PhVphA": _Source("PhVphA"), "PhVphB": _Source("PhVphB"), "PhVphC": _Source("PhVphC"),
    "W": _Source("W"), "Hz": _Source("Hz"), "VA": _Source("VA"), "VAr": _Source("VAr"),
    "PF": _Source("PF", _HUNDREDTH), "TotWhExp": _Source("WH", register=True), "DCA": _Source("DCA"),
    "DCV": _Source("DCV"), "DCW": _Source("DCW"), "TmpCab": _Source("TmpCab"), "St": _Source("St"),
    "StVnd": _Source("StVnd"), "Evt1": _Source("Evt1"),
}  # fmt: skip
_METER = {
    "A": _Source("A"), "PhVphA": _Source("PhVphA"), "PhVphB": _Source("PhVphB"), "PhVphC": _Source("PhVphC"),
    "W": _Source("W"), "Hz": _Source("Hz"), "VA": _Source("VA"), "VAr": _Source("VAR"),
    "PF": _Source("PF", _HUNDREDTH), "TotWhExp": _Source("TotWhExp", register=True),
    "TotWhImp": _Source("TotWhImp", register=True), "Evt": _Source("Evt"),
}  # fmt: skip
_DER = {
    "A": _Source("A"), "PhVphA": _Source("VL1"), "PhVphB": _Source("VL2"), "PhVphC": _Source("VL3"),
    "W": _Source("W"), "Hz": _Source("Hz"), "VA": _Source("VA"), "VAr": _Source("Var"), "PF": _Source("PF"),
    "TotWhExp": _Source("TotWhInj", register=True), "TotWhImp": _Source("TotWhAbs", register=True),
    "TmpAmb": _Source("TmpAmb"), "TmpCab": _Source("TmpCab"),
    # Model 701 counts the states of models 101 to 113 from 0.
    "St": _Source("InvSt", add=1), "Alrm": _Source("Alrm"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Model:
    """A model in a device's map."""

    id: int
    address: int
    """Of its first register, the id itself."""
    length: int
    """Registers behind id and length, as the device says."""

    @property
    def registers(self) -> int:
        """How many registers to read at once."""
        return min(self.length + 2, READ_LIMIT)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a device says it is, from its common and nameplate models."""

    serial_number: str | None = None
    described: Mapping[str, str | float] = field(default_factory=dict)


def points(registers: Sequence[int], model: Model) -> dict[str, float]:
    """Give the points of a measuring model, in SI units; what is not implemented is not there.

    Parameters
    ----------
    registers
        The model's registers from its id on, from one answer: a scale factor may change between two.

    Raises
    ------
    PollError
        The block is not the model that was found there: the device was changed, or the answer is torn.
    """
    _check(registers, model)
    sources = _DER if model.id == 701 else _INVERTER if model.id in INVERTERS else _METER
    given: dict[str, float] = {}
    for point, source in sources.items():
        value = _value(registers, model.id, source.name)
        if value is None or (source.register and value == 0):
            continue
        number = float((value + source.add) * source.factor)
        given[point] = number
    return given


def identity(blocks: Mapping[int, Sequence[int]]) -> Identity:
    """Read the common model (1) and the nameplate (120), as far as the device has them."""
    described: dict[str, str | float] = {}
    if COMMON in blocks:
        for name in ("Mn", "Md", "Vr", "SN"):
            said = _text(blocks[COMMON], COMMON, name)
            if said:
                described[name] = said
    if NAMEPLATE in blocks:
        for name in ("DERTyp", "WRtg"):
            value = _value(blocks[NAMEPLATE], NAMEPLATE, name)
            if value is not None:
                described[name] = float(value)
    serial = described.get("SN")
    return Identity(serial if isinstance(serial, str) else None, described)


def measuring(models: Sequence[Model], wanted: int | None, instance: int | None) -> Model:
    """Choose the model that readings are made of.

    Raises
    ------
    PollError
        There is none, or more than one and the configuration does not say which: never guessed, since two models of
        one device may count different things.
    """
    found = [model for model in models if model.id in MEASURING and wanted in {None, model.id}]
    names = ", ".join(str(model.id) for model in models) or "none"
    if not found:
        sought = f"model {wanted}" if wanted is not None else "a model of an inverter or a meter"
        raise PollError(f"the device has no {sought.removeprefix('a ')}; it has {names}")
    if instance is not None:
        if instance > len(found):
            raise PollError(f"the device has {len(found)} such models, and instance {instance} is declared")
        return found[instance - 1]
    if len(found) > 1:
        raise PollError(
            f"the device has several models that measure ({', '.join(str(model.id) for model in found)}); "
            "declare which one with `model`, and with `instance` among equal ones"
        )
    return found[0]


def _check(registers: Sequence[int], model: Model) -> None:
    if len(registers) < model.registers or tuple(registers[:2]) != (model.id, model.length):
        raise PollError(f"what stands at register {model.address} is no longer model {model.id}")


@cache
def _layout(model: int) -> Mapping[str, tuple[int, int, str, str | None]]:
    """Offset, size, type and scale factor of each point, from the Alliance's file."""
    layout: dict[str, tuple[int, int, str, str | None]] = {}
    offset = 0
    for point in get_model_def(model)["group"]["points"]:
        layout[point["name"]] = (offset, point["size"], point["type"], point.get("sf"))
        offset += point["size"]
    return layout


def _raw(registers: Sequence[int], offset: int, size: int, kind: str) -> int | float | None:
    """Give the raw value, None where the sentinel of its type stands or the device's model is too short for it."""
    if offset + size > len(registers):
        return None
    code, sentinel = _KINDS[kind]
    packed = struct.pack(f">{size}H", *registers[offset : offset + size])
    value: int | float = struct.unpack(f">{code}", packed)[0]
    return None if value == sentinel or not math.isfinite(value) else value


def _value(registers: Sequence[int], model: int, name: str) -> Decimal | None:
    offset, size, kind, scale = _layout(model)[name]
    raw = _raw(registers, offset, size, kind)
    if raw is None or scale is None:
        return None if raw is None else Decimal(raw)
    at, length, scale_kind, _ = _layout(model)[scale]
    exponent = _raw(registers, at, length, scale_kind)
    if exponent is None or exponent not in _SCALES:
        return None
    return Decimal(raw).scaleb(int(exponent))


def _text(registers: Sequence[int], model: int, name: str) -> str:
    offset, size, _, _ = _layout(model)[name]
    block = registers[offset : offset + size]
    said = struct.pack(f">{len(block)}H", *block).split(b"\0")[0].decode("utf-8", "replace")
    return "".join(sign for sign in said if sign.isprintable()).strip()
