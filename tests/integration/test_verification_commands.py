"""The verification as its people run it: commands, JSON, and what is refused on one line."""

import json
import os
import subprocess
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from tests.forked import run_command

ROOT = Path(__file__).resolve().parents[2]
FIRST, LAST = date(2021, 3, 1), date(2021, 3, 10)
DAYS = ("P1", "2021-03-01", "2021-03-10")
TPE = "Example Certification Body"
AUDITOR = ("--by", "V. Auditor", "--organisation", TPE)
ENGINEER = ("--by", "P. Engineer", "--organisation", "A")
TODAY = datetime.now(UTC).date()
VALID = ("--from", str(TODAY - timedelta(days=1)), "--until", str(TODAY + timedelta(days=30)))


@pytest.fixture
def run(plant, tmp_path):
    plant.apply(plant.toml.replace('title = "A test plant"', f'title = "A test plant"\nthird_party_entity = "{TPE}"'))
    plant.insert(plant.days(FIRST, LAST, hourly_wh=100_000.0))
    environment = {
        **os.environ,
        "JCM_MRV_DATABASE_URL": plant.url,
        "JCM_MRV_MQTT_URL": "mqtt://nobody:nothing@localhost:1",
        "PYTHONPATH": str(ROOT),
    }

    def run(*arguments, status=0, text=True):
        done = run_command(*arguments, environment=environment, cwd=tmp_path, text=text)
        assert done.returncode == status, done.stderr
        if status:
            assert done.stdout == ""
            assert done.stderr.startswith("jcm-mrv: ")
            assert done.stderr.count("\n") == 1
        return done

    return run


@pytest.fixture
def openssl(tmp_path):
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=tmp_path, check=True, capture_output=True)

    return openssl


def test_a_session_from_freeze_to_notification(run, openssl, plant, tmp_path):
    openssl("genpkey", "-algorithm", "ed25519", "-out", "verifier.pem")
    openssl("pkey", "-in", "verifier.pem", "-pubout", "-out", "verifier.pub.pem")
    owner = ("--by", "O", "--organisation", "Service")
    key = json.loads(
        run("attestation", "register-key", "verifier.pub.pem", "--entity", TPE, *VALID, *owner, "--json").stdout
    )
    assert key["key"].startswith("ed25519:")
    assert [(entry["key"], entry["state"]) for entry in json.loads(run("attestation", "keys", "--json").stdout)] == [
        (key["key"], "valid")
    ]
    run("period", "freeze", *DAYS)
    assert json.loads(run("period", "submit", *DAYS, *ENGINEER, "--json").stdout)["state"] == "submitted"
    raised = run("finding", "raise", *DAYS, "CAR", "Why?", "--device", "s-P1/inv-1", "--day", "2021-03-02", *AUDITOR)
    assert raised.stdout == "raised CAR-1 on revision 1 of P1 2021-03-01 to 2021-03-10\n"
    early = run("period", "statement", *DAYS)
    assert "cannot be attested yet: CAR-1 not closed" in early.stderr

    plant.insert(
        [(ts + timedelta(minutes=30), wh + 50_000) for ts, wh in plant.days(FIRST, LAST, hourly_wh=100_000.0)[:5]]
    )
    again = run("period", "freeze", *DAYS).stderr.splitlines()
    assert again[0] == "frozen as revision 2"
    assert again[1].startswith("since revision 1: ER 7 -> 7 (+0) tCO2, RE +0.000 kg; 5 late readings of 1 device in 1")
    assert (
        "late readings\n  s-P1/inv-1: 5 readings from 2021-02-28T17:30:00+00:00" in run("period", "diff", *DAYS).stdout
    )
    changed = json.loads(run("period", "diff", *DAYS, "--from-revision", 1, "--to-revision", 2, "--json").stdout)
    assert (changed["revisions"], changed["late_readings"][0]["readings"]) == ([1, 2], 5)

    assert "; carried over: CAR-1" in run("period", "submit", *DAYS, *ENGINEER).stdout
    run("finding", "respond", *DAYS, "car-1", "The meter was away.", *ENGINEER)
    closed = json.loads(run("finding", "close", *DAYS, "CAR-1", "Accepted.", *AUDITOR, "--json").stdout)
    assert (closed["state"], closed["closing"]["person"], closed["closing"]["revision"]) == ("closed", "V. Auditor", 2)
    shown = run("finding", "show", *DAYS, "CAR-1").stdout
    assert "raised on revision 1 about device s-P1/inv-1, day 2021-03-02" in shown
    assert "The meter was away." in shown
    assert "CAR-1   closed    2021-03-01 to 2021-03-10, revision 1" in run("finding", "list", "P1").stdout

    (tmp_path / "statement.json").write_bytes(run("period", "statement", *DAYS, text=False).stdout)
    arguments = ("-inkey", "verifier.pem", "-in", "statement.json", "-out", "statement.sig")
    openssl("pkeyutl", "-sign", "-rawin", *arguments)
    by_openssl = (tmp_path / "statement.sig").read_bytes()
    signed = run("attestation", "sign", "statement.json", "--key", "verifier.pem", "--out", "statement.sig").stdout
    assert signed == "statement.sig: signed revision 2 of P1 2021-03-01 to 2021-03-10, 7 tCO2\n"
    assert (tmp_path / "statement.sig").read_bytes() == by_openssl
    files = ("--statement", "statement.json", "--signature", "statement.sig")
    done = json.loads(run("period", "attest", *DAYS, *files, *AUDITOR, "--json").stdout)
    assert (done["state"], done["key"], done["signature"]) == ("verified", key["key"], by_openssl.hex())
    assert "the signature holds" in run("attestation", "show", *DAYS).stdout

    shares = ("--share", "2021:host:A=3", "--share", "2021:japan:Government of Japan=4")
    notified = run("period", "notify", *DAYS, "--decided", "2025-10-30", *shares, *ENGINEER).stdout
    assert notified == "notified revision 2 of P1 2021-03-01 to 2021-03-10: 7 tCO2 (host 3, Japan 4)\n"
    states = [line["state"] for line in json.loads(run("period", "list", "--json").stdout)]
    assert states == ["superseded", "notified"]

    plant.insert(
        [(ts + timedelta(minutes=20), wh + 33_333) for ts, wh in plant.days(FIRST, LAST, hourly_wh=100_000.0)[:5]]
    )
    loud = run("period", "freeze", *DAYS, "--json")
    assert (
        "WARNING: revision 2 of this period is notified and stays as it is; revision 3 is not verified" in loud.stderr
    )
    assert json.loads(loud.stdout)["after_verified_revision"] == 2


def test_a_key_on_the_verifier_s_own_machine_signs_and_attests(run, openssl):
    openssl("genpkey", "-algorithm", "ed25519", "-out", "verifier.pem")
    openssl("pkey", "-in", "verifier.pem", "-pubout", "-out", "verifier.pub.pem")
    run("attestation", "register-key", "verifier.pub.pem", "--entity", TPE, *VALID, *ENGINEER)
    run("period", "freeze", *DAYS)
    run("period", "submit", *DAYS, *ENGINEER)
    assert "attested revision 1 of P1" in run("period", "attest", *DAYS, "--key", "verifier.pem", *AUDITOR).stdout


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("period", "submit", *DAYS, *ENGINEER), 1, "was never frozen"),
        (("period", "diff", *DAYS), 1, "was never frozen"),
        (("finding", "show", *DAYS, "CAR-1"), 1, "has no CAR-1; it has no finding"),
        (("finding", "show", *DAYS, "OBS-1"), 1, "'OBS-1' is not a finding; name it as CAR-1, CL-2 or FAR-1"),
        (("finding", "raise", *DAYS, "OBS", "x", *AUDITOR), 2, "'OBS' is not one of"),
        (("finding", "list", "P7"), 1, "there is no project P7"),
        (("period", "submit", *DAYS), 2, "Missing option"),
        (
            ("period", "notify", *DAYS, "--decided", "2025-01-01", "--share", "2021:host:A=1.5", *ENGINEER),
            2,
            "'2021:host:A=1.5' is not a share; give it as YEAR:SIDE:HOLDER=TONNES",
        ),
        (("period", "attest", *DAYS, "--signature", "x", *AUDITOR), 2, "give --statement and --signature, or --key"),
        (("period", "attest", *DAYS, "--statement", "x", "--signature", "y", *AUDITOR), 1, "was never frozen"),
        (("attestation", "show", *DAYS), 1, "was never frozen"),
        (("attestation", "sign", "none.json", "--key", "k", "--out", "o"), 1, "none.json cannot be read: No such file"),
        (
            ("attestation", "register-key", "/dev/null", "--entity", "X", *VALID, *ENGINEER),
            1,
            "not a public key in PEM",
        ),
        (("attestation", "withdraw-key", "abc", "--reason", "x", *ENGINEER), 1, "no registered key begins with abc"),
    ],
)
def test_what_is_wrong_is_said_on_one_line(run, arguments, status, said):
    assert said in run(*arguments, status=status).stderr
