"""Units: exact, and never a watt-hour more."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.errors import UnknownUnitError
from devices.points import POINTS
from devices.units import converter, point


@pytest.mark.parametrize(
    ("name", "unit", "value", "expected"),
    [
        ("TotWhExp", "kWh", "6259559", "6259559000"),
        ("TotWhExp", "MWh", "0.1", "100000"),
        ("TotWhExp", "W-min", "60", "1"),
        ("TotWhExp", "W-min", "1", "0.016666666"),
        ("W", "kW", "1.2345", "1234.5"),
        ("W", None, "0.1", "0.1"),
        ("VAr", "kvar", "-0.5", "-500"),
        ("TmpAmb", "K", "273.15", "0"),
        ("POAI", "kW/m²", "0.987654321", "987.654321"),
        ("PF", "%", "98", "0.98"),
    ],
)
def test_conversions(name: str, unit: str | None, value: str, expected: str) -> None:
    assert converter(point(name), unit)(Decimal(value)) == Decimal(expected)


@given(st.decimals(min_value=0, max_value=10**12, allow_nan=False, allow_infinity=False, places=9))
def test_a_watt_minute_register_is_never_read_too_high(value: Decimal) -> None:
    read = converter(point("TotWhExp"), "W-min")(value)
    assert 0 <= value - read * 60 < Decimal("1e-7")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_scaling_by_a_power_of_ten_loses_no_digit(value: float) -> None:
    text = repr(value)
    assert converter(point("W"), "kW")(Decimal(text)).scaleb(-3) == Decimal(text)


@pytest.mark.parametrize("name", POINTS)
def test_every_point_can_be_given_in_its_own_unit(name: str) -> None:
    assert converter(point(name), POINTS[name].unit)(Decimal("1.5")) == Decimal("1.5")


def test_what_does_not_exist_names_what_does() -> None:
    with pytest.raises(UnknownUnitError, match=r'no unit "kW"; expected one of Wh, kWh'):
        converter(point("TotWhExp"), "kW")
    with pytest.raises(UnknownUnitError, match=r'no point "Watt"; expected one of TotWhExp'):
        point("Watt")
