"""A workbook of Article 6.2 tables that LibreOffice opened and saved again says what it said."""

import shutil
import subprocess

import pytest

from mrv.registry.aef import read, write
from mrv.registry.aef_rules import problems
from tests.unit.registry_example import report

SOFFICE = shutil.which("soffice")


@pytest.mark.skipif(SOFFICE is None, reason="LibreOffice is not on this machine")
@pytest.mark.timeout(180)
def test_what_libreoffice_saves_is_read(tmp_path):
    made = report(('name = "Example Inc."', 'name = "=1+1"'), ('number = "0100-01-000001"', 'number = "0001"'))
    (tmp_path / "aef.xlsx").write_bytes(write(made, as_workbook=True))
    subprocess.run(
        [
            str(SOFFICE), f"-env:UserInstallation=file://{tmp_path}/profile", "--headless", "--convert-to", "xlsx",
            "--outdir", str(tmp_path / "out"), str(tmp_path / "aef.xlsx"),
        ],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    again = read((tmp_path / "out" / "aef.xlsx").read_bytes(), as_workbook=True)
    assert problems(again) == []
    for number, rows in made.items():
        assert list(again[number]) == [{k: v for k, v in row.items() if v is not None} for row in rows]
