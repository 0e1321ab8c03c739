"""Sparkplug on the real way: an edge node's frames, broker, collector, database, and the commands that go back."""

import json
import queue
import time
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from devices import mqtt_url
from devices.sparkplug.messages import REBIRTH
from devices.sparkplug.payload import decode
from tests.harness import CollectorProcess, Message, assert_balanced, forget_session, one, publish, rows, wait_until
from tests.integration.sparkplug_edge import (
    ENERGY,
    POWER,
    TEMPERATURE,
    World,
    energy,
)

INV = "inv01"


@pytest.fixture
def world(broker, database, servers):
    made = World(broker, database)
    yield made
    servers.site_credentials(made.site, [])
    forget_session(broker.collector_url, made.client_id)


@contextmanager
def hearing(url: str, topic_filter: str):
    """What a client with this login hears, retained messages too."""
    address = mqtt_url.parse(url)
    heard: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
    ready: queue.Queue[bool] = queue.Queue()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"ear-{uuid.uuid4().hex[:8]}", protocol=mqtt.MQTTv5)
    client.username_pw_set(address.username, address.password)
    client.on_message = lambda _client, _data, message: heard.put(message)
    client.on_subscribe = lambda *_: ready.put(True)
    client.on_connect = lambda client, *_: client.subscribe(topic_filter, qos=1)
    client.connect(address.host, address.port)
    client.loop_start()
    try:
        ready.get(timeout=60)
        yield heard
    finally:
        client.disconnect()
        client.loop_stop()


def is_rebirth(message: mqtt.MQTTMessage) -> bool:
    [metric] = decode(message.payload).metrics
    return (metric.name, metric.raw) == (REBIRTH, True)


def hears_directly(collector) -> bool:
    """Whether the broker has answered to every filter beside the collector's own."""
    subscriptions = collector.session._subscriptions
    return subscriptions._heard == subscriptions._wanted and not subscriptions._asked


def test_births_then_data_by_alias_become_readings_and_the_frames_are_kept_as_they_came(world):
    world.declare()
    frames = [*world.edge.born(INV), world.edge.data(INV, energy(1_000_250), {"alias": POWER, "double_value": 750.25})]
    with world.collecting():
        world.send(*frames)
        world.kept(3)
    at = world.edge.at
    assert world.readings() == [
        (INV, at - timedelta(seconds=1), 1_000_000.0, 500.5, 20.0),
        (INV, at, 1_000_250.0, 750.25, None),
    ]
    kept = rows(world.database, "select topic, payload, site_id, outcome, note from message order by message_id")
    assert [(topic, bytes(payload)) for topic, payload, *_ in kept] == [(one.topic, one.payload) for one in frames]
    assert [rest for _, _, *rest in kept] == [
        [world.site, "stored", "birth"], [world.site, "stored", "birth"], [world.site, "stored", None]
    ]  # fmt: skip
    assert world.events() == [
        (f"{world.group}/gw1", "sparkplug_node_born"),
        (f"{world.group}/gw1/{INV}", "sparkplug_device_born"),
    ]
    assert_balanced(world.database)


def test_another_collector_decodes_by_the_aliases_in_the_database(world):
    world.declare()
    with world.collecting():
        world.send(*world.edge.born(INV))
        world.kept(2)
    other = CollectorProcess(world.broker.collector_url, world.database, f"{world.client_id}-2")
    try:
        other.start()
        world.send(world.edge.data(INV, energy(1_000_250)))
        wait_until(lambda: len(world.readings()) == 2)
        other.send()
        assert other.wait() == 0
    finally:
        other.close()
        forget_session(world.broker.collector_url, other.client_id)
    assert world.readings()[-1] == (INV, world.edge.at, 1_000_250.0, None, None)
    assert not world.quarantine()
    assert world.node().seq == 2


@pytest.mark.parametrize("bridged", [True, False])
def test_a_gap_brings_a_rebirth_command_to_the_edge_node(world, servers, bridged):
    world.declare()
    if not bridged:
        world.edge.root = ""
        # Its first: who can log in may write as well.
        servers.site_credentials(world.site, [f"spBv1.0/{world.group}/#"])
    with (
        world.collecting() as collector,
        hearing(world.url, f"{world.edge.root}spBv1.0/{world.group}/NCMD/gw1") as commands,
    ):
        # A direct filter is asked for when the connection stands, which the broker answers in its own time.
        wait_until(lambda: hears_directly(collector), what="the direct filters")
        world.send(*world.edge.born(INV))
        world.edge.lose()
        world.send(world.edge.data(INV, energy(1_000_250)))
        command = commands.get(timeout=60)
        assert is_rebirth(command)
        assert command.topic == world.edge.topic("NCMD")
        assert world.node().rebirth_wanted
        # The next is lost as well; within half a minute nothing more is asked.
        world.edge.lose()
        world.send(world.edge.data(INV, energy(1_000_300)))
        world.send(*world.edge.born(INV))
        wait_until(lambda: len(world.readings()) == 4)
        assert commands.empty()
    assert not world.node().rebirth_wanted
    assert [event for _, event in world.events()].count("sparkplug_seq_gap") == 2
    # What came after the gap was said under the birth that held, so it counts.
    assert [row[2] for row in world.readings()] == [1_000_000.0, 1_000_250.0, 1_000_300.0, 1_000_000.0]


def test_an_unknown_alias_waits_in_quarantine_and_a_rebirth_is_asked_for(world):
    world.declare()
    with world.collecting(), hearing(world.url, f"{world.via}spBv1.0/+/NCMD/#") as commands:
        world.send(*world.edge.born(INV), world.edge.data(INV, energy(1_000_250), {"alias": 99, "int_value": 1}))
        assert is_rebirth(commands.get(timeout=60))
        world.kept(3)
    assert world.quarantine() == ["sparkplug_alias_unknown"]
    # The metric beside it is known, and is a reading.
    assert world.readings()[-1][2] == 1_000_250.0
    assert_balanced(world.database)


def test_data_of_a_node_never_born_are_asked_for_and_never_guessed(world):
    world.declare()
    world.edge.seq = 41
    with world.collecting(), hearing(world.url, f"{world.via}spBv1.0/+/NCMD/#") as commands:
        world.send(world.edge.data(INV, energy(7)))
        assert is_rebirth(commands.get(timeout=60))
        world.kept(1)
        world.send(*world.edge.born(INV))
        wait_until(lambda: len(world.readings()) == 1)
    assert world.quarantine() == ["sparkplug_alias_unknown"]
    assert world.readings()[0][2] == 1_000_000.0


def test_the_collector_s_own_command_comes_back_by_the_bridge_s_topic_and_changes_nothing(world):
    world.declare()
    with world.collecting():
        world.edge.seq = 41
        world.send(world.edge.data(INV, energy(7)))
        world.kept(2)
    assert rows(world.database, "select note, outcome from message where topic like '%%/NCMD/%%'") == [
        ("other", "stored")
    ]
    assert world.node().seq == 42


def test_the_death_of_the_node_takes_its_devices_along(world):
    world.declare(INV, "inv02")
    with world.collecting():
        world.send(*world.edge.born(INV, "inv02"), world.edge.dead("inv02"), world.edge.dead())
        world.kept(5)
    name = f"{world.group}/gw1"
    assert world.events()[3:] == [(f"{name}/inv02", "sparkplug_device_dead"), (name, "sparkplug_node_dead")]
    node = world.node()
    assert not node.online
    assert [one.online for one in node.devices.values()] == [False, False]
    assert rows(world.database, "select note from message order by message_id desc limit 2") == [("death",)] * 2


def test_what_was_measured_earlier_stands_at_its_own_time(world):
    world.declare()
    births = world.edge.born(INV)
    hour_ago = world.edge.at - timedelta(hours=1)
    late = [
        energy(999_000 + number, timestamp=hour_ago + timedelta(minutes=number), is_historical=True)
        for number in range(3)
    ]
    with world.collecting():
        world.send(*births, world.edge.data(INV, *late, energy(1_000_001)))
        wait_until(lambda: len(world.readings()) == 5)
    assert [row[1:3] for row in world.readings()] == [
        (hour_ago, 999_000.0),
        (hour_ago + timedelta(minutes=1), 999_001.0),
        (hour_ago + timedelta(minutes=2), 999_002.0),
        (world.edge.at - timedelta(seconds=1), 1_000_000.0),
        (world.edge.at, 1_000_001.0),
    ]


def test_null_is_no_value_zero_no_register_and_minus_twelve_is_minus_twelve(world):
    world.declare()
    frames = [
        *world.edge.born(INV),
        world.edge.data(INV, {"alias": POWER, "is_null": True}, {"alias": TEMPERATURE, "int_value": 2**32 - 12}),
        world.edge.data(INV, {"alias": TEMPERATURE, "int_value": 2**16 - 13}, {"alias": ENERGY, "is_null": True}),
        world.edge.data(INV, energy(0)),
        world.edge.data(INV, energy(2**53 + 1)),
    ]
    with world.collecting():
        world.send(*frames)
        world.kept(6)
    assert [row[2:] for row in world.readings()[1:]] == [(None, None, -12.0), (None, None, -13.0)]
    notes = [note for (note,) in rows(world.database, "select note from message order by message_id")]
    assert notes[2:] == ["missing:W", "missing:TotWhExp", "zero:TotWhExp", "out_of_range:TotWhExp"]


def test_devices_that_nobody_declared_are_kept_as_unknown_and_do_not_disturb_the_count(world):
    world.declare()
    with world.collecting():
        births = world.edge.born(INV, "inv02")
        data = [world.edge.data("inv02", energy(5)), world.edge.data(INV, energy(1_000_001))]
        world.send(*births, *data)
        wait_until(lambda: len(world.readings()) == 2)
    assert world.quarantine() == ["device_unknown", "device_unknown"]
    assert "sparkplug_seq_gap" not in [event for _, event in world.events()]
    assert {row[0] for row in world.readings()} == {INV}
    assert_balanced(world.database)


def test_a_device_that_is_declared_later_is_read_by_the_births_before_it_was(world):
    world.declare()
    with world.collecting() as collector:
        world.send(*world.edge.born(INV, "inv02"))
        world.kept(3)
        known = len(collector._registry.routes.bounds)
        world.declare(INV, "inv02")
        # The collector looks for new declarations every five seconds while nothing comes.
        wait_until(lambda: len(collector._registry.routes.bounds) > known, what="the declaration")
        world.send(world.edge.data("inv02", energy(5)))
        wait_until(lambda: len(world.readings()) == 2)
    assert world.readings()[-1][:3] == ("inv02", world.edge.at, 5.0)


def test_what_comes_again_after_a_kill_between_commit_and_puback_invents_nothing(world):
    """The broker repeats what it has no PUBACK for; every frame of it has changed the database already."""
    world.declare()

    def kept() -> int:
        return one(world.database, "select count(*) from message where site_id = %s", world.site)

    module = ("tests.integration.killed_unacknowledged", world.group, "collect")
    dying = CollectorProcess(world.broker.collector_url, world.database, world.client_id, module=module)
    next_one = CollectorProcess(world.broker.collector_url, world.database, world.client_id)
    ears = hearing(world.url, f"{world.via}spBv1.0/+/NCMD/#")
    try:
        dying.start()
        dying.send(19)  # SIGSTOP: so that all of it comes in one batch.
        frames = [*world.edge.born(INV), *(world.edge.data(INV, energy(1_000_001 + n)) for n in range(3))]
        world.send(*frames)
        with ears as commands:
            dying.send(18)
            assert dying.wait() == -9
            committed = kept()
            assert committed >= 1
            before = world.readings(), world.events()
            next_one.start()
            wait_until(lambda: kept() == committed + len(frames))
            world.send(world.edge.data(INV, energy(1_000_010)))
            wait_until(lambda: kept() == committed + len(frames) + 1)
            assert commands.empty()
        # It hears other tests too: nothing may move while the tables are compared.
        next_one.send()
        assert next_one.wait() == 0
    finally:
        dying.close()
        next_one.close()
    again = rows(
        world.database, "select outcome from message where redelivered and site_id = %s order by message_id", world.site
    )
    assert len(again) >= committed
    # The readings are there already; the NBIRTH has none.
    assert again[:2] == [("stored",), ("duplicate",)]
    assert [row[2] for row in world.readings()] == [
        1_000_000.0, 1_000_001.0, 1_000_002.0, 1_000_003.0, 1_000_010.0
    ]  # fmt: skip
    assert world.readings()[: len(before[0])] == before[0]
    said = [event for _, event in world.events()]
    assert said.count("sparkplug_node_born") == said.count("sparkplug_device_born") == 1
    assert "sparkplug_seq_gap" not in said
    assert not world.quarantine()
    assert one(world.database, "select count(*) from reading_conflict") == 0
    assert_balanced(world.database)


def test_two_collectors_of_a_group_lose_nothing_of_one_edge_node(world):
    """Each hears some of the frames, out of order: numbers jump, aliases are read from what the other wrote."""
    world.declare()
    other = f"{world.client_id}-2"
    count = 300
    try:
        with (
            world.collecting(share_group=world.group) as a,
            world.collecting(other, share_group=world.group) as b,
        ):
            # One by one: a DBIRTH that overtakes its NBIRTH in the other collector is a birth of the session before,
            # and what follows by alias waits in quarantine for the rebirth that is asked for.
            for number, birth in enumerate(world.edge.born(INV), 1):
                world.send(birth)
                world.kept(number)
            world.send(*(world.edge.data(INV, energy(1_000_001 + number)) for number in range(count)))
            wait_until(lambda: len(world.readings()) >= count + 1, 60)
        assert min(a.totals.received, b.totals.received) > 0
    finally:
        forget_session(world.broker.collector_url, other)
    assert [row[2] for row in world.readings()] == [1_000_000.0 + number for number in range(count + 1)]
    assert not world.quarantine()
    assert_balanced(world.database)


# STATE --------------------------------------------------------------------------------------------------------------


def state(message: mqtt.MQTTMessage) -> tuple[bool, int]:
    said = json.loads(message.payload)
    assert set(said) == {"online", "timestamp"}
    return said["online"], said["timestamp"]


def test_the_primary_host_says_that_it_is_there_and_that_it_is_gone(world):
    world.declare()
    host = f"host-{world.group}"
    topic = f"spBv1.0/STATE/{host}"
    process = CollectorProcess(
        world.broker.collector_url, world.database, world.client_id, {"JCM_MRV_SPARKPLUG_HOST_ID": host}
    )
    started = datetime.now(UTC).timestamp() * 1000
    try:
        with hearing(world.url, topic) as states:
            process.start()
            online, born = state(states.get(timeout=60))
            assert online
            assert started - 1000 < born < datetime.now(UTC).timestamp() * 1000 + 1000
            with hearing(world.url, topic) as late:
                # Retained: an edge node that comes later knows it too.
                kept = late.get(timeout=60)
                assert (kept.retain, state(kept)) == (True, (True, born))
            process.send(9)
            process.wait()
            # The will has the time of its birth.
            assert state(states.get(timeout=60)) == (False, born)
            with hearing(world.url, topic) as late:
                assert state(late.get(timeout=60)) == (False, born)
            process.start()
            online, again = state(states.get(timeout=60))
            assert online
            assert again > born
            process.send()
            assert process.wait() == 0
            online, ended = state(states.get(timeout=60))
            assert not online
            assert ended > again
            time.sleep(0.5)
            # An orderly end sends no will after it.
            assert states.empty()
        with hearing(world.url, topic) as late:
            assert state(late.get(timeout=60)) == (False, ended)
    finally:
        process.close()
        publish(world.broker.collector_url, [Message(topic, b"", retain=True)])


def test_a_collector_without_a_host_id_says_nothing(world):
    world.declare()
    with hearing(world.url, "spBv1.0/STATE/+") as states, world.collecting():
        world.send(*world.edge.born(INV))
        world.kept(2)
        assert [message for message in states.queue if not message.retain] == []
