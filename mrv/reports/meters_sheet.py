"""The workbook's sheet of meters: each meter's calibration day by day, what its delay took, invoices, findings."""

from decimal import Decimal

from xlsxwriter.worksheet import Worksheet

from mrv.reports import wording
from mrv.reports.particulars import Particulars
from mrv.reports.sheet_formats import COUNT, WH, Formats, set_height, set_page, write_number, write_text
from mrv.result import PeriodResult

NAME = "Meters"
COLUMNS = (
    ("System", 10), ("Device", 16), ("Counts as", 11), ("Serial number", 16), ("Accuracy class", 10),
    ("Maximum permissible error (%)", 12), ("From", 12), ("To", 12), ("Calibration", 11), ("Error taken (%)", 8),
    ("Taken against the credit (Wh)", 16), ("Metered (Wh)", 16), ("Credited (Wh)", 17), ("All calibrations", 40),
)  # fmt: skip
INVOICES = (
    "System", "Number", "Counts as", "Issuer", "From", "To", "Invoiced (Wh)", "Metered (Wh)", "Difference (%)",
    "Applied (Wh)",
)  # fmt: skip
FINDINGS = ("Rule", "Effect", "Count", "What was found")
_LAST = len(COLUMNS) - 1
# Whole watt-hours would hide what a small error took.
_MILLIWATT_HOURS = "#,##0.000_)"


def write_meters(
    sheet: Worksheet, formats: Formats, result: PeriodResult, particulars: Particulars, footer: str
) -> None:
    """Write `Meters`."""
    for column, (_, width) in enumerate(COLUMNS):
        sheet.set_column(column, column, width)
    set_page(sheet, footer, repeat=(0, 1))
    title = "Meters: calibration on every day of the period, and what its delay took against the credit"
    write_text(sheet, 0, 0, _LAST, title, formats.title)
    sheet.set_row(0, 24)
    for column, (header, _) in enumerate(COLUMNS):
        write_text(sheet, 1, column, column, header, formats.header)
    sheet.set_row(1, 42)
    row = _meters(sheet, formats, result, particulars, 1)
    row = _invoices(sheet, formats, result, row + 2)
    _findings(sheet, formats, result, row + 2)
    sheet.freeze_panes(2, 2)


def _meters(sheet: Worksheet, formats: Formats, result: PeriodResult, particulars: Particulars, row: int) -> int:
    wh, exact = formats.number(WH), formats.number(_MILLIWATT_HOURS)
    for meter in result.meters:
        error = "not held to calibration" if meter.error_percent is None else f"{meter.error_percent:f}"
        unconfirmed = "default" in meter.error_source
        listed = wording.all_calibrations(particulars.calibrations(meter.site, meter.id)) or "none declared"
        for place, span in enumerate(meter.calibration or (None,)):
            row += 1
            texts = (
                meter.system, meter.id, meter.quantity, meter.serial_number or "none", meter.accuracy_class or "none",
                f"{error} ({meter.error_source})" if unconfirmed else error,
            )  # fmt: skip
            for column, text in enumerate(texts):
                style = formats.warning if text.startswith(("none", "not held")) or "default" in text else formats.text
                write_text(sheet, row, column, column, text, style)
            if span is not None:
                style = formats.centred if span.state == "valid" else formats.warning
                write_text(sheet, row, 6, 6, wording.day(span.first_day), formats.centred)
                write_text(sheet, row, 7, 7, wording.day(span.last_day), formats.centred)
                write_text(sheet, row, 8, 8, span.state, style)
                write_text(sheet, row, 9, 9, f"{span.error_percent:f}", formats.centred)
                write_number(sheet, row, 10, span.taken_wh, exact)
            # Once for a meter, so that the columns add up.
            for column, energy, style in ((11, meter.metered_wh, wh), (12, meter.credited_wh, exact)):
                if place == 0:
                    write_number(sheet, row, column, energy, style)
                else:
                    write_text(sheet, row, column, column, "", formats.centred)
            write_text(sheet, row, 13, 13, listed, formats.text)
            set_height(sheet, row, (listed, COLUMNS[13][1]), (texts[5], COLUMNS[5][1]))
    return row


def _invoices(sheet: Worksheet, formats: Formats, result: PeriodResult, row: int) -> int:
    if not result.invoices:
        return row
    write_text(sheet, row, 0, _LAST, "Invoices held against the meters on their own days", formats.heading)
    row += 1
    sheet.set_row(row, 30)
    for column, header in enumerate(INVOICES):
        write_text(sheet, row, column, column, header, formats.header)
    wh = formats.number(WH)
    for invoice in result.invoices:
        row += 1
        difference = invoice.difference_percent
        texts: tuple[str | Decimal, ...] = (
            invoice.system, invoice.number, invoice.quantity, invoice.issuer, wording.day(invoice.first_day),
            wording.day(invoice.last_day), invoice.invoiced_wh,
            "not compared" if invoice.metered_wh is None else invoice.metered_wh,
            "" if difference is None else f"{difference:+f}", invoice.applied_wh,
        )  # fmt: skip
        for column, text in enumerate(texts):
            if isinstance(text, Decimal):
                write_number(sheet, row, column, text, wh)
            else:
                style = formats.warning if invoice.findings and column == 8 else formats.text
                write_text(sheet, row, column, column, text, style)
    return row


def _findings(sheet: Worksheet, formats: Formats, result: PeriodResult, row: int) -> None:
    write_text(sheet, row, 0, _LAST, "What a verifier would ask about", formats.heading)
    row += 1
    spread = ((0, 2), (3, 3), (4, 4), (5, _LAST))
    for header, (first, last) in zip(FINDINGS, spread, strict=True):
        write_text(sheet, row, first, last, header, formats.header)
    found = [one for meter in result.meters for one in meter.findings]
    found += [one for invoice in result.invoices for one in invoice.findings]
    for one in found:
        row += 1
        effect = wording.rule_reason(one.rule)[0]
        write_text(sheet, row, 0, 2, one.rule, formats.text)
        write_text(sheet, row, 3, 3, effect, formats.centred)
        write_number(sheet, row, 4, one.count, formats.number(COUNT))
        write_text(sheet, row, 5, _LAST, one.message, formats.text if effect == "informs" else formats.warning)
        set_height(sheet, row, (one.message, sum(width for _, width in COLUMNS[5:])))
    if not found:
        write_text(sheet, row + 1, 0, _LAST, "nothing", formats.text)
