"""Telling systemd: the datagrams of a service, over a real socket, as systemd would hear them."""

import os
import socket
import threading
import time
import uuid

import pytest

from deploy.notify import Watched, tell, watchdog_interval_s
from ingest.liveness import Check

FINE, HUNG = Check("thread", passed=True, said="goes round"), Check("thread", passed=False, said="hangs")


@pytest.fixture
def manager(tmp_path, monkeypatch):
    """The service manager's end of the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.settimeout(5)
        heard.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.delenv("WATCHDOG_USEC", raising=False)
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        yield heard


def hear(manager) -> list[str]:
    return manager.recv(4096).decode().split("\n")


def hear_for(manager, seconds: float) -> list[str]:
    heard, end = [], time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        manager.settimeout(left)
        try:
            heard += hear(manager)
        except TimeoutError:
            break
    manager.settimeout(5)
    return heard


def test_a_message_is_one_datagram_of_lines(manager):
    assert tell(READY=1, STATUS="collecting")
    assert hear(manager) == ["READY=1", "STATUS=collecting"]


def test_a_socket_may_have_an_abstract_name(monkeypatch):
    name = f"jcm-mrv-{uuid.uuid4()}"
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(f"\0{name}")
        assert tell(WATCHDOG=1)
        assert hear(heard) == ["WATCHDOG=1"]


@pytest.mark.parametrize("where", ["", "tcp:1.2.3.4", "relative/path"])
def test_nobody_is_told_where_there_is_no_socket(monkeypatch, where):
    monkeypatch.setenv("NOTIFY_SOCKET", where)
    assert not tell(READY=1)


def test_a_socket_that_is_gone_ends_no_service(monkeypatch, tmp_path):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not tell(READY=1)


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [("", "", 0), ("30000000", "", 30), ("30000000", str(os.getpid()), 30), ("30000000", "1", 0), ("x", "", 0)],
)
def test_the_watchdog_is_meant_for_the_process_that_it_names(monkeypatch, usec, pid, seconds):
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid)
    assert watchdog_interval_s() == seconds


def test_ready_is_said_once_and_only_when_it_is_so(manager):
    ready = threading.Event()
    with Watched(lambda: [FINE], ready=ready.is_set, status=lambda: "ok" if ready.is_set() else "waiting"):
        assert hear(manager) == ["STATUS=waiting"]
        assert hear_for(manager, 0.7) == []
        ready.set()
        assert hear(manager) == ["READY=1", "STATUS=ok"]
        assert hear_for(manager, 0.7) == []


def test_the_watchdog_is_fed_while_all_is_alive_and_again_when_it_is_again(manager, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "600000")
    checks = [FINE]
    with Watched(lambda: checks):
        assert hear(manager) == ["READY=1", "WATCHDOG=1"]
        assert hear_for(manager, 0.8).count("WATCHDOG=1") >= 2
        checks[:] = [FINE, HUNG]
        hear_for(manager, 0.3)
        assert hear_for(manager, 0.6) == []
        checks[:] = [FINE]
        assert hear(manager) == ["WATCHDOG=1"]


def test_the_end_is_told_before_it_begins(manager):
    done = []
    watched = Watched(lambda: [FINE])
    watched.ending(lambda: done.append(hear(manager)))()
    assert done == [["STOPPING=1"]]


def test_nothing_runs_where_nobody_listens(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    with Watched(lambda: [FINE]) as watched:
        assert watched._thread.ident is None
