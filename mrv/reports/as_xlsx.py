"""The report as a workbook: the JCM Monitoring Report and Structure Sheets, the devices behind them, and notes.

Bytes depend on the result and the declaration only: the creation time is the revision's cut-off, not the clock's.
"""

import io
from datetime import UTC, datetime, time
from decimal import Decimal

from xlsxwriter import Workbook
from xlsxwriter.worksheet import Worksheet

from mrv.reports import meters_sheet, wording
from mrv.reports.monitoring_report_sheet import INPUT, PROCESS, Plan, write_input, write_process
from mrv.reports.monitoring_structure_sheet import NAME as STRUCTURE
from mrv.reports.monitoring_structure_sheet import write_structure
from mrv.reports.particulars import Particulars
from mrv.reports.sheet_formats import (
    COUNT,
    MWH,
    SHARE,
    WH,
    Formats,
    set_height,
    set_page,
    write_formula,
    write_number,
    write_text,
)
from mrv.result import DeviceEnergy, PeriodResult, SystemResult

DEVICE_COLUMNS = (
    ("System", 14), ("Site", 14), ("Device", 22), ("Kind", 10), ("Serial number", 22), ("Accuracy class", 10),
    ("Maximum permissible error (%)", 12), ("Calibration", 34), ("Energy (Wh)", 17), ("Energy (MWh)", 16),
    ("Coverage", 10),
)  # fmt: skip
_ENERGY_WH, _ENERGY_MWH = 8, 9
_NOTE_WIDTHS = (34, 12, 12, 90)


def render(result: PeriodResult, particulars: Particulars) -> bytes:
    """Write the result as an Office Open XML workbook."""
    file = io.BytesIO()
    # Text stays text: an id that begins with = or http:// is neither a formula nor a link.
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    with Workbook(file, options) as workbook:
        created = result.received_until or datetime.combine(result.last_day, time(), UTC)
        workbook.set_properties(
            {
                "title": f"Monitoring Report Sheet {result.project}",
                "subject": wording.days(result.first_day, result.last_day),
                "author": f"jcm-mrv {result.code_version}",
                "comments": result.inputs_digest,
                "created": created.astimezone(UTC),
            }
        )
        formats = Formats.of(workbook)
        plan = Plan.of(result)
        which = f"revision {result.revision}" if result.revision else "draft"
        footer = f"{result.project}, {which}, {result.inputs_digest[:23]}"
        sheets = [workbook.add_worksheet(name) for name in (INPUT, PROCESS, STRUCTURE, "Devices", "Notes")]
        write_input(sheets[0], formats, result, particulars, plan, footer)
        write_process(sheets[1], formats, result, plan, footer)
        write_structure(sheets[2], formats, result, particulars, footer)
        _write_devices(sheets[3], formats, result, particulars, footer)
        _write_notes(sheets[4], formats, result, particulars, footer)
        if result.meters or result.invoices:
            meters = workbook.add_worksheet(meters_sheet.NAME)
            meters_sheet.write_meters(meters, formats, result, particulars, footer)
    return file.getvalue()


def _write_devices(
    sheet: Worksheet, formats: Formats, result: PeriodResult, particulars: Particulars, footer: str
) -> None:
    devices = [device for system in result.systems for device in system.devices]
    # A column for each rule there is would make the page too small to read; the sheet of notes lists them all.
    rules = sorted({rule for device in devices for rule, fired in device.rules.items() if fired})
    last = len(DEVICE_COLUMNS) + len(rules) - 1
    set_page(sheet, footer, repeat=(0, 1))
    write_text(
        sheet,
        0,
        0,
        last,
        "Credited devices: energy, coverage, and how often each quality rule fired (none: –)",
        formats.title,
    )
    sheet.set_row(0, 24)
    for column, (header, width) in enumerate(DEVICE_COLUMNS):
        sheet.set_column(column, column, width)
        write_text(sheet, 1, column, column, header, formats.header)
    if rules:
        sheet.set_column(len(DEVICE_COLUMNS), last, 9)
        sheet.set_row(1, 6.0 * max(len(rule) for rule in rules))
    for column, rule in enumerate(rules, start=len(DEVICE_COLUMNS)):
        write_text(sheet, 1, column, column, rule, formats.rotated)
    row = 1
    count = formats.number(COUNT)
    wh, mwh, share = formats.number(WH, entered=True), formats.number(MWH), formats.number(SHARE)
    for system in result.systems:
        for device in system.devices:
            row += 1
            _write_device(sheet, formats, row, system, device, particulars)
            write_number(sheet, row, _ENERGY_WH, device.energy_wh, wh)
            write_number(sheet, row, _ENERGY_MWH, device.energy_wh / Decimal(1_000_000), mwh)
            write_number(sheet, row, _ENERGY_MWH + 1, device.coverage, share)
            for column, rule in enumerate(rules, start=len(DEVICE_COLUMNS)):
                write_number(sheet, row, column, device.rules.get(rule, 0), count)
    if row > 1:
        energy = sum((device.energy_wh for device in devices), Decimal(0))
        write_text(sheet, row + 1, 0, _ENERGY_WH - 1, "Total", formats.label)
        for column, value, number_format in ((_ENERGY_WH, energy, WH), (_ENERGY_MWH, energy / Decimal(1_000_000), MWH)):
            letter = "ABCDEFGHIJK"[column]
            formula = f"=SUM({letter}3:{letter}{row + 1})"
            write_formula(sheet, row + 1, column, formula, value, formats.number(number_format, total=True))
        sheet.autofilter(1, 0, row, last)
    sheet.freeze_panes(2, 3)


def _write_device(
    sheet: Worksheet, formats: Formats, row: int, system: SystemResult, device: DeviceEnergy, particulars: Particulars
) -> None:
    error = particulars.maximum_permissible_error_percent(device.site, device.id)
    calibration = wording.calibration(particulars.calibrations(device.site, device.id)) or "none declared"
    texts = (
        system.id, device.site, device.id, device.kind, device.serial_number or "",
        particulars.accuracy_class(device.site, device.id) or "", "" if error is None else f"{error:f}", calibration,
    )  # fmt: skip
    for column, text in enumerate(texts):
        write_text(sheet, row, column, column, text, formats.text)
    set_height(sheet, row, *((text, DEVICE_COLUMNS[column][1]) for column, text in enumerate(texts)))


def _write_notes(
    sheet: Worksheet, formats: Formats, result: PeriodResult, particulars: Particulars, footer: str
) -> None:
    for column, width in enumerate(_NOTE_WIDTHS):
        sheet.set_column(column, column, width)
    set_page(sheet, footer, repeat=(0, 0))
    write_text(sheet, 0, 0, 3, "Notes and provenance", formats.title)
    sheet.set_row(0, 24)
    row = 1
    for label, value in (*wording.provenance(result, particulars), *(("Note", note) for note in result.notes)):
        row += 1
        write_text(sheet, row, 0, 0, label, formats.label)
        write_text(sheet, row, 1, 3, value, formats.warning if label == "Note" else formats.text)
        set_height(sheet, row, (value, sum(_NOTE_WIDTHS[1:])))
    row += 2
    write_text(sheet, row, 0, 3, "Not confirmed in the form itself: compare with the form in force", formats.heading)
    for unconfirmed in wording.UNCONFIRMED_FORM:
        row += 1
        write_text(sheet, row, 0, 3, unconfirmed, formats.warning)
    row += 2
    write_text(sheet, row, 0, 3, "Quality rules over the whole period", formats.heading)
    row += 1
    for column, header in enumerate(("Rule", "Effect", "Count", "What it means")):
        write_text(sheet, row, column, column, header, formats.header)
    count = formats.number(COUNT)
    for rule, fired in sorted(result.rules.items()):
        row += 1
        effect, reason = wording.rule_reason(rule)
        write_text(sheet, row, 0, 0, rule, formats.text)
        write_text(sheet, row, 1, 1, effect, formats.centred)
        write_number(sheet, row, 2, fired, count)
        write_text(sheet, row, 3, 3, reason, formats.text)
