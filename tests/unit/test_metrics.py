"""The account of a batch in the metrics, and the pulse of the two threads."""

import re
import time
from datetime import UTC, datetime, timedelta

import pytest

from devices.reading import Reading, Rejection, in_columns
from ingest import liveness
from ingest.batch import Account, Outcome, Planned
from ingest.inbox import Received
from ingest.liveness import Pulse
from ingest.metrics import FAMILIES, Live, Metrics
from ingest.store import Settled

AT = datetime(2026, 11, 22, 7, tzinfo=UTC)


class Source:
    received = 0
    broker = database = standby = False


@pytest.fixture
def source():
    return Source()


@pytest.fixture
def metrics(source):
    live = Live(lambda: source.received, lambda: source.broker, lambda: source.database, lambda: source.standby)
    return Metrics(live, window=4000, version="1.2.3")


def message(arrived_at=None):
    return Received(1, 1, "jcm/v1/s/d/readings", b"{}", 1, False, False, arrived_at or time.time())


def reading(minutes=0):
    return Reading(AT + timedelta(minutes=minutes), in_columns({"W": 1.0}))


def settle(metrics, planned, ended, commit_s=0.02):
    settled = Settled(AT)
    for one, outcomes in zip(planned, ended, strict=True):
        settled.outcomes.append(settled.accounts.setdefault(one.site_id or "", Account()).add(one, outcomes))
    metrics.settled(planned, settled, commit_s)


def value(metrics, name, **labels):
    return metrics.registry.get_sample_value(name, labels)


def test_received_is_settled_and_unacknowledged(metrics, source):
    source.received = 5
    good = Planned(message(), "s", 1, [(0, reading()), (1, reading(1))])
    half = Planned(
        message(), "s", 1, [(0, reading(2))], [Rejection("time_naive", "", 1), Rejection("no_points", "", 2)]
    )
    stranger = Planned(message(), None, None, [], [Rejection("device_unknown", "")])
    settle(metrics, [good, half, stranger], [[Outcome.STORED, Outcome.DUPLICATE], [Outcome.CONFLICT], []])
    settled = {one: value(metrics, "jcm_mrv_messages_settled_total", outcome=one) for one in Outcome}
    assert settled == {"stored": 1, "duplicate": 0, "conflict": 0, "quarantined": 2}
    assert value(metrics, "jcm_mrv_unacknowledged_messages") == 2
    assert value(metrics, "jcm_mrv_messages_received_total") == sum(settled.values()) + 2
    readings = {one: value(metrics, "jcm_mrv_readings_settled_total", outcome=one) for one in Outcome}
    assert readings == {"stored": 1, "duplicate": 1, "conflict": 1, "quarantined": 2}
    quarantined = {one: value(metrics, "jcm_mrv_quarantined_total", reason=one)
                   for one in ("time_naive", "no_points", "device_unknown")}  # fmt: skip
    assert quarantined == {"time_naive": 1, "no_points": 1, "device_unknown": 1}


def test_a_sites_last_reading_is_its_newest_and_only_declared_sites_have_one(metrics):
    unsorted = Planned(message(), "a", 1, [(0, reading(5)), (1, reading(9)), (2, reading(7))])
    stranger = Planned(message(), None, None, [], [Rejection("device_unknown", "")])
    settle(metrics, [unsorted, stranger], [[Outcome.STORED] * 3, []])
    settle(metrics, [Planned(message(), "a", 1, [(0, reading(1))])], [[Outcome.STORED]])
    name = "jcm_mrv_site_last_reading_timestamp_seconds"
    assert value(metrics, name, site="a") == (AT + timedelta(minutes=9)).timestamp()
    metrics.know_last_readings([("a", AT), ("b", AT)])
    assert value(metrics, name, site="a") == (AT + timedelta(minutes=9)).timestamp()
    assert value(metrics, name, site="b") == AT.timestamp()
    assert value(metrics, name, site="") is None


def test_times_are_of_the_batch_and_never_below_zero(metrics):
    settle(metrics, [Planned(message(time.time() - 3), "a", 1, [(0, reading())])], [[Outcome.STORED]], commit_s=0.02)
    assert value(metrics, "jcm_mrv_commit_seconds_sum") == 0.02
    assert value(metrics, "jcm_mrv_batch_messages_count") == 1
    assert 3 <= value(metrics, "jcm_mrv_receive_to_commit_seconds_sum") < 4
    settle(metrics, [Planned(message(time.time() + 900), "a", 1, [(0, reading())])], [[Outcome.STORED]])
    assert 3 <= value(metrics, "jcm_mrv_receive_to_commit_seconds_sum") < 4


def test_two_collectors_in_one_process_do_not_share(metrics, source):
    source.received = 9
    other = Metrics(Live(lambda: 0, lambda: True, lambda: True, lambda: True))
    assert value(other, "jcm_mrv_messages_received_total") == 0
    assert value(other, "jcm_mrv_broker_connected") == 1
    assert value(metrics, "jcm_mrv_broker_connected") == 0
    assert value(metrics, "jcm_mrv_build_info", version="1.2.3") == 1


def test_what_is_shown_is_what_is_declared_and_named_by_convention(metrics, source):
    settle(metrics, [Planned(message(), "a", 1, [], [Rejection("no_points", "", 0)])], [[]])
    shown = {}
    for family in metrics.registry.collect():
        if family.name.startswith("jcm_mrv"):
            name = family.name + ("_total" if family.type == "counter" else "")
            shown[name] = (family.type, {key for sample in family.samples for key in sample.labels} - {"le"})
    metrics.know_last_readings([("a", AT)])
    shown.pop("jcm_mrv_site_last_reading_timestamp_seconds")
    declared = {one.name: (one.kind, set(one.labels)) for one in FAMILIES.values()}
    assert declared.pop("jcm_mrv_site_last_reading_timestamp_seconds") == ("gauge", {"site"})
    assert shown == declared
    for family in FAMILIES.values():
        assert re.fullmatch(r"jcm_mrv_[a-z]+(_[a-z]+)*", family.name)
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert not re.search(r"_(ms|milliseconds|minutes|kb|percent)(_|$)", family.name)
        assert family.help.endswith(".")


class Thread:
    """What liveness asks of a session."""

    started = True
    connected = True
    goes_round = True

    def alive(self, within_s):
        return self.goes_round


def passed(checks):
    return {check.name: check.passed for check in checks}


def test_a_collector_that_waits_for_the_database_is_alive_and_one_that_hangs_is_not():
    session, pulse = Thread(), Pulse()
    session.started = False
    assert passed(liveness.live(session, pulse)) == {"mqtt_thread": True, "writing_thread": True}
    session.started = True
    with pulse.at_database():
        pulse.beat = time.monotonic() - 3600
        assert passed(liveness.live(session, pulse)) == {"mqtt_thread": True, "writing_thread": True}
    assert time.monotonic() - pulse.beat < 1
    pulse.beat = time.monotonic() - 25
    assert passed(liveness.live(session, pulse))["writing_thread"]
    pulse.beat = time.monotonic() - 31
    assert passed(liveness.live(session, pulse)) == {"mqtt_thread": True, "writing_thread": False}
    pulse.go_round()
    session.goes_round = False
    assert passed(liveness.live(session, pulse)) == {"mqtt_thread": False, "writing_thread": True}


def test_a_collector_is_ready_when_it_is_subscribed_and_the_database_answered_last():
    session, pulse = Thread(), Pulse()
    assert passed(liveness.ready(session, pulse, standby=False)) == {"broker": True, "database": False}
    pulse.database_is(up=True)
    assert passed(liveness.ready(session, pulse, standby=False)) == {"broker": True, "database": True}
    assert passed(liveness.ready(session, pulse, standby=True)) == {"broker": False, "database": True}
    session.connected = False
    assert passed(liveness.ready(session, pulse, standby=False)) == {"broker": False, "database": True}
