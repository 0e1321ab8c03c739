"""`jcm-mrv registry` on a real database: from notified tonnes to files for registries, and refusals in between."""

import csv
import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import openpyxl
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mrv import periods
from mrv.verification import attestation, keys, notification, steps
from mrv.verification.notification import Share
from mrv.verification.steps import Author
from sql.connection import Role, connect
from tests.forked import run_command

ROOT = Path(__file__).resolve().parents[2]
FIRST, LAST = date(2021, 3, 1), date(2021, 3, 10)
DAYS = ("2021-03-01", "2021-03-10")
TPE = "Example Certification Body"
PARTS = """
verified = [{ vintage = 2021, tco2 = 7 }]
part = [
  { vintage = 2021, side = "THA", holder = "A", tco2 = 3 },
  { vintage = 2021, side = "JPN", holder = "B", tco2 = 4 },
]
"""
FILE = """
[submission]
party = "JPN"
version = "1.0"
submitted = 2026-04-10
ndc_first_year = 2021
ndc_last_year = 2030

[[authorization]]
id = "TH-2025-001"
authorized = 2025-10-30
cooperative_approach = "CA0001"
version = 1
purposes = "NDC"

[[notification]]
project = "P1"
from = 2021-03-01
to = 2021-03-10
revision = 1
decided = 2025-10-30
verification_report = "VR-1"
verification_body = "Example Certification Body"
verified_on = 2025-08-01
{parts}
[[block]]
id = "b"
project = "P1"
vintage = 2021
side = "JPN"
holder = "B"
unit_registry = "JCM"
first_unit = 11
last_unit = 14
authorization = "TH-2025-001"
registry = "JPN01"
first_transferring_party = "THA"
first_id = 1
last_id = 4
status = "Held"

[[action]]
block = "b"
at = 2025-11-11T03:00:00Z
type = "Acquisition"
transferring_party = "THA"

[[holding]]
block = "b"
year = 2025

[cad_trust]
unit_registry_link = "https://registry.example"
countries = {{ JPN = "Japan" }}
declaration = "Committed"
adjustment = "Not Started"
"""


@pytest.fixture
def frozen(plant):
    """A plant whose period is frozen with 7 t."""
    plant.apply(plant.toml.replace('title = "A test plant"', f'title = "A test plant"\nthird_party_entity = "{TPE}"'))
    plant.insert(plant.days(FIRST, LAST, hourly_wh=100_000.0))
    periods.freeze(plant.connection, "P1", FIRST, LAST, code_version="1")
    return plant


@pytest.fixture
def notified(frozen):
    """The same period, verified, 3 t notified to the host and 4 t to Japan."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    now, author = datetime.now(UTC), Author("P. Engineer", "A")
    keys.register(
        frozen.owner, keys.read_public(public), TPE, now - timedelta(days=1), now + timedelta(days=1), Author("O", "O")
    )
    with connect(frozen.url, Role.VERIFIER) as verifier, connect(frozen.url, Role.PARTICIPANT) as participant:
        steps.submit(participant, steps.state_of(participant, "P1", FIRST, LAST), author)
        state = steps.state_of(verifier, "P1", FIRST, LAST)
        signed = attestation.statement_of(verifier, state)
        attestation.attest(verifier, state, signed, key.sign(signed), Author("V. Auditor", TPE))
        shares = (Share(2021, "host", "A", 3), Share(2021, "japan", "B", 4))
        state = steps.state_of(participant, "P1", FIRST, LAST)
        notification.notify(participant, state, date(2025, 10, 30), shares, author)
    return frozen


@pytest.fixture
def run(plant, tmp_path):
    environment = {
        **os.environ,
        "JCM_MRV_DATABASE_URL": plant.url,
        "JCM_MRV_MQTT_URL": "mqtt://nobody:nothing@localhost:1",
    }

    def run(*arguments):
        return run_command("registry", *arguments, environment=environment, cwd=ROOT)

    return run


@pytest.fixture
def declared(tmp_path):
    def declared(parts: str = "", *changes: tuple[str, str]) -> Path:
        text = FILE.format(parts=parts)
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "handover.toml"
        path.write_text(text)
        return path

    return declared


def test_notified_tonnes_become_files_that_check_accepts(notified, run, declared, tmp_path):
    for ending in ("xlsx", "csv"):
        out = tmp_path / f"aef.{ending}"
        done = run("aef", "P1", "--year", 2025, "--declared", declared(), "--out", out)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == (
            f"{out}: rows: 1 Table 1 Submission, 1 Table 2 Authorizations, 1 Table 3 Actions, 1 Table 4 Holdings, "
            "0 Table 5 Authorized entities\n"
        )
        checked = run("check", out)
        assert (checked.returncode, checked.stderr) == (0, "")
        assert checked.stdout.startswith(f"{out}: holds together: 1 Table 1 Submission")
    row = next(openpyxl.load_workbook(tmp_path / "aef.xlsx")["Table 3 Actions"].iter_rows(min_row=3, values_only=True))
    assert (row[1], row[7], row[8], row[15], row[18]) == ("Acquisition", 1, 4, 4, 2021)
    done = run("cadtrust", "P1", *DAYS, "--declared", declared(), "--out", tmp_path / "cad.json")
    assert done.stdout == f"{tmp_path}/cad.json: 1 issuances, 1 units\n"
    records = json.loads((tmp_path / "cad.json").read_text())
    assert (records["issuances"][0]["startDate"], records["units"][0]["unitCount"]) == ("2021-03-01", 4)
    run("cadtrust", "P1", *DAYS, "--declared", declared(), "--out", tmp_path / "cad.csv")
    lines = list(csv.reader((tmp_path / "cad.csv").read_text("utf-8-sig").splitlines()))
    assert lines[-1][0] == records["units"][0]["warehouseUnitId"]
    # The same bytes at another time.
    again = tmp_path / "again.xlsx"
    run("aef", "P1", "--year", 2025, "--declared", declared(PARTS), "--out", again)
    assert again.read_bytes() == (tmp_path / "aef.xlsx").read_bytes()


def test_without_a_notification_here_the_file_gives_the_parts_and_that_is_said(frozen, run, declared, tmp_path):
    done = run("aef", "P1", "--year", 2025, "--declared", declared(PARTS), "--out", tmp_path / "a.csv")
    assert done.returncode == 0
    assert done.stderr == (
        "revision 1 of P1 2021-03-01 to 2021-03-10 is frozen, not notified here: its parts are the hand-over file's\n"
    )
    fewer = (("tco2 = 7", "tco2 = 6"), ('"A", tco2 = 3', '"A", tco2 = 2'))
    done = run("aef", "P1", "--year", 2025, "--declared", declared(PARTS, *fewer), "--out", tmp_path / "a.csv")
    assert "vintage 2021: 6 tCO2 were verified; revision 1 has 7: -1" in done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("parts", "changes", "said"),
    [
        (PARTS, [('"A", tco2 = 3', '"A", tco2 = 4')], "the parts sum to 8 tCO2 (THA A 4, JPN B 4), and 7 tCO2 were"),
        (PARTS, [("tco2 = 7", "tco2 = 8"), ('"A", tco2 = 3', '"A", tco2 = 4')], "and revision 1 has 7: +1"),
        ("", [], "revision 1 was not notified here; `jcm-mrv period notify` it, or give `verified` and"),
        (PARTS, [("revision = 1", "revision = 2")], "has no revision 2"),
        (PARTS, [('project = "P1"', 'project = "P2"')], "there is no [[notification]] of P1; there is one of P2"),
        (PARTS, [("first_id = 1", "first_id = 2")], "block b has 3 ITMOs and 4 units"),
        (PARTS, [("2025-11-11T03", "2020-11-11T03"), ("2021-03-10", "2021-03-11")], "never frozen"),
        (PARTS, [('"Acquisition"', '"Issuance"')], "Action type: 'Issuance' is none of: Authorization, First transfer"),
    ],
)  # fmt: skip
def test_what_does_not_sum_is_refused_with_the_numbers(frozen, run, declared, tmp_path, parts, changes, said):
    out = tmp_path / "a.xlsx"
    done = run("aef", "P1", "--year", 2025, "--declared", declared(parts, *changes), "--out", out)
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith("jcm-mrv: ")
    assert said in line
    assert not out.exists()


def test_a_file_cannot_give_other_parts_than_were_notified(notified, run, declared, tmp_path):
    moved = (('"A", tco2 = 3', '"A", tco2 = 2'), ('"B", tco2 = 4', '"B", tco2 = 5'))
    done = run("cadtrust", "P1", *DAYS, "--declared", declared(PARTS, *moved), "--out", tmp_path / "a.json")
    assert done.returncode == 1
    assert "vintage 2021: the file gives B (JPN) 5 tCO2, and 4 tCO2 was notified" in done.stderr
    done = run("aef", "P1", "--year", 2025, "--declared", declared("", ("last_id = 4", "last_id = 5"),
               ("last_unit = 14", "last_unit = 15")), "--out", tmp_path / "a.csv")  # fmt: skip
    assert "the blocks of B (JPN) have 5 units, and 4 tCO2 were notified: +1" in done.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "handover.toml"]


def test_check_lists_each_problem_and_needs_no_database(notified, run, declared, tmp_path):
    out = tmp_path / "aef.csv"
    run("aef", "P1", "--year", 2025, "--declared", declared(), "--out", out)
    text = out.read_text("utf-8-sig")
    out.write_text(text.replace("Acquisition", "Purchase").replace("JCM,", "JCMX,"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JCM_MRV_")}
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "registry", "check", str(out)],
        cwd=ROOT, env={**environment, "HOME": str(tmp_path / "nobody")}, capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    problems = done.stdout.splitlines()
    assert len(problems) == 4
    assert problems[0].startswith("Table 3 Actions, row 1, Action type: 'Purchase' is none of")
    assert done.stderr == f"jcm-mrv: {out} has 4 problems; correct them and check again\n"
    good = run("check", declared(PARTS))
    assert good.stdout == f"{tmp_path}/handover.toml: holds together: 1 notifications, 1 blocks\n"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("aef", "P1", "--year", "2025", "--out", "a.xlsx"), 2, "--declared"),
        (("aef", "P1", "--year", "2025", "--declared", "x.toml", "--out", "a.pdf"), 2, "ends in .xlsx or .csv"),
        (("aef", "P1", "--year", "2025", "--declared", "/no/x.toml", "--out", "a.csv"), 1, "/no/x.toml cannot be read"),
        (("cadtrust", "P1", "2021-03-10", "2021-03-01", "--declared", "x", "--out", "a.json"), 2, "lies after TO"),
        (("check", "/no/a.csv"), 1, "/no/a.csv cannot be read: no such file"),
        (("check", "a.pdf"), 2, "ends in .xlsx or .csv or .toml"),
    ],
)
def test_wrong_use_is_said_on_one_line(run, arguments, status, said):
    done = run(*arguments)
    assert done.returncode == status
    (line,) = done.stderr.splitlines()
    assert said in line
    assert done.stdout == ""
