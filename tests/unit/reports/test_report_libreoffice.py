"""The workbook's formulas, calculated by LibreOffice from the entered values alone: cached values are taken out."""

import io
import re
import shutil
import subprocess
import zipfile
from datetime import date
from decimal import Decimal

import openpyxl
import pytest

from mrv.reports import render
from mrv.result import Factor

SOFFICE = shutil.which("soffice")


def without_cached_values(content: bytes) -> bytes:
    """Leave each formula without the value that was computed here."""
    stripped, taken = io.BytesIO(), 0
    with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(stripped, "w", zipfile.ZIP_DEFLATED) as after:
        for name in before.namelist():
            part = before.read(name)
            if name.startswith("xl/worksheets/sheet"):
                part, count = re.subn(rb"(</f>)<v>[^<]*</v>", rb"\1", part)
                taken += count
            after.writestr(name, part)
    assert taken > 30
    return stripped.getvalue()


def calculated(content: bytes, folder) -> openpyxl.Workbook:
    (folder / "in").mkdir()
    (folder / "in" / "report.xlsx").write_bytes(without_cached_values(content))
    subprocess.run(
        [
            str(SOFFICE), f"-env:UserInstallation=file://{folder}/profile", "--headless", "--convert-to", "xlsx",
            "--outdir", str(folder / "out"), str(folder / "in" / "report.xlsx"),
        ],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    return openpyxl.load_workbook(folder / "out" / "report.xlsx", data_only=True)


@pytest.mark.skipif(
    SOFFICE is None, reason="LibreOffice is not on this machine; test_report_xlsx has its own evaluator"
)
@pytest.mark.timeout(180)
def test_libreoffice_calculates_what_was_computed(build, a_system, declaration, tmp_path):
    # A hair below the next gram and the next tonne: where doubles mislead.
    systems = [
        a_system("pv-1", {2020: 1_581_250_001, 2021: 6_325_000_000}),
        a_system("pv-2", {2020: 100_000_007, 2021: 291_500_000}, Factor(Decimal("0.12345"), "x", confirmed=True)),
        a_system("pv-3", {2020: 4_999_999, 2021: 99_999_999_999}, Factor(Decimal("1.000"), "x", confirmed=True)),
    ]
    result = build(systems, date(2020, 9, 28), date(2021, 12, 31))
    book = calculated(render(result, declaration, "xlsx"), tmp_path)
    sheet = book["MRS(calc_process)"]
    rows = [row for row in sheet.iter_rows() if isinstance(row[5].value, int | float)]
    assert len(rows) == 3 + 3 + 2 + 2 * 6
    for row in rows:
        assert row[6].value == 0, (row[0].value, row[2].value, row[5].value)
    tonnes = [row[2].value for row in rows if row[4].value == "ER_p"]
    assert tonnes == [*(vintage.er_tco2 for vintage in result.vintages), result.er_tco2]
    table_3 = [row[4] for row in book["MRS(input)"].values if row[5] == "tCO2/p"]
    assert table_3 == tonnes
