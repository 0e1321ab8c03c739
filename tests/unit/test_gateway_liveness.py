"""Which of a gateway's threads are stuck: none for a silent device or broker, those that hang or ended otherwise."""

import socket
import threading
from collections.abc import Iterator

import pytest

from devices.gateway import gateway as module
from devices.gateway.config import parse
from devices.gateway.gateway import Gateway
from devices.gateway.modbus_poll import SunSpecPoller
from devices.mqtt_url import parse as parse_url
from tests.harness import wait_until

CONFIGURATION = """
[gateway]
id = "gw"
site = "s-1"
spool = "{spool}"
spool_limit_mb = 50
when_full = "drop-oldest"
health_interval_s = 1

[[device]]
id = "silent"
kind = "sunspec"
host = "127.0.0.1"
port = {port}
poll_interval_s = 1
timeout_s = 0.2
"""


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def running(tmp_path, silent_port, monkeypatch) -> Iterator[Gateway]:
    monkeypatch.setattr(module, "_PATIENCE_S", 2.0)
    text = CONFIGURATION.format(spool=tmp_path / "spool.sqlite", port=silent_port)
    made = Gateway(parse(text, "gateway.toml"), parse_url(f"mqtt://127.0.0.1:{silent_port}"))
    thread = threading.Thread(target=made.run)
    thread.start()
    yield made
    made.stop()
    thread.join(30)
    assert not thread.is_alive()


def test_a_silent_device_stops_no_thread(running):
    wait_until(lambda: running.tallies["silent"].errors >= 3)
    assert running.stuck() == []


def test_a_poll_that_hangs_is_told_until_it_goes_on(running, monkeypatch):
    hold = threading.Event()
    monkeypatch.setattr(SunSpecPoller, "poll", lambda _poller: hold.wait(60) and {})
    try:
        wait_until(running.stuck)
        (name,) = running.stuck()
        assert name.startswith("jcm-mrv-poll-")
    finally:
        hold.set()
    wait_until(lambda: running.stuck() == [])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ended_is_told(running, monkeypatch):
    def end(_poller: SunSpecPoller) -> None:
        raise SystemExit  # no Exception: nothing in the loop takes it, and the thread ends

    wait_until(lambda: running.tallies["silent"].polls)
    monkeypatch.setattr(SunSpecPoller, "poll", end)
    wait_until(running.stuck)
    assert running.stuck()[0].startswith("jcm-mrv-poll-")


def test_while_it_ends_nothing_is_stuck(running):
    running.stop()
    assert running.stuck() == []
