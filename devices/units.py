"""Units of recordings, converted to the unit of a point exactly, in `Decimal`."""

from collections.abc import Callable
from decimal import ROUND_FLOOR, Context, Decimal
from types import MappingProxyType

from devices.errors import UnknownUnitError
from devices.points import POINTS, Point

Convert = Callable[[Decimal], Decimal]

# Enough for a float64's shortest text times any factor here without rounding.
_EXACT = Context(prec=60)
# W-min and J to Wh divide by 60 and 3600, which no decimal number holds: a nanowatt-hour less, never more.
_STEP = Decimal("1e-9")


def _times(factor: str) -> Convert:
    number = Decimal(factor)
    return lambda value: _EXACT.multiply(value, number)


def _over(divisor: int) -> Convert:
    number = Decimal(divisor)
    return lambda value: _EXACT.divide(value, number).quantize(_STEP, rounding=ROUND_FLOOR, context=_EXACT)


def _joules(prefix: str) -> Convert:
    number = Decimal(prefix)
    return lambda value: _over(3600)(_EXACT.multiply(value, number))


def _same(value: Decimal) -> Decimal:
    return value


def _kelvin(value: Decimal) -> Decimal:
    return _EXACT.subtract(value, Decimal("273.15"))


def _prefixed(unit: str) -> dict[str, Convert]:
    return {unit: _same, f"k{unit}": _times("1e3"), f"M{unit}": _times("1e6"), f"m{unit}": _times("1e-3")}


_UNITS: MappingProxyType[str, dict[str, Convert]] = MappingProxyType(
    {
        "Wh": {
            "Wh": _same,
            "kWh": _times("1e3"),
            "MWh": _times("1e6"),
            "GWh": _times("1e9"),
            "W-min": _over(60),
            "Wmin": _over(60),
            "J": _joules("1"),
            "kJ": _joules("1e3"),
            "MJ": _joules("1e6"),
        },
        "W": _prefixed("W"),
        "VA": _prefixed("VA"),
        "var": _prefixed("var") | {"VAr": _same, "kVAr": _times("1e3"), "MVAr": _times("1e6")},
        "V": _prefixed("V"),
        "A": _prefixed("A"),
        "Hz": _prefixed("Hz"),
        "°C": {"°C": _same, "C": _same, "degC": _same, "Cel": _same, "K": _kelvin},
        "W/m²": {"W/m²": _same, "W/m2": _same, "kW/m²": _times("1e3"), "kW/m2": _times("1e3")},
        "1": {"1": _same, "%": _times("1e-2")},
    }
)


def point(name: str) -> Point:
    """Find a point by SunSpec's name.

    Raises
    ------
    UnknownUnitError
        There is no such point; the message lists those there are.
    """
    try:
        return POINTS[name]
    except KeyError:
        raise UnknownUnitError(f'there is no point "{name}"; expected one of {", ".join(POINTS)}') from None


def converter(target: Point, unit: str | None = None) -> Convert:
    """Give the function from a unit to the unit of a point.

    Parameters
    ----------
    target
        The point; its own unit is the result's.
    unit
        The recording's unit; None means the point's own.

    Raises
    ------
    UnknownUnitError
        The point has no such unit; the message lists those it has.
    """
    known = _UNITS[target.unit]
    if unit is None:
        return _same
    if unit not in known:
        raise UnknownUnitError(f'{target.name} has no unit "{unit}"; expected one of {", ".join(known)}')
    return known[unit]
