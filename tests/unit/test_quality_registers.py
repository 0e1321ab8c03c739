"""Meters against inverters, a meter against its invoice, and which methodology the sky bounds."""

from datetime import date, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from mrv.energy import EnergyDay
from mrv.quality.registers import (
    is_solar,
    meters_against_inverters,
    permissible_error_percent,
)

FIRST = date(2021, 3, 1)
DAY_US = 86_400_000_000


def device(kind: str, accuracy_class: str | None = None, error: str | None = None) -> Any:
    given = None if error is None else Decimal(error)
    return SimpleNamespace(kind=kind, accuracy_class=accuracy_class, maximum_permissible_error_percent=given)


def days(*wh: int, covered: float = 1.0) -> list[EnergyDay]:
    return [
        EnergyDay(FIRST + timedelta(days=n), value * 1000, 5_000, None, 96, int(DAY_US * covered), 0, DAY_US, {})
        for n, value in enumerate(wh)
    ]


@pytest.mark.parametrize(
    ("kind", "accuracy_class", "error", "percent"),
    [
        ("meter", "0.5S", None, "0.5"),
        ("meter", "class 1", None, "1"),
        ("meter", "0.5S", "0.7", "0.7"),
        ("meter", None, None, "1"),
        ("meter", "B", None, "1"),
        ("inverter", None, None, "3"),
    ],
)
def test_how_far_a_device_may_be_wrong(kind: str, accuracy_class: str | None, error: str | None, percent: str) -> None:
    assert permissible_error_percent(device(kind, accuracy_class, error)) == Decimal(percent)


DEVICES = [device("meter", "0.5"), device("inverter"), device("inverter", None, "2")]


def test_a_meter_may_show_as_much_as_both_may_be_wrong() -> None:
    # 200,000 Wh × 1.005 ÷ 0.97 = 207,216.49 Wh, and one watt-hour.
    inverters = {"a": days(100_000, 100_000, 100_000), "b": days(100_000, 100_000, 100_000)}
    found = meters_against_inverters({"m": days(150_000, 207_217, 207_218)}, inverters, DEVICES)
    assert found is not None
    assert (found.compared, found.above) == (3, (FIRST + timedelta(days=2),))
    assert found.excess_wh < 0  # over the three days it did not
    assert len(found.notes(SimpleNamespace(id="pv-1"))) == 1  # type: ignore[arg-type]


def test_an_excess_too_small_for_a_day_is_told_over_the_period() -> None:
    meter, inverter = days(*[103_609] * 40), days(*[100_000] * 40)
    found = meters_against_inverters({"m": meter}, {"a": inverter}, DEVICES)
    assert found is not None
    assert found.above == ()
    assert 0 < found.excess_wh < 40
    assert "on 0 of 40 days compared, in sum by" in found.notes(SimpleNamespace(id="pv-1"))[0]  # type: ignore[arg-type]


def test_days_that_were_not_read_are_not_compared() -> None:
    found = meters_against_inverters({"m": days(300_000)}, {"a": days(100_000, covered=0.89)}, DEVICES)
    assert found is not None
    assert (found.compared, found.above, found.excess_wh) == (0, (), Decimal(0))
    assert meters_against_inverters({"m": days(1)}, {}, DEVICES) is None


@pytest.mark.parametrize(
    ("methodology", "version", "solar"),
    [
        ("TH_AM001", "1.0", True),
        ("VN_AM007", "1.0", True),
        ("ID_AM017", "1.0", False),  # its battery gives energy back at night
        ("PH_AM001", "1.0", False),  # water runs at night, and its output is gross as well
        ("TH_AM007", "1.0", False),
        ("NONE", "1.0", False),
    ],
)
def test_the_sky_bounds_solar_modules_alone(methodology: str, version: str, solar: bool) -> None:
    assert is_solar(methodology, version) is solar
