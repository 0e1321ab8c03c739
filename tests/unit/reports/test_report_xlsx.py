"""The workbook: read back with another library, and recalculated from its formulas as a reader's spreadsheet would."""

import ast
import io
import math
import re
from dataclasses import replace
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from random import Random

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrv.reports import render
from mrv.result import Factor

TABLE_1 = [
    "(a) Monitoring period", "(b) Monitoring point No.", "(c) Parameters", "(d) Description of data",
    "(e) Monitored Values", "(f) Units", "(g) Monitoring option", "(h) Source of data",
    "(i) Measurement methods and procedures", "(j) Monitoring frequency", "(k) Other comments",
]  # fmt: skip
TABLE_2 = ["(a) Parameters", "(b) Description of data", "(c) Values", "(d) Units", "(e) Source of data",
           "(f) Other comments"]  # fmt: skip
SECTIONS = ["1. Calculations for emission reductions", "2. Selected default values, etc.",
            "3. Calculations for reference emissions", "4. Calculations of the project emissions"]  # fmt: skip


def fifteen_digits(number: float) -> Decimal:
    """What a spreadsheet takes a double for."""
    return Decimal(f"{number:.15g}")


FUNCTIONS = {
    "SUM": lambda values: float(sum(values)),
    "MAX": max,
    "INT": lambda number: float(math.floor(number)),
    "ROUND": lambda number, places: float(
        fifteen_digits(number).quantize(Decimal(1).scaleb(-int(places)), ROUND_HALF_UP)
    ),
}
OPERATORS = {
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}


class Recalculated:
    """Values of a workbook's cells, from its formulas only: cached values are not looked at."""

    def __init__(self, content: bytes) -> None:
        self.book = openpyxl.load_workbook(io.BytesIO(content))

    def value(self, sheet: str, cell: str) -> float:
        content = self.book[sheet][cell].value
        if not isinstance(content, str):
            return float(content)
        text = re.sub(r"(?:'([^']+)'!)?\b([A-Z]+\d+)(:[A-Z]+\d+)?", rf"_(r'\1' or r'{sheet}', '\2\3')", content[1:])
        return self._of(ast.parse(text, mode="eval").body)

    def _of(self, node):
        match node:
            case ast.Constant():
                return node.value
            case ast.BinOp():
                return OPERATORS[type(node.op)](self._of(node.left), self._of(node.right))
            case ast.Call(func=ast.Name(id="_"), args=[sheet, cells]):
                sheet = next(part.value for part in sheet.values if part.value)
                if ":" in cells.value:
                    return [self.value(sheet, cell.coordinate) for (cell,) in self.book[sheet][cells.value]]
                return self.value(sheet, cells.value)
            case ast.Call():
                return FUNCTIONS[node.func.id](*(self._of(argument) for argument in node.args))
        raise AssertionError(ast.dump(node))


def texts(sheet):
    return [[cell.value for cell in row if cell.value is not None] for row in sheet.iter_rows()]


def after(sheet, heading):
    """The rows of cells below a heading."""
    found = [row[0].row for row in sheet.iter_rows() if row[0].value == heading]
    assert len(found) == 1, heading
    return list(sheet.iter_rows(min_row=found[0] + 1))


@pytest.fixture
def book(two_years, declaration):
    return openpyxl.load_workbook(io.BytesIO(render(two_years, declaration, "xlsx")))


@pytest.fixture
def shown(two_years, declaration):
    """As a viewer without calculation shows it."""
    return openpyxl.load_workbook(io.BytesIO(render(two_years, declaration, "xlsx")), data_only=True)


def test_sheets_and_head_are_those_of_the_form(book):
    assert book.sheetnames == ["MRS(input)", "MRS(calc_process)", "MSS", "Devices", "Notes"]
    rows = texts(book["MRS(input)"])
    assert rows[0] == ["Monitoring Report Sheet (Input Sheet) [For Verification]"]
    assert ["Project reference No.", "TH014"] in rows
    assert ["Methodology", "TH_AM001 Ver1.0, Installation of Solar PV System"] in rows
    assert ["Monitoring period", "28/Sep/2020-31/Dec/2021"] in rows
    assert ["Project participants", "Example & Co., Ltd. (THA); Example Inc. (JPN)"] in rows
    assert ["Third-party entity", "Example Certification Body"] in rows


def test_table_1_has_the_eleven_columns_and_a_row_per_system_and_year(book):
    header, *rows = after(book["MRS(input)"], "Table 1: Parameters monitored ex post")
    assert [cell.value for cell in header] == TABLE_1
    assert [[row[n].value for n in (0, 1, 2, 4, 5, 6, 7, 9)] for row in rows[:4]] == [
        [
            "28/Sep/2020-31/Dec/2020",
            "(1)",
            "EG_i,p",
            1581.250001,
            "MWh/p",
            "Option C",
            "Monitored data",
            "Continuously",
        ],
        ["1/Jan/2021-31/Dec/2021", "(1)", "EG_i,p", 6325, "MWh/p", "Option C", "Monitored data", "Continuously"],
        ["28/Sep/2020-31/Dec/2020", "(2)", "EG_i,p", 100.000007, "MWh/p", "Option C", "Monitored data", "Continuously"],
        ["1/Jan/2021-31/Dec/2021", "(2)", "EG_i,p", 291.5, "MWh/p", "Option C", "Monitored data", "Continuously"],
    ]
    method = rows[0][8].value
    for fact in ("meter m-pv-1", "serial number KWH-778", "accuracy class 0.5S", "calibrated 20/Dec/2019 by Lab",
                 "valid until 20/Dec/2021"):  # fmt: skip
        assert fact in method
    assert "no calibration declared" in rows[2][8].value


def test_table_2_has_the_factors_and_marks_the_unconfirmed_one(book):
    header, first, second, *_ = after(book["MRS(input)"], "Table 2: Project-specific parameters to be fixed ex ante")
    assert [cell.value for cell in header if cell.value] == TABLE_2
    assert [cell.value for cell in first if cell.value][2:5] == [
        0.319, "tCO2/MWh", "project design document, section C",
    ]  # fmt: skip
    assert "nconfirmed" not in str([cell.value for cell in first])
    assert [cell.value for cell in second if cell.value][2] == 0.533
    assert "Unconfirmed default" in second[9].value


def test_table_3_and_the_options_are_there(book, shown):
    header, *rows = after(shown["MRS(input)"], "Table 3: Ex-post calculation of CO2 emission reductions")
    assert [cell.value for cell in header if cell.value] == ["Monitoring Period", "CO2 emission reductions", "Units"]
    assert [[cell.value for cell in row if cell.value is not None] for row in rows[:3]] == [
        ["28/Sep/2020-31/Dec/2020", 557, "tCO2/p"],
        ["1/Jan/2021-31/Dec/2021", 2173, "tCO2/p"],
        ["Total, 28/Sep/2020-31/Dec/2021", 2730, "tCO2/p"],
    ]
    options = after(book["MRS(input)"], "[Monitoring option]")
    assert [row[0].value for row in options[:3]] == ["Option A", "Option B", "Option C"]
    _, first, second, *_ = after(book["MRS(input)"], "Table 3: Ex-post calculation of CO2 emission reductions")
    assert first[4].value.startswith("='MRS(calc_process)'!")
    assert second[4].value.startswith("='MRS(calc_process)'!")


def test_the_calculation_sheet_has_four_sections_of_five_columns_and_two_beside_them(book):
    for section in SECTIONS:
        header = after(book["MRS(calc_process)"], section)[0]
        assert [cell.value for cell in header] == [
            "Description", "Fuel type", "Value", "Units", "Parameter", "Exact value", "Difference",
        ]  # fmt: skip
    parameters = [row[4].value for row in after(book["MRS(calc_process)"], SECTIONS[0])]
    assert {"ER_p", "EF_RE,i", "RE_p", "EG_i,p", "RE_i,p", "PE_p"} <= set(parameters)


def test_only_entered_values_are_numbers_and_every_tonne_is_a_formula(book):
    sheet = book["MRS(calc_process)"]
    for row in sheet.iter_rows(min_row=3):
        if row[4].value in {"ER_p", "EF_RE,i", "RE_p", "EG_i,p", "RE_i,p"}:
            assert row[2].data_type == "f", row[0].value


def test_formulas_recalculate_to_the_values_that_are_shown(two_years, declaration, book, shown):
    recalculated = Recalculated(render(two_years, declaration, "xlsx"))
    formulas = 0
    for sheet in book:
        for row in sheet.iter_rows():
            for cell in row:
                if cell.data_type == "f":
                    formulas += 1
                    cached = shown[sheet.title][cell.coordinate].value
                    assert recalculated.value(sheet.title, cell.coordinate) == pytest.approx(cached, abs=3e-7)
    # 20 of the form, and a difference beside each of the 15 of the calculation sheet.
    assert formulas == 35


def test_th014_comes_to_2017_tonnes(th014, declaration):
    content = render(th014, declaration, "xlsx")
    _, first, total, *_ = after(
        openpyxl.load_workbook(io.BytesIO(content))["MRS(input)"],
        "Table 3: Ex-post calculation of CO2 emission reductions",
    )
    assert Recalculated(content).value("MRS(input)", first[4].coordinate) == 2017
    assert Recalculated(content).value("MRS(input)", total[4].coordinate) == 2017


FACTORS = ("0.319", "0.533", "0.797", "1.000", "0.3335", "0.12345")


def energy_wh(random: Random, factor: str) -> int:
    """A year's energy, often one whose emissions are whole grams, or a hair less than the next gram."""
    places = 10 ** len(factor.partition(".")[2])
    wh = random.randrange(10**11)
    match random.randrange(3):
        case 0:
            return wh
        case 1:
            return wh // places * places
        case _:
            numerator = int(factor.replace(".", ""))
            return next((near for near in range(wh, wh + 1000) if near * numerator % places == places - 1), wh)


# A workbook takes 50 ms to write and read back, so each one has many systems instead of there being many workbooks.
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), missing_wh=st.sampled_from([0, 1, None]))
def test_a_reader_recalculates_every_tonne_exactly(seed, missing_wh, build, a_system, declaration):
    random, systems = Random(seed), []
    for n in range(1, 13):
        factor = random.choice(FACTORS)
        energies = {year: energy_wh(random, factor) for year in (2020, 2021)}
        systems.append(a_system(f"pv-{n}", energies, Factor(Decimal(factor), "x", confirmed=True)))
    period = (date(2020, 1, 1), date(2021, 12, 31))
    if missing_wh is not None:
        # One more system brings each year to whole tonnes, or to a millionth less: where a sum of doubles misleads.
        fill = {v.year: int((1 - v.re_tco2 % 1) * 10**6) + 10**6 - missing_wh for v in build(systems, *period).vintages}
        systems.append(a_system("fill", fill, Factor(Decimal("1.000"), "x", confirmed=True)))
    result = build(systems, *period)
    content = render(result, declaration, "xlsx")
    recalculated = Recalculated(content)
    _, *rows = after(recalculated.book["MRS(input)"], "Table 3: Ex-post calculation of CO2 emission reductions")
    tonnes = [recalculated.value("MRS(input)", row[4].coordinate) for row in rows[: len(result.vintages) + 1]]
    assert tonnes == [*(vintage.er_tco2 for vintage in result.vintages), result.er_tco2]
    process = recalculated.book["MRS(calc_process)"]
    emissions = [
        fifteen_digits(recalculated.value(process.title, row[2].coordinate))
        for row in process.iter_rows()
        if row[4].value == "RE_i,p"
    ]
    assert emissions == [year.re_tco2 for n in (0, 1) for system in systems for year in system.years[n : n + 1]]


def test_exact_values_stand_beside_their_formulas_and_do_not_differ(two_years, declaration, book):
    sheet, recalculated = book["MRS(calc_process)"], Recalculated(render(two_years, declaration, "xlsx"))
    exact = [two_years.er_tco2, *(v.er_tco2 for v in two_years.vintages), *(v.re_tco2 for v in two_years.vintages)]
    exact += [s.factor.value for s in two_years.systems]
    exact += [value for s in two_years.systems for year in s.years for value in (year.eg_mwh, year.re_tco2)]
    rows = [row for row in sheet.iter_rows() if isinstance(row[5].value, int | float)]
    assert sorted(fifteen_digits(float(row[5].value)) for row in rows) == sorted(map(Decimal, exact))
    for row in rows:
        assert row[2].data_type == "f"
        assert recalculated.value(sheet.title, row[6].coordinate) == 0


def test_a_formula_that_was_changed_shows_its_difference(two_years, declaration):
    recalculated = Recalculated(render(two_years, declaration, "xlsx"))
    sheet = recalculated.book["MRS(calc_process)"]
    row = next(row for row in sheet.iter_rows() if row[4].value == "RE_i,p")
    row[2].value = row[2].value.replace("*1000000", "*1000001")
    assert recalculated.value(sheet.title, row[6].coordinate) != 0


def test_the_structure_sheet_names_nobody_and_has_every_monitoring_point(book):
    rows = [[cell for cell in row if cell] for row in book["MSS"].values]
    assert rows[0] == ["Monitoring Structure Sheet"]
    head = rows.index(["Responsible personnel", "Role"])
    assert "none is made up" in rows[head - 1][0]
    assert rows[head + 1 : head + 9] == [[]] * 8
    assert rows[-2:] == [
        ["(1)", "pv-1", "Pond <north>", "EG_i,p", "meter m-pv-1, serial number KWH-778"],
        ["(2)", "pv-2", "Pond <north>", "EG_i,p", "meter m-pv-2, serial number KWH-778"],
    ]


def test_the_structure_sheet_counts_devices_where_there_are_many(declaration, build, a_system, a_device):
    devices = [a_device(f"inv-{n}", 1, "inverter") for n in range(5)]
    result = build([a_system("pv-1", {2021: 5}, devices=devices)], date(2021, 1, 1), date(2021, 12, 31))
    book = openpyxl.load_workbook(io.BytesIO(render(result, declaration, "xlsx")))
    assert [row[4] for row in book["MSS"].values][-1] == "5 inverters (see the sheet Devices)"


def test_notes_say_what_was_not_confirmed_in_the_form(book):
    said = [row[0] for row in book["Notes"].values if row[0]]
    assert "Not confirmed in the form itself: compare with the form in force" in said
    for part in ("MSS", "Tables 2 and 3", "Responsible personnel", "columns F and G", "whole tonnes"):
        assert any(part in line for line in said), part


def test_devices_have_energy_coverage_and_rule_counts(shown, two_years):
    header, first, second, total = list(shown["Devices"].iter_rows(min_row=2, values_only=True))
    columns = {name: position for position, name in enumerate(header)}
    assert first[columns["Device"]] == "m-pv-1"
    assert first[columns["Serial number"]] == "KWH-778"
    assert first[columns["Accuracy class"]] == "0.5S"
    assert first[columns["Energy (Wh)"]] == 7_906_250_001
    assert second[columns["Energy (MWh)"]] == 391.500007
    assert first[columns["Coverage"]] == 0.9981
    assert first[columns["register.gap@1"]] == 2
    # A rule that never fired is in the notes only.
    assert "register.reset@1" not in columns
    assert total[columns["Energy (Wh)"]] == sum(
        device.energy_wh for system in two_years.systems for device in system.devices
    )


def test_notes_have_the_provenance(shown, two_years):
    rows = texts(shown["Notes"])
    assert ["Inputs digest", two_years.inputs_digest] in rows
    assert ["Code version", "0.1.0"] in rows
    assert ["Revision", "1, from everything received until 2022-01-05 03:04:05.678901 UTC"] in rows
    assert ["Days are those of", "Asia/Bangkok"] in rows
    assert ["Note", "pv-2: the factor 0.533 tCO2/MWh is an unconfirmed default"] in rows
    assert [
        "register.reset@1",
        "excludes",
        0,
        "the register fell and stayed down; nothing is credited across it",
    ] in rows


def test_text_is_neither_a_formula_nor_a_link(two_years, declaration, a_device):
    device = a_device("=1+1", 1, serial_number="http://example.org/")
    result = replace(
        two_years, project="=cmd|' /C calc'!A1", title="+1", notes=("@SUM(1)",),
        systems=(replace(two_years.systems[0], id="-1", devices=(device,)),),
    )  # fmt: skip
    book = openpyxl.load_workbook(io.BytesIO(render(result, declaration, "xlsx")))
    for sheet in book:
        for row in sheet.iter_rows():
            for cell in row:
                assert cell.hyperlink is None
                if cell.data_type == "f":
                    assert re.match(r"=('MRS|SUM\(|MAX\(|INT\(|ROUND\()", cell.value), cell.value
    assert book["MRS(input)"]["C2"].value == "=cmd|' /C calc'!A1"
    assert book["MRS(input)"]["C2"].data_type == "s"


def test_prints_landscape_one_page_wide_with_its_head_repeated(book):
    for sheet in book:
        assert sheet.page_setup.orientation == "landscape"
        assert sheet.sheet_properties.pageSetUpPr.fitToPage
        # One page wide is the format's default and not written; 0 high is as many as it takes.
        assert (sheet.page_setup.fitToWidth or 1, sheet.page_setup.fitToHeight) == (1, 0)
        assert sheet.print_title_rows
        assert "sha256:" in sheet.oddFooter.left.text


def test_says_when_it_was_made_with_the_cut_off_and_not_the_clock(book):
    assert book.properties.created.isoformat() == "2022-01-05T03:04:05"
