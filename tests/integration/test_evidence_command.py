"""`jcm-mrv evidence` as a person and a script run it."""

import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from tests.forked import run_command
from tests.integration.received import receive
from tests.integration.tsa import LocalTsa, unusable

ROOT = Path(__file__).resolve().parents[2]
DAYS = ("P1", "2021-03-01", "2021-03-02")


@pytest.fixture
def run(plant, tmp_path):
    environment = {
        **os.environ,
        "JCM_MRV_DATABASE_URL": plant.url,
        "JCM_MRV_MQTT_URL": "mqtt://nobody:nothing@localhost:1",
        "JCM_MRV_EVIDENCE_KEY_FILE": str(tmp_path / "key.pem"),
    }

    def run(*arguments, status=0, **more):
        done = run_command(*arguments, environment=environment | more, cwd=ROOT)
        assert done.returncode == status, done.stderr
        return done

    return run


def test_seal_export_and_verify(run, plant, tmp_path):
    for number, (ts, wh) in enumerate(plant.days(date(2021, 3, 1), date(2021, 3, 2), hourly_wh=100_000.0)):
        said = json.dumps({"ts": ts.isoformat(), "points": {"TotWhExp": wh}}).encode()
        receive(plant.owner, [(f"jcm/v1/{plant.site}/inv-1/readings", said)], ts, first_id=number + 1)
    out, public = tmp_path / "evidence.zip", tmp_path / "public.pem"
    for missing in (("seal",), ("export", *DAYS, "--out", out), ("keys",)):
        assert "there is no key; `jcm-mrv evidence keys --make` makes one" in run("evidence", *missing, status=1).stderr
    made = run("evidence", "keys", "--make")
    public.write_text(run("evidence", "keys").stdout)
    assert made.stdout == public.read_text()
    assert "PRIVATE" not in made.stdout + made.stderr
    run("period", "freeze", *DAYS)
    assert "nothing is sealed yet" in run("evidence", "export", *DAYS, "--out", out, status=1).stderr
    assert "sealed 49 messages of 3 days in 3 seals" in run("evidence", "seal").stdout
    assert run("evidence", "seal").stdout.startswith("nothing is to be sealed")

    exported = run("evidence", "export", *DAYS, "--out", out).stdout
    assert "1 tCO2 from 49 readings of 49 messages, 3 seals" in exported
    verified = run("evidence", "verify", out, "--key", public, JCM_MRV_DATABASE_URL="postgresql://localhost:1/none")
    assert "revision 1 of P1 2021-03-01 to 2021-03-02: 1 tCO2" in verified.stdout
    assert "signed by the key that was given" in verified.stdout
    assert "compare this with what the operator told you" in run("evidence", "verify", out).stdout
    assert json.loads(run("evidence", "verify", out, "--json").stdout)["messages"] == 49

    run("evidence", "export", *DAYS, "--redacted", "--out", tmp_path / "public.zip")
    assert "not checked: that the readings follow" in run("evidence", "verify", tmp_path / "public.zip").stdout

    out.write_bytes(out.read_bytes()[:5000])
    said = run("evidence", "verify", out, status=1)
    assert said.stderr == "jcm-mrv: evidence.zip is no whole zip file: it was cut off, or is something else\n"
    assert json.loads(run("evidence", "verify", out, "--json", status=1).stdout)["verified"] is False
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evidence.zip", "key.pem", "public.pem", "public.zip"]


@pytest.mark.skipif(unusable() is not None, reason=unusable() or "")
def test_time_stamps_from_sealing_to_verifying(run, plant, tmp_path):
    for number, (ts, wh) in enumerate(plant.days(date(2021, 3, 1), date(2021, 3, 2), hourly_wh=100_000.0)):
        said = json.dumps({"ts": ts.isoformat(), "points": {"TotWhExp": wh}}).encode()
        receive(plant.owner, [(f"jcm/v1/{plant.site}/inv-1/readings", said)], ts, first_id=number + 1)
    run("evidence", "keys", "--make")
    run("period", "freeze", *DAYS)
    tsa, out = LocalTsa(tmp_path, "tsa"), tmp_path / "evidence.zip"
    tsa.start()
    url = tsa.url.replace("://", "://me:unspeakable@")
    assert "JCM_MRV_TSA_CA_FILE is not set" in run("evidence", "seal", status=1, JCM_MRV_TSA_URL=url).stderr
    wrong = run("evidence", "seal", status=1, JCM_MRV_TSA_URL="ftp://me:unspeakable@x").stderr
    assert wrong == "jcm-mrv: JCM_MRV_TSA_URL: this is no address of the form http://host/path or https://host/path\n"
    stamping = {"JCM_MRV_TSA_URL": url, "JCM_MRV_TSA_CA_FILE": str(tsa.ca)}

    tsa.stop()
    away = run("evidence", "seal", **stamping)
    assert "in 3 seals with key" in away.stdout
    assert "fetched 0 time stamps from 127.0.0.1; 3 seals have none yet" in away.stdout
    assert "time_stamps_missing" in away.stderr
    assert "unspeakable" not in away.stdout + away.stderr
    tsa.start()
    back = run("evidence", "seal", **stamping)
    assert "nothing is to be sealed" in back.stdout
    assert "fetched 3 time stamps from 127.0.0.1; 0 seals have none yet" in back.stdout
    assert "unspeakable" not in back.stdout + back.stderr
    run("schedule", "--once", **stamping)
    tsa.stop()

    run("evidence", "export", *DAYS, "--out", out)
    assert "not checked: who made the time stamps of 3 seals, and when" in run("evidence", "verify", out).stdout
    for done in (run("evidence", "verify", out, "--tsa-ca", tsa.ca), run("evidence", "verify", out, **stamping)):
        assert "3 of these seals have a time stamp of the given authority: the earliest of 20" in done.stdout
        assert "not checked" not in done.stdout
    said = json.loads(run("evidence", "verify", out, "--tsa-ca", tsa.ca, "--json").stdout)
    assert (said["time_stamps"], said["first_time_stamp"] <= said["last_time_stamp"]) == (3, True)
    other = LocalTsa(tmp_path, "other")
    said = run("evidence", "verify", out, "--tsa-ca", other.ca, status=1).stderr
    assert said.startswith(
        "jcm-mrv: the time stamp of the seal of 2021-02-28 (s-P1) is not signed by a TSA of the given"
    )


def test_what_was_received_today_is_not_exported_today(run, plant, tmp_path):
    now = datetime.now(UTC)
    said = json.dumps({"ts": "2021-03-01T05:00:00Z", "points": {"TotWhExp": 5000}}).encode()
    receive(plant.owner, [("strange", b"")], datetime(2021, 3, 1, tzinfo=UTC), first_id=1)
    receive(plant.owner, [(f"jcm/v1/{plant.site}/inv-1/readings", said)], now, first_id=2)
    run("evidence", "keys", "--make")
    run("evidence", "seal")
    run("period", "freeze", *DAYS)
    said = run("evidence", "export", *DAYS, "--out", tmp_path / "x.zip", status=1).stderr
    assert f"messages of {now.date()} ({plant.site}) are not sealed yet" in said


def test_the_key_must_be_named_where_the_database_is(plant):
    environment = {**os.environ, "JCM_MRV_DATABASE_URL": plant.url}
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "evidence", "keys"],
        cwd=ROOT, env=environment, capture_output=True, check=False, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("jcm-mrv: JCM_MRV_EVIDENCE_KEY_FILE is not set; name the file")
