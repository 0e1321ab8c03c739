"""The days of a period and the lines between them add up to EG, exactly, whatever the plant."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrv.basis import row_id
from mrv.day_account import LEFT_OUT, LINES, sign
from mrv.errors import PeriodError
from mrv.quality.rules import CURRENT, REGISTER_ONLY
from tests.meters import BATTERY, FIRST, LAST, VALID, calibration, computed, declared, hourly, meter, mpe
from tests.unit.test_meters_invoices import OPTION_B, invoice

WH = Decimal(10) ** 6
NEW_YEAR = date(2020, 12, 25)


def row_of(one) -> tuple[str, int]:
    return row_id(one.credited.system, one.category), one.day.energy.day.year


def assert_adds_up(done) -> None:
    account = done.account
    sums: dict[tuple[str, int], Decimal] = {}
    for one in account.days:
        sums[row_of(one)] = sums.get(row_of(one), Decimal(0)) + sign(one.credited.quantity) * one.credited_wh
    for line in account.lines:
        sums[line.system, line.year] += line.wh
    reported = {(system.id, year.year): year.eg_mwh * WH for system in done.result.systems for year in system.years}
    assert {key: sums[key] for key in reported} == reported
    for one in account.days:
        energy, counts = one.day.energy, one.credited_wh
        whole = energy.within_wh + energy.carried_wh
        assert (one.left_out is None) == (counts == whole)
        assert one.left_out is None or one.left_out in LEFT_OUT
        # What raises EG never counts for more than it has, what lowers it never for less.
        assert (counts <= whole) if sign(one.credited.quantity) > 0 else (counts >= whole)
    # A line is not a rest that hides something: each is bounded by what it says it is.
    for line in account.lines:
        assert line.name in LINES
        if line.name == "rounding":
            assert -1 < line.wh < 0
        elif line.name == "register_rounding":
            assert -Decimal("0.001") < line.wh < 0
        elif line.name in ("permissible_error", "invoice"):
            assert line.wh < 0
    of_meters = sum((one.taken_wh for one in done.result.meters), Decimal(0))
    errors = -sum((line.wh for line in account.lines if line.name == "permissible_error"), Decimal(0))
    # The report rounds each span of a calibration up to a milliwatt-hour.
    assert abs(of_meters - errors) < Decimal("0.001") * max(1, sum(len(one.calibration) for one in done.result.meters))


REGISTERS = st.builds(
    lambda wh, minutes, drop: [
        row for n, row in enumerate(hourly(wh, first=NEW_YEAR, last=LAST, minutes=minutes)) if n % 97 not in drop
    ],
    st.integers(1, 3000).map(lambda n: n + 0.123),
    st.integers(0, 59),
    st.sets(st.integers(0, 96), max_size=40),
)
CALIBRATED = st.sampled_from(
    [(), (VALID,), (mpe("0.7"), VALID), (mpe("0.7"), calibration("2020-12-28", "2021-02-11", "0.31")), (mpe("1.3"),)]
)
BILLS = st.lists(st.tuples(st.integers(0, 80), st.integers(1, 30), st.decimals("1", "3000", places=1)), max_size=2).map(
    lambda entries: [
        invoice(kwh, NEW_YEAR + timedelta(days=at), min(LAST, NEW_YEAR + timedelta(days=at + length)), number=f"I-{n}")
        for n, (at, length, kwh) in enumerate(entries)
        if n == 0 or at > entries[0][0] + entries[0][1]
    ]
)


@settings(max_examples=25, deadline=None)
@given(rows=REGISTERS, calibrated=CALIBRATED, option_b=st.booleans(), bills=BILLS,
       rules=st.sampled_from([CURRENT, REGISTER_ONLY]))  # fmt: skip
def test_one_meter_over_the_turn_of_the_year(rows, calibrated, option_b, bills, rules):
    basis = declared(OPTION_B if option_b else "", meter("m-1", *calibrated), *bills)
    assert_adds_up(computed(basis, {("m-1", "TotWhExp"): rows}, NEW_YEAR, LAST, rules))


@settings(max_examples=25, deadline=None)
@given(rows=REGISTERS, charged=REGISTERS, discharged=REGISTERS, calibrated=CALIBRATED, other=CALIBRATED,
       rules=st.sampled_from([CURRENT, REGISTER_ONLY]))  # fmt: skip
def test_a_battery_beside_it(rows, charged, discharged, calibrated, other, rules):
    basis = declared(BATTERY, meter("m-1", *calibrated), meter("b-1", *other), methodology="ID_AM017")
    given_rows = {("m-1", "TotWhExp"): rows, ("b-1", "TotWhImp"): charged, ("b-1", "TotWhExp"): discharged}
    assert_adds_up(computed(basis, given_rows, NEW_YEAR, LAST, rules))


def named(done):
    return {(line.name, line.year): line.wh for line in done.account.lines}


def test_the_permissible_error_is_a_line_and_stands_on_its_days():
    done = computed(declared(meter("m-1", mpe("1"), calibration("2021-01-01", "2021-03-10", "0"))))
    assert named(done) == {("permissible_error", 2021): Decimal(-2400)}
    assert {one.error_wh for one in done.account.days if one.day.energy.day > date(2021, 3, 10)} == {Decimal(240)}
    assert {one.error_wh for one in done.account.days if one.day.energy.day <= date(2021, 3, 10)} == {Decimal(0)}
    assert_adds_up(done)


def test_an_invoice_is_a_line():
    done = computed(declared(OPTION_B, meter("m-1", mpe("0.2"), VALID), invoice("450")))
    assert named(done) == {("invoice", 2021): Decimal(-30_000)}
    assert_adds_up(done)


def test_a_battery_that_gives_back_more_than_it_took_is_a_line_of_the_formula():
    rows = {("m-1", "TotWhExp"): hourly(1000), ("b-1", "TotWhImp"): hourly(100), ("b-1", "TotWhExp"): hourly(300)}
    battery = meter("b-1", mpe("0.2"), VALID)
    done = computed(declared(BATTERY, meter("m-1", mpe("0.2"), VALID), battery, methodology="ID_AM017"), rows)
    assert named(done) == {("formula", 2021): Decimal(-96_000)}
    assert_adds_up(done)


def test_rounding_is_a_line():
    done = computed(declared(meter("m-1", mpe("0.2"), VALID)), {("m-1", "TotWhExp"): hourly(1000.001)})
    assert named(done) == {("rounding", 2021): Decimal("-0.480")}
    assert_adds_up(done)


@pytest.mark.parametrize("quantity", ["generated", "charged"])
def test_what_crosses_is_named(quantity):
    rows = {
        ("m-1", "TotWhExp"): hourly(1000, minutes=30 if quantity == "generated" else 0, first=date(2021, 2, 25)),
        ("b-1", "TotWhImp"): hourly(300, minutes=30 if quantity == "charged" else 0, first=date(2021, 2, 25),
                                    last=date(2021, 3, 25)),
        ("b-1", "TotWhExp"): hourly(200, first=date(2021, 2, 25)),
    }  # fmt: skip
    battery = meter("b-1", mpe("0.2"), VALID)
    done = computed(declared(BATTERY, meter("m-1", mpe("0.2"), VALID), battery, methodology="ID_AM017"), rows)
    crossing = {
        (one.credited.quantity, one.day.energy.day): one.credited_wh for one in done.account.days if one.left_out
    }
    # Into the period and out of it: what raises EG loses the first, what lowers it has both.
    assert crossing == ({("generated", FIRST): 23_000} if quantity == "generated" else {("charged", LAST): 7_500})
    assert_adds_up(done)


def test_a_silent_meter_that_is_subtracted_leaves_out_the_generation_of_its_days():
    silent = date(2021, 3, 5)
    rows = {
        ("m-1", "TotWhExp"): hourly(1000),
        ("b-1", "TotWhImp"): hourly(300, last=silent - timedelta(days=1)),
        ("b-1", "TotWhExp"): hourly(200),
    }
    battery = meter("b-1", mpe("0.2"), VALID)
    done = computed(declared(BATTERY, meter("m-1", mpe("0.2"), VALID), battery, methodology="ID_AM017"), rows)
    doubted = {one.day.energy.day for one in done.account.days if one.left_out == "doubtful"}
    assert doubted == {silent + timedelta(days=n) for n in range(16)}
    assert_adds_up(done)


def test_a_day_without_an_invoice_says_so():
    until = date(2021, 3, 10)
    done = computed(declared(OPTION_B, meter("m-1", mpe("0.2"), VALID), invoice("240", FIRST, until)))
    assert {one.day.energy.day > until for one in done.account.days if one.left_out == "not_invoiced"} == {True}
    assert_adds_up(done)


def test_a_replacement_that_is_named_beside_what_it_replaced_is_refused():
    replaced = meter("b-1", 'replaced_by = "b-2"\nremoved = { at = 2021-03-10T00:00:00Z }\n')
    twice = BATTERY + BATTERY.replace("b-1", "b-2")
    new = meter("b-2").replace("2019-01-01", "2021-03-10T00:00:00Z")
    with pytest.raises(PeriodError, match=r"register TotWhExp of s/b-2 counts twice"):
        declared(twice, meter("m-1"), replaced, new, methodology="ID_AM017")
    assert declared(BATTERY, meter("m-1"), replaced, new, methodology="ID_AM017").counted_twice() == []
