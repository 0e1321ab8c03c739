"""What systemd hears of the real commands in processes of their own: ready, fed, and no longer fed when they hang.

A single thread of the process is stopped with ptrace, as a thread that hangs would stand: the others go on, and so does
the thread that feeds the watchdog, which must find out.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from deploy.local.state import free_port
from tests.harness import CollectorProcess, declare, forget_session, wait_until
from tests.service_manager import Manager

WATCHDOG_S = 0.9
SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17


@pytest.fixture
def manager(tmp_path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify", WATCHDOG_S)
    yield made
    made.close()


@contextmanager
def stopped_thread(thread: int) -> Iterator[None]:
    """Let one thread of another process stand still."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(SEIZE, thread, None, None) != 0:
        pytest.skip(f"this machine lets nobody stop a thread: ptrace says {os.strerror(ctypes.get_errno())}")
    try:
        assert libc.ptrace(INTERRUPT, thread, None, None) == 0
        os.waitpid(thread, 0x40000000)  # __WALL: a thread that is no child of ours
        yield
    finally:
        libc.ptrace(DETACH, thread, None, None)


@pytest.fixture(scope="module")
def plant(shared_database) -> str:
    declare(shared_database, "notify-a", ["m1"])
    return shared_database


@pytest.fixture
def collector(broker, plant, manager) -> Iterator[CollectorProcess]:
    """The real command with seconds of patience in the place of thirty."""
    made = CollectorProcess(
        broker.collector_url,
        plant,
        f"notify-test-{uuid.uuid4().hex[:8]}",
        settings=manager.environment,
        module=("tests.integration.hasty_collector",),
    )
    yield made
    made.close()
    forget_session(broker.collector_url, made.client_id)


def is_fed(manager: Manager) -> None:
    """Three times from now on; how often in a second is up to a busy machine."""
    heard = len(manager.heard)
    wait_until(lambda: manager.listen() is not None and manager.heard[heard:].count("WATCHDOG=1") >= 3, what="feeding")


def threads(process: int) -> dict[str, int]:
    return {(task / "comm").read_text().strip(): int(task.name) for task in Path(f"/proc/{process}/task").iterdir()}


def test_a_collector_is_ready_fed_and_tells_its_end(collector, manager):
    collector.start()
    wait_until(lambda: manager.hears("READY=1"))
    assert "STATUS=collecting" in manager.heard
    is_fed(manager)
    collector.send(signal.SIGTERM)
    assert collector.wait() == 0
    wait_until(lambda: manager.hears("STOPPING=1"))


def _is_missed(collector, manager) -> dict | None:
    """Stop the thread that writes, the main one; what is said when the watchdog is fed no longer."""

    def said() -> list[dict]:
        return [line for line in collector.lines() if line["event"] == "watchdog_not_fed"]

    before = len(said())
    with stopped_thread(collector.process.pid):
        end = time.monotonic() + 15
        while len(said()) == before:
            if time.monotonic() > end:
                return None
            time.sleep(0.1)
        manager.listen(0.1)
        assert "WATCHDOG=1" not in manager.listen(2 * WATCHDOG_S)
        [event] = said()[before:]
    return event


def test_a_collector_whose_writing_thread_hangs_is_fed_no_longer(collector, manager):
    collector.start()
    wait_until(lambda: manager.hears("READY=1"))
    # Now and then it is caught where it may wait, at the database, or where it keeps all other threads from speaking.
    event = next(filter(None, (_is_missed(collector, manager) for _ in range(4))))
    assert event["checks"][0].startswith("writing_thread: has not gone round")
    # What goes on again is fed again.
    is_fed(manager)


def test_a_collector_that_waits_for_its_database_is_fed(collector, manager, plant):
    collector.start()
    wait_until(lambda: manager.hears("READY=1"))
    with psycopg.connect(plant, autocommit=True) as connection:
        backends = connection.execute(
            "select pid from pg_stat_activity where datname = current_database() and application_name like 'jcm-mrv%'"
        ).fetchall()
        assert backends
        try:
            for (pid,) in backends:
                os.kill(pid, signal.SIGSTOP)
            # Longer than the patience and than the five seconds after which an idle collector asks.
            manager.listen(8)
            is_fed(manager)
        finally:
            for (pid,) in backends:
                os.kill(pid, signal.SIGCONT)
    assert not collector.ended()
    assert "watchdog_not_fed" not in collector.events()


def test_a_standby_is_ready_and_says_that_it_stands_by(collector, manager, broker, plant):
    first = CollectorProcess(broker.collector_url, plant, collector.client_id)
    first.start()
    try:
        collector.start(connected=False)
        wait_until(lambda: manager.hears("READY=1"))
        assert "STATUS=standby: another collector with this client id is at work" in manager.heard
        is_fed(manager)
    finally:
        first.close()


def test_a_schedule_is_ready_fed_answers_and_tells_its_end(plant, manager):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JCM_MRV_")}
    port = free_port()
    environment |= manager.environment | {"JCM_MRV_DATABASE_URL": plant, "JCM_MRV_SCHEDULE_HEALTH_PORT": str(port)}
    with subprocess.Popen([sys.executable, "-m", "deploy.cli", "schedule"], env=environment) as process:
        try:
            wait_until(lambda: manager.hears("READY=1"))
            is_fed(manager)
            for path in ("livez", "readyz", "metrics"):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=30) as answer:
                    assert answer.status == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
    wait_until(lambda: manager.hears("STOPPING=1"))
