"""`jcm-mrv alert` and the alerts beside `jcm-mrv schedule`, as a person runs them."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.certificates import Authority, issue_client, make_authority
from tests.forked import run_command
from tests.harness import wait_until
from tests.integration.alert_sinks import mail, web
from tests.integration.alert_world import World

HOUR = timedelta(hours=1)


@pytest.fixture
def world(database):
    made = World(database)
    yield made
    made.owner.close()


@pytest.fixture
def hook():
    with web() as kept:
        yield kept


def environment(world: World, text: str, tmp_path: Path, **more: str) -> dict[str, str]:
    (tmp_path / "alerts.toml").write_text(text)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JCM_MRV_")}
    given = {"JCM_MRV_DATABASE_URL": world.url, "JCM_MRV_ALERTS_FILE": str(tmp_path / "alerts.toml"), "COLUMNS": "200"}
    return {**kept, **given, **more}


@pytest.fixture
def run(world, hook, tmp_path):
    text = f'group_wait_s = 0\n[rules.site_silent]\nkeep_s = 0\n[webhook.ops]\nurl = "{hook.url}"\n'
    given = environment(world, text, tmp_path)

    def command(*arguments, environment=given):
        return run_command(*arguments, environment=environment, cwd=tmp_path)

    return command


def test_what_an_operator_does_about_a_silent_site(world, hook, run):
    world.site(silent_for=HOUR)
    done = run("alert", "check")
    assert done.returncode == 1
    assert "critical site_silent: no message from s1 for 60 min" in done.stdout
    assert "not checked  disk_filling database: no limit is set" in done.stdout
    assert run("alert", "list").stdout == "no alert is open\n"  # check keeps nothing

    done = run("schedule", "--once")
    assert done.returncode == 0, done.stderr
    assert [one["labels"]["alertname"] for one in hook.bodies[0]["alerts"]] == ["site_silent"]
    assert "geheim" not in done.stderr + done.stdout

    listed = json.loads(run("alert", "list", "--json").stdout)
    [alert] = [one for one in listed["alerts"] if one["rule"] == "site_silent"]
    assert (alert["state"], alert["project"], alert["severity"]) == ("firing", "P", "critical")
    assert [(one["target"], one["outcome"]) for one in listed["notices"]] == [("webhook.ops", "HTTP 204")]
    number = alert["id"]
    assert run("alert", "acknowledge", number, "--by", "Ann", "--note", "on my way").returncode == 0
    assert "Ann sees to it: on my way" in run("alert", "list").stdout
    assert "muted until" in run("alert", "mute", number, "--for", "2h").stdout
    assert "muted until" in run("alert", "list", "--project", "P").stdout
    assert run("alert", "unmute", number).returncode == 0
    assert world.one("select count(*) from audit_event where action like 'alert.%%'") == 3

    world.heard()
    done = run("alert", "check", "--json")
    assert (done.returncode, json.loads(done.stdout)["firing"]) == (0, [])
    run("schedule", "--once")
    assert [body["status"] for body in hook.bodies] == ["firing", "resolved"]
    assert "over" in run("alert", "list", "--history").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("acknowledge", "7"), 1, "there is no alert 7; `jcm-mrv alert list` shows what is open"),
        (("mute", "7", "--for", "soon"), 2, "--for soon: give a number with min, h or d, such as 8h"),
        (("unmute", "0"), 2, "0 is not in the range"),
        (("test", "--target", "webhook.nobody"), 2, "--target webhook.nobody: the file has webhook.ops"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(run, arguments, code, said):
    done = run("alert", *arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert done.stderr.startswith("jcm-mrv: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_file_that_is_wrong_stops_the_schedule_at_its_start(world, run, tmp_path):
    given = environment(world, "[rules.site_silent]\nafter_s = 0\n", tmp_path)
    done = run("schedule", "--once", environment=given)
    assert done.returncode == 1
    assert "alerts.toml: rules.site_silent.after_s: input should be greater than 0" in done.stderr
    done = run("alert", "test", environment=environment(world, "", tmp_path))
    assert (done.returncode, "there is nobody to tell" in done.stderr) == (1, True)


def test_a_test_notice_goes_to_each_target_and_says_what_came_of_it(world, hook, run, tmp_path):
    with mail(tmp_path) as box:
        text = (
            f'[webhook.ops]\nurl = "{hook.url}"\n[webhook.gone]\nurl = "http://127.0.0.1:1/?token=geheim"\n'
            f'[email.duty]\nhost = "127.0.0.1"\nport = {box.port}\nsecurity = "none"\nsender = "a@b.example"\n'
            'to = ["c@d.example"]\n'
        )
        given = environment(world, text, tmp_path)
        done = run("alert", "test", "--json", environment=given)
        assert done.returncode == 1
        found = {one["target"]: (one["taken"], one["said"]) for one in json.loads(done.stdout)["targets"]}
        assert found["webhook.ops"] == (True, "HTTP 204")
        assert found["email.duty"] == (True, "taken for 1 recipient")
        assert found["webhook.gone"][0] is False
        assert "geheim" not in done.stdout + done.stderr
        done = run("alert", "test", "--target", "email.duty", environment=given)
        assert (done.returncode, done.stdout) == (0, "email.duty: taken for 1 recipient\n")
        assert [one["Subject"] for one in box.messages] == ["[jcm-mrv warning] test notice: test"] * 2
        assert box.messages[0]["Message-ID"] != box.messages[1]["Message-ID"]


def test_the_schedule_judges_while_it_runs_and_ends_at_once(world, hook, tmp_path):
    """The process as a service runs it; its jobs have nothing to do with what it tells."""
    world.site(silent_for=HOUR)
    text = f'group_wait_s = 0\n[rules.site_silent]\nkeep_s = 0\n[webhook.ops]\nurl = "{hook.url}"\n'
    given = environment(world, text, tmp_path, JCM_MRV_SCHEDULE_INTERVAL_S="1", JCM_MRV_LOG_FORMAT="json")
    with subprocess.Popen(
        [sys.executable, "-m", "deploy.cli", "schedule"], env=given, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_until(lambda: hook.raw, what="the notice")
            world.heard()
            wait_until(lambda: len(hook.raw) == 2, what="the recovery")
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    events = [json.loads(line)["event"] for line in said.splitlines()]
    assert events.count("notice_sent") == 2
    assert "geheim" not in said


def test_a_certificate_that_ends_is_told_and_one_that_cannot_be_read_stops_nothing(world, tmp_path):
    now = datetime.now(UTC)
    pem = issue_client(Authority.load(make_authority(now)), "s1", now, days=3)
    (tmp_path / "own.pem").write_bytes(pem.certificate + pem.key)
    (tmp_path / "own.pem").chmod(0o600)
    given = environment(world, "", tmp_path, JCM_MRV_MQTT_CERT_FILE=str(tmp_path / "own.pem"))
    done = run_command("alert", "check", "--json", environment=given, cwd=tmp_path)
    [one] = [one for one in json.loads(done.stdout)["firing"] if one["rule"] == "certificate_ending"]
    assert "ends in 2 days" in one["said"]
    (tmp_path / "own.pem").write_text("nothing")
    done = run_command("alert", "check", "--json", environment=given, cwd=tmp_path)
    assert "certificate_ending" not in done.stdout
    assert "certificates_unread" in done.stderr + done.stdout
