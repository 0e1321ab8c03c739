"""The thirteen real findings of verifiers about metering data, each as a test of what the product says and credits.

The findings are those of CDM "information and reporting check" rejections (`jcm-facts` 4.5, all marked V); the number
in each name is the fact's, the address in its docstring its source under https://cdm.unfccc.int/IRCheck/.
"""

import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from openpyxl import load_workbook

from devices.declaration_file import parse
from devices.errors import DeclarationError
from mrv import periods
from mrv.quality.rules import QUALITY_1, REGISTER_ONLY
from mrv.reports import render
from tests.integration.conftest import Plant

FIRST, LAST = date(2021, 3, 1), date(2021, 3, 20)
HEAD = """
[project]
id = "P1"
title = "A test plant"
host_country = "IDN"
methodology = "{methodology}"
methodology_version = "1.0"
crediting_period = {{ from = 2019-01-01, to = 2029-12-31 }}

[[site]]
id = "s-P1"
name = "Site"
time_zone = "Asia/Bangkok"

[[pv_system]]
id = "pv-1"
site = "s-P1"
capacity_kw = {capacity}
connection = "grid"
credited_by = ["m-1"]
emission_factor = {{ value = "0.5", unit = "tCO2/MWh", source = "{source}" }}
"""
METER = """
[[device]]
id = "{id}"
site = "s-P1"
pv_system = "pv-1"
kind = "meter"
rated_power_w = {rated}
register = {{ point = "TotWhExp", bits = 64 }}
serial_number = "S-{id}"
installed = {installed}
{more}
"""
MPE = 'maximum_permissible_error_percent = "{}"\n'
CALIBRATION = """
[[device.calibration]]
performed = {}
valid_until = {}
error_percent = "{}"
laboratory = "Lab"
certificate = "C-{}"
"""
INVOICE = """
[[invoice]]
number = "{number}"
issuer = "Power company"
site = "s-P1"
device = "{device}"
quantity = "{quantity}"
from = {begin}
to = {end}
energy_kwh = "{kwh}"
"""


def head(methodology="TH_AM001", capacity=500, source="PDD, section C", *more):
    return HEAD.format(methodology=methodology, capacity=capacity, source=source) + "".join(more)


def meter(id="m-1", *more, rated=400_000, installed="2019-01-01"):  # noqa: A002
    return METER.format(id=id, rated=rated, installed=installed, more="".join(more))


def calibration(performed, until, error="0.1"):
    return CALIBRATION.format(performed, until, error, performed)


def mpe(percent):
    return MPE.format(percent)


def invoice(kwh, number, begin=FIRST, end=LAST, device="m-1", quantity="generated"):
    return INVOICE.format(number=number, device=device, quantity=quantity, begin=begin, end=end, kwh=kwh)


def plan(text):
    return f"monitoring_plan = {{ {text} }}\n"


class Case:
    """A plant with meters, its readings and its reports."""

    def __init__(self, plant):
        self.plant = plant

    def read(self, *texts, first=FIRST, last=LAST, **hourly):
        """Declare, insert hourly readings of the devices named, and compute."""
        self.plant.apply("".join(texts))
        for name, (begin, end, start_wh, hourly_wh) in hourly.items():
            rows = self.plant.days(begin, end, start_wh=start_wh, hourly_wh=hourly_wh)
            self.plant.insert(rows, name.replace("_", "-"))
        return self.again(first, last)

    def again(self, first=FIRST, last=LAST):
        return periods.draft(self.plant.connection, "P1", first, last, code_version="1")

    def report(self, result, report_format):
        declaration = periods.current_basis(self.plant.connection, "P1").declaration
        return render(result, declaration, report_format)

    def cells(self, result, sheet):
        book = load_workbook(io.BytesIO(self.report(result, "xlsx")))
        return [[cell.value for cell in row if cell.value is not None] for row in book[sheet].iter_rows()]

    def page(self, result):
        return self.report(result, "html").decode()


@pytest.fixture
def case(database) -> Iterator[Case]:
    plant = Plant(database)
    yield Case(plant)
    plant.close()


HOURLY = (FIRST, LAST, 1000.0, 1000.0)
WHOLE_WH = 20 * 24 * 1000


def eg_wh(result):
    return result.systems[0].eg_mwh * 1_000_000


def fired(result):
    return {rule for rule, count in result.rules.items() if count and rule.startswith("meter.")}


def test_finding_1_no_certificates_and_the_error_factor_not_applied(case):
    """L9MSXVQNE4AOH25: yearly calibration required, no certificates, the error not applied in the spreadsheet.

    Now: the permissible error is taken on every day of the delay, and the missing certificate is named.
    """
    bare = calibration("2019-12-20", "2020-12-20").replace('certificate = "C-2019-12-20"\n', "")
    result = case.read(head(), meter("m-1", mpe("0.5"), bare), m_1=HOURLY)
    assert eg_wh(result) == WHOLE_WH * Decimal("0.995")
    assert fired(result) == {"meter.delayed_calibration@1"}
    assert result.rules["meter.delayed_calibration@1"] == 20
    assert "no certificate" in case.page(result)
    covering = case.read(head(), meter("m-1", mpe("0.5"), bare.replace("2020-12-20", "2021-12-20")))
    assert fired(covering) == {"meter.no_certificate@1"}


def test_finding_2_months_with_missing_invoices(case):
    """2ODI5C9JMG8LP0S: how was the generation of months without an invoice verified?

    Now, under option B: a day that no invoice covers credits nothing, and is counted by a rule; spreadsheet and page
    are written from one result.
    """
    text = (
        head("TH_AM001", 500, "PDD", plan('option = "B"')),
        meter("m-1", mpe("0.2"), calibration("2021-01-01", "2021-12-31")),
    )
    result = case.read(*text, invoice("240", "I-1", FIRST, date(2021, 3, 10)), m_1=HOURLY)
    assert eg_wh(result) == 240_000
    assert result.rules["meter.not_invoiced@1"] == 10
    assert "m-1: no invoice covers 10 day(s)" in case.page(result)
    assert any("no invoice covers 10 day(s)" in str(cell) for row in case.cells(result, "Meters") for cell in row)
    table_1 = next(row for row in case.cells(result, "MRS(input)") if "EG_i,p" in row)
    assert "Option B" in table_1


def test_finding_3_an_error_of_0_2_percent_applied_as_20_percent(case):
    """LPGSN29KEZDB5Y8: ±0.2 % was applied as the factor 0.2.

    Now: the number is a percentage; "0.2" takes 0.2 %, and "20" is refused.
    """
    result = case.read(head(), meter("m-1", mpe("0.2"), calibration("2020-01-01", "2020-12-31")), m_1=HOURLY)
    assert eg_wh(result) == WHOLE_WH * Decimal("0.998")
    with pytest.raises(DeclarationError, match=r"20 % is no meter's: expected 0 to 5, in percent"):
        parse(head() + meter("m-1", mpe("20")), "test.toml")


def test_finding_4_the_error_applied_to_the_net(case):
    """OEYZXW51RP0S7FI: subtract it from the export AND add it to the import, not to their difference.

    Now: 1,000 Wh exported and 200 Wh imported an hour at 0.5 % count 995 − 201 = 794 Wh, not 800 × 0.995 = 796 Wh.
    """
    importing = '[[pv_system.meter]]\ndevice = "m-2"\nquantity = "auxiliary"\n'
    methodology = ("TH_AM007", 500, "PDD", importing)
    error = (mpe("0.5"), calibration("2020-01-01", "2020-12-31"))
    result = case.read(
        head(*methodology), meter("m-1", *error), meter("m-2", *error), m_1=HOURLY, m_2=(FIRST, LAST, 500.0, 200.0)
    )
    assert eg_wh(result) == 20 * 24 * (995 - 201)
    counted = {one.quantity: (one.metered_wh, one.credited_wh) for one in result.meters}
    assert counted == {"generated": (480_000, 477_600), "auxiliary": (96_000, 96_480)}


def test_finding_5_the_higher_of_metered_and_invoiced_used_without_reason(case):
    """1C7MJILH4KFX0A5: 48,797,160 kWh monitored, 48,804,719 invoiced; 424,320 against 415,440 imported.

    Three meters stood in the diagram, two were verified.

    Now, under option B: the lower export and the higher import count, each difference is shown, and a meter of the
    system that does not count is named.
    """
    importing = '[[pv_system.meter]]\ndevice = "m-2"\nquantity = "auxiliary"\n'
    valid = ('accuracy_class = "0.2S"\n', mpe("0.2"), calibration("2021-01-01", "2021-12-31"))
    hours = 20 * 24
    export, imported = 48_797_160_000, 424_320_000
    result = case.read(
        head("TH_AM007", 150_000, "PDD", plan('option = "B"'), importing),
        meter("m-1", *valid, rated=150_000_000),
        meter("m-2", *valid, rated=150_000_000),
        meter("m-3", *valid),
        invoice("48804719", "I-1"),
        invoice("415440", "I-2", device="m-2", quantity="auxiliary"),
        m_1=(FIRST, LAST, 1000.0, export / hours),
        m_2=(FIRST, LAST, 1000.0, imported / hours),
    )
    assert eg_wh(result) == export - imported
    assert [(one.number, one.difference_percent) for one in result.invoices] == [
        ("I-1", Decimal("-0.0155")),
        ("I-2", Decimal("2.1375")),
    ]
    assert fired(result) == {"meter.invoice_differs@1", "meter.not_counted@1"}
    assert "m-3 is declared in pv-1 and not counted" in case.page(result)


def test_finding_6_the_billing_cycle_differs_between_report_and_sheet(case):
    """HMBC0ANU91LGVQI: 17/10-18/11 in the report, 08/10-08/11 in the sheet; undefined acronyms.

    Now: an invoice has its days once, and every format writes those; one that reaches beyond the period is not compared
    but named; two cycles that share days are refused. Acronyms of the sheets are those of the JCM's own forms.
    """
    valid = (mpe("0.2"), calibration("2021-01-01", "2021-12-31"))
    early = date(2021, 2, 20)
    cycle = invoice("240", "I-2", date(2021, 3, 8), date(2021, 3, 17))
    result = case.read(head(), meter("m-1", *valid), invoice("500", "I-1", early, date(2021, 3, 7)), cycle, m_1=HOURLY)
    outside, inside = result.invoices
    assert (outside.metered_wh, inside.metered_wh) == (None, 240_000)
    assert fired(result) == {"meter.invoice_outside@1"}
    assert "2021-03-08 to 2021-03-17" in case.page(result)
    assert any("8/Mar/2021" in row and "17/Mar/2021" in row for row in case.cells(result, "Meters"))
    written = json.loads(case.report(result, "json"))["invoices"][1]
    assert (written["from"], written["to"]) == ("2021-03-08", "2021-03-17")
    with pytest.raises(DeclarationError, match="expected each day billed once"):
        parse(head() + meter("m-1") + cycle + invoice("1", "I-3", date(2021, 3, 17), LAST), "test.toml")


def test_finding_7_calibration_does_not_cover_the_whole_period(case):
    """AB03HZSP2OE6U5L: the first calibration was performed after the period began.

    Now: each day before it is "not yet", with the error taken.
    """
    result = case.read(head(), meter("m-1", mpe("0.5"), calibration("2021-03-06", "2022-03-05")), m_1=HOURLY)
    assert eg_wh(result) == WHOLE_WH - 5 * 24 * 5
    assert [(span.first_day, span.last_day, span.state) for span in result.meters[0].calibration] == [
        (FIRST, date(2021, 3, 5), "not yet"),
        (date(2021, 3, 6), LAST, "valid"),
    ]
    assert any("calibration not yet on 5 day(s), 2021-03-01 to 2021-03-05" in note for note in result.notes)


def test_finding_8_only_the_latest_calibration_is_given(case):
    """YH257WZ6BKQPLMU: all years are needed, with accuracy class and validity.

    Now: the sheet and the page list every calibration; an earlier one stays when a later file leaves it out.
    """
    years = [calibration(f"{year}-01-01", f"{year}-12-31") for year in (2019, 2020, 2021)]
    own = ('accuracy_class = "0.5S"\n', mpe("0.5"))
    case.read(head(), meter("m-1", *own, *years), m_1=HOURLY)
    result = case.read(head(), meter("m-1", *own, years[-1]))
    for text in (case.page(result), str(case.cells(result, "Meters"))):
        assert "0.5S" in text
        for year in (2019, 2020, 2021):
            assert f"1/Jan/{year} valid until 31/Dec/{year}, error 0.1 %, Lab, certificate C-{year}-01-01" in text


def test_finding_9_a_replaced_meter(case):
    """ETWFIP0DAKRBZ83: was the old one calibrated before removal, within its error, and is the new one calibrated?

    Now: validity is told for both to the day, a found error beyond the permissible one is named and taken over the
    delay before it, and a missing closing or opening register credits nothing across and says so.
    """
    swap = datetime(2021, 3, 10, 17, tzinfo=UTC)
    removed = f'removed = {{ at = {swap:%Y-%m-%dT%H:%M:%SZ} }}\nreplaced_by = "m-2"\n'
    old = meter("m-1", mpe("0.5"), removed, calibration("2020-01-01", "2020-12-31"))
    new = meter("m-2", mpe("0.5"), installed=f"{swap:%Y-%m-%dT%H:%M:%SZ}")
    result = case.read(
        head(),
        old,
        new,
        m_1=(FIRST, date(2021, 3, 9), 1000.0, 1000.0),
        m_2=(date(2021, 3, 12), LAST, 50.0, 1000.0),
    )
    # 9 days and 9 days; nothing of the two days between, which no declared register reaches across.
    assert eg_wh(result) == 18 * 24 * 995
    assert result.rules["meter.replacement_incomplete@1"] == 2
    assert result.rules["meter.replacement_uncalibrated@1"] == 2
    page = case.page(result)
    assert "m-1 was removed 2021-03-11 without a closing register" in page
    assert "m-2 replaced m-1 on 2021-03-11 without an opening register" in page
    assert "S-m-1" in page
    assert "S-m-2" in page

    # Tested after the removal, and found worse than permissible: that error counts over the delay.
    tested = old + calibration("2021-03-15", "2022-03-14", "0.8")
    complete = tested.replace(" }\nreplaced_by", ", closing_register_wh = 241000 }\nreplaced_by")
    begun = (
        new.replace("[[device.", "[[device.") + "opening_register_wh = 0\n" + calibration("2021-03-01", "2022-02-28")
    )
    result = case.read(head(), complete, begun)
    # 240 kWh at 0.8 %, then from 0 to the 50 Wh at the first reading and 9 days.
    assert eg_wh(result) == 240 * 992 + 50 + 9 * 24_000
    assert fired(result) >= {"meter.failed_calibration@1", "meter.replacement_uncalibrated@1"}
    assert result.rules["meter.replacement_incomplete@1"] == 0
    assert result.rules["meter.replacement_uncalibrated@1"] == 1


def test_finding_10_the_meter_is_worse_than_the_plan_and_the_interval_differs(case):
    """5M29Y8O47JVKFHU: ±1.5 % where the plan requires ±1 %; the averaging interval differs.

    Now: both are named against the declared plan. Nothing is taken for it: that is the verifier's decision.
    """
    planned = plan('maximum_permissible_error_percent = "1", reading_interval_s = 900')
    result = case.read(
        head("TH_AM001", 500, "PDD", planned),
        meter("m-1", mpe("1.5"), calibration("2021-01-01", "2021-12-31")),
        m_1=HOURLY,
    )
    assert fired(result) == {"meter.worse_than_plan@1", "meter.interval_differs@1"}
    page = case.page(result)
    assert "m-1 may be 1.5 % off, the monitoring plan allows 1 %" in page
    assert "m-1 was read every 3,600 s, the monitoring plan has 900 s" in page


def test_finding_11_a_measured_parameter_reported_as_calculated(case):
    """7WA1VINUQPCJYSH: the parameter is defined as measured.

    Now: what is credited is a difference of one register's readings, and said so; a register that is the sum of several
    fields is named as calculated, and what is no lifetime register cannot be declared as one.
    """
    summed = 'fields = { TotWhExp = { total_of = ["e1", "e2"], unit = "kWh", kind = "lifetime" } }\n'
    valid = (mpe("0.5"), calibration("2021-01-01", "2021-12-31"))
    result = case.read(head(), meter("m-1", 'profile = "thingsboard"\n', summed, *valid), m_1=HOURLY)
    assert fired(result) == {"meter.calculated@1"}
    assert "TotWhExp of m-1 is the sum of e1, e2" in case.page(result)
    table_1 = next(row for row in case.cells(result, "MRS(input)") if "EG_i,p" in row)
    assert {"Option C", "Monitored data"} <= set(table_1)
    assert any("difference of register readings" in str(cell) for cell in table_1)
    with pytest.raises(DeclarationError, match='"W" is no lifetime register'):
        parse(head() + meter("m-1").replace('"TotWhExp"', '"W"'), "test.toml")


def test_finding_12_totals_differ_between_documents_and_the_class_changed(case):
    """WC1PR6N7KXODHF0: 2,569.87 against 3,975.21 MWh in two documents; accuracy class 0.5 became 0.2 without approval.

    Now: every format is written from one result with one digest; a class that is not the plan's is named, and a change
    of the declaration is a line of the plan and of the audit trail.
    """
    planned = plan('accuracy_class = "0.5S"')
    valid = (mpe("0.5"), calibration("2021-01-01", "2021-12-31"))
    texts = (head("TH_AM001", 500, "PDD", planned), meter("m-1", 'accuracy_class = "0.5S"\n', *valid))
    case.read(*texts, m_1=HOURLY)
    result = case.read(texts[0], texts[1].replace('"0.5S"', '"0.2S"'))
    assert fired(result) == {"meter.class_differs@1"}
    assert "accuracy class 0.2S, the monitoring plan has 0.5S" in case.page(result)
    (changes,) = case.plant.owner.execute(
        "select detail -> 'changes' from audit_event where action = 'apply' order by id desc limit 1"
    ).fetchone()
    assert [(one["key"], one["old"], one["new"]) for one in changes] == [("accuracy_class", "0.5S", "0.2S")]

    written = json.loads(case.report(result, "json"))
    assert written["systems"][0]["eg_mwh"] == "0.480000"
    assert f"from {Decimal('0.48')} MWh" in case.page(result)
    assert any("EG_i,p" in row and 0.48 in row for row in case.cells(result, "MRS(input)"))
    assert ',"EG_i,p",0.480000,MWh/p,' in case.report(result, "csv").decode()
    for report_format in ("json", "html", "csv"):
        assert result.inputs_digest in case.report(result, report_format).decode()


def test_finding_13_the_workbook_of_the_factor_is_named_and_not_submitted(case):
    """ZUVQ43XY8MDBNTK: the calculation of the emission factor was named but not submitted.

    Now: a factor without its source is refused, the source stands beside the factor in every format, and a default that
    was not read in the primary text is marked as unconfirmed. Whether the document named was submitted is not known to
    the product: it keeps no attachment.
    """
    with pytest.raises(DeclarationError, match="source is missing"):
        parse(head().replace(', source = "PDD, section C"', "") + meter("m-1"), "test.toml")
    valid = (mpe("0.5"), calibration("2021-01-01", "2021-12-31"))
    result = case.read(head(), meter("m-1", *valid), m_1=HOURLY)
    assert result.systems[0].factor.confirmed
    for report_format in ("json", "html", "csv"):
        assert "PDD, section C" in case.report(result, report_format).decode()
    own = [line for line in head().splitlines() if line.startswith("emission_factor")]
    result = case.read(head().replace(own[0], ""), meter("m-1", *valid))
    assert not result.systems[0].factor.confirmed
    assert "unconfirmed default" in case.page(result)


@pytest.mark.parametrize("rules", [REGISTER_ONLY, QUALITY_1], ids=lambda rules: rules.name)
def test_a_revision_frozen_before_meters_were_looked_at_recomputes_to_the_byte(case, monkeypatch, rules):
    case.plant.apply(head() + meter("m-1", mpe("0.5")))
    case.plant.insert(case.plant.days(FIRST, LAST), "m-1")
    with monkeypatch.context() as before:
        before.setattr(periods, "CURRENT", rules)
        frozen = periods.freeze(case.plant.connection, "P1", FIRST, LAST, code_version="1").revision
    assert "meters" not in json.loads(frozen.result_text)
    assert eg_wh(frozen.result) == WHOLE_WH
    again = periods.recompute(case.plant.connection, "P1", FIRST, LAST, 1)
    assert again.result_text == frozen.result_text
    # The next freeze takes the delay against the credit, as a new revision.
    following = periods.freeze(case.plant.connection, "P1", FIRST, LAST, code_version="2")
    assert (following.new, following.revision.number) == (True, 2)
    assert eg_wh(following.revision.result) == WHOLE_WH * Decimal("0.995")
    assert periods.recompute(case.plant.connection, "P1", FIRST, LAST, 2).result_text == following.revision.result_text
