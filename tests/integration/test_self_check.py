"""The self-check asks a real broker and a real database, and leaves nothing behind."""

import os
import socket
import subprocess
import uuid
from contextlib import contextmanager

import paho.mqtt.client as mqtt
import psycopg
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from deploy.local.packages import find_packages
from deploy.local.state import free_port
from devices import mqtt_url, topics
from ingest import probe
from ingest.self_check import judge
from sql.connection import Role, connect
from tests.harness import (
    CollectorProcess,
    Message,
    collecting,
    declare,
    forget_session,
    numbered,
    one,
    publish,
    session_options,
    wait_until,
)


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """What the broker says of itself may come late on a busy machine; who has it waits no longer."""
    monkeypatch.setattr(probe, "_SYS_S", 20.0)


@pytest.fixture
def client_id(broker):
    name = f"collector-{uuid.uuid4().hex[:8]}"
    yield name
    forget_session(broker.collector_url, name)


def gather(broker, database, client_id, **changes):
    with connect(database, Role.COLLECTOR) as connection:
        options = session_options(broker.collector_url, client_id, **changes)
        return probe.gather(options, connection, batch_messages=1000, batch_linger_ms=50)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_the_projects_own_servers_have_nothing_to_change(broker, database, client_id, version):
    before = one(database, "select pg_current_wal_lsn()")
    facts = gather(broker, database, client_id, version=version)
    assert facts.broker_silence == ""
    assert facts.broker.software.startswith("mosquitto version 2.")
    assert facts.broker.window == 4000
    assert facts.broker.session_kept is True
    assert facts.broker.dropped is not None
    assert (facts.database.fsync, facts.database.full_page_writes) == (True, True)
    assert 0 < facts.database.commit_s < 10
    assert one(database, "select pg_current_wal_lsn()") > before
    verdict = judge(facts)
    # What the broker dropped since its start depends on the tests before.
    assert [finding.name for finding in verdict.findings if finding.name != "broker_dropped"] == []
    assert verdict.window == 4000
    assert 50 < verdict.messages_per_second < 100_000


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_asking_leaves_no_session_and_does_not_touch_the_collectors_own(broker, database, client_id, version):
    def is_kept(name):
        address = mqtt_url.parse(broker.collector_url)
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
        client.username_pw_set(address.username, address.password)
        answers = []
        client.on_connect = lambda _client, _data, flags, _reason, _properties: answers.append(flags.session_present)
        client.connect(address.host, address.port)
        client.loop_start()
        try:
            wait_until(lambda: answers)
            client.subscribe("jcm/v1/none/none/none", 1)
        finally:
            client.disconnect()
            client.loop_stop()
        return answers[0]

    assert not is_kept(client_id)
    gather(broker, database, client_id, version=version)
    assert is_kept(client_id)
    assert not is_kept(f"{client_id}-check")
    forget_session(broker.collector_url, f"{client_id}-check")


def test_a_broker_that_refuses_to_be_asked_is_a_finding_and_no_error(broker, database, client_id):
    refused = mqtt_url.parse(f"mqtt://collector:wrong@{broker.host}:{broker.port}")
    facts = gather(broker, database, client_id, address=refused)
    assert facts.broker is None
    assert "refuses" in facts.broker_silence
    assert [finding.name for finding in judge(facts).findings] == ["broker_not_checked"]
    nobody = mqtt_url.parse("mqtt://127.0.0.1:1")
    assert "refused" in gather(broker, database, client_id, address=nobody).broker_silence.lower()


def test_a_database_that_answers_before_it_flushed_is_refused_unless_that_is_accepted_by_name(
    broker, database, client_id
):
    declare(database, "self-a", ["inv-1"])
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"alter database {name} set synchronous_commit = off")
    process = CollectorProcess(broker.collector_url, database, client_id)
    try:
        process.start(connected=False)
        assert process.wait() == 1
        [line] = [line for line in process.log.read_text().splitlines() if not line.startswith("{")]
        assert line.startswith("jcm-mrv: this would lose data: synchronous_commit_off: ")
        assert line.endswith("JCM_MRV_ACCEPT_RISKS=synchronous_commit_off")
        assert "broker_connected" not in process.events()

        process.settings = {
            "JCM_MRV_ACCEPT_RISKS": "synchronous_commit_off",
            "JCM_MRV_MQTT_WINDOW": "100",
        }
        process.start()
        [checked] = [line for line in process.lines() if line["event"] == "self_check"]
        assert checked["accepted"] == ["synchronous_commit_off"]
        assert checked["refused"] == []
        assert checked["window"] == 100
        found = {line["finding"]: line for line in process.lines() if line["event"] == "self_check_finding"}
        assert {"synchronous_commit_off", "window_small"} <= set(found)
        assert str(checked["messages_per_second"]) in found["window_small"]["cost"]
        process.send()
        assert process.wait() == 0
    finally:
        process.close()


@contextmanager
def broker_with(broker, tmp_path, *lines):
    """A Mosquitto without users, with settings of its own."""
    executable = find_packages(broker.servers.packages).mosquitto
    port = free_port()
    configuration = tmp_path / "mosquitto.conf"
    configuration.write_text("\n".join([f"listener {port} 127.0.0.1", *lines, "allow_anonymous true", "user root"]))
    environment = {"PATH": os.environ["PATH"], "OPENSSL_CONF": "/dev/null"}
    process = subprocess.Popen([executable, "-c", configuration], env=environment, stderr=subprocess.DEVNULL)

    def listens():
        with socket.socket() as probing:
            return probing.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(listens)
        yield f"mqtt://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(30)


def test_a_broker_that_hands_over_without_acknowledgement_is_refused_unless_that_is_accepted_by_name(
    broker, database, client_id, tmp_path
):
    declare(database, "self-a", ["inv-1"])
    with broker_with(broker, tmp_path, "max_qos 0") as url:
        process = CollectorProcess(url, database, client_id)
        try:
            process.start(connected=False)
            assert process.wait() == 1
            assert "this would lose data: qos_0: " in process.log.read_text()
            process.settings = {"JCM_MRV_ACCEPT_RISKS": "qos_0"}
            process.start()
            publish(url, [Message(sent.topic, sent.payload, qos=0) for sent in numbered("self-a", "inv-1", range(10))])
            wait_until(lambda: one(database, "select count(*) from reading") == 10)
            process.send()
            assert process.wait() == 0
        finally:
            process.close()


@pytest.mark.parametrize(("version", "window"), [("3.1.1", 20), ("5", 4000)])
def test_the_window_that_is_told_is_the_one_that_the_broker_goes_by(
    broker, database, client_id, tmp_path, version, window
):
    """Hold back every acknowledgement and count what Mosquitto sends."""
    declare(database, "self-a", ["inv-1"])
    with broker_with(broker, tmp_path, "max_inflight_messages 20", "max_queued_messages 100000") as url:
        with connect(database, Role.COLLECTOR) as connection:
            options = session_options(url, client_id, version=version)
            facts = probe.gather(options, connection, batch_messages=1000, batch_linger_ms=50)
        assert facts.broker.window == 20
        assert judge(facts).window == window
        with collecting(url, database, client_id, version=version, topic_filter=topics.FILTER) as collector:
            name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
            with psycopg.connect(psycopg.conninfo.make_conninfo(database, dbname="postgres"), autocommit=True) as other:
                other.execute(f"alter database {name} allow_connections false")
                other.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where datname = %s and usename = session_user", [name]
                )  # fmt: skip
                publish(url, numbered("self-a", "inv-1", range(window + 100)))
                wait_until(lambda: collector.session.received >= window)
                assert collector.session.received == window
                other.execute(f"alter database {name} allow_connections true")
            wait_until(lambda: one(database, "select count(*) from reading") == window + 100)
