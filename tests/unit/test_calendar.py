"""Days as sites live them."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrv.calendar import (
    day_bounds,
    day_edges,
    days_between,
    from_us,
    local_dates,
    split_by_year,
    to_us,
    zone,
)
from mrv.errors import CalendarError

ZONES = [
    "Asia/Bangkok",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
    "Africa/Cairo",
    "Asia/Beirut",
    "UTC",
]
instants = st.integers(to_us(datetime(1990, 1, 1, tzinfo=UTC)), to_us(datetime(2040, 1, 1, tzinfo=UTC)))
dates = st.dates(date(1990, 1, 2), date(2039, 12, 30))


def hours(day: date, tz: str) -> float:
    start, end = day_bounds(day, tz)
    return (end - start) / timedelta(hours=1)


def test_day_of_a_site_in_utc() -> None:
    assert day_bounds(date(2026, 6, 1), "Asia/Bangkok") == (
        datetime(2026, 5, 31, 17, tzinfo=UTC),
        datetime(2026, 6, 1, 17, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("day", "tz", "length"),
    [
        (date(2026, 3, 29), "Europe/Berlin", 23),
        (date(2026, 10, 25), "Europe/Berlin", 25),
        (date(2026, 3, 8), "America/New_York", 23),
        (date(2018, 11, 4), "America/Sao_Paulo", 23),  # clocks went from 00:00 to 01:00: there was no midnight
        (date(2018, 2, 17), "America/Sao_Paulo", 25),  # from 00:00 back to 23:00
        (date(2026, 4, 5), "Australia/Lord_Howe", 24.5),
        (date(2026, 6, 1), "Asia/Kathmandu", 24),
        (date(2011, 12, 29), "Pacific/Apia", 24),
        (date(2011, 12, 30), "Pacific/Apia", 0),  # the day Samoa skipped
        (date(2011, 12, 31), "Pacific/Apia", 24),
        (date(1919, 3, 30), "America/Toronto", 24),  # from 23:30 to 00:30: the 31st began with the jump
        (date(1919, 3, 31), "America/Toronto", 23.5),
    ],
)
def test_length_of_a_day(day: date, tz: str, length: float) -> None:
    if day.year == 1919:
        start, end = day_bounds(date(1919, 3, 30), tz)
        assert (end - start) / timedelta(hours=1) == 23.5
        assert end.astimezone(ZoneInfo(tz)).strftime("%H:%M") == "00:30"
    else:
        assert hours(day, tz) == length


def test_date_line_from_both_sides() -> None:
    instant = np.array([to_us(datetime(2026, 6, 1, 10, 30, tzinfo=UTC))], dtype=np.int64)
    assert local_dates(instant, "Pacific/Kiritimati")[0] == np.datetime64("2026-06-02")
    assert local_dates(instant, "Pacific/Pago_Pago")[0] == np.datetime64("2026-05-31")


def test_skipped_day_has_no_instant() -> None:
    edge = to_us(datetime(2011, 12, 30, 10, tzinfo=UTC))
    found = local_dates(np.array([edge - 1, edge], dtype=np.int64), "Pacific/Apia")
    assert found.tolist() == [date(2011, 12, 29), date(2011, 12, 31)]


@given(st.lists(instants, min_size=1, max_size=5), st.sampled_from([z for z in ZONES if z != "America/St_Johns"]))
def test_local_dates_are_those_of_zoneinfo(t_us: list[int], tz: str) -> None:
    # St John's put its clocks back at 00:01 until 2011: one hour there wrote yesterday's date again.
    base = min(t_us)
    near = [base + (t - base) % (400 * 86_400_000_000) for t in t_us]
    expected = [from_us(t).astimezone(ZoneInfo(tz)).date() for t in near]
    assert local_dates(np.array(near, dtype=np.int64), tz).tolist() == expected


@given(dates, st.integers(0, 40), st.sampled_from(ZONES))
def test_days_partition_time(first: date, more: int, tz: str) -> None:
    days = days_between(first, first + timedelta(days=more))
    assert all(day_bounds(a, tz)[1] == day_bounds(b, tz)[0] for a, b in pairwise(days))
    assert all(0 <= hours(day, tz) <= 26 for day in days)
    edges = day_edges(days[0], days[-1], tz)
    assert len(edges) == len(days) + 1
    assert np.all(np.diff(edges) >= 0)


@given(dates, st.sampled_from(ZONES))
def test_every_instant_of_a_day_has_its_date(day: date, tz: str) -> None:
    start, end = (to_us(bound) for bound in day_bounds(day, tz))
    if end > start:
        inside = np.array([start, (start + end) // 2, end - 1], dtype=np.int64)
        assert set(local_dates(inside, tz).tolist()) == {day}
        outside = np.array([start - 1, end], dtype=np.int64)
        assert day not in local_dates(outside, tz).tolist()


def test_leap_day_is_a_day() -> None:
    assert len(days_between(date(2024, 1, 1), date(2024, 12, 31))) == 366
    assert date(2024, 2, 29) in days_between(date(2024, 2, 28), date(2024, 3, 1))


@given(dates, st.integers(0, 3000))
def test_years_of_a_range_cover_it_without_gap_or_overlap(first: date, more: int) -> None:
    last = first + timedelta(days=more)
    parts = split_by_year(first, last)
    assert [day for _, a, b in parts for day in days_between(a, b)] == days_between(first, last)
    assert all(a.year == b.year == year for year, a, b in parts)


def test_no_instants_have_no_dates() -> None:
    assert local_dates(np.empty(0, dtype=np.int64), "UTC").shape == (0,)


@pytest.mark.parametrize("name", ["Asia/Bangkock", "", "../etc/passwd", "/etc/localtime", "Asia"])
def test_unknown_zone_is_named(name: str) -> None:
    with pytest.raises(CalendarError, match=r"unknown time zone .*: use a name of the IANA database"):
        zone(name)
    with pytest.raises(CalendarError, match="unknown time zone"):
        local_dates(np.empty(0, dtype=np.int64), name)


def test_wrong_ranges_are_refused() -> None:
    with pytest.raises(CalendarError, match="2026-02-01 lies after 2026-01-01"):
        days_between(date(2026, 2, 1), date(2026, 1, 1))
    with pytest.raises(CalendarError, match="lies after"):
        split_by_year(date(2026, 2, 1), date(2026, 1, 1))
    with pytest.raises(CalendarError, match="edge of the calendar"):
        day_bounds(date.max, "UTC")
    with pytest.raises(CalendarError, match="has no time zone"):
        to_us(datetime(2026, 1, 1))  # noqa: DTZ001


def test_microseconds_are_exact() -> None:
    instant = datetime(2026, 6, 1, 1, 2, 3, 456789, tzinfo=UTC)
    assert from_us(to_us(instant)) == instant
