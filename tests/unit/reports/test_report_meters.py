"""Meters and invoices in every format: the same numbers, escaped, and nothing where there is nothing to say."""

import csv
import io
import json

import pytest
from openpyxl import load_workbook

from devices.declaration_file import parse
from mrv.basis import Basis
from mrv.reports import render
from mrv.result import PeriodResult
from tests.meters import HEAD, calibration, meter, mpe, result

INVOICE = """
[[invoice]]
number = "=I<1>"
issuer = "Power & Co."
site = "s"
device = "m-1"
from = 2021-03-01
to = 2021-03-20
energy_kwh = "470"
"""
PLAN = 'monitoring_plan = { option = "B" }\n'
FIRST = calibration("2019-01-01", "2019-12-31", "0.2")
SECOND = calibration("2020-01-01", "2021-03-10", "0.1", certificate="<b>C</b>")
DECLARED = parse(
    HEAD.format(methodology="TH_AM001") + PLAN + meter("m-1", mpe("0.5"), FIRST, SECOND) + INVOICE, "test.toml"
)


@pytest.fixture(scope="module")
def done() -> PeriodResult:
    return result(Basis.of(DECLARED))


def test_the_page_has_a_line_for_the_meter_and_escapes_what_was_declared(done):
    page = render(done, DECLARED, "html").decode()
    assert "2021-03-11 to 2021-03-20: calibration expired, 0.5 % taken, 1,200.000 Wh" in page
    assert "1/Jan/2019 valid until 31/Dec/2019, error 0.2 %" in page
    assert "certificate &lt;b&gt;C&lt;/b&gt;" in page
    assert "=I&lt;1&gt;" in page
    assert "Power &amp; Co." in page
    assert "<b>C</b>" not in page
    assert "monitoring option B" in page


def test_the_workbook_has_a_sheet_with_a_row_for_each_span(done):
    book = load_workbook(io.BytesIO(render(done, DECLARED, "xlsx")))
    rows = [[cell.value for cell in row] for row in book["Meters"].iter_rows()]
    spans = [row for row in rows if row[1] == "m-1"]
    assert [(row[6], row[8], row[9], row[10]) for row in spans] == [
        ("1/Mar/2021", "valid", "0", 0),
        ("11/Mar/2021", "expired", "0.5", 1200),
    ]
    assert [row[11:13] for row in spans] == [[480_000, 470_000], ["", ""]]
    (billed,) = [row for row in rows if row[1] == "=I<1>"]
    assert billed[6:10] == [470_000, 480_000, "+2.1277", 8_800]
    assert any(row[0] == "meter.invoice_applied@1" for row in rows)


def test_the_table_has_the_same_facts(done):
    rows = list(csv.DictReader(io.StringIO(render(done, DECLARED, "csv").decode())))
    of_meter = {(row["parameter"], row["source"]): row["value"] for row in rows if row["level"] == "meter"}
    assert of_meter["calibration_energy_taken", "2021-03-11 to 2021-03-20"] == "1200.000"
    assert of_meter["credited", "after calibration and invoices"] == "470000.000"
    (number,) = {row["device"] for row in rows if row["level"] == "invoice"}
    assert number == "'=I<1>"
    assert {row["source"] for row in rows if row["parameter"] == "EG_i,p"} == {"monitored, Option B"}


def test_the_same_bytes_again_and_the_same_result_from_json(done):
    assert PeriodResult.from_json(json.loads(render(done, DECLARED, "json"))) == done
    for report_format in ("xlsx", "html", "csv"):
        assert render(done, DECLARED, report_format) == render(done, DECLARED, report_format)


def test_where_there_is_nothing_to_say_there_is_no_section():
    declared = parse(HEAD.format(methodology="TH_AM001") + meter(kind="inverter"), "test.toml")
    plain = result(Basis.of(declared))
    assert "<h2>Meters</h2>" not in render(plain, declared, "html").decode()
    assert "Meters" not in load_workbook(io.BytesIO(render(plain, declared, "xlsx"))).sheetnames
    assert "meters" not in json.loads(render(plain, declared, "json"))
