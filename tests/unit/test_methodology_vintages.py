"""Vintages: calendar years of the site's own time, 2020 and 2021, partial years, leap days, clocks, the date line."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.declaration_file import parse
from mrv.basis import Basis, Credited
from mrv.calendar import day_bounds, to_us
from mrv.computation import compute
from mrv.inputs import Series
from mrv.register_rules import to_mwh
from mrv.result import PeriodResult

ZONES = (
    "Pacific/Kiritimati",  # +14, the first to have a new year
    "Pacific/Apia",  # +13/+14: over the date line since 2011-12-30, clocks changed until 2021
    "Asia/Ulaanbaatar", "Asia/Bangkok", "Asia/Kathmandu", "Asia/Kolkata", "Europe/Berlin", "America/Santiago",
    "America/St_Johns", "Pacific/Marquesas",
    "Pacific/Pago_Pago",  # -11, the last
)  # fmt: skip
ON_THE_HOUR = [zone for zone in ZONES if zone.split("/")[1] not in ("Kathmandu", "Kolkata", "St_Johns", "Marquesas")]
BEGIN, END = datetime(2019, 12, 20, tzinfo=UTC), datetime(2021, 7, 10, tzinfo=UTC)
WATTS = 1_000_000
"""Every hour a MWh: a year's tonnes are its hours times the factor."""

TOML = """
[project]
id = "P1"
title = "A test project"
host_country = "THA"
methodology = "MN_AM003"
methodology_version = "2.0"
crediting_period = { from = 2011-01-01, to = 2029-12-31 }
"""
SITE = """
[[site]]
id = "s-{n}"
name = "Site"
time_zone = "{zone}"

[[pv_system]]
id = "pv-{n}"
site = "s-{n}"
capacity_kw = 2000
connection = "grid"
credited_by = ["m-{n}"]

[[device]]
id = "m-{n}"
site = "s-{n}"
kind = "meter"
register = {{ point = "TotWhExp", bits = 64 }}
installed = 2011-01-01
"""


@cache
def basis(*zones):
    return Basis.of(parse(TOML + "".join(SITE.format(n=n, zone=zone) for n, zone in enumerate(zones)), "t"))


@cache
def hourly(begin=BEGIN, end=END, minute=0):
    hours = int((end - begin) / timedelta(hours=1))
    t_us = np.array([to_us(begin + timedelta(hours=n, minutes=minute)) for n in range(hours + 1)], dtype=np.int64)
    return Series(t_us, to_mwh(1000.0 + np.arange(hours + 1) * float(WATTS)), np.full(hours + 1, np.nan))


def computed(zones, first, last, series=None):
    def read(credited: Credited, start: datetime, end: datetime) -> Series:
        return series or hourly()

    return compute(basis(*zones), first, last, read, revision=0, received_until=None, code_version="1").result


def hours(zone, first, last):
    return int((day_bounds(last, zone)[1] - day_bounds(first, zone)[0]) / timedelta(hours=1))


@pytest.mark.parametrize("zone", ON_THE_HOUR)
def test_a_period_is_split_at_the_site_s_own_new_year_of_2021(zone):
    first, last = date(2020, 7, 1), date(2021, 6, 30)
    done = computed([zone], first, last)
    assert [(v.year, v.first_day, v.last_day) for v in done.vintages] == [
        (2020, first, date(2020, 12, 31)),
        (2021, date(2021, 1, 1), last),
    ]
    # Every hour counts once, in its own year, whatever the clocks did meanwhile.
    for vintage in done.vintages:
        assert vintage.eg_mwh == hours(zone, vintage.first_day, vintage.last_day)
        assert vintage.er_tco2 == int(vintage.eg_mwh * Decimal("0.797"))
    assert PeriodResult.from_json(json.loads(json.dumps(done.as_json()))) == done


@pytest.mark.parametrize("zone", ZONES)
def test_an_hour_that_crosses_the_new_year_belongs_to_neither_year(zone):
    first, last = date(2020, 12, 30), date(2021, 1, 2)
    done = computed([zone], first, last, hourly(minute=20))
    total = sum(v.eg_mwh for v in done.vintages)
    assert [v.eg_mwh for v in done.vintages] == [47, 47]
    assert total == hours(zone, first, last) - 2


@pytest.mark.parametrize("zone", ON_THE_HOUR)
def test_a_leap_day_counts(zone):
    done = computed([zone], date(2020, 1, 1), date(2020, 12, 31))
    assert done.vintages[0].eg_mwh == 366 * 24
    leap = computed([zone], date(2020, 2, 28), date(2020, 3, 1))
    assert leap.vintages[0].eg_mwh == 3 * 24


@pytest.mark.parametrize(
    ("zone", "day", "length"),
    [
        ("Europe/Berlin", date(2020, 3, 29), 23),
        ("Europe/Berlin", date(2020, 10, 25), 25),
        ("America/Santiago", date(2020, 4, 4), 25),  # at midnight: 24:00 becomes 23:00
        ("America/Santiago", date(2020, 9, 6), 23),  # there is no midnight
        ("Pacific/Apia", date(2020, 4, 5), 25),
        ("Pacific/Apia", date(2020, 9, 27), 23),
    ],
)
def test_a_day_has_the_hours_that_it_has(zone, day, length):
    assert computed([zone], day, day).vintages[0].eg_mwh == length


def test_sites_on_both_sides_of_the_date_line_keep_their_own_new_year():
    east, west = "Pacific/Pago_Pago", "Pacific/Kiritimati"
    first, last = date(2020, 12, 1), date(2021, 1, 31)
    done = computed([east, west], first, last)
    assert [v.eg_mwh for v in done.vintages] == [2 * 31 * 24, 2 * 31 * 24]
    # The same instant, 25 hours apart by the calendar: its hour is of 2021 in the one place and of 2020 in the other.
    instant = datetime(2020, 12, 31, 12, tzinfo=UTC)
    starts = [day_bounds(date(2021, 1, 1), zone)[0] for zone in (east, west)]
    assert starts[1] < instant < starts[0]
    assert starts[0] - starts[1] == timedelta(hours=25)


def test_a_day_that_a_zone_skipped_has_no_energy_and_loses_none():
    first, last = date(2011, 12, 29), date(2011, 12, 31)
    series = hourly(datetime(2011, 12, 20, tzinfo=UTC), datetime(2012, 1, 9, tzinfo=UTC))
    done = computed(["Pacific/Apia"], first, last, series)
    assert done.vintages[0].eg_mwh == 48


def test_partial_years_are_floored_each_and_three_years_make_three_vintages():
    begin, end = datetime(2019, 12, 20, tzinfo=UTC), datetime(2021, 1, 20, tzinfo=UTC)
    done = computed(["Asia/Ulaanbaatar"], date(2019, 12, 31), date(2021, 1, 1), hourly(begin, end))
    # 24 MWh × 0.797 = 19.128; 8,784 × 0.797 = 7,000.848; 24 × 0.797 = 19.128: one floor would give 7,039.
    assert [v.er_tco2 for v in done.vintages] == [19, 7000, 19]
    assert done.er_tco2 == 7038


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(ZONES),
    st.dates(date(2019, 12, 25), date(2021, 6, 30)),
    st.integers(0, 500),
    st.integers(0, 500),
    st.sampled_from([0, 20]),
)
def test_cutting_a_period_in_two_never_makes_more_of_it(zone, first, length, cut, minute):
    last = min(first + timedelta(days=length), date(2021, 6, 30))
    at = min(first + timedelta(days=cut), last)
    series = hourly(minute=minute)
    whole = computed([zone], first, last, series)
    halves = [computed([zone], first, at, series)]
    halves += [computed([zone], at + timedelta(days=1), last, series)] if at < last else []
    assert sum(v.eg_mwh for half in halves for v in half.vintages) <= sum(v.eg_mwh for v in whole.vintages)
    assert sum(half.er_tco2 for half in halves) <= whole.er_tco2
    # What is lost is the hour that crosses the cut, where one does.
    lost = sum(v.eg_mwh for v in whole.vintages) - sum(v.eg_mwh for half in halves for v in half.vintages)
    assert lost in (0, 1)
