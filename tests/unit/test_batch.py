import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.native import Reason
from devices.points import COLUMNS
from devices.reading import Reading, Rejection, in_columns
from devices.topics import Topic
from ingest import batch
from ingest.batch import Account, Outcome, Planned, Registry, plan, unstorable
from ingest.inbox import Received
from sql.named import load

NOW = datetime(2026, 11, 22, 7, 0, tzinfo=UTC)


def received(topic="jcm/v1/s/d/readings", payload=None, arrived_at=NOW, **changes):
    if payload is None:
        payload = {"ts": "2026-11-22T07:00:00Z", "points": {"W": 1}}
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return Received(1, 1, topic, data, 1, False, False, arrived_at.timestamp())._replace(**changes)


@pytest.fixture
def registry():
    known = Registry()
    known.learn(["s", "t"], [(Topic("s", "d"), 7), (Topic("t", "d"), 8)])
    return known


def only(messages, registry, **keywords):
    [planned] = plan([messages], registry, **keywords)
    return planned


def test_the_topic_finds_the_device(registry):
    planned = only(received("jcm/v1/t/d/readings"), registry)
    assert (planned.site_id, planned.device_id) == ("t", 8)
    assert [reading.values for _, reading in planned.readings] == [{"W": 1.0}]
    assert planned.rejections == []


@pytest.mark.parametrize(
    ("topic", "site", "reason"),
    [
        ("jcm/v1/s/d/state", "s", "topic_unknown"),
        ("jcm/v1/s", "s", "topic_unknown"),
        ("jcm/v1/x/d/state", None, "topic_unknown"),
        ("jcm/v1", None, "topic_unknown"),
        ("jcm/v1/s/x/readings", "s", "device_unknown"),
        ("jcm/v1/x/d/readings", None, "device_unknown"),
    ],
)
def test_a_topic_of_nobody_is_counted_at_its_site_when_that_is_declared(registry, topic, site, reason):
    planned = only(received(topic), registry)
    assert planned.site_id == site
    assert [rejection.reason for rejection in planned.rejections] == [reason]
    assert planned.elements == 0


def test_what_must_be_looked_up_is_named_once(registry):
    topics = [
        "jcm/v1/s/d/readings",
        "jcm/v1/s/x/readings",
        "jcm/v1/s/x/readings",
        "jcm/v1/y/state",
        "jcm/v1",
        "jcm/v1/s",
    ]
    assert registry.unknown([received(topic) for topic in topics]) == [Topic("s", "x"), Topic("y", "")]


def test_a_registry_does_not_remember_what_strangers_send(registry):
    messages = [received(f"jcm/v1/s/x{number}/readings") for number in range(100)]
    registry.unknown(messages)
    plan(messages, registry)
    assert registry._topics == {}


def test_the_future_begins_at_the_messages_own_arrival(registry):
    ahead = {"ts": "2026-11-22T07:05:00Z", "points": {"W": 1}}
    keywords = {"future_tolerance": timedelta(seconds=300)}
    assert only(received(payload=ahead), registry, **keywords).rejections == []
    late = only(received(payload=ahead, arrived_at=NOW - timedelta(milliseconds=1)), registry, **keywords)
    assert [rejection.reason for rejection in late.rejections] == ["time_in_future"]


def test_a_fault_of_the_decoder_is_one_messages_own(registry, monkeypatch):
    def fail(*_arguments, **_keywords):
        raise ZeroDivisionError

    monkeypatch.setattr(batch.native, "decode", fail)
    planned = only(received(), registry)
    assert (planned.rejections[0].reason, planned.readings) == (Reason.UNSTORABLE, [])


def test_what_cannot_be_stored_keeps_its_bytes_and_a_topic_that_can(registry):
    planned = only(received(), registry)
    planned.received = planned.received._replace(topic="jcm/v1/s/\0/readings")
    kept = unstorable(planned, "why")
    assert kept.received.payload == planned.received.payload
    assert kept.received.topic == "jcm/v1/s/\ufffd/readings"
    assert kept.readings == []
    assert kept.rejections == [Rejection(Reason.UNSTORABLE, "why")]


@pytest.mark.parametrize(
    ("outcomes", "bad", "expected"),
    [
        (["stored"], 0, "stored"),
        (["duplicate"], 0, "duplicate"),
        (["duplicate", "stored"], 0, "stored"),
        (["stored", "conflict", "duplicate"], 0, "conflict"),
        (["stored", "conflict"], 1, "quarantined"),
        ([], 1, "quarantined"),
    ],
)
def test_a_message_ends_as_the_worst_of_its_readings(outcomes, bad, expected):
    reading = Reading(NOW, in_columns({"W": 1.0}))
    planned = Planned(received(), "s", 7, [(0, reading)] * len(outcomes), [Rejection("x", "y", 0)] * bad)
    assert Account().add(planned, [Outcome(outcome) for outcome in outcomes]) == expected


payloads = st.sampled_from(
    [
        b"",
        b"?",
        b"[1]",
        b'{"ts": "2026-11-22T07:00:00Z", "points": {"W": 1}}',
        b'[{"ts": "2026-11-22T07:00:00Z", "points": {"W": 1}}, {"ts": 5}, {"ts": 1700000000000, "points": {"x": "y"}}]',
    ]
)
topic_names = st.sampled_from(
    ["jcm/v1/s/d/readings", "jcm/v1/t/d/readings", "jcm/v1/s/x/readings", "jcm/v1/z/d/q", "jcm/v1"]
)


@given(st.lists(st.tuples(topic_names, payloads)), st.randoms(use_true_random=False))
def test_everything_received_is_counted_once_whatever_becomes_of_it(messages, chance):
    known = Registry()
    known.learn(["s", "t"], [(Topic("s", "d"), 7), (Topic("t", "d"), 8)])
    accounts = {}
    ended = Counter()
    for planned in plan([received(topic, data) for topic, data in messages], known):
        assert planned.readings or planned.rejections
        outcomes = [chance.choice([Outcome.STORED, Outcome.DUPLICATE, Outcome.CONFLICT]) for _ in planned.readings]
        ended[accounts.setdefault(planned.site_id, Account()).add(planned, outcomes)] += 1
    assert sum(account.messages_received for account in accounts.values()) == len(messages)
    for account in accounts.values():
        assert account.messages_received == sum(account.messages.values())
        assert account.readings_received == sum(account.readings.values())
    assert ended.total() == len(messages)


def test_the_statements_name_every_point_in_the_order_of_the_table():
    queries = load("ingest")
    listed = ", ".join(COLUMNS)
    flat = {name: " ".join(text.split()) for name, text in queries.items()}
    assert flat["store"].count(listed) == 2
    assert flat["create_staged"].count(" double precision") == len(COLUMNS)
    assert ", ".join(column + " double precision" for column in COLUMNS) in flat["create_staged"]
    for alias in "rs":
        assert ", ".join(f"{alias}.{column}" for column in (*COLUMNS, "extra")) in flat["not_stored"]
