"""The Monitoring Structure Sheet: who is responsible, for a hand to fill in, and where what is measured.

A declaration names no persons, so none is named here. The form's two columns were not read in the form itself (M).
"""

from xlsxwriter.worksheet import Worksheet

from mrv.reports import wording
from mrv.reports.particulars import Particulars
from mrv.reports.sheet_formats import Formats, set_height, set_page, write_text
from mrv.result import PeriodResult

NAME = "MSS"
PERSONNEL = ("Responsible personnel", "Role")
POINTS = ("Monitoring point No.", "System", "Site", "Parameter", "Measuring equipment")
_BY_HAND = (
    "No responsible person is declared, and none is made up: enter them as in the Monitoring Structure Sheet of the "
    "registered monitoring plan."
)
_LINES = 8
_WIDTHS = (22, 22, 34, 22, 74)


def write_structure(
    sheet: Worksheet, formats: Formats, result: PeriodResult, particulars: Particulars, footer: str
) -> None:
    """Write `MSS`."""
    for column, width in enumerate(_WIDTHS):
        sheet.set_column(column, column, width)
    last = len(_WIDTHS) - 1
    set_page(sheet, footer, repeat=(0, 0))
    write_text(sheet, 0, 0, last, "Monitoring Structure Sheet", formats.title)
    sheet.set_row(0, 24)
    write_text(sheet, 2, 0, last, _BY_HAND, formats.warning)
    write_text(sheet, 3, 0, 1, PERSONNEL[0], formats.header)
    write_text(sheet, 3, 2, last, PERSONNEL[1], formats.header)
    for row in range(4, 4 + _LINES):
        write_text(sheet, row, 0, 1, "", formats.text)
        write_text(sheet, row, 2, last, "", formats.text)
    row = 4 + _LINES + 1
    write_text(sheet, row, 0, last, "Monitoring points", formats.heading)
    row += 1
    for column, header in enumerate(POINTS):
        write_text(sheet, row, column, column, header, formats.header)
    for point, system in enumerate(result.systems, start=1):
        row += 1
        equipment = "; ".join(
            f"{device.kind} {device.id}" + (f", serial number {device.serial_number}" if device.serial_number else "")
            for device in system.devices[: wording.METERS_IN_A_CELL]
        )
        if len(system.devices) > wording.METERS_IN_A_CELL:
            equipment = f"{wording.devices(system.devices)} (see the sheet Devices)"
        cells = (
            f"({point})", system.id, particulars.site_names.get(system.site, system.site), "EG_i,p",
            equipment or "no device of this system is credited",
        )  # fmt: skip
        for column, text in enumerate(cells):
            write_text(sheet, row, column, column, text, formats.centred if column in {0, 3} else formats.text)
        set_height(sheet, row, *((text, _WIDTHS[column]) for column, text in enumerate(cells)))
