"""Quarantine: looked at, and replayed through the way that the collector takes."""

import json
import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from click.testing import CliRunner

from deploy.cli import cli
from deploy.visible import visible
from devices import topics
from ingest import batch, quarantine_replay
from ingest.batch import DEVICE_UNKNOWN, Registry
from ingest.errors import QuarantineBusyError
from ingest.health import health
from ingest.inbox import Received
from ingest.quarantine import Selection
from ingest.quarantine_replay import Replay
from ingest.store import Store
from sql.connection import Role, connect
from tests.harness import assert_balanced, declare, one, payload, rows, wait_until

SITE, DEVICE = "q-a", "inv-1"
TOPIC = topics.readings(SITE, DEVICE)
TOLERANCE = timedelta(seconds=300)


@pytest.fixture
def url(database):
    declare(database, SITE, [DEVICE])
    return database


def receive(url, *messages, arrived_at=None, limit_bytes=1_048_576):
    """What the collector does with messages, without a broker."""
    store, registry = Store(url, "collector-1"), Registry()
    received = [
        Received(1, number, topic, body, 1, False, False, arrived_at or time.time() + number / 1000)
        for number, (topic, body) in enumerate(messages, 1)
    ]
    try:
        sites, devices = store.look_up(registry.unknown(received))
        registry.learn(sites, devices.items())
        store.write(batch.plan(received, registry, future_tolerance=TOLERANCE, limit_bytes=limit_bytes))
    finally:
        store.close()


def replay(url, *, limit=None, dry_run=False, tolerance=TOLERANCE, limit_bytes=1_048_576, **selection):
    again = Replay(url, future_tolerance=tolerance, limit_bytes=limit_bytes, dry_run=dry_run)
    try:
        done = again.run(Selection(**selection), limit=limit)
    finally:
        again.close()
    assert_account_holds(url)
    return done


def assert_account_holds(url):
    assert_balanced(url)
    with connect(url, Role.READER) as connection:
        found = health(connection, recount=True)
    assert found.balanced
    assert all(site.recounted for site in found.sites)


def waits(url):
    return rows(url, "select reason, count(*) from quarantine where released_at is null group by 1 order by 1")


@pytest.fixture
def run(url, monkeypatch):
    monkeypatch.setenv("JCM_MRV_DATABASE_URL", url)
    monkeypatch.setenv("JCM_MRV_MQTT_URL", "mqtt://nobody.invalid")

    def run(*arguments, status=0):
        result = CliRunner().invoke(cli, ["quarantine", *arguments])
        assert result.exit_code == status, (result.output, result.exception)
        return result

    return run


def test_messages_of_a_device_that_is_declared_later_become_readings(url):
    late = topics.readings(SITE, "inv-2")
    before = time.time()
    receive(url, *((late, payload(number)) for number in range(5)), (TOPIC, payload(0)))
    assert waits(url) == [(DEVICE_UNKNOWN, 5)]
    done = replay(url)
    assert (done.messages, done.released, done.refused) == (5, 0, {DEVICE_UNKNOWN: 5})
    assert one(url, "select count(*) from message") == 6

    declare(url, SITE, ["inv-2"])
    done = replay(url)
    assert (done.messages, done.released, dict(done.outcomes), done.refused) == (5, 5, {"stored": 5}, {})
    assert waits(url) == []
    assert one(url, "select count(*) from reading") == 6
    # The message that a reading names carries the bytes, the first arrival, and who put it there.
    again = rows(
        url,
        "select m.collector, m.outcome, m.sha256 = f.sha256, m.arrived_at = f.arrived_at,"
        " m.received_at > f.received_at, m.message_id = r.message_id, q.released_at = m.received_at"
        " from message m join message f on f.payload = m.payload and f.message_id < m.message_id and f.topic = m.topic"
        " join reading r on r.message_id = m.message_id join quarantine q on q.message_id = f.message_id",
    )
    assert again == [(quarantine_replay.COLLECTOR, "stored", True, True, True, True, True)] * 5
    assert one(url, "select min(arrived_at) from message").timestamp() >= before - 0.001
    # Nothing waits, so nothing is done.
    assert replay(url).messages == 0
    assert one(url, "select count(*) from message") == 11


def test_the_site_can_be_declared_later_too_and_is_found_by_its_topic(url):
    receive(url, (topics.readings("q-new", "m"), payload(1)), (topics.readings("q-other", "m"), payload(1)))
    assert rows(url, "select site_id from quarantine") == [(None,), (None,)]
    declare(url, "q-new", ["m"])
    declare(url, "q-other", ["m"])
    assert replay(url, site="q-new").released == 1
    assert rows(url, "select topic from quarantine where released_at is null") == [(topics.readings("q-other", "m"),)]


def element(number, **changes):
    return json.loads(payload(number, **changes))


def test_of_a_list_the_elements_that_became_readings_are_released_and_the_others_stay_as_they_were(url):
    ahead = (datetime.now(UTC) + timedelta(minutes=30)).isoformat()
    mixed = [element(0), element(1, ts=ahead), element(2, ts="2026-01-01T00:00:00"), element(3)]
    receive(url, (TOPIC, json.dumps(mixed).encode()))
    assert waits(url) == [("time_in_future", 1), ("time_naive", 1)]
    kept = rows(url, "select * from quarantine where reason = 'time_naive'")

    # A gateway's clock was an hour ahead, and the operator knows that.
    done = replay(url, tolerance=timedelta(hours=1))
    assert (done.messages, done.released, dict(done.outcomes)) == (1, 1, {"stored": 1})
    assert dict(done.readings) == {"stored": 1, "duplicate": 2, "conflict": 0, "quarantined": 0}
    assert waits(url) == [("time_naive", 1)]
    assert rows(url, "select * from quarantine where reason = 'time_naive'") == kept
    messages, entries = one(url, "select count(*) from message"), one(url, "select count(*) from quarantine")
    for _ in range(3):
        done = replay(url, tolerance=timedelta(hours=1))
        assert (done.messages, done.released, dict(done.refused)) == (1, 0, {"time_naive": 1})
    assert (one(url, "select count(*) from message"), one(url, "select count(*) from quarantine")) == (
        messages,
        entries,
    )


def test_a_message_that_was_refused_as_a_whole_puts_its_bad_elements_into_quarantine_now(url):
    late = topics.readings(SITE, "inv-2")
    receive(url, (late, json.dumps([element(0), element(1, ts=None), element(2)]).encode()))
    declare(url, SITE, ["inv-2"])
    done = replay(url)
    # The entry that it makes is not taken for one that waited.
    assert (done.messages, done.released, dict(done.outcomes), done.refused) == (1, 1, {"quarantined": 1}, {})
    assert waits(url) == [("time_missing", 1)]
    assert one(url, "select count(*) from reading") == 2
    for _ in range(2):
        assert replay(url).refused == {"time_missing": 1}
    assert one(url, "select count(*) from quarantine") == 2
    assert one(url, "select count(*) from message") == 2


def test_a_message_of_which_nothing_is_a_reading_stays_as_it_was(url):
    late = topics.readings(SITE, "inv-2")
    receive(url, (late, payload(0, ts=None)), (late, b"{not json"))
    declare(url, SITE, ["inv-2"])
    assert replay(url).refused == {"time_missing": 1, "payload_undecodable": 1}
    assert waits(url) == [(DEVICE_UNKNOWN, 2)]
    assert one(url, "select count(*) from message") == 2


def test_a_time_that_was_in_the_future_is_held_against_its_arrival_and_not_against_now(url):
    hour_ago = time.time() - 3600
    then = datetime.fromtimestamp(hour_ago, UTC)
    # Forty minutes ahead when it came; past by now.
    receive(url, (TOPIC, payload(0, ts=(then + timedelta(minutes=40)).isoformat())), arrived_at=hour_ago)
    assert replay(url).refused == {"time_in_future": 1}
    assert replay(url, tolerance=timedelta(minutes=39)).released == 0
    assert replay(url, tolerance=timedelta(minutes=41)).released == 1


def test_a_value_that_another_one_stands_for_is_a_conflict_and_released(url):
    late = topics.readings(SITE, "inv-2")
    receive(url, (late, payload(0)), (late, payload(0)), (late, payload(0, points={"W": 7})))
    declare(url, SITE, ["inv-2"])
    done = replay(url)
    assert dict(done.outcomes) == {"stored": 1, "duplicate": 1, "conflict": 1}
    assert done.released == 3
    assert rows(url, "select power_w from reading") == [(100.5,)]


def test_a_payload_that_was_too_large_is_decoded_under_a_larger_limit(url):
    receive(url, (TOPIC, json.dumps([element(number) for number in range(200)]).encode()), limit_bytes=2000)
    assert waits(url) == [("payload_too_large", 1)]
    assert replay(url, limit_bytes=2000).released == 0
    done = replay(url)
    assert (done.released, done.readings["stored"]) == (1, 200)


def test_many_messages_go_in_several_batches_and_pages_each_once(url, monkeypatch):
    monkeypatch.setattr(quarantine_replay, "_PAGE", 7)
    monkeypatch.setattr(quarantine_replay, "_BATCH_MESSAGES", 3)
    monkeypatch.setattr(quarantine_replay, "_BATCH_BYTES", 900)
    late = topics.readings(SITE, "inv-2")
    lists = [(TOPIC, json.dumps([element(100 + n, ts=None) for n in range(9)]).encode()) for _ in range(3)]
    receive(url, *((late, payload(number)) for number in range(20)), *lists)
    declare(url, SITE, ["inv-2"])
    done = replay(url, limit=4)
    assert (done.messages, done.released) == (4, 4)
    told = []
    again = Replay(url, future_tolerance=TOLERANCE, limit_bytes=100_000)
    done = again.run(Selection(), tell=lambda looked_at, total: told.append((looked_at, total)))
    again.close()
    # Each list is one message, although its nine entries lie on several pages.
    assert (done.messages, done.released, dict(done.refused)) == (19, 16, {"time_missing": 3})
    assert told[-1] == (43, 43)
    assert told == sorted(told)
    assert_account_holds(url)


def test_what_the_database_cannot_keep_costs_its_neighbours_nothing(url):
    late = topics.readings(SITE, "inv-2")
    receive(url, *((late, payload(number)) for number in range(8)))
    declare(url, SITE, ["inv-2"])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("alter table reading add constraint no_seq_5 check (seq <> 5)")
    done = replay(url)
    assert (done.released, dict(done.refused)) == (7, {"unstorable": 1})
    assert waits(url) == [(DEVICE_UNKNOWN, 1)]
    assert one(url, "select count(*) from reading") == 7


def test_a_dry_run_says_what_would_happen_and_changes_nothing(url):
    late = topics.readings(SITE, "inv-2")
    receive(url, (late, payload(0)), (late, b"{"))
    declare(url, SITE, ["inv-2"])
    before = [rows(url, f"select count(*) from {table}") for table in ("message", "reading", "ingest_account")]
    done = replay(url, dry_run=True)
    assert (done.released, dict(done.outcomes), dict(done.refused)) == (1, {"stored": 1}, {"payload_undecodable": 1})
    after = [rows(url, f"select count(*) from {table}") for table in ("message", "reading", "ingest_account")]
    assert before == after
    assert waits(url) == [(DEVICE_UNKNOWN, 2)]


def test_two_replays_at_once_write_nothing_twice(url):
    late = topics.readings(SITE, "inv-2")
    receive(url, *((late, payload(number)) for number in range(2000)))
    declare(url, SITE, ["inv-2"])
    released, busy = [], []

    def run():
        again = Replay(url, future_tolerance=TOLERANCE, limit_bytes=100_000)
        try:
            again.run(Selection())
        except QuarantineBusyError as error:
            busy.append(error)
        finally:
            released.append(again.done.released)
            again.close()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    replay(url)
    assert waits(url) == []
    assert one(url, "select count(*) from reading") == 2000
    assert one(url, "select count(*) from message") == 4000
    assert_account_holds(url)


def test_a_replay_that_is_killed_is_done_as_a_whole_or_not_at_all_in_each_batch(url):
    late = topics.readings(SITE, "inv-2")
    count = 4000
    receive(url, *((late, payload(number)) for number in range(count)))
    declare(url, SITE, ["inv-2"])
    environment = os.environ | {"JCM_MRV_DATABASE_URL": url, "JCM_MRV_MQTT_URL": "mqtt://nobody.invalid"}
    command = [sys.executable, "-m", "deploy.cli", "quarantine", "replay"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not one(url, "select count(*) from reading") and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    process.wait(30)
    # What the server had been sent to commit may still come.
    others = "select count(*) from pg_stat_activity where datname = current_database() and client_port is not null"
    wait_until(lambda: one(url, others) == 1, what="the end of its connections")
    done = one(url, "select count(*) from quarantine where released_at is not null")
    assert done > 0
    assert one(url, "select count(*) from reading") == done
    assert_account_holds(url)
    replay(url)
    assert one(url, "select count(*) from reading") == count
    assert one(url, "select count(*) from message") == 2 * count


def test_the_collectors_rights_are_enough_and_evidence_cannot_be_changed_with_them(url):
    with connect(url, Role.COLLECTOR) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("update quarantine set reason = 'none'")
    with connect(url, Role.COLLECTOR) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("update message set outcome = 'stored'")


def test_list_counts_by_site_and_reason_and_is_bounded(url, run):
    late = topics.readings(SITE, "inv-2")
    receive(url, *((late, payload(number)) for number in range(30)), (TOPIC, b"{"), ("jcm/v1/else/x", b"1"))
    document = json.loads(run("list", "--json", "--limit", "4").output)
    assert document["entries"] == 32
    assert [(one["site"], one["reason"], one["entries"]) for one in document["counts"]] == [
        (SITE, "device_unknown", 30), ("", "topic_unknown", 1), (SITE, "payload_undecodable", 1),
    ]  # fmt: skip
    assert len(document["newest"]) == 4
    numbers = [one["quarantine_id"] for one in document["newest"]]
    assert numbers == sorted(numbers, reverse=True)
    text = run("list", "--reason", "payload_undecodable").output
    assert "  payload_undecodable  " in text.split("\n\n")[0]  # of 80 columns, and whole
    assert TOPIC in text
    assert "device_unknown" not in text
    assert len(run("list").output.splitlines()) < 40
    assert json.loads(run("list", "--json", "--site", "else").output)["entries"] == 1
    assert run("list", "--site", "nowhere").output == "Nothing waits that was asked for.\n"


def test_show_gives_the_payload_as_text_or_hexadecimal_and_raw(url, run):
    body = json.dumps([element(0), element(1, ts=None), element(2, seq="x")]).encode()
    receive(url, (TOPIC, body), (TOPIC, b"\xff\x00\x1b[2J"), (TOPIC, "\x1b[31mred Ω\n".encode()), (TOPIC, b"x" * 9000))
    found = json.loads(run("show", "1", "--json").output)
    assert found["payload_text"] == body.decode()
    assert (found["reason"], found["element"], found["outcome"], found["elements"]) == (
        "time_missing",
        1,
        "quarantined",
        3,
    )
    assert [one["reason"] for one in found["siblings"]] == ["seq_invalid"]
    assert [(one["device"], one["element"], one["power_w"]) for one in found["readings"]] == [(DEVICE, 0, 100.5)]
    text = run("show", "1").output
    assert "stored    element 0: q-a/inv-1 2026-01-01 00:00:00 UTC W 100.5 TotWhExp 1000" in text
    assert "also      entry 2, element 2: seq_invalid" in text

    assert json.loads(run("show", "3", "--json").output)["payload_hex"] == "ff001b5b324a"
    shown = run("show", "4").output
    assert "\x1b" not in shown
    assert "\\x1b[31mred Ω" in shown
    assert run("show", "3", "--raw").stdout_bytes == b"\xff\x00\x1b[2J"
    long = json.loads(run("show", "5", "--json").output)
    assert (len(long["payload_text"]), long["payload_whole"], long["payload_bytes"]) == (4096, False, 9000)
    assert len(run("show", "5", "--raw").stdout_bytes) == 9000


def test_what_is_asked_for_wrongly_is_said(url, run):
    assert "'time_naive'" in run("list", "--reason", "nonsense", status=2).output
    assert "there is no quarantine entry 99" in str(run("show", "99", status=1).exception)
    assert "there is no quarantine entry 99" in str(run("replay", "--id", "99", status=1).exception)
    receive(url, (topics.readings(SITE, "inv-2"), payload(1)))
    declare(url, SITE, ["inv-2"])
    output = run("replay", "--id", "1").output
    assert "1 message judged again: 1 written, 1 entry released" in output
    assert "was released at" in str(run("replay", "--id", "1", status=1).exception)
    assert "nothing waits" in run("replay").output
    assert "released  2" in run("show", "1").output


def test_replay_takes_its_limits_from_the_settings(url, run, monkeypatch):
    ahead = (datetime.now(UTC) + timedelta(minutes=30)).isoformat()
    receive(url, (TOPIC, payload(0, ts=ahead)))
    assert json.loads(run("replay", "--json").output)["refused"] == {"time_in_future": 1}
    monkeypatch.setenv("JCM_MRV_FUTURE_TOLERANCE_S", "3600")
    assert json.loads(run("replay", "--json", "--dry-run").output)["released"] == 1
    assert json.loads(run("replay", "--json").output)["written"] == {"stored": 1}


def test_signs_that_a_terminal_acts_on_are_shown():
    assert visible("a\x1b[2J\x07\tb\u202eΩ\n太") == "a\\x1b[2J\\x07\\tb\\u202eΩ\n太"
