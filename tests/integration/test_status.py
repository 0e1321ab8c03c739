"""What `jcm-mrv status` tells, from rows that the collector wrote."""

import json
import os
import time
import uuid
from datetime import UTC
from pathlib import Path

import psycopg
import pytest

from deploy.registry import apply
from devices import topics
from devices.declaration_file import parse
from devices.decoding.catalogue import built_in
from ingest.collector import CollectorOptions
from ingest.health import health
from sql.connection import Role, connect
from tests.forked import run_command
from tests.harness import (
    Message,
    collecting,
    declare,
    exclusive,
    forget_session,
    one,
    payload,
    publish,
    rows,
    wait_until,
)
from tests.integration.sparkplug_edge import World, energy, project

SITE = "status-a"
TOPIC = topics.readings(SITE, "status-1")


@pytest.fixture(scope="module", autouse=True)
def _alone():
    with exclusive("status-test"):
        yield


@pytest.fixture
def ingested(database, broker):
    declare(database, SITE, ["status-1", "status-2"])
    client_id = f"collector-{uuid.uuid4().hex[:8]}"
    messages = [
        *(Message(TOPIC, payload(number)) for number in range(5)),
        Message(TOPIC, payload(0)),
        Message(TOPIC, payload(1, points={"W": 5})),
        Message(TOPIC, b"?"),
        Message(TOPIC, b"["),
        Message(TOPIC, json.dumps([json.loads(payload(5)), 1]).encode()),
    ]
    with collecting(broker.collector_url, database, client_id, topic_filter="jcm/v1/+/status-1/readings"):
        publish(broker.site_url(SITE), messages)
        publish(broker.site_url("status-ghost"), [Message(topics.readings("status-ghost", "status-1"), payload())])
        wait_until(lambda: one(database, "select count(*) from message") >= 11)
    forget_session(broker.collector_url, client_id)
    return database


def run(url, *arguments):
    environment = os.environ | {"JCM_MRV_DATABASE_URL": url, "JCM_MRV_MQTT_URL": "mqtt://127.0.0.1:1", "COLUMNS": "140"}
    return run_command("status", *arguments, environment=environment, cwd=Path.cwd())


def test_status_as_json(ingested):
    done = run(ingested, "--json", "--recount")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["balanced"] is True
    ghost, site = found["sites"]
    assert ghost["site"] == ""
    assert ghost["messages"]["quarantined"] == 1
    assert ghost["quarantine"] == {"device_unknown": 1}
    assert site["messages"] == {
        "received": 10, "stored": 5, "duplicate": 1, "conflict": 1, "quarantined": 3, "balanced": True
    }  # fmt: skip
    assert site["readings"] == {
        "received": 9, "stored": 6, "duplicate": 1, "conflict": 1, "quarantined": 1, "balanced": True
    }  # fmt: skip
    assert site["quarantine"] == {"element_invalid": 1, "payload_undecodable": 2}
    assert site["silent"] == ["status-2"]
    assert site["recounted"] is True
    assert site["last_reading"] == "2026-01-01T00:00:05+00:00"
    first, second = site["devices"]
    assert (first["device"], first["readings_last_minute"], first["readings_last_day"], first["conflicts"]) == (
        "status-1", 9, 9, 1
    )  # fmt: skip
    assert first["lag_s"] > 0
    assert (second["last_reading"], second["lag_s"], second["readings_last_hour"]) == (None, None, 0)


def test_status_for_people(ingested):
    done = run(ingested)
    assert done.returncode == 0, done.stderr
    assert "Messages: 10 received = 5 stored + 1 duplicate + 1 conflict + 3 quarantined  holds ✓" in done.stdout
    assert "element_invalid 1, payload_undecodable 2" in done.stdout
    assert "2026-01-01 00:00:05" in done.stdout
    assert "never" in done.stdout
    assert "Messages that name no declared site" in done.stdout


def test_a_row_that_is_missing_is_seen_by_counting_again(ingested):
    with psycopg.connect(ingested, autocommit=True) as connection:
        connection.execute("delete from reading where seq = 3")
    assert run(ingested, "--json").returncode == 0
    done = run(ingested, "--json", "--recount")
    assert done.returncode == 1
    assert json.loads(done.stdout)["balanced"] is False


def test_the_database_itself_refuses_an_account_that_does_not_balance(ingested):
    with psycopg.connect(ingested, autocommit=True) as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute("update ingest_account set messages_stored = messages_stored + 1")


def test_an_empty_store_says_so(database):
    assert "No site is declared" in run(database).stdout


def test_health_reads_one_snapshot_and_leaves_the_connection_as_it_was(database):
    with connect(database, Role.READER) as connection:
        assert health(connection).sites == []
        assert connection.isolation_level is None
        assert connection.read_only is None


def test_a_database_that_is_away_is_one_line():
    done = run("postgresql://u:secret@127.0.0.1:1/x")
    assert done.returncode == 1
    assert done.stderr.startswith("jcm-mrv: ")
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.stderr


# Foreign families ---------------------------------------------------------------------------------------------------


@pytest.fixture
def world(broker, database):
    made = World(broker, database)
    yield made
    forget_session(broker.collector_url, made.client_id)


def devices_of(url):
    [site] = json.loads(run(url, "--json").stdout)["sites"]
    return {device["device"]: device for device in site["devices"]}


def test_a_sparkplug_device_is_offline_since_the_first_death_after_its_birth(world):
    world.declare("inv01", "inv02", "inv03")
    with world.collecting():
        births = world.edge.born("inv01", "inv02")
        world.send(*births, world.edge.data("inv01", energy(1_000_250)))
        world.kept(4)
        alive = devices_of(world.database)
        assert [alive[name]["offline"] for name in ("inv01", "inv02", "inv03")] == [False, False, True]
        # Never born, so nothing died.
        assert alive["inv03"]["offline_since"] is None
        assert alive["inv01"]["readings_last_minute"] == 2
        world.send(world.edge.dead("inv02"))
        world.kept(5)
        world.send(world.edge.dead())
        world.kept(6)
    died = dict(rows(world.database, "select event, received_at from device_event"))
    gone = devices_of(world.database)
    assert gone["inv01"]["offline_since"] == utc(died["sparkplug_node_dead"])
    assert gone["inv02"]["offline_since"] == utc(died["sparkplug_device_dead"])
    text = run(world.database).stdout
    assert f"inv01 is offline: since {died['sparkplug_node_dead'].astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" in text
    assert "inv03 is offline: not born yet" in text
    with world.collecting():
        world.send(*world.edge.born("inv01"))
        world.kept(8)
    again = devices_of(world.database)
    assert (again["inv01"]["offline"], again["inv01"]["offline_since"]) == (False, None)
    assert again["inv02"]["offline_since"] == utc(died["sparkplug_device_dead"])


def utc(at):
    return at.astimezone(UTC).isoformat()


def test_a_silent_device_says_what_its_messages_were(world):
    world.declare("inv01", "inv02")
    with world.collecting():
        births = world.edge.born("inv01", "inv02")
        # Of the births the node's own alone: the devices have said nothing that can be read.
        world.send(births[0], world.edge.data("inv01", energy(5)))
        world.kept(2)
    found = devices_of(world.database)
    assert found["inv01"]["readings_last_day"] == 0
    # The command that asks for a rebirth comes back by the bridge's topic.
    why = found["inv01"]["unread_last_day"]
    assert (why["birth"], why["quarantined"]) == (1, 1)
    assert "quarantined" not in found["inv02"]["unread_last_day"]
    assert "inv01: no reading in the last day; its messages: birth 1, " in run(world.database).stdout


def opendtu(site):
    return (
        project(site)
        + f"""
[[device]]
id = "roof"
site = "{site}"
kind = "inverter"
profile = "opendtu"
address = {{ serial = "114190641177" }}
installed = 2020-01-01
"""
    )


def test_a_device_whose_fields_make_no_reading_says_why(world):
    with connect(world.database, Role.OWNER) as owner:
        apply(owner, [("test.toml", parse(opendtu(world.site), "test.toml"))])
    assert "roof: nothing came on its topics in the last day" in run(world.database).stdout
    root = f"{world.via}solar/114190641177"
    now = str(int(time.time()) - 1).encode()
    messages = [Message(f"{root}/status/last_update", now), Message(f"{root}/0/yieldtotal", b"0")]
    # Seconds in the place of the ten in which OpenDTU's fields belong together.
    family = built_in()["opendtu"]
    sources = tuple(one.model_copy(update={"join_s": 2.5}) if one.join_s else one for one in family.sources)
    quick = dict(built_in()) | {"opendtu": family.model_copy(update={"sources": sources})}
    with world.collecting(options=CollectorOptions(catalogue=quick)):
        world.send(*messages)
        wait_until(lambda: one(world.database, "select count(*) from reading_part") == 2)
    assert devices_of(world.database)["roof"]["unread_last_day"] == {"zero:TotWhExp": 1}
    assert "roof: no reading in the last day; its messages: zero:TotWhExp 1" in run(world.database).stdout
