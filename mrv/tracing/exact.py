"""Exact numbers as they are written: without an exponent, which a spreadsheet would read as a rounded number."""

from decimal import Decimal
from typing import Annotated

from pydantic import PlainSerializer


def plain(value: Decimal) -> str:
    """Write a number with all of its places, as `-0.000000203`."""
    return format(value, "f")


Exact = Annotated[Decimal, PlainSerializer(plain, return_type=str, when_used="json")]
"""Wh, MWh, tCO2 or per cent of a trace; a string in JSON."""
