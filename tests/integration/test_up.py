"""`jcm-mrv up` and `jcm-mrv serve` as processes: they answer, they end on SIGTERM, they say what is wrong."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.conftest import Broker
from tests.forked import run_command
from tests.harness import declare, forget_session, numbered, one, publish, wait_until

SITE = "up-a"


@contextmanager
def running(folder: Path, *arguments: str, **settings: str) -> Iterator[tuple[subprocess.Popen, Path]]:
    log = folder / "log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JCM_MRV_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.cli", *arguments],
            env=environment | {"JCM_MRV_LOG_FORMAT": "json"} | settings,
            stdout=output,
            stderr=output,
        )
    try:
        yield process, log
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def url_of(process: subprocess.Popen, log: Path) -> str:
    wait_until(lambda: process.poll() is not None or '"web_server_started"' in log.read_text(), what="the server")
    assert process.poll() is None, log.read_text()
    lines = [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("}\n")]
    return next(line["served_at"] for line in lines if line["event"] == "web_server_started")


def test_one_process_collects_schedules_and_serves(database: str, broker: Broker, tmp_path: Path) -> None:
    declare(database, SITE, ["inv-1"])
    client_id = f"test-up-{uuid.uuid4().hex[:8]}"
    settings = {
        "JCM_MRV_DATABASE_URL": database,
        "JCM_MRV_MQTT_URL": broker.collector_url,
        "JCM_MRV_MQTT_CLIENT_ID": client_id,
    }
    try:
        with running(tmp_path, "up", "--port", "0", **settings) as (process, log):
            url = url_of(process, log)
            wait_until(lambda: '"collector_started"' in log.read_text(), what="the collector")
            publish(broker.site_url(SITE), numbered(SITE, "inv-1", range(5)))
            wait_until(lambda: one(database, "select count(*) from reading") == 5, what="the readings")
            said = httpx.get(f"{url}/livez?verbose", timeout=60).text
            assert "[+]schedule" in said
            assert "ok" in said
            assert "[+]database" in httpx.get(f"{url}/readyz?verbose", timeout=60).text
            metrics = httpx.get(f"{url}/metrics", timeout=60).text
            assert "jcm_mrv_messages_received_total" in metrics
            assert "jcm_mrv_http_request_duration_seconds_count" in metrics
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, log.read_text()
        events = log.read_text()
        assert '"web_server_stopped"' in events
        assert '"collector_stopped"' in events
    finally:
        forget_session(broker.collector_url, client_id)


def test_a_port_that_is_taken_is_said_in_one_line(database: str, tmp_path: Path) -> None:
    with running(tmp_path, "serve", "--port", "0", JCM_MRV_DATABASE_URL=database) as (process, log):
        url = url_of(process, log)
        other = tmp_path / "other"
        other.mkdir()
        with running(other, "serve", "--port", url.rpartition(":")[2], JCM_MRV_DATABASE_URL=database) as (second, said):
            assert second.wait(60) == 1
            assert said.read_text().startswith("jcm-mrv: cannot listen on 127.0.0.1:")
            assert said.read_text().count("\n") == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("JCM_MRV_WEB_URL", "mrv.example.org", "JCM_MRV_WEB_URL: this is no address of the form https://host"),
        ("JCM_MRV_WEB_METRICS_FROM", "everywhere", "JCM_MRV_WEB_METRICS_FROM: "),
        ("JCM_MRV_WEB_TRUSTED_PROXIES", "proxy.example", "JCM_MRV_WEB_TRUSTED_PROXIES: "),
        (
            "JCM_MRV_WEB_COLLECTORS",
            "collector-1",
            "JCM_MRV_WEB_COLLECTORS: collector-1 is no address of the form http://",
        ),
        ("JCM_MRV_RATE_LIMIT", "often", "JCM_MRV_RATE_LIMIT: this is no rate"),
        ("JCM_MRV_RATE_LIMIT", "0/minute", "JCM_MRV_RATE_LIMIT: at none at all nobody is answered"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, setting: str, value: str, said: str) -> None:
    done = run_command("serve", environment={setting: value}, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"jcm-mrv: {said}")
