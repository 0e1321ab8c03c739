"""Invoices against meters: they inform under option C, and bound the credit under option B."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.errors import DeclarationError
from tests.meters import BATTERY, VALID, declared, eg_wh, hourly, meter, mpe, result, told

FIRST, LAST = date(2021, 3, 1), date(2021, 3, 20)
OPTION_B = 'monitoring_plan = { option = "B" }\n'
M_1 = meter("m-1", 'accuracy_class = "0.2S"\n', mpe("0.2"), VALID)
B_1 = meter("b-1", mpe("0.2"), VALID)
ROWS = {
    ("m-1", "TotWhExp"): hourly(1000),
    ("b-1", "TotWhImp"): hourly(300),
    ("b-1", "TotWhExp"): hourly(200),
}


def invoice(kwh, begin=FIRST, end=LAST, number="I-1", target='device = "m-1"', quantity="generated"):
    return (
        f'\n[[invoice]]\nnumber = "{number}"\nissuer = "Power company"\nsite = "s"\n{target}\nquantity = "{quantity}"\n'
        f'from = {begin}\nto = {end}\nenergy_kwh = "{kwh}"\n'
    )


def test_an_invoice_within_the_accuracy_class_says_so():
    done = result(declared(M_1, invoice("480.5")))
    (one,) = done.invoices
    assert (one.metered_wh, one.invoiced_wh, one.difference_percent) == (480_000, 480_500, Decimal("-0.1041"))
    assert (one.findings, one.applied_wh, eg_wh(done)) == ((), 0, 480_000)


def test_under_option_c_a_lower_invoice_informs_and_does_not_lower():
    done = result(declared(M_1, invoice("450")))
    assert (eg_wh(done), told(done)) == (480_000, {"invoice_differs": 1})
    assert "480 kWh metered, 450 kWh invoiced, +6.6667 %, beyond 0.2 %" in done.invoices[0].findings[0].message


@pytest.mark.parametrize(("kwh", "credited"), [("450", 450_000), ("480", 480_000), ("500", 480_000)])
def test_under_option_b_the_lower_one_counts(kwh, credited):
    done = result(declared(OPTION_B, M_1, invoice(kwh)))
    assert eg_wh(done) == credited
    assert done.meters[0].credited_wh == done.systems[0].devices[0].energy_wh == credited


def test_under_option_b_a_day_without_an_invoice_counts_nothing():
    done = result(declared(OPTION_B, M_1, invoice("240", FIRST, date(2021, 3, 10))))
    assert (eg_wh(done), told(done)) == (240_000, {"not_invoiced": 10})
    assert eg_wh(result(declared(OPTION_B, M_1))) == 0


def test_an_invoice_that_reaches_beyond_the_period_cannot_be_held_against_it():
    across = invoice("600", date(2021, 2, 25), LAST)
    done = result(declared(M_1, across))
    assert (done.invoices[0].metered_wh, told(done)) == (None, {"invoice_outside": 1})
    assert eg_wh(result(declared(OPTION_B, M_1, across))) == 0


def test_a_calibration_delay_comes_before_the_invoice():
    delayed = meter("m-1", mpe("1"))
    assert eg_wh(result(declared(OPTION_B, delayed, invoice("476")))) == 480_000 * Decimal("0.99")
    assert eg_wh(result(declared(OPTION_B, delayed, invoice("470")))) == 470_000


def test_what_lowers_the_credit_counts_by_the_higher_one():
    bills = invoice("480"), invoice("100", number="I-3", target='device = "b-1"', quantity="discharged")
    charged = {"number": "I-2", "target": 'pv_system = "pv-1"', "quantity": "charged"}
    for kwh, counts in (("150", 150_000), ("100", 144_000)):
        done = result(
            declared(OPTION_B, BATTERY, M_1, B_1, *bills, invoice(kwh, **charged), methodology="ID_AM017"), ROWS
        )
        # The battery gave back 96 kWh by the meter, which is less than the 100 billed.
        assert eg_wh(done) == 480_000 - (counts - 96_000)


def test_a_day_on_which_what_is_subtracted_was_not_invoiced_counts_nothing():
    bills = invoice("480"), invoice("100", number="I-3", target='device = "b-1"', quantity="discharged")
    half = invoice("72", FIRST, date(2021, 3, 10), number="I-2", target='device = "b-1"', quantity="charged")
    done = result(declared(OPTION_B, BATTERY, M_1, B_1, *bills, half, methodology="ID_AM017"), ROWS)
    assert done.systems[0].devices[0].energy_wh == 240_000


def test_a_replaced_meter_is_billed_as_one():
    swap = 'removed = { at = 2021-03-10T17:00:00Z, closing_register_wh = 241000 }\nreplaced_by = "m-2"\n'
    second = meter("m-2", mpe("0.2"), "opening_register_wh = 0\n", VALID).replace(
        "installed = 2019-01-01", "installed = 2021-03-10T17:00:00Z"
    )
    first = meter("m-1", mpe("0.2"), swap, VALID)
    rows = {
        ("m-1", "TotWhExp"): hourly(1000, last=date(2021, 3, 10))[:-1],
        ("m-2", "TotWhExp"): hourly(1000, start=0, first=date(2021, 3, 11)),
    }
    done = result(declared(OPTION_B, first, second, invoice("470")), rows)
    assert done.invoices[0].metered_wh == 480_000
    assert eg_wh(done) == 470_000


def test_two_invoices_of_the_same_days_are_refused():
    with pytest.raises(DeclarationError, match=r"shares days with invoice .I-1., .* expected each day billed once"):
        declared(M_1, invoice("10", FIRST, date(2021, 3, 10)), invoice("10", date(2021, 3, 10), LAST, number="I-2"))
    with pytest.raises(DeclarationError, match="there is no device"):
        declared(M_1, invoice("10", target='device = "m-9"'))
    with pytest.raises(DeclarationError, match="expected either device or pv_system"):
        declared(M_1, invoice("10", target='device = "m-1"\npv_system = "pv-1"'))


KWH = st.integers(min_value=0, max_value=700)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), KWH), max_size=4), st.booleans(), st.data())
def test_no_invoice_and_no_missing_one_raises_the_credit(cycles, across_the_month, data):
    bills, begin = [], FIRST - timedelta(days=2 if across_the_month else 0)
    for n, (days, kwh) in enumerate(cycles):
        bills.append(invoice(kwh, begin, begin + timedelta(days=days), number=f"I-{n}"))
        begin += timedelta(days=days + 1)
    whole = eg_wh(result(declared(M_1)))
    by_invoice = eg_wh(result(declared(OPTION_B, M_1, *bills)))
    assert by_invoice <= eg_wh(result(declared(M_1, *bills))) == whole
    assert by_invoice <= sum(kwh for _, kwh in cycles) * 1000
    if bills:
        left_out = data.draw(st.sampled_from(bills))
        assert eg_wh(result(declared(OPTION_B, M_1, *(bill for bill in bills if bill != left_out)))) <= by_invoice
