"""Axes: where ticks stand, how they are written, and which unit keeps the numbers short."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite
from typing import Final

_STEPS: Final = (Decimal(1), Decimal(2), Decimal(5), Decimal(10))
_PREFIXES: Final = ((Decimal(10) ** 9, "G"), (Decimal(10) ** 6, "M"), (Decimal(1000), "k"), (Decimal(1), ""))


@dataclass(frozen=True, slots=True)
class Prefix:
    """A multiple of a unit."""

    sign: str
    """k, M, G or nothing."""
    factor: Decimal

    def of(self, value: Decimal | float) -> float:
        """Return a value in this multiple, for drawing."""
        return float(value) / float(self.factor)


def prefix(values: Sequence[Decimal | float]) -> Prefix:
    """Choose the largest multiple in which the largest of the values is at least 1."""
    largest = max((abs(float(value)) for value in values), default=0.0)
    for factor, sign in _PREFIXES:
        if largest >= float(factor):
            return Prefix(sign, factor)
    return Prefix("", Decimal(1))


def ticks(low: float, high: float, most: int = 6) -> list[Decimal]:
    """Choose round numbers that reach from at most `low` to at least `high`, at least two of them.

    Steps are 1, 2 or 5 times a power of ten.

    Parameters
    ----------
    low, high
        What is shown; in either order, and alike or not.
    most
        Most ticks, 3 or more.

    Raises
    ------
    ValueError
        An end is not a finite number.
    """
    if not (isfinite(low) and isfinite(high)):
        raise ValueError("an axis needs finite ends")
    begin, end = (Decimal(repr(float(one))) for one in sorted((low, high)))
    if begin == end:
        begin, end = min(begin, Decimal(0)), max(end, Decimal(0))
        if begin == end:
            end = Decimal(1)
    step = Decimal(1).scaleb(((end - begin) / most).adjusted())
    while True:
        for factor in _STEPS:
            first, last = _down(begin, step * factor), -_down(-end, step * factor)
            count = int((last - first) / (step * factor)) + 1
            if count <= most:
                return [first + step * factor * place for place in range(count)]
        step *= 10


def _down(value: Decimal, step: Decimal) -> Decimal:
    whole = value // step  # towards zero
    return (whole - 1 if value < whole * step else whole) * step


def written(tick: Decimal) -> str:
    """Write a tick, without needless places."""
    text = f"{tick:,f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in {"-0", ""} else text.replace("-", "−")


def short(value: float) -> str:
    """Write a number with three significant digits at most, for the inside of a cell."""
    if value == 0:
        return "0"
    digits = max(0, 2 - Decimal(repr(abs(value))).adjusted())
    text = f"{value:,.{min(digits, 3)}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in {"-0", ""} else text
