"""`jcm-mrv period` as a person and a script run it: output, and exit status 0, 1 or 2."""

import json
import os
from datetime import date
from pathlib import Path

import pytest

from tests.forked import run_command

ROOT = Path(__file__).resolve().parents[2]
FIRST, LAST = date(2021, 3, 1), date(2021, 3, 10)
DAYS = ("P1", "2021-03-01", "2021-03-10")


@pytest.fixture
def run(plant):
    plant.insert(plant.days(FIRST, LAST, hourly_wh=100_000.0))
    environment = {
        **os.environ,
        "JCM_MRV_DATABASE_URL": plant.url,
        "JCM_MRV_MQTT_URL": "mqtt://nobody:nothing@localhost:1",
        "COLUMNS": "100",
    }

    def run(*arguments, **more):
        return run_command("period", *arguments, environment=environment | more, cwd=ROOT)

    return run


def test_compute_freeze_show_list(run):
    drafted = run("compute", *DAYS)
    assert (drafted.returncode, drafted.stderr) == (0, "")
    assert "P1 2021-03-01 to 2021-03-10, draft" in drafted.stdout
    assert "pv-1 grid 1 100.00 % 24.000000 0.319? 7.656000" in " ".join(drafted.stdout.split())
    assert "note: the factor of pv-1, 0.319 tCO2/MWh, is a default not confirmed" in drafted.stdout

    frozen = run("freeze", *DAYS, "--json")
    assert (frozen.returncode, frozen.stderr) == (0, "frozen as revision 1\n")
    said = json.loads(frozen.stdout)
    assert (said["new"], said["revision"], said["er_tco2"]) == (True, 1, 7)
    assert said["vintages"] == [
        {
            "year": 2021,
            "from": "2021-03-01",
            "to": "2021-03-10",
            "eg_mwh": "24.000000",
            "re_tco2": "7.656000",
            "pe_tco2": "0",
            "er_tco2": 7,
        }
    ]
    again = run("freeze", *DAYS)
    assert (again.returncode, again.stderr) == (0, "nothing new since revision 1\n")

    shown = json.loads(run("show", *DAYS, "--json", "--recompute").stdout)
    assert (shown.pop("arrived_since"), shown.pop("recomputed")) == (0, True)
    assert (shown.pop("state"), shown.pop("open_findings")) == ("frozen", [])
    assert shown == {key: value for key, value in said.items() if key != "new"}
    listed = json.loads(run("list", "P1", "--json").stdout)
    assert [(line["revision"], line["er_tco2"], line["state"]) for line in listed] == [(1, 7, "frozen")]
    assert "2021-03-01" in run("list").stdout
    assert json.loads(run("list", "P1", "2021-04-01", "--json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["compute", "P1", "2021-03-10", "2021-03-01"], 2, "FROM 2021-03-10 lies after TO 2021-03-01"),
        (["list", "P1", "2021-03-10", "2021-03-01"], 2, "FROM 2021-03-10 lies after TO 2021-03-01"),
        (["freeze", "P1", "2021-3-1", "2021-03-01"], 2, "'2021-3-1' is not a day"),
        (["compute", "P1", "2018-03-10", "2021-03-01"], 1, "2018-03-10 lies before the crediting period of P1"),
        (["freeze", "P1", "2029-03-10", "2029-12-31"], 1, "2029-12-31 is not over before"),
        (["show", *DAYS], 1, "was never frozen"),
        (["compute", "P7", "2021-03-01", "2021-03-10"], 1, "there is no project P7; there is P1"),
    ],
)
def test_what_is_wrong_is_said_on_one_line(run, arguments, status, said):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith("jcm-mrv: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_database_that_is_away(run):
    done = run("compute", *DAYS, JCM_MRV_DATABASE_URL="postgresql://nobody:nothing@localhost:1/none")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "none at localhost:1 does not answer" in done.stderr
    assert "nothing" not in done.stderr
