"""The CSV report: one fact a row, exact, and no text that a spreadsheet would calculate."""

import csv
import io
from dataclasses import replace
from decimal import Decimal

import pytest

from mrv.reports import render
from mrv.reports.as_csv import COLUMNS


def rows(result, declaration):
    content = render(result, declaration, "csv").decode()
    assert content.endswith("\r\n")
    return list(csv.DictReader(io.StringIO(content, newline="")))


def values(table, level, parameter, **where):
    return [
        row["value"]
        for row in table
        if (row["level"], row["parameter"]) == (level, parameter) and all(row[k] == v for k, v in where.items())
    ]


def test_holds_every_number_of_the_result_exactly(two_years, declaration):
    table = rows(two_years, declaration)
    assert tuple(table[0]) == COLUMNS
    assert {(row["project"], row["period_from"], row["period_to"], row["revision"]) for row in table} == {
        ("TH014", "2020-09-28", "2021-12-31", "1")
    }
    assert values(table, "project", "ER_p") == ["2730"]
    assert values(table, "vintage", "ER_p") == ["557", "2173"]
    assert values(table, "vintage", "RE_p", year="2020") == ["557.718753"]
    assert values(table, "system_year", "EG_i,p", system="pv-1") == ["1581.250001", "6325.000000"]
    assert values(table, "system_year", "RE_i", system="pv-2") == ["53.300003", "155.369500"]
    assert values(table, "system", "EF_RE,i") == ["0.319", "0.533"]
    assert values(table, "device", "energy", device="m-pv-1") == ["7906250001"]
    assert values(table, "device", "register.gap@1", device="m-pv-1") == ["2"]
    assert values(table, "device", "accuracy_class") == ["0.5S"]
    assert values(table, "device", "calibration_valid_until") == ["2021-12-20"]


def test_marks_an_unconfirmed_default(two_years, declaration):
    table = rows(two_years, declaration)
    sources = [row["source"] for row in table if row["parameter"] == "EF_RE,i"]
    assert sources == ["project design document, section C", "TH_AM001 default, captive power (unconfirmed default)"]


@pytest.mark.parametrize("start", list("=+-@＝＋－＠\t\r\n"))
def test_no_text_begins_as_a_formula_does(start, two_years, declaration, a_device):
    evil = f"{start}HYPERLINK(1)"
    systems = (replace(two_years.systems[0], devices=(a_device(evil, 1, serial_number=evil),)),)
    table = rows(replace(two_years, project=evil, title=evil, notes=(evil,), systems=systems), declaration)
    for row in table:
        for column, cell in row.items():
            if cell.startswith(start):
                assert column == "value"
                Decimal(cell)
    assert values(table, "device", "serial_number") == [f"'{evil}"]
    assert values(table, "project", "note") == [f"'{evil}"]
