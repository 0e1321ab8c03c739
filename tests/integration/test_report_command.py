"""`jcm-mrv report` as a person and a script run it, on a real database."""

import csv
import io
import json
import os
from datetime import date, timedelta
from pathlib import Path

import openpyxl
import pytest

from mrv.reports import FORMATS
from tests.forked import run_command

ROOT = Path(__file__).resolve().parents[2]
FIRST, LAST = date(2021, 3, 1), date(2021, 3, 10)
DAYS = ("P1", "2021-03-01", "2021-03-10")


@pytest.fixture
def run(plant):
    # 240 hours of 100 kWh: 24 MWh, 7.656 tCO2 with Thailand's default.
    plant.insert(plant.days(FIRST, LAST, hourly_wh=100_000.0))
    environment = {
        **os.environ,
        "JCM_MRV_DATABASE_URL": plant.url,
        "JCM_MRV_MQTT_URL": "mqtt://nobody:nothing@localhost:1",
    }

    def run(command, *arguments):
        return run_command(command, *arguments, environment=environment, cwd=ROOT, text=False)

    return run


def report(run, *arguments):
    done = run("report", *arguments)
    assert done.returncode == 0, done.stderr.decode()
    return done


def test_a_draft_then_the_latest_revision_then_that_revision_recomputed(run, plant, tmp_path):
    drafted = report(run, *DAYS, "--format", "json")
    assert json.loads(drafted.stdout)["revision"] == 0
    assert drafted.stderr.decode().splitlines() == [
        "draft of P1 2021-03-01 to 2021-03-10: never frozen, computed from what is there now",
        "24.000000 MWh, 7 tCO2",
    ]
    assert run("period", "freeze", *DAYS).returncode == 0
    for report_format in FORMATS:
        latest, again = (tmp_path / f"{name}.{report_format}" for name in ("latest", "again"))
        done = report(run, *DAYS, "--format", report_format, "--out", latest)
        assert done.stdout.decode() == f"{latest}: 24.000000 MWh, 7 tCO2\n"
        assert done.stderr.decode().startswith(
            "revision 1 of P1 2021-03-01 to 2021-03-10 (the latest), from everything"
        )
        done = report(run, *DAYS, "--format", report_format, "--revision", 1, "--out", again)
        assert "recomputed to the same byte" in done.stderr.decode()
        assert again.read_bytes() == latest.read_bytes()
    # Late data are for the next revision; this one stays as it was.
    late = [(ts + timedelta(minutes=30), wh + 50_000) for ts, wh in plant.days(FIRST, LAST, hourly_wh=100_000.0)[:-1]]
    assert plant.insert(late) == 240
    for report_format in FORMATS:
        latest, later = (tmp_path / f"{name}.{report_format}" for name in ("latest", "later"))
        report(run, *DAYS, "--format", report_format, "--revision", 1, "--out", later)
        assert later.read_bytes() == latest.read_bytes()
    book = openpyxl.load_workbook(tmp_path / "latest.xlsx", data_only=True)
    assert ["Project reference No.", "P1"] in [[c for c in row if c] for row in book["MRS(input)"].values]
    facts = list(csv.DictReader(io.StringIO((tmp_path / "latest.csv").read_text())))
    assert [row["value"] for row in facts if row["parameter"] == "ER_p"] == ["7", "7"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("P1", "2021-03-10", "2021-03-01", "--format", "json"), 2, "FROM 2021-03-10 lies after TO 2021-03-01"),
        (("P1", "10/3/2021", "2021-03-01", "--format", "json"), 2, "'10/3/2021' is not a day; give it as YYYY-MM-DD"),
        (("P1", "2021-02-29", "2021-03-01", "--format", "json"), 2, "'2021-02-29' is not a day"),
        ((*DAYS, "--format", "xlsx"), 2, "give --out FILE.xlsx"),
        ((*DAYS, "--format", "xlsx", "--out", "-"), 2, "give --out FILE.xlsx"),
        ((*DAYS, "--format", "json", "--out", "/missing/folder/x.json"), 1, "there is no folder /missing/folder"),
        ((*DAYS, "--format", "json", "--out", "/"), 1, "is a folder"),
        ((*DAYS, "--format", "json", "--revision", "1"), 1, "was never frozen"),
        (("P2", "2021-03-01", "2021-03-10", "--format", "json"), 1, "there is no project P2; there is P1"),
        (("P1", "2018-03-01", "2021-03-10", "--format", "json"), 1, "before the crediting period of P1"),
    ],
)
def test_says_what_is_wrong_on_one_line(run, arguments, status, said):
    done = run("report", *arguments)
    assert done.returncode == status
    assert done.stdout == b""
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("jcm-mrv: ")
    assert said in line


def test_a_report_replaces_an_old_one_whole_and_leaves_nothing_beside_it(run, tmp_path):
    old = tmp_path / "report.json"
    old.write_text("old")
    (tmp_path / "link.json").symlink_to(old)
    report(run, *DAYS, "--format", "json", "--out", tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads(old.read_text())["project"] == "P1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.json", "report.json"]
