"""What `jcm-mrv status` tells, from rows that the collector wrote."""

import json
import os
import subprocess
import sys
import uuid

import psycopg
import pytest

from devices import topics
from ingest.health import health
from sql.connection import Role, connect
from tests.harness import Message, collecting, declare, exclusive, forget_session, one, payload, publish, wait_until

SITE = "ingest-a"
TOPIC = topics.readings(SITE, "status-1")


@pytest.fixture(scope="module", autouse=True)
def _alone():
    with exclusive("ingest-test"):
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
        publish(broker.site_url("ingest-ghost"), [Message(topics.readings("ingest-ghost", "status-1"), payload())])
        wait_until(lambda: one(database, "select count(*) from message") >= 11)
    forget_session(broker.collector_url, client_id)
    return database


def run(url, *arguments):
    environment = os.environ | {"JCM_MRV_DATABASE_URL": url, "JCM_MRV_MQTT_URL": "mqtt://127.0.0.1:1"}
    return subprocess.run(
        [sys.executable, "-m", "deploy.cli", "status", *arguments],
        env=environment | {"COLUMNS": "140"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


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
