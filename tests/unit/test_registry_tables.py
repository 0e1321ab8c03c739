"""Tables as files: what is written is read back, whatever it begins with, by this reader and by another library."""

import csv
import io
import zipfile
from datetime import UTC, date, datetime, timedelta, timezone

import openpyxl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mrv.errors import RegistryError
from mrv.registry import workbook
from mrv.registry.tables import (
    FORMULA_STARTS,
    Sheet,
    as_csv,
    as_xlsx,
    from_csv,
    from_xlsx,
    read_day,
    read_instant,
    written,
)

MADE = datetime(2026, 4, 10, tzinfo=UTC)
STARTS = [*FORMULA_STARTS, "'", "''=", "'-", "", " ", "_x000D_", "_x005F_", "NA", "007", "1e5", "1,009"]
characters = st.characters(exclude_categories=("Cs", "Cc"), include_characters="\n\t")
cells = st.tuples(st.sampled_from(STARTS), st.text(characters, max_size=20)).map("".join)
numbers = st.integers(0, 10**18).map(str)
# A row has something in it, or it would be the end of its table.
rows = st.lists(st.tuples(st.text("abc", min_size=1), cells, numbers), max_size=5)


def sheets(*bodies):
    return [Sheet(f"Table {n}", ("Name", "Text", "Number"), tuple(body)) for n, body in enumerate(bodies, start=1)]


@settings(max_examples=100, deadline=None)
@given(first=rows, second=rows)
@example(first=[("a", "=1+1", "1"), ("a", "'=1", "2"), ("a", "''=1", "3"), ("a", "'s", "4")], second=[])
def test_csv_reads_back_what_was_written(first, second):
    tables = sheets(first, second)
    assert from_csv(as_csv(tables)) == tables


@settings(max_examples=25, deadline=None)
@given(first=rows, second=rows)
@example(first=[("a", "_x0041_", "1"), ("a", " two  spaces ", "100000000000000000")], second=[])
def test_a_workbook_reads_back_what_was_written_here_and_with_openpyxl(first, second):
    tables = sheets(first, second)
    content = as_xlsx(tables, {"Table 1": frozenset({"Number"})}, created=MADE)
    assert from_xlsx(content) == tables
    book = openpyxl.load_workbook(io.BytesIO(content))
    for table in tables:
        _, header, *body = book[table.title].iter_rows()
        assert tuple(cell.value for cell in header) == table.header
        assert all(cell.data_type in "sn" for row in body for cell in row)
        for row, cells_of_row in zip(body, table.rows, strict=True):
            for cell, text in zip(row, cells_of_row, strict=True):
                # openpyxl reads the format's escapes in its own way.
                if "_x" not in text and "\r" not in text:
                    assert ("" if cell.value is None else str(cell.value)) == text


@given(text=cells)
def test_no_cell_of_a_csv_file_begins_a_formula(text):
    written_rows = list(csv.reader(io.StringIO(as_csv(sheets([("a", text, "1")])).decode("utf-8-sig"), newline="")))
    assert not written_rows[2][1].startswith(FORMULA_STARTS)


def test_the_apostrophe_is_the_documented_one():
    content = as_csv(sheets([("a", "=1+1", "1"), ("b", "'=1+1", "2"), ("c", "'s-Hertogenbosch", "3")])).decode(
        "utf-8-sig"
    )
    assert content.split("\r\n")[2:5] == ["a,'=1+1,1", "b,''=1+1,2", "c,'s-Hertogenbosch,3"]


def test_csv_that_a_spreadsheet_padded_is_read_all_the_same():
    padded = "Table 1,,,\r\nName,Text,Number,\r\na,b,1,\r\n,,,\r\nTable 2,,,\r\nName,Text,Number,\r\n"
    assert from_csv(padded.encode()) == sheets([("a", "b", "1")], [])


def test_the_same_tables_make_the_same_bytes():
    tables = sheets([("a", "b", "1")])
    assert as_xlsx(tables, {}, created=MADE) == as_xlsx(tables, {}, created=MADE)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (1009, "1009"),
        (date(2025, 11, 1), "01/11/2025"),
        (datetime(2025, 11, 11, 12, 0, tzinfo=timezone(timedelta(hours=9))), "2025-11-11T03:00:00.000Z"),
        (datetime(2025, 11, 11, 3, 0, 0, 999_999, tzinfo=UTC), "2025-11-11T03:00:00.999Z"),
    ],
)
def test_days_are_the_annexs_and_instants_the_nomenclatures(value, text):
    assert written(value) == text


@given(day=st.dates(date(1930, 1, 1), date(2100, 12, 31)))
def test_days_are_read_back_also_as_excel_turns_them_into_numbers(day):
    assert read_day(written(day)) == day
    assert read_day(str((day - date(1899, 12, 30)).days)) == day


@pytest.mark.parametrize("text", ["31/02/2025", "2025-11-11", "1/1/2025", "11/13/2025", "", "0", "20251111"])
def test_what_is_no_day_is_none(text):
    assert read_day(text) is None


@pytest.mark.parametrize(
    "text", ["2025-11-11", "2025-11-11T03:00:00", "2025-11-11T03:00:00+09:00", "2025-13-11T03:00:00Z"]
)
def test_an_instant_without_utc_is_none(text):
    assert read_instant(text) is None


def test_a_formula_that_somebody_entered_is_refused():
    book = openpyxl.Workbook()
    book.active.title = "Table 1"
    for row in (["Table 1"], ["Name", "Number"], ["a", "=1+1"]):
        book.active.append(row)
    file = io.BytesIO()
    book.save(file)
    with pytest.raises(RegistryError, match="has a formula in Table 1!B3: enter its value"):
        from_xlsx(file.getvalue())


def test_a_text_that_a_workbook_would_change_is_refused_rather():
    tables = sheets([("a", "_x005F_x0041_", "1")])
    assert from_csv(as_csv(tables)) == tables
    with pytest.raises(RegistryError, match="a workbook cannot keep '_x005F_x0041_'; write CSV"):
        as_xlsx(tables, {}, created=MADE)


def test_what_openpyxl_saves_is_read():
    book = openpyxl.load_workbook(
        io.BytesIO(as_xlsx(sheets([("a", "=1", "7")]), {"Table 1": frozenset({"Number"})}, created=MADE))
    )
    # openpyxl reads =1 as text and would write a formula of it.
    book["Table 1"]["B3"].data_type = "s"
    file = io.BytesIO()
    book.save(file)
    assert from_xlsx(file.getvalue()) == sheets([("a", "=1", "7")])


def a_zip(**parts: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), text)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no workbook"),
        (b"PK\x03\x04 and nothing", "is no workbook"),
        (a_zip(other="x"), "is no workbook"),
        (a_zip(xl___rels__workbook_xml_rels='<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'), "workbook"),
    ],
)
def test_what_is_no_workbook_is_refused_on_one_line(content, said):
    with pytest.raises(RegistryError, match=said):
        from_xlsx(content)


def test_a_workbook_that_unpacks_to_too_much_is_refused_unread(monkeypatch):
    monkeypatch.setattr(workbook, "_MOST_BYTES", 2 * 1024 * 1024)
    with pytest.raises(RegistryError, match="unpacks to more than 2 MiB"):
        from_xlsx(a_zip(big="0" * (3 * 1024 * 1024)))


def test_a_cell_far_to_the_right_is_refused_and_an_empty_one_passed_over():
    content = as_xlsx(sheets([("a", "b", "1")]), {}, created=MADE)
    for cell, said in (("<c r='XFD3'/>", None), ("<c r='XFD3'><v>1</v></c>", "is no workbook that can be read")):
        file = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(file, "w") as after:
            for name in before.namelist():
                after.writestr(
                    name, before.read(name).replace(b"</row></sheetData>", cell.encode() + b"</row></sheetData>")
                )
        if said is None:
            assert from_xlsx(file.getvalue()) == sheets([("a", "b", "1")])
        else:
            with pytest.raises(RegistryError, match=said):
                from_xlsx(file.getvalue())


def test_a_workbook_with_entities_is_refused():
    content = as_xlsx(sheets([]), {}, created=MADE)
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(file, "w") as after:
        for name in before.namelist():
            part = before.read(name)
            after.writestr(name, part.replace(b"<workbook", b'<!DOCTYPE x [<!ENTITY a "b">]><workbook', 1))
    with pytest.raises(RegistryError, match="declares a document type in xl/workbook"):
        from_xlsx(file.getvalue())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"Table 1\r\nA\r\na,b\r\n", "Table 1, row 1 has 2 cells under 1 columns"),
        (b"\xff\xfe", "is not UTF-8 text: byte 0"),
        (b'Table 1\r\nA\r\n"a', "is not CSV"),
    ],
)
def test_csv_that_cannot_be_read_is_refused_on_one_line(content, said):
    with pytest.raises(RegistryError, match=said):
        from_csv(content)
