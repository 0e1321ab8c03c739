"""The way of a reading on the real servers."""

import hashlib
import json
import math
import time
import uuid
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from devices import mqtt_url, topics
from devices.points import COLUMNS, POINTS
from ingest.collector import CollectorOptions
from ingest.errors import BrokerRefusedError, BrokerUnavailableError
from ingest.inbox import Inbox
from ingest.session import Session
from sql.errors import DatabaseUnavailableError, StoreError
from tests.harness import (
    Message,
    assert_balanced,
    collecting,
    declare,
    exclusive,
    forget_session,
    numbered,
    one,
    payload,
    publish,
    rows,
    session_options,
    wait_until,
)

SITE, DEVICE = "ingest-a", "inv-1"
TOPIC = topics.readings(SITE, DEVICE)


@pytest.fixture(scope="module", autouse=True)
def _alone():
    with exclusive("ingest-test"):
        yield


@pytest.fixture
def client_id(broker):
    name = f"collector-{uuid.uuid4().hex[:8]}"
    yield name
    forget_session(broker.collector_url, name)


@pytest.fixture
def site(database):
    declare(database, SITE, [DEVICE, "inv-2"])
    return SITE


@pytest.fixture
def collect(broker, database, client_id, site):
    """Publish messages to a running collector and return when all are committed and acknowledged."""

    def run(messages, *, version="5", options=None, login=SITE, topic_filter=f"jcm/v1/{SITE}/#"):
        messages = list(messages)
        changes = {"version": version, "topic_filter": topic_filter}
        with collecting(broker.collector_url, database, client_id, options=options, **changes) as collector:
            before = one(database, "select count(*) from message")
            publish(broker.site_url(login), messages)
            wait_until(lambda: one(database, "select count(*) from message") - before >= len(messages), what="stored")
        assert_balanced(database)
        return collector

    return run


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_reading_is_stored_with_all_its_points_and_its_message(collect, database, version):
    points = {name: 0.1 + number for number, name in enumerate(POINTS)}
    sent = json.dumps(
        {"ts": "2026-11-01T08:30:00.123456+01:00", "seq": 2**40, "points": points | {"Fault": "Ω", "Door": True}}
    ).encode()
    before = datetime.now(UTC)
    collect([Message(TOPIC, sent)], version=version)
    [(ts, seq, extra, *values)] = rows(database, f"select ts, seq, extra, {', '.join(COLUMNS)} from reading")
    assert ts == datetime(2026, 11, 1, 7, 30, 0, 123456, UTC)
    assert seq == 2**40
    assert extra == {"Fault": "Ω", "Door": True}
    assert values == list(points.values())
    [row] = rows(
        database,
        "select topic, payload, sha256, qos, retained, redelivered, site_id, outcome, readings, arrived_at,"
        " received_at, (message_id, received_at) = (select message_id, received_at from reading)"
        " from message",
    )
    assert row[:9] == (TOPIC, sent, hashlib.sha256(sent).digest(), 1, False, False, SITE, "stored", 1)
    assert before < row[9] <= row[10] < datetime.now(UTC)
    assert row[11] is True


def test_one_bad_payload_one_bad_time_and_one_duplicate_cost_nobody_else(collect, database):
    # 1,001 messages: 998 good readings, the first of them twice, an undecodable payload, a time before any clock.
    messages = list(numbered(SITE, DEVICE, range(998)))
    messages.insert(300, Message(TOPIC, b"{not json"))
    messages.insert(600, Message(TOPIC, payload(0)))
    messages.insert(900, Message(TOPIC, payload(999, ts="1970-01-01T00:00:00Z")))
    assert len(messages) == 1001
    collect(messages)
    assert one(database, "select count(*) from reading") == 998
    assert dict(rows(database, "select outcome, count(*) from message group by outcome")) == {
        "stored": 998, "duplicate": 1, "quarantined": 2
    }  # fmt: skip
    assert sorted(rows(database, "select reason, site_id, element from quarantine")) == [
        ("payload_undecodable", SITE, None),
        ("time_absurd", SITE, 0),
    ]


def test_every_reason_is_told_and_the_bytes_are_kept(collect, database):
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    cases = {
        "payload_undecodable": Message(TOPIC, b"\xff\xfe"),
        "payload_empty": Message(TOPIC, b""),
        "payload_too_large": Message(TOPIC, b"[" + b" " * 2000 + b"]"),
        "topic_unknown": Message(f"jcm/v1/{SITE}/x/state", payload()),
        "device_unknown": Message(topics.readings(SITE, "ghost"), payload()),
        "time_missing": Message(TOPIC, payload(ts=None)),
        "time_naive": Message(TOPIC, payload(ts="2026-01-01T00:00:00")),
        "time_in_future": Message(TOPIC, payload(ts=soon)),
        "value_not_finite": Message(TOPIC, payload(points={"W": math.nan})),
        "value_not_a_number": Message(TOPIC, payload(points={"W": "12"})),
        "register_out_of_range": Message(TOPIC, payload(points={"TotWhExp": -1})),
        "no_points": Message(TOPIC, payload(points={})),
        "unstorable": Message(TOPIC, payload(points={"W": 1, "x": "a\0"})),
    }
    collect(cases.values(), options=CollectorOptions(payload_limit_bytes=2000))
    found = rows(
        database,
        "select q.reason, m.payload, q.site_id from quarantine q join message m using (received_at, message_id)",
    )
    assert {reason: kept for reason, kept, _ in found} == {reason: case.payload for reason, case in cases.items()}
    assert {site for _, _, site in found} == {SITE}
    assert one(database, "select count(*) from reading") == 0


def test_infinity_is_refused_and_zero_is_kept(collect, database):
    collect([Message(TOPIC, payload(1, points={"W": math.inf})), Message(TOPIC, payload(2, points={"W": 0}))])
    assert rows(database, "select power_w, energy_exported_wh from reading") == [(0.0, None)]
    assert rows(database, "select reason from quarantine") == [("value_not_finite",)]


def test_a_list_stores_its_good_elements_and_names_the_bad_ones(collect, database):
    elements = [json.loads(payload(number)) for number in range(60)]
    elements[7]["points"]["W"] = "x"
    elements[40] = 5
    collect([Message(TOPIC, json.dumps(elements).encode())])
    assert one(database, "select count(*) from reading") == 58
    assert rows(database, "select element, reason from quarantine order by element") == [
        (7, "value_not_a_number"),
        (40, "element_invalid"),
    ]
    assert rows(database, "select outcome, readings from message") == [("quarantined", 60)]
    assert sorted(rows(database, "select element from reading")) == [(n,) for n in range(60) if n not in {7, 40}]


def test_the_same_reading_twice_is_a_duplicate_in_one_batch_and_across_batches(collect, database):
    twice = [Message(TOPIC, payload(1)), Message(TOPIC, payload(1, seq=2))]
    collect(twice)
    collect(twice)
    assert rows(database, "select seq from reading") == [(1,)]
    assert Counter(rows(database, "select outcome from message")) == {("stored",): 1, ("duplicate",): 3}
    assert one(database, "select count(*) from reading_conflict") == 0


@pytest.mark.parametrize(
    "changed", [{"W": 100.6, "TotWhExp": 1001.0}, {"W": 100.5}, {"W": 100.5, "TotWhExp": 1001.0, "x": 1}]
)
def test_another_value_for_the_same_time_is_a_conflict_and_the_first_stands(collect, database, changed):
    collect([Message(TOPIC, payload(1)), Message(TOPIC, payload(1, seq=9, points=changed))])
    assert rows(database, "select power_w, energy_exported_wh, seq from reading") == [(100.5, 1001.0, 1)]
    [(stored, offered, outcome)] = rows(
        database,
        "select c.stored, c.offered, m.outcome from reading_conflict c join message m using (received_at, message_id)",
    )
    assert outcome == "conflict"
    assert stored["power_w"] == 100.5
    assert stored["message_id"] == one(database, "select message_id from reading")
    assert offered["power_w"] == changed["W"]
    assert offered["seq"] == 9
    assert offered.get("extra") == ({"x": 1} if "x" in changed else None)
    assert offered.get("energy_exported_wh") == changed.get("TotWhExp")


def test_a_message_takes_the_worst_outcome_of_its_readings(collect, database):
    collect([Message(TOPIC, payload(1)), Message(TOPIC, payload(2))])
    fresh, same = json.loads(payload(3)), json.loads(payload(1))
    other, bad = json.loads(payload(2, points={"W": 7})), json.loads(payload(4, ts=None))
    lists = [[same], [same, fresh], [same, other], [same, other, bad]]
    for elements in lists:
        collect([Message(TOPIC, json.dumps(elements).encode())])
    assert rows(database, "select outcome, readings from message order by message_id offset 2") == [
        ("duplicate", 1), ("stored", 2), ("conflict", 2), ("quarantined", 3)
    ]  # fmt: skip


def test_a_site_that_nobody_declared_is_kept_under_no_site(collect, database):
    collect(
        [Message(topics.readings("ingest-ghost", DEVICE), payload())], login="ingest-ghost", topic_filter=topics.FILTER
    )
    assert set(rows(database, "select reason, site_id from quarantine")) == {("device_unknown", None)}
    [(site_id, quarantined, readings)] = rows(
        database, "select site_id, messages_quarantined, readings_received from ingest_account"
    )
    # "or more": all topics are subscribed here, and another run's messages may be about.
    assert (site_id, quarantined >= 1, readings) == ("", True, 0)


def test_a_device_is_known_from_the_moment_it_is_declared(broker, database, client_id, site):
    topic = topics.readings(SITE, "late")
    with collecting(broker.collector_url, database, client_id):
        publish(broker.site_url(SITE), [Message(topic, payload(1))])
        wait_until(lambda: one(database, "select count(*) from quarantine"))
        declare(database, SITE, ["late"])
        publish(broker.site_url(SITE), [Message(topic, payload(2))])
        wait_until(lambda: one(database, "select count(*) from reading"))
    assert_balanced(database)


def test_identity_comes_from_the_topic_alone(collect, database):
    collect([Message(TOPIC, payload(1, site="other", device="inv-2"))])
    assert rows(database, "select d.id from reading r join device d using (device_id)") == [(DEVICE,)]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_the_retained_flag_is_kept(broker, database, client_id, site, version):
    try:
        publish(broker.site_url(SITE), [Message(TOPIC, payload(1), retain=True)])
        with collecting(broker.collector_url, database, client_id, version=version):
            wait_until(lambda: one(database, "select count(*) from message"))
            publish(broker.site_url(SITE), [Message(TOPIC, payload(2))])
            wait_until(lambda: one(database, "select count(*) from message") >= 2)
        assert rows(database, "select retained from message order by message_id") == [(True,), (False,)]
    finally:
        publish(broker.site_url(SITE), [Message(TOPIC, b"", retain=True)])


def test_what_was_published_at_qos_0_is_kept_for_an_absent_collector(broker, database, client_id, site):
    with collecting(broker.collector_url, database, client_id):
        pass
    publish(broker.site_url(SITE), [Message(TOPIC, payload(1), qos=0), Message(TOPIC, payload(2), qos=1)])
    with collecting(broker.collector_url, database, client_id):
        wait_until(lambda: one(database, "select count(*) from message") == 2)
    # The broker raises what it hands on (upgrade_outgoing_qos), so that it is acknowledged like any other.
    assert rows(database, "select qos from message order by message_id") == [(1,), (1,)]


def test_what_comes_while_no_collector_runs_is_waiting_for_it(broker, database, client_id, site):
    with collecting(broker.collector_url, database, client_id):
        pass
    publish(broker.site_url(SITE), numbered(SITE, DEVICE, range(3000)))
    with collecting(broker.collector_url, database, client_id):
        wait_until(lambda: one(database, "select count(*) from message") >= 3000)
    with collecting(broker.collector_url, database, client_id) as again:
        publish(broker.site_url(SITE), numbered(SITE, DEVICE, [5000]))
        wait_until(lambda: one(database, "select count(*) from message") >= 3001)
    assert again.totals.received == 1, "acknowledged messages came again"
    assert one(database, "select count(*) from reading") == 3001
    assert_balanced(database)


def test_a_lost_connection_brings_back_what_was_not_acknowledged(broker, database, client_id, site):
    with collecting(broker.collector_url, database, client_id) as collector:
        publish(broker.site_url(SITE), numbered(SITE, DEVICE, range(500)))
        # Another client with our name: the broker ends our connection in the middle of the load.
        forget_session_without_cleaning(broker.collector_url, client_id)
        publish(broker.site_url(SITE), numbered(SITE, DEVICE, range(500, 2000)))
        wait_until(lambda: one(database, "select count(*) from reading") >= 2000)
        # What the broker kept comes before its answer to the subscription.
        wait_until(lambda: collector.session.connected)
    assert one(database, "select count(*) from reading") == 2000
    assert one(database, "select count(distinct seq) from reading") == 2000
    assert_balanced(database)


@contextmanager
def session_of(url, client_id, bound=10_000):
    """A session and what it hears; ended also when the test fails."""
    inbox = Inbox(bound)
    session = Session(session_options(url, client_id), inbox)
    try:
        session.start()
        yield session, inbox
    finally:
        session.stop()


def forget_session_without_cleaning(url, client_id):
    with session_of(url, client_id) as (session, _):
        session.drain()


def test_an_acknowledgement_of_an_earlier_connection_is_dropped(broker, client_id):
    def mine(inbox, count):
        wait_until(lambda: len(inbox) >= count)
        return [message for message in inbox.take(100, 1 << 20, 0.2, 5) if message.topic == TOPIC]

    with session_of(broker.collector_url, client_id) as (session, inbox):
        publish(broker.site_url(SITE), numbered(SITE, DEVICE, range(3)))
        first = mine(inbox, 3)
        assert [message.redelivered for message in first] == [False] * 3
        forget_session_without_cleaning(broker.collector_url, client_id)
        second = mine(inbox, 3)
        assert {message.epoch for message in second} == {first[0].epoch + 1}
        assert all(message.redelivered for message in second)
        session.acknowledge(first)

    with session_of(broker.collector_url, client_id) as (session, inbox):
        third = mine(inbox, 3)
        assert [message.payload for message in third] == [payload(number) for number in range(3)]
        session.acknowledge(third[:2])

    with session_of(broker.collector_url, client_id) as (_, inbox):
        assert [message.payload for message in mine(inbox, 1)] == [payload(2)]


def test_a_value_that_the_database_refuses_costs_no_neighbour(collect, database, monkeypatch):
    # The decoder refuses U+0000 itself; here it lets it pass, as any value might that PostgreSQL refuses.
    monkeypatch.setattr("devices.native._storable", lambda _text: True)
    messages = list(numbered(SITE, DEVICE, range(1000)))
    for place, text in ((17, "\0"), (500, "\0"), (501, "\ud800")):
        messages[place] = Message(TOPIC, payload(place, points={"W": 1.0, "x": text}))
    collect(messages)
    assert one(database, "select count(*) from reading") == 997
    assert Counter(rows(database, "select reason, site_id, element from quarantine")) == {("unstorable", SITE, None): 3}
    kept = rows(database, "select payload from message where outcome = 'quarantined' order by message_id")
    assert sorted(kept) == sorted((messages[place].payload,) for place in (17, 500, 501))


def test_a_fault_in_the_decoder_costs_one_message(collect, database, monkeypatch):
    from ingest import batch

    decode = batch.native.decode

    def faulty(data, **keywords):
        if b'"seq": 3' in data:
            raise KeyError("oops")
        return decode(data, **keywords)

    monkeypatch.setattr("ingest.batch.native.decode", faulty)
    collect(numbered(SITE, DEVICE, range(9)))
    assert one(database, "select count(*) from reading") == 8
    assert rows(database, "select reason, detail from quarantine") == [("unstorable", "the decoder failed by KeyError")]


def test_ten_thousand_bad_payloads_do_not_stall(collect, database):
    messages = [Message(TOPIC, b"?")] * 10_000 + [Message(TOPIC, payload(1))]
    collect(messages)
    assert one(database, "select count(*) from reading") == 1
    assert one(database, "select count(*) from quarantine") == 10_000


def test_two_collectors_of_a_group_share_the_load(broker, database, client_id, site):
    other = f"{client_id}-2"
    try:
        with (
            collecting(broker.collector_url, database, client_id, share_group="g") as a,
            collecting(broker.collector_url, database, other, share_group="g") as b,
        ):
            publish(broker.site_url(SITE), numbered(SITE, DEVICE, range(2000)))
            wait_until(lambda: one(database, "select count(*) from reading") >= 2000)
        assert a.totals.received + b.totals.received == 2000
        assert min(a.totals.received, b.totals.received) > 0
    finally:
        forget_session(broker.collector_url, other)
    assert_balanced(database)


@pytest.fixture
def fails(client_id):
    """What a collector that cannot start says."""

    def run(mqtt, database, expected):
        with pytest.raises(expected) as raised, collecting(mqtt, database, client_id):
            pass
        assert "\n" not in str(raised.value)
        return str(raised.value)

    return run


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_wrong_password_is_told_and_ends(broker, database, version):
    address = mqtt_url.parse(broker.collector_url)
    url = f"mqtt://collector:wrong@{address.host}:{address.port}"
    with pytest.raises(BrokerRefusedError) as raised, collecting(url, database, "nobody", version=version):
        pass
    assert "refuses the login collector" in str(raised.value)
    assert "JCM_MRV_MQTT_URL" in str(raised.value)
    assert "wrong" not in str(raised.value)


def test_a_broker_that_is_away_at_the_start_is_told_and_ends(database, fails):
    assert "mqtt://127.0.0.1:1 does not answer" in fails("mqtt://127.0.0.1:1", database, BrokerUnavailableError)


def test_a_database_that_is_away_at_the_start_is_told_and_ends(broker, fails):
    said = fails(broker.collector_url, "postgresql://u:secret@127.0.0.1:1/x", DatabaseUnavailableError)
    assert "127.0.0.1:1 does not answer" in said
    assert "secret" not in said


def test_a_database_without_schema_is_told_and_ends(broker, empty_database, fails):
    assert "jcm-mrv migrate" in fails(broker.collector_url, empty_database, StoreError)


def test_nothing_is_received_at_or_before_a_cut_off(broker, database, client_id, site):
    """A freeze drew its cut-off by a clock that was later set back."""
    ahead = datetime.now(UTC) + timedelta(hours=1)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "insert into period (project_id, first_day, last_day) values ('P', '2026-01-01', '2026-01-31')"
        )
        connection.execute(
            "insert into period_revision (period_id, revision, received_until, declarations, methodology, code_version)"
            " select period_id, 1, %s, '', '', '' from period",
            [ahead],
        )
    with collecting(broker.collector_url, database, client_id):
        publish(broker.site_url(SITE), numbered(SITE, DEVICE, range(3)))
        wait_until(lambda: one(database, "select count(*) from reading") >= 3)
    assert rows(database, "select distinct received_at > %s from reading", ahead) == [(True,)]
    assert rows(database, "select distinct received_at > %s from message", ahead) == [(True,)]


def test_a_batch_waits_for_a_freeze_and_comes_after_its_cut_off(broker, database, client_id, site):
    with collecting(broker.collector_url, database, client_id), psycopg.connect(database) as freeze:
        freeze.execute("select pg_advisory_xact_lock(hashtext('jcm-mrv batch'))")
        publish(broker.site_url(SITE), numbered(SITE, DEVICE, range(3)))
        time.sleep(0.5)
        [(cut_off, seen)] = freeze.execute("select clock_timestamp(), (select count(*) from reading)").fetchall()
        assert seen == 0
        freeze.commit()
        wait_until(lambda: one(database, "select count(*) from reading") >= 3)
    assert rows(database, "select distinct received_at > %s from reading", cut_off) == [(True,)]


def test_two_collectors_that_are_sent_the_same_readings_do_not_block_each_other(broker, database, client_id, site):
    # Opposite orders in every batch: without an order of their own the two transactions would wait in a circle.
    other = f"{client_id}-2"
    numbers = list(range(400))
    messages = [Message(topics.readings(SITE, device), payload(n)) for n in numbers for device in (DEVICE, "inv-2")]
    options = CollectorOptions(batch_messages=100, batch_linger_ms=5)
    try:
        with (
            collecting(broker.collector_url, database, client_id, options=options) as a,
            collecting(broker.collector_url, database, other, options=options) as b,
        ):
            publish(broker.site_url(SITE), [*messages, *reversed(messages)])
            wait_until(lambda: one(database, "select count(*) from message") >= 4 * len(messages))
        assert a.totals.received == b.totals.received == 2 * len(messages)
    finally:
        forget_session(broker.collector_url, other)
    assert one(database, "select count(*) from reading") == len(messages)
    assert_balanced(database)


def test_the_broker_has_read_every_acknowledgement_when_the_session_ends(broker, client_id):
    """Closing a socket with unread messages in it would make the broker forget what it has not read itself."""

    with session_of(broker.collector_url, client_id, 10):
        pass
    publish(broker.site_url(SITE), numbered(SITE, DEVICE, range(3000)))
    done = 0
    for _ in range(5):
        with session_of(broker.collector_url, client_id, 300) as (session, inbox):
            # A full inbox keeps the session from reading on, so more lies in the socket.
            wait_until(lambda inbox=inbox: len(inbox) >= 300)
            taken = inbox.take(300, 1 << 30, 0, 0)
            assert taken[0].payload == payload(done)
            session.acknowledge(taken)
        done += len(taken)
