"""How the workbook's cells look: colours of the JCM sheets, number formats, and the few ways a cell is written."""

from dataclasses import dataclass
from decimal import Decimal
from math import ceil
from typing import Any

from xlsxwriter import Workbook
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

_FONT = "Arial"
_LINE_HEIGHT = 12.75
"""Points, for the 9 point text of the cells."""

# "_)" leaves the width of a bracket at the right edge; LibreOffice drops the indent of some right-aligned cells.
MWH = "#,##0.000000_)"
TONNES = "#,##0_)"
FRACTIONAL_TONNES = "#,##0.000000_)"
FACTOR = "0.000######_)"
WH = "#,##0_)"
DIFFERENCE = '0.000000_);-0.000000_);"–"_)'
SHARE = "0.00%_)"
COUNT = '#,##0_);-#,##0_);"–"_)'


@dataclass(frozen=True)
class Formats:
    """The cell formats of one workbook."""

    workbook: Workbook
    title: Format
    heading: Format
    header: Format
    rotated: Format
    label: Format
    text: Format
    centred: Format
    warning: Format

    @classmethod
    def of(cls, workbook: Workbook) -> "Formats":
        """Add the formats to a workbook."""

        def add(**properties: Any) -> Format:
            return workbook.add_format({"font_name": _FONT, "font_size": 9, "valign": "vcenter", **properties})

        cell = {"border": 1, "border_color": "#7F7F7F", "text_wrap": True}
        header = cell | {"bold": True, "align": "center", "bg_color": "#BDD7EE"}
        return cls(
            workbook,
            title=add(bold=True, font_size=13, font_color="#FFFFFF", bg_color="#1F4E3D"),
            heading=add(bold=True, font_size=10, font_color="#1F4E3D"),
            header=add(**header),
            rotated=add(**header | {"rotation": 90, "text_wrap": False, "valign": "bottom"}),
            label=add(**cell, indent=1, bold=True, bg_color="#DDEBF7"),
            text=add(**cell, indent=1),
            centred=add(**cell, align="center"),
            warning=add(**cell, indent=1, bg_color="#FFF2CC"),
        )

    def number(self, number_format: str, *, entered: bool = False, total: bool = False) -> Format:
        """Add the format of a number; one that was entered is green, a formula's is white, a total is bold and grey."""
        fill = {"bg_color": "#E2EFDA"} if entered else {"bg_color": "#EDEDED"} if total else {}
        return self.workbook.add_format(
            {
                "font_name": _FONT, "font_size": 9, "valign": "vcenter", "align": "right", "border": 1,
                "border_color": "#7F7F7F", "num_format": number_format, "bold": total, **fill,
            }
        )  # fmt: skip


def write_text(sheet: Worksheet, row: int, first: int, last: int, text: str, cell_format: Format) -> None:
    """Write a text, always as text, into one cell or into a merged row of cells."""
    if last > first:
        sheet.merge_range(row, first, row, last, "", cell_format)
    sheet.write_string(row, first, text, cell_format)


def write_number(sheet: Worksheet, row: int, column: int, value: Decimal | int, cell_format: Format) -> None:
    """Write a number; a double holds 15 digits, which is what a spreadsheet shows."""
    sheet.write_number(row, column, float(value), cell_format)


def write_formula(
    sheet: Worksheet, row: int, column: int, formula: str, value: Decimal | int, cell_format: Format
) -> None:
    """Write a live formula with its computed value, for viewers that do not calculate."""
    sheet.write_formula(row, column, formula, cell_format, int(value) if value == int(value) else float(value))


def set_height(sheet: Worksheet, row: int, *texts: tuple[str, float]) -> None:
    """Make a row high enough for texts in cells of a width [characters]: no viewer does this for merged cells."""
    # The width's unit is a digit at 11 points; at 9 points more letters fit, less what breaks and the indent cost.
    lines = max(sum(max(1, ceil(len(line) / (1.1 * width - 2))) for line in text.split("\n")) for text, width in texts)
    sheet.set_row(row, max(15.0, lines * _LINE_HEIGHT + 3))


def set_page(sheet: Worksheet, footer: str, *, repeat: tuple[int, int]) -> None:
    """Set a page up to be printed: A4 landscape, one page wide, header rows repeated, page numbers."""
    sheet.set_landscape()
    sheet.set_paper(9)
    sheet.fit_to_pages(1, 0)
    sheet.set_margins(left=0.4, right=0.4, top=0.5, bottom=0.6)
    sheet.repeat_rows(*repeat)
    # 255 characters is the format's limit for a footer; an ampersand begins a code.
    sheet.set_footer(f"&L&8{footer[:100].replace('&', '&&')}&R&8&A, page &P of &N")
    sheet.hide_gridlines(2)
