"""Energy of days and periods."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrv.calendar import days_between, from_us, to_us
from mrv.energy import EnergyDay, daily, period_energy, vintage_energy
from mrv.errors import CalendarError
from mrv.register_rules import DeclaredRegister, RegisterSpec, Rule, to_mwh
from mrv.registers import Intervals, intervals

SPEC = RegisterSpec(Decimal(100_000))
IST = "Asia/Kolkata"


def readings(*rows: tuple[str, float], spec: RegisterSpec = SPEC) -> Intervals:
    t_us = np.array([to_us(datetime.fromisoformat(at)) for at, _ in rows], dtype=np.int64)
    return intervals(t_us, to_mwh(np.array([r for _, r in rows], dtype=np.float64)), spec)


def every(minutes: int, count: int, start: str, wh: float = 10) -> Intervals:
    begin = datetime.fromisoformat(start)
    return readings(*((str(begin + timedelta(minutes=minutes * i)), 1000 + wh * i) for i in range(count)))


def parts(days: list[EnergyDay]) -> dict[date, tuple[Decimal, Decimal]]:
    return {d.day: (d.within_wh, d.carried_wh) for d in days}


def test_interval_belongs_to_the_day_in_which_it_ends() -> None:
    found = readings(
        ("2026-06-01 18:00+05:30", 1000),
        ("2026-06-01 23:50+05:30", 1100),
        ("2026-06-02 00:10+05:30", 1107),
        ("2026-06-02 09:00+05:30", 1200.001),
    )
    days = daily(found, IST)
    assert parts(days) == {
        date(2026, 6, 1): (Decimal(100), Decimal(0)),
        date(2026, 6, 2): (Decimal("93.001"), Decimal(7)),
    }
    assert days[1].carried_from == date(2026, 6, 1)


def test_reading_exactly_at_midnight_ends_one_day_and_begins_the_next() -> None:
    found = readings(
        ("2026-06-01 23:00+05:30", 1000), ("2026-06-02 00:00+05:30", 1010), ("2026-06-02 01:00+05:30", 1030)
    )
    days = daily(found, IST)
    assert parts(days) == {date(2026, 6, 1): (Decimal(10), Decimal(0)), date(2026, 6, 2): (Decimal(20), Decimal(0))}
    assert [d.samples for d in days] == [1, 2]


def test_period_credits_no_interval_that_crosses_its_boundary() -> None:
    found = readings(
        ("2026-05-31 23:00+05:30", 1000),
        ("2026-06-01 01:00+05:30", 1004),
        ("2026-06-01 12:00+05:30", 1100),
        ("2026-06-02 12:00+05:30", 1300),
        ("2026-06-03 12:00+05:30", 1600),
    )
    days = daily(found, IST)
    assert period_energy(days, date(2026, 6, 1), date(2026, 6, 2)) == 296
    assert period_energy(days, date(2026, 6, 2), date(2026, 6, 2)) == 0
    assert period_energy(days, date(2026, 5, 31), date(2026, 6, 3)) == 600


def test_crossing_interval_that_ends_days_into_the_period_is_not_credited_either() -> None:
    found = readings(
        ("2026-05-31 12:00+05:30", 1000), ("2026-06-05 12:00+05:30", 9000), ("2026-06-06 12:00+05:30", 9100)
    )
    days = daily(found, IST)
    assert period_energy(days, date(2026, 6, 1), date(2026, 6, 30)) == 100


def test_gap_within_the_period_is_credited() -> None:
    found = readings(("2026-06-01 12:00+05:30", 1000), ("2026-06-05 12:00+05:30", 9000))
    days = daily(found, IST)
    assert len(days) == 5
    assert period_energy(days, date(2026, 6, 1), date(2026, 6, 30)) == 8000


def test_origin_of_a_carried_interval_that_is_not_known_is_taken_to_lie_outside() -> None:
    found = readings(
        ("2026-06-01 12:00+05:30", 1000), ("2026-06-02 12:00+05:30", 1100), ("2026-06-03 12:00+05:30", 1250)
    )
    rows = [replace(d, carried_from=None) for d in daily(found, IST)]
    assert period_energy(rows, date(2026, 6, 1), date(2026, 6, 3)) == 150


def test_years_credit_no_interval_that_crosses_new_year() -> None:
    found = readings(
        ("2026-12-31 12:00+05:30", 1000),
        ("2026-12-31 18:00+05:30", 1200),
        ("2027-01-01 06:00+05:30", 1201),
        ("2027-01-01 12:00+05:30", 1500),
    )
    days = daily(found, IST)
    assert vintage_energy(days, date(2026, 12, 1), date(2027, 1, 31)) == {2026: Decimal(200), 2027: Decimal(299)}


def test_first_day_of_the_data_and_a_day_without_readings() -> None:
    days = daily(every(60, 3, "2026-06-02 10:00+05:30"), IST, date(2026, 6, 1), date(2026, 6, 3))
    assert [d.samples for d in days] == [0, 3, 0]
    assert [d.within_wh for d in days] == [0, 20, 0]
    assert days[0].coverage == 0
    assert days[0].rules == {}


def test_coverage_is_the_share_of_the_day_with_readings() -> None:
    whole = daily(every(15, 193, "2026-06-01 00:00+05:30"), IST)
    assert [d.coverage for d in whole] == [1, 1, 0]
    half = daily(every(15, 49, "2026-06-01 00:00+05:30"), IST)
    assert half[0].coverage == Decimal("0.5")
    gap = readings(
        ("2026-06-01 00:00+05:30", 1000), ("2026-06-01 01:00+05:30", 1010), ("2026-06-01 13:00+05:30", 1500),
        ("2026-06-01 14:00+05:30", 1510),
    )  # fmt: skip
    (day,) = daily(gap, IST)
    assert day.coverage == Decimal("0.083333")
    assert day.bridged_us == 12 * 3_600_000_000


def test_coverage_of_an_interval_over_midnight_is_shared() -> None:
    days = daily(readings(("2026-06-01 23:45+05:30", 1000), ("2026-06-02 00:15+05:30", 1010)), IST)
    assert [d.covered_us for d in days] == [900_000_000, 900_000_000]


def test_interval_that_is_not_credited_is_not_covered() -> None:
    spec = RegisterSpec(Decimal(100_000), confirm_samples=2, confirm_for=timedelta(minutes=30))
    found = readings(
        ("2026-06-01 00:00+00:00", 90_000), ("2026-06-01 00:30+00:00", 100), ("2026-06-01 01:00+00:00", 200), spec=spec
    )
    (day,) = daily(found, "UTC")
    assert day.covered_us == 30 * 60_000_000
    assert day.rules == {Rule.RESET.id: 1, Rule.NORMAL.id: 1}


def test_rules_are_counted_on_their_day() -> None:
    found = readings(
        ("2026-06-01 22:00+00:00", 50_000), ("2026-06-01 22:30+00:00", 0), ("2026-06-01 23:00+00:00", 50_010),
        ("2026-06-02 00:00+00:00", 46_000), ("2026-06-02 01:00+00:00", 50_020),
    )  # fmt: skip
    first, second = daily(found, "UTC")
    assert first.rules == {Rule.NORMAL.id: 1, Rule.ZERO.id: 1}
    assert second.rules == {Rule.GAP.id: 1, Rule.DIP.id: 1}
    assert (first.samples, second.samples) == (3, 2)


@pytest.mark.parametrize(
    ("tz", "day", "samples"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("Asia/Bangkok", date(2024, 2, 29), 24),
    ],
)
def test_days_of_23_and_25_hours_are_whole(tz: str, day: date, samples: int) -> None:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(days=2)
    days = {d.day: d for d in daily(every(60, 120, start.isoformat()), tz)}
    assert days[day].samples == samples
    assert days[day].coverage == 1
    assert days[day].within_wh == samples * 10


def test_skipped_day_has_no_row() -> None:
    days = daily(every(60, 96, "2011-12-28 00:00+00:00"), "Pacific/Apia")
    assert date(2011, 12, 30) not in [d.day for d in days]
    assert sum(d.within_mwh + d.carried_mwh for d in days) == 950_000


def test_declared_registers_count_as_energy_and_not_as_samples() -> None:
    at = datetime(2026, 6, 1, tzinfo=UTC)
    t_us = np.array([to_us(at + timedelta(hours=h)) for h in (1, 2)], dtype=np.int64)
    found = intervals(
        t_us,
        to_mwh(np.array([110.0, 120.0])),
        SPEC,
        opening=DeclaredRegister(at, Decimal(100)),
        closing=DeclaredRegister(at + timedelta(hours=3), Decimal(130)),
    )
    (day,) = daily(found, "UTC")
    assert day.samples == 2
    assert day.within_wh == 30


def test_no_readings_no_days() -> None:
    assert daily(readings(), IST) == []
    assert period_energy([], date(2026, 1, 1), date(2026, 1, 2)) == 0


def test_wrong_use_is_refused() -> None:
    days = daily(every(60, 3, "2026-06-02 10:00+05:30"), IST)
    with pytest.raises(CalendarError, match="lies after"):
        period_energy(days, date(2026, 6, 2), date(2026, 6, 1))
    with pytest.raises(CalendarError, match="2026-06-02 comes twice"):
        period_energy([*days, *days], date(2026, 6, 1), date(2026, 6, 3))
    with pytest.raises(CalendarError, match="unknown time zone"):
        daily(every(60, 3, "2026-06-02 10:00+05:30"), "Mars/Olympus")


# Laws ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A day as a database returns it."""

    day: date
    within_wh: Decimal
    carried_wh: Decimal
    carried_from: date | None


@st.composite
def some_intervals(draw: st.DrawFn) -> tuple[Intervals, str]:
    steps = draw(st.lists(st.tuples(st.integers(1, 4_000), st.integers(0, 900_000)), min_size=1, max_size=40))
    start = draw(st.sampled_from(["2026-03-27 20:00+00:00", "2011-12-28 00:00+00:00", "2026-12-30 12:00+00:00"]))
    tz = draw(st.sampled_from(["Asia/Bangkok", "Europe/Berlin", "Pacific/Apia", "America/Sao_Paulo", "UTC"]))
    minutes = np.cumsum([0, *(m for m, _ in steps)], dtype=np.int64)
    register = 10**9 + np.cumsum([0, *(e for _, e in steps)], dtype=np.int64)
    return intervals(to_us(datetime.fromisoformat(start)) + minutes * 60_000_000, register, SPEC), tz


@given(some_intervals())
def test_days_together_hold_all_energy_and_all_rules(case: tuple[Intervals, str]) -> None:
    found, tz = case
    days = daily(found, tz)
    assert sum(d.within_mwh + d.carried_mwh for d in days) == found.total_mwh
    assert sum(n for d in days for n in d.rules.values()) == len(found.rule) + len(found.dropped_rule)
    assert sum(d.samples for d in days) == len(found.t_us) + len(found.dropped_t_us)
    assert all(0 <= d.coverage <= 1 and d.within_mwh >= 0 and d.carried_mwh >= 0 for d in days)


@given(some_intervals(), st.data())
def test_period_is_exactly_the_intervals_inside_it(case: tuple[Intervals, str], data: st.DataObject) -> None:
    found, tz = case
    days = daily(found, tz)
    first = data.draw(st.dates(days[0].day, days[-1].day))
    last = data.draw(st.dates(first, days[-1].day))
    edges = [to_us_of(first, tz), to_us_of(last + timedelta(days=1), tz)]
    inside = (found.t0_us >= edges[0]) & (found.t1_us <= edges[1])
    expected = Decimal(int(found.energy_mwh[inside].sum())) / 1000
    rows = [Row(d.day, d.within_wh, d.carried_wh, d.carried_from) for d in days]
    assert period_energy(rows, first, last) == expected <= found.total_wh
    unknown = [replace(row, carried_from=None) for row in rows]
    assert period_energy(unknown, first, last) <= expected


@given(some_intervals(), st.data())
def test_cut_period_and_its_crossing_interval_make_the_whole(case: tuple[Intervals, str], data: st.DataObject) -> None:
    found, tz = case
    days = daily(found, tz)
    first, last = days[0].day, days[-1].day
    cut = data.draw(st.dates(first, last))
    whole = period_energy(days, first, last)
    right = period_energy(days, cut, last)
    left = period_energy(days, first, cut - timedelta(days=1)) if cut > first else Decimal(0)
    edge = to_us_of(cut, tz)
    crossing = int(found.energy_mwh[(found.t0_us < edge) & (found.t1_us > edge)].sum())
    assert left + right <= whole
    assert left + right + Decimal(crossing) / 1000 == whole
    assert sum(vintage_energy(days, first, last).values()) <= whole


@given(some_intervals())
def test_days_asked_one_by_one_are_the_same_days(case: tuple[Intervals, str]) -> None:
    found, tz = case
    days = daily(found, tz)
    wanted = days_between(days[0].day, days[-1].day)
    assert [d for day in wanted for d in daily(found, tz, day, day)] == days
    assert from_us(int(found.t_us[0])).tzinfo is UTC


def to_us_of(day: date, tz: str) -> int:
    from mrv.calendar import day_bounds

    return to_us(day_bounds(day, tz)[0])
