"""What speaks about a meter's errors, once declared, stays declared."""

from datetime import date
from decimal import Decimal

import pytest

from deploy.registry_plan import plan
from devices.declaration_file import parse
from devices.declarations import ProjectDeclaration, canonical_json
from devices.errors import DeclarationError
from tests.meters import HEAD, VALID, meter, mpe

PLAN = 'monitoring_plan = { option = "B", accuracy_class = "0.5S", reading_interval_s = 900 }\n'
INVOICE = """
[[invoice]]
number = "{number}"
issuer = "Power company"
site = "s"
pv_system = "pv-1"
from = {begin}
to = {end}
energy_kwh = "{kwh}"
"""
MARCH = INVOICE.format(number="I-3", begin="2021-03-01", end="2021-03-31", kwh="48804719.5")
APRIL = INVOICE.format(number="I-4", begin="2021-04-01", end="2021-04-30", kwh=1)


def read(*parts):
    return parse(HEAD.format(methodology="TH_AM001") + "".join(parts), "test.toml")


FULL = read(PLAN, meter("m-1", mpe("0.5"), VALID), MARCH)


def test_a_declaration_reads_back_from_its_canonical_text():
    assert ProjectDeclaration.model_validate_json(canonical_json(FULL)) == FULL
    assert FULL.invoices is not None
    assert FULL.invoices[0].energy_kwh == Decimal("48804719.5")


def test_a_declaration_without_invoices_and_plan_keeps_the_canonical_text_it_had():
    text = canonical_json(read(meter()))
    assert "invoice" not in text
    assert "monitoring_plan" not in text


def test_what_a_later_file_leaves_out_is_kept_and_named():
    found = plan("test.toml", read(meter()), FULL, 1)
    assert found.merged == FULL
    assert (found.changes, found.revision) == ((), 1)
    assert set(found.kept) == {
        "monitoring_plan pv-1",
        "calibration s/m-1 2021-01-01",
        "maximum_permissible_error_percent s/m-1",
        "invoice I-3 of Power company",
    }


def test_an_invoice_is_added_and_one_that_changes_is_shown():
    found = plan(
        "test.toml", read(PLAN, meter("m-1", mpe("0.5"), VALID), MARCH.replace("719.5", "719"), APRIL), FULL, 1
    )
    assert [str(change) for change in found.changes] == [
        "~ invoice I-3 of Power company: energy_kwh: 48804719.5 → 48804719",
        "+ invoice I-4 of Power company",
    ]
    assert [one.first_day for one in found.merged.invoices or ()] == [date(2021, 3, 1), date(2021, 4, 1)]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (MARCH.replace('"48804719.5"', "-1"), 'invoice "I-3": energy_kwh: expected a number as text'),
        (MARCH.replace("to =", "until ="), 'invoice "I-3": until: unknown key'),
        (MARCH.replace("2021-03-31", "2021-02-28"), 'invoice "I-3": to: 2021-02-28 is before 2021-03-01'),
        (MARCH + MARCH, 'invoice "I-3": number: declared twice for Power company'),
        (MARCH.replace('site = "s"', 'site = "x"'), 'there is no pv_system "pv-1" at site "x"'),
        (MARCH + 'price = "3.10"\n', 'invoice "I-3": price: unknown key'),
    ],
)
def test_what_is_wrong_with_an_invoice_is_said(wrong, said):
    with pytest.raises(DeclarationError) as error:
        read(meter(), wrong)
    assert said in str(error.value)


def test_what_is_wrong_with_a_monitoring_plan_is_said():
    with pytest.raises(DeclarationError, match=r'monitoring_plan.option: expected "B" \(the amount'):
        read('monitoring_plan = { option = "A" }\n', meter())
