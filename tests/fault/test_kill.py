"""A kill in the middle of a load: every reading is there once, nothing is counted twice, no hand is needed.

The servers are the tests' own, apart from those that other tests use, because PostgreSQL is killed here.
"""

import random
import re
import signal
import threading
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from devices import topics
from tests.harness import (
    CollectorProcess,
    assert_balanced,
    collecting,
    declare,
    forget_session,
    numbered,
    one,
    publish,
    rows,
    wait_until,
)

SITE, DEVICE = "fault-a", "inv-1"
LENGTHS = [pytest.param(6_000, id="short"), pytest.param(60_000, id="long", marks=pytest.mark.long)]


@pytest.fixture
def database(fault_servers):
    fault_servers.start()
    url = fault_servers.new_database()
    declare(url, SITE, [DEVICE])
    # Left where it is: the servers are deleted in the end.
    return url


@pytest.fixture
def collector(fault_servers, database):
    process = CollectorProcess(fault_servers.mqtt, database, f"collector-{uuid.uuid4().hex[:8]}")
    yield process
    process.close()
    fault_servers.start()
    forget_session(fault_servers.mqtt, process.client_id)


def paced(messages, seconds):
    """Spread messages over a time, so that a kill meets a load and not what is left of it."""
    messages = list(messages)
    for number, message in enumerate(messages):
        if number % 100 == 0:
            time.sleep(seconds * 100 / len(messages))
        yield message


@contextmanager
def load(url, count):
    """Publish numbered messages from a thread; ends when the broker has acknowledged all."""
    failed = []

    def run():
        try:
            publish(url, paced(numbered(SITE, DEVICE, range(count)), seconds=3))
        except Exception as error:  # noqa: BLE001 - looked at below
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join(120)
    assert failed == []


def stored(url):
    return one(url, "select count(*) from reading")


def seed():
    chosen = random.SystemRandom().randrange(2**32)
    print(f"seed {chosen}")
    return random.Random(chosen)


def assert_each_once(url, count):
    assert stored(url) == count
    assert one(url, "select count(distinct seq) from reading") == count
    assert one(url, "select count(*) from quarantine") == 0
    assert one(url, "select count(*) from reading_conflict") == 0
    assert_balanced(url)


@pytest.mark.parametrize("count", LENGTHS)
def test_a_killed_collector_loses_and_repeats_nothing(fault_servers, database, collector, count):
    chance = seed()
    collector.start()
    with load(fault_servers.site_url(SITE), count):
        for part in (0.1, 0.4, 0.7):
            wait_until(lambda part=part: stored(database) >= part * count, 120)
            time.sleep(chance.uniform(0, 0.08))
            collector.kill()
            collector.start()
    wait_until(lambda: stored(database) >= count, 120)
    collector.send(signal.SIGTERM)
    assert collector.wait() == 0
    assert_each_once(database, count)


@pytest.mark.parametrize("count", LENGTHS)
def test_a_killed_database_loses_and_repeats_nothing(fault_servers, database, collector, count):
    chance = seed()
    collector.start()
    with load(fault_servers.site_url(SITE), count):
        for part in (0.1, 0.5):
            wait_until(lambda part=part: stored(database) >= part * count, 120)
            time.sleep(chance.uniform(0, 0.08))
            fault_servers.kill_postgres()
            time.sleep(chance.uniform(0, 1))
            fault_servers.start()
    wait_until(lambda: stored(database) >= count, 120)
    collector.send(signal.SIGTERM)
    assert collector.wait() == 0
    assert "database_away" in collector.events()
    assert "database_back" in collector.events()
    assert_each_once(database, count)
    # The collector lived, so the broker repeated nothing, and a COMMIT without answer was looked up, not repeated.
    assert one(database, "select count(*) from message") == count


def test_a_commit_whose_answer_is_lost_is_found_and_not_counted_twice(fault_servers, database, monkeypatch):
    client_id = f"collector-{uuid.uuid4().hex[:8]}"
    cut = []
    execute = psycopg.Connection.execute

    def cut_after_commit(self, query, *arguments, **keywords):
        done = execute(self, query, *arguments, **keywords)
        if query == "commit" and not cut:
            cut.append(query)
            self.close()
            raise psycopg.OperationalError("the connection was cut")
        return done

    def cut_before_commit(self, query, *arguments, **keywords):
        if query == "commit" and len(cut) < 3:
            cut.append(query)
            self.close()
            raise psycopg.OperationalError("the connection was cut")
        return execute(self, query, *arguments, **keywords)

    for number, cutting in enumerate((cut_after_commit, cut_before_commit)):
        cut.clear()
        monkeypatch.setattr(psycopg.Connection, "execute", cutting)
        with collecting(fault_servers.mqtt, database, client_id, topic_filter=topics.FILTER):
            publish(fault_servers.site_url(SITE), numbered(SITE, DEVICE, range(number * 300, number * 300 + 300)))
            wait_until(lambda number=number: stored(database) >= number * 300 + 300)
        monkeypatch.undo()
        assert len(cut) == (1, 3)[number]
        assert rows(database, "select outcome, count(*) from message group by 1") == [("stored", number * 300 + 300)]
    forget_session(fault_servers.mqtt, client_id)
    assert_each_once(database, 600)


def test_sigterm_commits_and_acknowledges_what_was_received(fault_servers, database, collector):
    collector.start()
    with load(fault_servers.site_url(SITE), 4000):
        wait_until(lambda: stored(database) >= 100)
        collector.send(signal.SIGTERM)
        assert collector.wait() == 0
        assert collector.events()[-1] == "collector_stopped"
        first = collector.lines()[-1]["received"]
        assert stored(database) == first
    collector.start()
    wait_until(lambda: stored(database) >= 4000)
    collector.send(signal.SIGINT)
    assert collector.wait() == 0
    # What was committed before the end was acknowledged before the end: the broker sent the rest only.
    assert collector.lines()[-1]["received"] == 4000 - first
    assert_each_once(database, 4000)


def test_a_collector_that_is_told_to_stop_while_the_database_is_away_leaves_the_rest_to_the_broker(
    fault_servers, database, collector
):
    collector.start()
    publish(fault_servers.site_url(SITE), numbered(SITE, DEVICE, range(10)))
    wait_until(lambda: stored(database) >= 10)
    fault_servers.kill_postgres()
    publish(fault_servers.site_url(SITE), numbered(SITE, DEVICE, range(10, 30)))
    wait_until(lambda: "database_away" in collector.events())
    collector.send(signal.SIGTERM)
    assert collector.wait() == 0
    assert "stopped_with_unacknowledged" in collector.events()
    fault_servers.start()
    collector.start()
    wait_until(lambda: stored(database) >= 30)
    assert_each_once(database, 30)


def is_pending(collector, number):
    status = Path(f"/proc/{collector.process.pid}/status").read_text()
    return int(re.search(r"^ShdPnd:\s*([0-9a-f]+)", status, re.MULTILINE)[1], 16) >> (number - 1) & 1


def test_a_second_signal_ends_at_once(fault_servers, database, collector):
    collector.start()
    fault_servers.kill_postgres()
    publish(fault_servers.site_url(SITE), numbered(SITE, DEVICE, range(10)))
    wait_until(lambda: "database_away" in collector.events())
    collector.send(signal.SIGTERM)
    # One that is sent while another waits to be taken is none.
    wait_until(lambda: not is_pending(collector, signal.SIGTERM), what="the first signal's taking")
    time.sleep(0.3)
    assert not collector.ended()
    collector.send(signal.SIGTERM)
    # The status tells it from a collector that waited for its database in vain.
    assert collector.wait() == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"mqtt": "mqtt://collector:wrong-word@{broker}"}, "refuses the login collector"),
        ({"mqtt": "mqtt://127.0.0.1:1"}, "does not answer"),
        ({"mqtt": "http://127.0.0.1"}, "mqtt://"),
        ({"database": "postgresql://u:wrong-word@127.0.0.1:1/x"}, "does not answer"),
    ],
)
def test_what_is_wrong_at_the_start_is_one_line_and_status_1(fault_servers, database, collector, changed, said):
    fault_servers.start()
    for name, value in changed.items():
        setattr(collector, name, value.format(broker=fault_servers.broker))
    collector.start(connected=False)
    assert collector.wait() == 1
    [line] = [line for line in collector.log.read_text().splitlines() if not line.startswith("{")]
    assert line.startswith("jcm-mrv: ")
    assert said in line
    assert "wrong-word" not in collector.log.read_text()
    collector.mqtt = fault_servers.mqtt
