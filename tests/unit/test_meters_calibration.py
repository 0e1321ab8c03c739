"""Calibration over a period, and what its delay costs: known numbers, and laws that hold for every declaration."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.errors import DeclarationError
from mrv.meters.rules import METER_RULES
from mrv.quality.rules import CURRENT, QUALITY_1, REGISTER_ONLY
from tests.meters import (
    BATTERY,
    FIRST,
    LAST,
    VALID,
    calibration,
    declared,
    eg_wh,
    hourly,
    meter,
    mpe,
    result,
    told,
)


def test_a_valid_calibration_costs_nothing_and_is_told_day_by_day():
    done = result(declared(meter("m-1", mpe("0.5"), VALID)))
    assert eg_wh(done) == 480_000
    (one,) = done.meters
    assert [(s.first_day, s.last_day, s.state, s.taken_wh) for s in one.calibration] == [(FIRST, LAST, "valid", 0)]
    assert (one.metered_wh, one.credited_wh, one.findings) == (480_000, 480_000, ())
    assert told(done) == {}


def test_a_calibration_that_ends_inside_the_period_costs_the_error_on_the_days_after():
    # 10 days of 24 kWh at 0.5 %: 1.2 kWh.
    done = result(declared(meter("m-1", mpe("0.5"), calibration("2020-01-01", "2021-03-10", "0.1"))))
    assert eg_wh(done) == 480_000 - 1_200
    (one,) = done.meters
    assert [(s.last_day, s.state, s.error_percent, s.taken_wh) for s in one.calibration] == [
        (date(2021, 3, 10), "valid", 0, 0),
        (LAST, "expired", Decimal("0.5"), Decimal(1_200)),
    ]
    assert one.taken_wh == 1_200 == one.metered_wh - one.credited_wh
    assert told(done) == {"delayed_calibration": 10}
    assert any(
        "m-1: calibration expired on 10 day(s), 2021-03-11 to 2021-03-20: 0.5 % (declared) taken from" in note
        for note in done.notes
    )


def test_days_before_the_first_calibration_and_between_two_are_a_delay_each():
    basis = declared(
        meter(
            "m-1", mpe("1"), calibration("2021-03-03", "2021-03-05", "0"), calibration("2021-03-08", "2022-03-07", "0")
        )
    )
    (one,) = result(basis).meters
    assert [(s.first_day.day, s.last_day.day, s.state) for s in one.calibration] == [
        (1, 2, "not yet"), (3, 5, "valid"), (6, 7, "expired"), (8, 20, "valid"),
    ]  # fmt: skip


def test_a_meter_that_was_never_calibrated_is_missing_on_every_day():
    done = result(declared(meter("m-1", mpe("0.5"))))
    assert (eg_wh(done), done.meters[0].calibration[0].state) == (480_000 * Decimal("0.995"), "missing")


def test_without_a_declared_error_the_largest_that_can_be_declared_is_applied_as_an_unconfirmed_default():
    done = result(declared(meter("m-1", calibration("2020-01-01", "2020-12-31"))))
    assert eg_wh(done) == 480_000 * Decimal("0.95")
    assert "default [M]" in done.meters[0].error_source
    assert told(done) == {"delayed_calibration": 20, "error_not_declared": 20}


def test_a_meter_that_declares_nothing_has_no_number_to_apply_and_is_told():
    done = result(declared(meter()))
    assert (eg_wh(done), told(done)) == (480_000, {"no_calibration_declared": 20})
    # The monitoring plan holds it to calibration.
    plan = 'monitoring_plan = { option = "C" }\n'
    assert eg_wh(result(declared(plan, meter()))) == 480_000 * Decimal("0.95")


def test_inverters_are_held_where_they_declare_a_calibration():
    assert result(declared(meter(kind="inverter"))).meters == ()
    done = result(declared(meter("m-1", mpe("1"), calibration("2020-01-01", "2020-12-31"), kind="inverter")))
    assert eg_wh(done) == 480_000 * Decimal("0.99")


def test_the_error_that_the_later_calibration_found_is_taken_where_it_is_larger():
    old = calibration("2020-01-01", "2021-02-28", "0.1")
    for found, percent in (("0.2", "0.5"), ("-0.8", "0.8")):
        done = result(declared(meter("m-1", mpe("0.5"), old, calibration("2021-03-25", "2022-03-24", found))))
        assert eg_wh(done) == 480_000 * (1 - Decimal(percent) / 100)
    assert told(done) == {"delayed_calibration": 20, "failed_calibration": 1}
    unstated = result(declared(meter("m-1", mpe("0.5"), old, calibration("2021-03-25", "2022-03-24"))))
    assert told(unstated) == {"delayed_calibration": 20, "error_not_stated": 1}


def test_an_interval_that_touches_a_delayed_day_counts_as_measured_on_it():
    # Readings at half past: one interval crosses from the last valid day, one into the first valid day again.
    basis = declared(
        meter(
            "m-1", mpe("1"), calibration("2020-01-01", "2021-03-09", "0"), calibration("2021-03-11", "2022-01-01", "0")
        )
    )
    rows = hourly(1000, first=FIRST - timedelta(days=1), last=LAST + timedelta(days=1), minutes=30)
    done = result(basis, {("m-1", "TotWhExp"): rows})
    # The period's 479 intervals, 25 of which touch 10 March.
    assert eg_wh(done) == 479_000 - 250
    assert done.meters[0].calibration[1].taken_wh == 250


def test_energy_is_rounded_once_and_down():
    basis = declared(meter("m-1", mpe("0.3"), calibration("2020-01-01", "2021-02-28")))
    rows = [(ts, 1000 + n * 0.001) for n, (ts, _) in enumerate(hourly(0))]
    done = result(basis, {("m-1", "TotWhExp"): rows})
    assert done.systems[0].devices[0].energy_wh == Decimal("0.478")  # 0.480 × 0.997 = 0.47856
    assert done.meters[0].credited_wh == Decimal("0.478")


def test_what_lowers_the_credit_is_raised_and_what_raises_it_is_lowered_never_their_difference():
    """Finding 4: the battery took in 300 Wh and gave back 200 Wh an hour; an error of 1 % on each, not on 100 Wh."""
    rows = {
        ("m-1", "TotWhExp"): hourly(1000),
        ("b-1", "TotWhImp"): hourly(300),
        ("b-1", "TotWhExp"): hourly(200),
    }
    battery = meter("b-1", mpe("1"), calibration("2020-01-01", "2021-02-28", "0"))
    done = result(declared(BATTERY, meter("m-1", mpe("0.5"), VALID), battery, methodology="ID_AM017"), rows)
    assert eg_wh(done) == 480 * (1000 - (300 * Decimal("1.01") - 200 * Decimal("0.99")))
    found = {one.quantity: (one.metered_wh, one.credited_wh) for one in done.meters}
    assert found["charged"] == (480 * 300, 480 * 303)
    assert found["discharged"] == (480 * 200, 480 * 198)


def test_an_import_is_raised_by_the_worst_day_that_an_interval_touches_and_rounded_up():
    rows = {
        ("m-1", "TotWhExp"): hourly(1000),
        ("b-1", "TotWhImp"): [(ts, 1000 + n * 0.001) for n, (ts, _) in enumerate(hourly(0))],
        ("b-1", "TotWhExp"): hourly(0),
    }
    battery = meter("b-1", mpe("0.3"), calibration("2020-01-01", "2021-03-19", "0"))
    done = result(declared(BATTERY, meter("m-1", mpe("0.5"), VALID), battery, methodology="ID_AM017"), rows)
    charged = next(one for one in done.meters if one.quantity == "charged")
    # 0.480 + 0.3 % of the 24 intervals of the last day, 0.000072.
    assert (charged.metered_wh, charged.credited_wh) == (Decimal("0.480"), Decimal("0.481"))


def test_of_an_import_the_intervals_of_delayed_days_are_raised_and_no_other():
    rows = {("m-1", "TotWhExp"): hourly(1000), ("b-1", "TotWhImp"): hourly(300), ("b-1", "TotWhExp"): hourly(0)}
    battery = meter(
        "b-1", mpe("1"), calibration("2020-01-01", "2021-03-09", "0"), calibration("2021-03-11", "2022-01-01", "0")
    )
    done = result(declared(BATTERY, meter("m-1", mpe("0.5"), VALID), battery, methodology="ID_AM017"), rows)
    charged = next(one for one in done.meters if one.quantity == "charged")
    assert charged.credited_wh == 480 * 300 + 24 * 3
    assert [span.taken_wh for span in charged.calibration] == [0, 72, 0]


def test_revisions_frozen_by_earlier_rules_recompute_without_any_of_this():
    delayed = declared(meter("m-1", mpe("0.5")))
    calibrated = declared(meter("m-1", mpe("0.5"), VALID))
    for rules in (REGISTER_ONLY, QUALITY_1):
        one, other = (result(basis, rules=rules).as_json() for basis in (delayed, calibrated))
        assert one["systems"] == other["systems"]
        assert "meters" not in one
        assert not set(METER_RULES) & set(one["quality"]["rules"])
    assert set(METER_RULES) <= set(CURRENT.ids)


def test_an_error_that_is_no_percentage_is_refused():
    with pytest.raises(
        DeclarationError, match=r"20 % is no meter's: expected 0 to 5, in percent \(\"0.2\" means 0.2 %"
    ):
        declared(meter("m-1", mpe("20"), VALID))


# Laws --------------------------------------------------------------------------------------------------------------

DAYS = st.integers(min_value=-15, max_value=30).map(lambda n: FIRST + timedelta(days=n))
PERCENT = st.integers(min_value=0, max_value=500).map(lambda n: Decimal(n) / 100)
ERROR = st.one_of(st.none(), PERCENT)
MINUTES = st.sampled_from([0, 30])


@st.composite
def calibrations(draw):
    ends = sorted(draw(st.sets(DAYS, max_size=4)))
    found = []
    for performed in ends:
        until = performed + timedelta(days=draw(st.integers(min_value=0, max_value=25)))
        found.append((performed, until, draw(ERROR)))
    return found


def battery_eg(minutes, percent, done_at, on="m-1"):
    """EG of a system with a battery, of whose meters one is calibrated as given."""
    own = "" if percent is None else mpe(percent)
    given = (own, *(calibration(*one) for one in done_at))
    kept = (mpe("0.5"), VALID)
    basis = declared(
        BATTERY,
        meter("m-1", *(given if on == "m-1" else kept)),
        meter("b-1", *(given if on == "b-1" else kept)),
        methodology="ID_AM017",
    )
    around = {"first": FIRST - timedelta(days=1), "last": LAST + timedelta(days=1), "minutes": minutes}
    rows = {
        ("m-1", "TotWhExp"): hourly(1000.123, **around),
        ("b-1", "TotWhImp"): hourly(300.077, **around),
        ("b-1", "TotWhExp"): hourly(200.011, **around),
    }
    return result(basis, rows).systems[0].eg_mwh


QUICK = settings(max_examples=25, deadline=None)
ON = st.sampled_from(["m-1", "b-1"])


@QUICK
@given(MINUTES, PERCENT, calibrations(), ON)
def test_no_calibration_raises_the_credit_above_that_of_a_valid_one(minutes, percent, done_at, on):
    always = [(FIRST - timedelta(days=40), LAST + timedelta(days=40), None)]
    assert battery_eg(minutes, percent, done_at, on) <= battery_eg(minutes, percent, always, on)


@QUICK
@given(MINUTES, PERCENT, PERCENT, calibrations(), ON)
def test_a_larger_error_never_raises_the_credit(minutes, one, other, done_at, on):
    less, more = sorted((one, other))
    assert battery_eg(minutes, more, done_at, on) <= battery_eg(minutes, less, done_at, on)


@QUICK
@given(MINUTES, PERCENT, calibrations().filter(bool), st.data(), ON)
def test_a_longer_delay_never_raises_the_credit(minutes, percent, done_at, data, on):
    """A calibration that ends earlier, or is performed later without passing the next one."""
    at = data.draw(st.integers(min_value=0, max_value=len(done_at) - 1))
    performed, until, error = done_at[at]
    latest = min([until, *(one[0] - timedelta(days=1) for one in done_at[at + 1 :])])
    begin = performed + timedelta(days=data.draw(st.integers(0, max(0, (latest - performed).days))))
    end = begin + timedelta(days=data.draw(st.integers(0, (until - begin).days)))
    later = [*done_at[:at], (begin, end, error), *done_at[at + 1 :]]
    assert battery_eg(minutes, percent, later, on) <= battery_eg(minutes, percent, done_at, on)


@QUICK
@given(MINUTES, PERCENT, calibrations().filter(bool), st.data(), ON)
def test_what_is_left_out_never_raises_the_credit(minutes, percent, done_at, data, on):
    """A calibration that found no more than the permissible error, or the error itself."""
    within = [(begin, until, None if error is None else min(error, percent)) for begin, until, error in done_at]
    full = battery_eg(minutes, percent, within, on)
    at = data.draw(st.integers(min_value=0, max_value=len(within) - 1))
    assert battery_eg(minutes, percent, [*within[:at], *within[at + 1 :]], on) <= full
    assert battery_eg(minutes, None, within, on) <= full
