"""The JCM Monitoring Report Sheet: `MRS(input)` with Tables 1 to 3, and `MRS(calc_process)` with live formulas.

Columns of Table 1 verbatim from the sheet of ID009; the arrangement follows the forms of the JCM. Entered values stand
in `MRS(input)` only; every tonne is a formula, so that a reader can recalculate.

The formulas give the exact result although spreadsheets count in doubles: whole watt-hours times a factor of n places
have n places, so rounding the product there removes the binary error before it is rounded down. That is done with INT:
ROUNDDOWN and TRUNC of LibreOffice 7.4 make 2017.123457 of 2017.123456999, and 1201735 of 1201734.999999.
"""

from dataclasses import dataclass
from decimal import Decimal

from xlsxwriter.utility import xl_rowcol_to_cell
from xlsxwriter.worksheet import Worksheet

from mrv.reports import wording
from mrv.reports.particulars import Particulars
from mrv.reports.sheet_formats import (
    DIFFERENCE,
    FACTOR,
    FRACTIONAL_TONNES,
    MWH,
    TONNES,
    Formats,
    set_height,
    set_page,
    write_formula,
    write_number,
    write_text,
)
from mrv.result import PeriodResult, SystemResult

SOURCES = {"B": "Commercial evidence (invoices), held against monitored data", "C": "Monitored data"}
INPUT = "MRS(input)"
PROCESS = "MRS(calc_process)"

TABLE_1 = (
    "(a) Monitoring period",
    "(b) Monitoring point No.",
    "(c) Parameters",
    "(d) Description of data",
    "(e) Monitored Values",
    "(f) Units",
    "(g) Monitoring option",
    "(h) Source of data",
    "(i) Measurement methods and procedures",
    "(j) Monitoring frequency",
    "(k) Other comments",
)
# Header, first and last column: Table 2 lies on the grid of Table 1, so that all values stand in column E.
TABLE_2 = (
    ("(a) Parameters", 0, 0),
    ("(b) Description of data", 1, 3),
    ("(c) Values", 4, 4),
    ("(d) Units", 5, 5),
    ("(e) Source of data", 6, 8),
    ("(f) Other comments", 9, 10),
)
TABLE_3 = (("Monitoring Period", 0, 3), ("CO2 emission reductions", 4, 4), ("Units", 5, 5))
CALCULATION = ("Description", "Fuel type", "Value", "Units", "Parameter")
BESIDE = ("Exact value", "Difference")
"""Beside the form's own columns: what was computed in decimal arithmetic, and by how much the formula differs."""
_WIDTHS = (23, 12, 12, 30, 16, 11, 12, 13, 46, 14, 34)
_LAST = len(TABLE_1) - 1
_VALUE = 4
_PROCESS_VALUE = 2
_EXACT = 5
_POWER = "Electricity"


@dataclass(frozen=True, slots=True)
class Plan:
    """In which row each value stands: the two sheets refer to each other, so it is settled before they are written."""

    eg_input: dict[tuple[str, int], int]
    """Row in MRS(input) by system and year."""
    ef_input: dict[str, int]
    er_process: dict[int, int]
    """Row in MRS(calc_process) by year."""
    er_total: int
    ef_process: dict[str, int]
    re_year: dict[int, int]
    eg_process: dict[tuple[str, int], int]
    re_process: dict[tuple[str, int], int]
    pe_process: dict[int, int]

    TABLE_1_AT = 10
    """Row of Table 1's heading in MRS(input), zero-based."""

    @classmethod
    def of(cls, result: PeriodResult) -> "Plan":
        """Count the rows."""
        pairs = [(system.id, year.year) for system in result.systems for year in system.years]
        years = [vintage.year for vintage in result.vintages]
        eg_input = {pair: cls.TABLE_1_AT + 2 + n for n, pair in enumerate(pairs)}
        table_2 = cls.TABLE_1_AT + 2 + len(pairs) + 1
        ef_input = {system.id: table_2 + 2 + n for n, system in enumerate(result.systems)}
        # Title, blank, heading, header; then the years and their total.
        er_process = {year: 4 + n for n, year in enumerate(years)}
        er_total = 4 + len(years)
        ef_process = {system.id: er_total + 4 + n for n, system in enumerate(result.systems)}
        row = er_total + 4 + len(result.systems) + 3
        re_year: dict[int, int] = {}
        eg_process: dict[tuple[str, int], int] = {}
        re_process: dict[tuple[str, int], int] = {}
        for year in years:
            of_year = [pair for pair in pairs if pair[1] == year]
            re_year[year] = row
            eg_process |= {pair: row + 1 + n for n, pair in enumerate(of_year)}
            re_process |= {pair: row + 1 + len(of_year) + n for n, pair in enumerate(of_year)}
            row += 1 + 2 * len(of_year)
        pe_process = {year: row + 3 + n for n, year in enumerate(years)}
        return cls(eg_input, ef_input, er_process, er_total, ef_process, re_year, eg_process, re_process, pe_process)


def write_input(
    sheet: Worksheet, formats: Formats, result: PeriodResult, particulars: Particulars, plan: Plan, footer: str
) -> None:
    """Write `MRS(input)`."""
    for column, width in enumerate(_WIDTHS):
        sheet.set_column(column, column, width)
    set_page(sheet, footer, repeat=(0, 0))
    write_text(sheet, 0, 0, _LAST, "Monitoring Report Sheet (Input Sheet) [For Verification]", formats.title)
    sheet.set_row(0, 24)
    facts = (
        ("Project reference No.", result.project),
        ("Title of the project", result.title),
        ("Host country", result.host_country),
        ("Methodology", wording.methodology(result)),
        ("Monitoring period", wording.days(result.first_day, result.last_day)),
        ("Project participants", "; ".join(particulars.participants) or "none declared"),
        ("Third-party entity", particulars.third_party_entity or "none declared"),
        ("Revision", wording.revision(result)),
    )
    for row, (label, value) in enumerate(facts, start=1):
        write_text(sheet, row, 0, 1, label, formats.label)
        frozen = label != "Revision" or result.revision > 0
        write_text(sheet, row, 2, _LAST, value, formats.text if frozen else formats.warning)
        set_height(sheet, row, (value, sum(_WIDTHS[2:])))
    row = _table_1(sheet, formats, result, particulars, plan)
    row = _table_2(sheet, formats, result, plan, row + 1)
    row = _table_3(sheet, formats, result, plan, row + 1)
    _monitoring_options(sheet, formats, row + 1)


def _table_1(sheet: Worksheet, formats: Formats, result: PeriodResult, particulars: Particulars, plan: Plan) -> int:
    row = plan.TABLE_1_AT
    write_text(sheet, row, 0, _LAST, "Table 1: Parameters monitored ex post", formats.heading)
    for column, header in enumerate(TABLE_1):
        write_text(sheet, row + 1, column, column, header, formats.header)
    sheet.set_row(row + 1, 30)
    mwh = formats.number(MWH, entered=True)
    for point, system in enumerate(result.systems, start=1):
        method = wording.measurement(system, particulars)
        comment = _coverage(system)
        option = particulars.option(system.id)
        for year in system.years:
            row = plan.eg_input[system.id, year.year]
            vintage = wording.vintage_of(result, year.year)
            description = (
                f"Quantity of electricity (AC) generated by PV system {system.id} during the monitoring period"
            )
            cells = {
                0: wording.days(vintage.first_day, vintage.last_day), 1: f"({point})", 2: "EG_i,p", 3: description,
                5: "MWh/p", 6: f"Option {option}", 7: SOURCES[option], 8: method, 9: "Continuously", 10: comment,
            }  # fmt: skip
            for column, text in cells.items():
                write_text(sheet, row, column, column, text, formats.text if column in {3, 8, 10} else formats.centred)
            write_number(sheet, row, _VALUE, year.eg_mwh, mwh)
            set_height(sheet, row, *((text, _WIDTHS[column]) for column, text in cells.items()))
    return max(plan.eg_input.values(), default=row + 1) + 1


def _coverage(system: SystemResult) -> str:
    if not system.devices:
        return ""
    lowest = min(device.coverage for device in system.devices)
    coverage = f"Credited intervals cover {wording.percent(lowest)} of the whole period"
    return coverage if len(system.devices) == 1 else f"{coverage} or more for each device"


def _table_2(sheet: Worksheet, formats: Formats, result: PeriodResult, plan: Plan, row: int) -> int:
    write_text(sheet, row, 0, _LAST, "Table 2: Project-specific parameters to be fixed ex ante", formats.heading)
    for header, first, last in TABLE_2:
        write_text(sheet, row + 1, first, last, header, formats.header)
    factor_format = formats.number(FACTOR, entered=True)
    for system in result.systems:
        row = plan.ef_input[system.id]
        comment = wording.factor_comment(system)
        description = f"CO2 emission factor of the reference electricity displaced by PV system {system.id}"
        write_text(sheet, row, 0, 0, "EF_RE,i", formats.centred)
        write_text(sheet, row, 1, 3, description, formats.text)
        write_number(sheet, row, _VALUE, system.factor.value, factor_format)
        write_text(sheet, row, 5, 5, "tCO2/MWh", formats.centred)
        write_text(sheet, row, 6, 8, system.factor.source, formats.text)
        write_text(sheet, row, 9, 10, comment, formats.text if system.factor.confirmed else formats.warning)
        set_height(
            sheet, row, (description, sum(_WIDTHS[1:4])), (system.factor.source, sum(_WIDTHS[6:9])),
            (comment, sum(_WIDTHS[9:11])),
        )  # fmt: skip
    return max(plan.ef_input.values(), default=row + 1) + 1


def _table_3(sheet: Worksheet, formats: Formats, result: PeriodResult, plan: Plan, row: int) -> int:
    write_text(sheet, row, 0, _LAST, "Table 3: Ex-post calculation of CO2 emission reductions", formats.heading)
    row += 1
    for header, first, last in TABLE_3:
        write_text(sheet, row, first, last, header, formats.header)
    set_height(sheet, row, (TABLE_3[1][0], _WIDTHS[_VALUE]))
    first = row + 1
    for vintage in result.vintages:
        row += 1
        write_text(sheet, row, 0, 3, wording.days(vintage.first_day, vintage.last_day), formats.centred)
        formula = f"='{PROCESS}'!{_cell(plan.er_process[vintage.year], _PROCESS_VALUE)}"
        write_formula(sheet, row, _VALUE, formula, vintage.er_tco2, formats.number(TONNES))
        write_text(sheet, row, 5, 5, "tCO2/p", formats.centred)
    row += 1
    write_text(sheet, row, 0, 3, f"Total, {wording.days(result.first_day, result.last_day)}", formats.label)
    total = f"=SUM({_cell(first, _VALUE)}:{_cell(row - 1, _VALUE)})"
    write_formula(sheet, row, _VALUE, total, result.er_tco2, formats.number(TONNES, total=True))
    write_text(sheet, row, 5, 5, "tCO2/p", formats.centred)
    return row + 1


def _monitoring_options(sheet: Worksheet, formats: Formats, row: int) -> None:
    write_text(sheet, row, 0, _LAST, "[Monitoring option]", formats.heading)
    for option, meaning in wording.MONITORING_OPTIONS:
        row += 1
        write_text(sheet, row, 0, 0, option, formats.label)
        write_text(sheet, row, 1, _LAST, meaning, formats.text)


def write_process(sheet: Worksheet, formats: Formats, result: PeriodResult, plan: Plan, footer: str) -> None:
    """Write `MRS(calc_process)`."""
    for column, width in enumerate((72, 14, 20, 13, 13, 20, 13)):
        sheet.set_column(column, column, width)
    set_page(sheet, footer, repeat=(0, 0))
    write_text(sheet, 0, 0, 6, "Monitoring Report Sheet (Calculation Process Sheet) [For Verification]", formats.title)
    sheet.set_row(0, 24)
    table = _Table(sheet, formats)
    table.heading(2, "1. Calculations for emission reductions")
    for vintage in result.vintages:
        re, pe = plan.re_year[vintage.year], plan.pe_process[vintage.year]
        formula = f"=MAX(0,INT(ROUND({_value(re)}-{_value(pe)},6)))"
        when = wording.days(vintage.first_day, vintage.last_day)
        row = plan.er_process[vintage.year]
        table.row(row, f"Emission reductions during {when}, whole tonnes", "n/a", "tCO2/p", "ER_p")
        table.formula(row, formula, vintage.er_tco2, TONNES)
    total = f"=SUM({_value(plan.er_total - len(result.vintages))}:{_value(plan.er_total - 1)})"
    table.row(plan.er_total, "Emission reductions during the monitoring period p", "n/a", "tCO2/p", "ER_p")
    table.formula(plan.er_total, total, result.er_tco2, TONNES, total=True)

    table.heading(plan.er_total + 2, "2. Selected default values, etc.")
    for system in result.systems:
        row = plan.ef_process[system.id]
        unconfirmed = "" if system.factor.confirmed else " (unconfirmed default)"
        table.row(row, f"CO2 emission factor, PV system {system.id}{unconfirmed}", _POWER, "tCO2/MWh", "EF_RE,i")
        table.formula(row, _from_input(plan.ef_input[system.id]), system.factor.value, FACTOR)

    _reference_emissions(table, result, plan)

    first = min(plan.pe_process.values(), default=plan.er_total + 2)
    table.heading(first - 2, "4. Calculations of the project emissions")
    for vintage in result.vintages:
        row = plan.pe_process[vintage.year]
        when = wording.days(vintage.first_day, vintage.last_day)
        table.row(row, f"Project emissions during {when}, as the methodology has them", "n/a", "tCO2/p", "PE_p")
        write_number(sheet, row, _PROCESS_VALUE, vintage.pe_tco2, formats.number(FRACTIONAL_TONNES, entered=True))


def _reference_emissions(table: "_Table", result: PeriodResult, plan: Plan) -> None:
    table.heading(
        max(plan.ef_process.values(), default=plan.er_total + 3) + 2, "3. Calculations for reference emissions"
    )
    for vintage in result.vintages:
        year = vintage.year
        rows = [row for (_, of_year), row in plan.re_process.items() if of_year == year]
        when = wording.days(vintage.first_day, vintage.last_day)
        table.row(plan.re_year[year], f"Reference emissions during {when}", _POWER, "tCO2/p", "RE_p")
        table.formula(
            plan.re_year[year],
            f"=ROUND(SUM({_value(min(rows))}:{_value(max(rows))}),6)" if rows else "=0",
            vintage.re_tco2,
            FRACTIONAL_TONNES,
            total=True,
        )
        for system in result.systems:
            for of_year in (each for each in system.years if each.year == year):
                row = plan.eg_process[system.id, year]
                table.row(row, f"  Electricity generated by PV system {system.id}, {year}", _POWER, "MWh/p", "EG_i,p")
                table.formula(row, _from_input(plan.eg_input[system.id, year]), of_year.eg_mwh, MWH)
                product = f"{_value(row)}*{_value(plan.ef_process[system.id])}"
                row = plan.re_process[system.id, year]
                table.row(row, f"  Reference emissions of PV system {system.id}, {year}", _POWER, "tCO2/p", "RE_i,p")
                formula = f"=INT(ROUND({product}*1000000,{_places(system.factor.value)}))/1000000"
                table.formula(row, formula, of_year.re_tco2, FRACTIONAL_TONNES)


@dataclass(frozen=True, slots=True)
class _Table:
    """The calculation sheet's five columns, and the two beside them."""

    sheet: Worksheet
    formats: Formats

    def heading(self, row: int, text: str) -> None:
        write_text(self.sheet, row, 0, 6, text, self.formats.heading)
        for column, header in enumerate((*CALCULATION, *BESIDE)):
            write_text(self.sheet, row + 1, column, column, header, self.formats.header)

    def row(self, row: int, description: str, fuel: str, units: str, parameter: str) -> None:
        write_text(self.sheet, row, 0, 0, description, self.formats.text)
        for column, text in ((1, fuel), (3, units), (4, parameter)):
            write_text(self.sheet, row, column, column, text, self.formats.centred)

    def formula(self, row: int, formula: str, value: Decimal | int, number_format: str, *, total: bool = False) -> None:
        cell_format = self.formats.number(number_format, total=total)
        write_formula(self.sheet, row, _PROCESS_VALUE, formula, value, cell_format)
        write_number(self.sheet, row, _EXACT, value, self.formats.number(number_format))
        difference = f"=ROUND({_value(row)}-{_cell(row, _EXACT)},6)"
        write_formula(self.sheet, row, _EXACT + 1, difference, 0, self.formats.number(DIFFERENCE))


def _cell(row: int, column: int) -> str:
    return str(xl_rowcol_to_cell(row, column))


def _value(row: int) -> str:
    return _cell(row, _PROCESS_VALUE)


def _from_input(row: int) -> str:
    return f"='{INPUT}'!{_cell(row, _VALUE)}"


def _places(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
