"""Read the cells of a workbook as texts: the little of Office Open XML that tables need.

Formulas are refused: their cached value is not what a reader of the cell would be shown to have entered.
"""

import io
import re
import zipfile
from xml.etree import ElementTree as ET

from mrv.errors import RegistryError

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
# The largest AEF that was heard of has some thousand rows; a workbook of more than this is something else.
_MOST_BYTES = 64 * 1024 * 1024
_MOST_COLUMNS = 256


def read_workbook(content: bytes) -> dict[str, list[list[str]]]:
    """Read every sheet of a workbook: rows of texts by sheet name, numbers as their shortest digits.

    Raises
    ------
    RegistryError
        It is no workbook, is too large, or has a formula.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as parts:
            if sum(part.file_size for part in parts.infolist()) > _MOST_BYTES:
                raise RegistryError(
                    f"unpacks to more than {_MOST_BYTES // 1024 // 1024} MiB: is it a table of Article 6.2?"
                )
            shared = _shared(parts)
            targets = {
                relation.get("Id", ""): relation.get("Target", "")
                for relation in _xml(parts, "xl/_rels/workbook.xml.rels")
            }
            found = {}
            for sheet in _xml(parts, "xl/workbook.xml").iter(f"{_MAIN}sheet"):
                target = targets[sheet.get(_RELATION, "")].removeprefix("/")
                path = target if target.startswith("xl/") else f"xl/{target}"
                name = sheet.get("name", "")
                found[name] = _rows(_xml(parts, path), shared, name)
    except (zipfile.BadZipFile, KeyError, IndexError, ValueError, ET.ParseError) as error:
        raise RegistryError(f"is no workbook that can be read ({type(error).__name__}); save it as .xlsx") from None
    return found


def _xml(parts: zipfile.ZipFile, name: str) -> ET.Element:
    text = parts.read(name)
    # Entities are what makes a small XML file large; no spreadsheet declares any.
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise RegistryError(f"declares a document type in {name}, which no spreadsheet does")
    return ET.fromstring(text)  # noqa: S314 - no document type, so no entity


def _shared(parts: zipfile.ZipFile) -> list[str]:
    if "xl/sharedStrings.xml" not in parts.namelist():
        return []
    return [_text(item) for item in _xml(parts, "xl/sharedStrings.xml")]


def _text(item: ET.Element) -> str:
    """Join the runs of a text, without the phonetic ones; _x000D_ stands for a carriage return."""
    runs = [item.findall(f"{_MAIN}t"), *(run.findall(f"{_MAIN}t") for run in item.findall(f"{_MAIN}r"))]
    text = "".join(part.text or "" for run in runs for part in run)
    return re.sub(r"_x([0-9A-Fa-f]{4})_", lambda found: chr(int(found[1], 16)), text)


def _rows(sheet: ET.Element, shared: list[str], name: str) -> list[list[str]]:
    rows = []
    for row in sheet.iter(f"{_MAIN}row"):
        cells: list[str] = []
        for cell in row.iter(f"{_MAIN}c"):
            if cell.find(f"{_MAIN}f") is not None:
                raise RegistryError(f"has a formula in {name}!{cell.get('r')}: enter its value")
            value = _value(cell, shared)
            # Spreadsheets give a format to cells far to the right that hold nothing.
            if value:
                cells += [""] * (_column(cell.get("r") or "") - len(cells)) + [value]
        rows.append(cells)
    return rows


def _value(cell: ET.Element, shared: list[str]) -> str:
    kind = cell.get("t", "n")
    if kind == "inlineStr":
        inline = cell.find(f"{_MAIN}is")
        return "" if inline is None else _text(inline)
    found = cell.find(f"{_MAIN}v")
    if found is None or found.text is None:
        return ""
    if kind == "s":
        return shared[int(found.text)]
    if kind == "n":
        number = float(found.text)
        return str(int(number)) if number.is_integer() else repr(number)
    return found.text


def _column(reference: str) -> int:
    letters = re.match(r"[A-Z]+", reference)
    if letters is None:
        raise ValueError(reference)
    number = 0
    for letter in letters[0]:
        number = number * 26 + ord(letter) - ord("A") + 1
    if number > _MOST_COLUMNS:
        raise ValueError(reference)
    return number - 1
