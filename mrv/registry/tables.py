"""Tables as files: CSV and workbooks, and both read back to what was written.

A CSV file has its tables one below the other: a line with the title, the header, the rows, a blank line. UTF-8 with a
byte-order mark, which Excel needs, CRLF, quoting as in RFC 4180. Text that a spreadsheet would take for a formula (it
begins with = + - @, one of their full-width forms, a tab, a carriage return or a line feed, with or without
apostrophes before that) gets one apostrophe in front, and the reader takes exactly that one away again; numbers are
never altered. In a workbook text is text, whatever it begins with.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from mrv.errors import RegistryError
from mrv.registry.workbook import read_workbook

Cell = str | int | date | datetime | None
FORMULA_STARTS = tuple("=+-@＝＋－＠\t\r\n")

_BOM = "\ufeff"
_WIDTHS = (12, 46)
# Points: four lines of the longest header at the width it gets.
_HEADER_HEIGHT = 62
_DAY = re.compile(r"(\d{2})/(\d{2})/(\d{4})")
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{3})?Z")
# XlsxWriter escapes what looks like an escape, but not two of them that share an underscore.
_TWO_ESCAPES = re.compile(r"_x[0-9A-Fa-f]{4}_x[0-9A-Fa-f]{4}_")
_EXCEL_EPOCH = date(1899, 12, 30)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table: title, header, rows of equal length."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def written(value: Cell) -> str:
    """Write a cell: days as dd/mm/yyyy, instants in UTC to the millisecond, nothing as nothing."""
    match value:
        case None:
            return ""
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"
        case date():
            return f"{value.day:02d}/{value.month:02d}/{value.year:04d}"
    return str(value)


def read_day(text: str) -> date | None:
    """Read dd/mm/yyyy, or the number of days that Excel makes of it; None for anything else."""
    if re.fullmatch(r"[1-9][0-9]{4}", text):
        return _EXCEL_EPOCH + timedelta(days=int(text))
    found = _DAY.fullmatch(text)
    try:
        return None if found is None else date(int(found[3]), int(found[2]), int(found[1]))
    except ValueError:
        return None


def read_instant(text: str) -> datetime | None:
    """Read an instant in UTC as ISO 8601 writes it, 2025-11-11T03:00:00.000Z; None for anything else."""
    try:
        return datetime.fromisoformat(text) if _INSTANT.fullmatch(text) else None
    except ValueError:
        return None


def as_csv(sheets: Sequence[Sheet]) -> bytes:
    """Write tables as one CSV file."""
    text = io.StringIO(newline="")
    text.write(_BOM)
    writer = csv.writer(text)
    for number, sheet in enumerate(sheets):
        if number:
            writer.writerow(())
        writer.writerow([sheet.title])
        writer.writerow([_guarded(cell) for cell in sheet.header])
        writer.writerows([_guarded(cell) for cell in row] for row in sheet.rows)
    return text.getvalue().encode()


def from_csv(content: bytes) -> list[Sheet]:
    """Read what `as_csv` wrote.

    Raises
    ------
    RegistryError
        It is not UTF-8, or a row has more cells than its header.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RegistryError(f"is not UTF-8 text: byte {error.start} is wrong; save it as CSV UTF-8") from None
    blocks: list[list[list[str]]] = [[]]
    try:
        for row in csv.reader(io.StringIO(text, newline=""), strict=True):
            # A spreadsheet that saves the file pads every row with commas to the widest one.
            if any(row):
                blocks[-1].append(row)
            elif blocks[-1]:
                blocks.append([])
    except csv.Error as error:
        raise RegistryError(f"is not CSV: {error}") from None
    return [_sheet([[_unguarded(cell) for cell in row] for row in block]) for block in blocks if block]


def as_xlsx(sheets: Sequence[Sheet], numbers: Mapping[str, frozenset[str]], *, created: datetime) -> bytes:
    """Write tables as a workbook, a sheet each: title, header, rows.

    Parameters
    ----------
    numbers
        By title, the columns whose whole numbers are written as numbers; everything else is text.
    created
        The time that the workbook says it was made; given, so that the bytes depend on nothing else.

    Raises
    ------
    RegistryError
        A text is one that a workbook cannot keep.
    """
    from xlsxwriter import Workbook

    file = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    with Workbook(file, options) as book:
        book.set_properties({"created": created.astimezone(UTC), "author": "jcm-mrv"})
        title_format = book.add_format({"bold": True, "font_size": 13})
        header_format = book.add_format({"bold": True, "text_wrap": True, "valign": "top", "bg_color": "#BDD7EE"})
        # A text format, so that what a person types over it stays text as well.
        text_format = book.add_format({"num_format": "@", "valign": "top"})
        number_format = book.add_format({"num_format": "0", "valign": "top"})
        for sheet in sheets:
            page = book.add_worksheet(sheet.title)
            page.freeze_panes(2, 0)
            page.set_row(1, _HEADER_HEIGHT)
            page.write_string(0, 0, sheet.title, title_format)
            for column, label in enumerate(sheet.header):
                longest = max([len(label) // 3, *(len(row[column]) for row in sheet.rows)])
                page.set_column(column, column, min(max(longest + 2, _WIDTHS[0]), _WIDTHS[1]))
                page.write_string(1, column, label, header_format)
                for row, cells in enumerate(sheet.rows, start=2):
                    cell = cells[column]
                    # A double holds 15 digits: a longer number stays text.
                    if label in numbers.get(sheet.title, ()) and re.fullmatch(r"0|[1-9][0-9]{0,14}", cell):
                        page.write_number(row, column, int(cell), number_format)
                    elif _TWO_ESCAPES.search(cell):
                        raise RegistryError(f"{sheet.title}: a workbook cannot keep {cell!r}; write CSV")
                    elif cell:
                        page.write_string(row, column, cell, text_format)
    return file.getvalue()


def from_xlsx(content: bytes) -> list[Sheet]:
    """Read the tables of a workbook, one a sheet, as `as_xlsx` wrote them or a spreadsheet saved them.

    Raises
    ------
    RegistryError
        It is no workbook, or holds a formula.
    """
    return [
        _sheet([row for row in rows if any(row)], name)
        for name, rows in read_workbook(content).items()
        if any(map(any, rows))
    ]


def _sheet(rows: list[list[str]], name: str = "") -> Sheet:
    title = rows[0][0] if rows[0] else name
    header = tuple(_trimmed(rows[1])) if len(rows) > 1 else ()
    body = []
    for number, row in enumerate(rows[2:], start=1):
        cells = _trimmed(row)
        if len(cells) > len(header):
            raise RegistryError(f"{title}, row {number} has {len(cells)} cells under {len(header)} columns")
        body.append(tuple(cells + [""] * (len(header) - len(cells))))
    return Sheet(title, header, tuple(body))


def _trimmed(row: Sequence[str]) -> list[str]:
    cells = list(row)
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _guarded(cell: str) -> str:
    return f"'{cell}" if cell.lstrip("'").startswith(FORMULA_STARTS) else cell


def _unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(FORMULA_STARTS) else cell
