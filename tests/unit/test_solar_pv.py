"""The solar PV formula: published numbers, and roundings that never raise a credit."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrv import solar_pv

energy_wh = st.decimals(min_value=0, max_value=10**13, places=3)
factor = st.decimals(min_value=0, max_value=2, places=4)


@pytest.mark.parametrize(
    ("mwh", "ef", "re", "tonnes"),
    [
        ("6325.0", "0.319", "2017.675000", 2017),
        ("11226.0", "0.797", "8947.122000", 8947),
        ("291.5", "0.533", "155.369500", 155),
        ("5381.113", "0.319", "1716.575047", 1716),
        ("0", "0.319", "0.000000", 0),
    ],
)
def test_the_published_numbers(mwh, ef, re, tonnes):
    year = solar_pv.system_year(2021, Decimal(mwh) * 1_000_000, Decimal(ef))
    assert str(year.re_tco2) == re
    assert solar_pv.er_tco2(year.re_tco2) == tonnes


def test_energy_is_cut_to_whole_watt_hours():
    assert str(solar_pv.eg_mwh(Decimal("1234567.999"))) == "1.234567"


def test_emission_reductions_are_never_negative():
    assert solar_pv.er_tco2(Decimal("0.5"), Decimal("7.2")) == 0
    assert solar_pv.er_tco2(Decimal("7.2"), Decimal("0.5")) == 6


def test_a_year_is_floored_after_the_systems_are_summed():
    halves = [solar_pv.system_year(2021, Decimal(500_000), Decimal(1)) for _ in range(2)]
    vintage = solar_pv.vintage(date(2021, 1, 1), date(2021, 12, 31), halves)
    assert (vintage.year, vintage.er_tco2, vintage.eg_mwh, vintage.re_tco2) == (2021, 1, Decimal(1), Decimal(1))


def test_a_year_without_systems_is_zero():
    vintage = solar_pv.vintage(date(2021, 3, 1), date(2021, 3, 2), [])
    assert (str(vintage.eg_mwh), vintage.er_tco2, vintage.pe_tco2) == ("0.000000", 0, Decimal(0))


@given(energy_wh, factor)
def test_no_rounding_ever_raises_the_credit(wh, ef):
    year = solar_pv.system_year(2021, wh, ef)
    assert 0 <= year.eg_mwh * 1_000_000 <= wh
    assert wh - year.eg_mwh * 1_000_000 < 1
    assert year.re_tco2 <= year.eg_mwh * ef
    assert year.re_tco2 - 1 < solar_pv.er_tco2(year.re_tco2) <= year.re_tco2


@given(energy_wh, energy_wh, factor)
def test_less_energy_never_gives_more(one, other, ef):
    low, high = sorted((one, other))
    assert solar_pv.system_year(2021, low, ef).re_tco2 <= solar_pv.system_year(2021, high, ef).re_tco2
