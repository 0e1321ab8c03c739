"""What tests of the collector share: a declared site, a publisher, a collector in a thread or in a process."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import paho.mqtt.client as mqtt
import psycopg
from paho.mqtt.enums import CallbackAPIVersion

from deploy.local import default_directory as local_directory
from devices import mqtt_url, topics
from ingest.collector import Collector, CollectorOptions
from ingest.session import SessionOptions

START = datetime(2026, 1, 1, tzinfo=UTC)


def wait_until(done: Callable[[], object], timeout_s: float = 60.0, what: str = "") -> None:
    """Wait for an event; the ceiling is for a machine that three runs share, and is reached by none that passes."""
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what or done}"
        time.sleep(0.02)


def declare(url: str, site: str, devices: Iterable[str], project: str = "P") -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "insert into project"
            " (id, title, host_country, methodology, methodology_version, crediting_from, crediting_to)"
            " values (%s, 'Test', 'THA', 'TH_AM001', '1.0', '2020-01-01', '2030-12-31') on conflict do nothing",
            [project],
        )
        connection.execute(
            "insert into site (id, project_id, name, time_zone) values (%s, %s, 'Site', 'UTC') on conflict do nothing",
            [site, project],
        )
        for device in devices:
            connection.execute(
                "insert into device (site_id, id, project_id, kind, profile) values (%s, %s, %s, 'inverter', 'native')",
                [site, device, project],
            )


def payload(number: int = 0, **changes) -> bytes:
    """A numbered reading: its time, register and seq all follow from the number."""
    reading = {
        "ts": (START + timedelta(seconds=number)).isoformat(),
        "seq": number,
        "points": {"W": 100.5, "TotWhExp": 1000.0 + number},
    }
    return json.dumps(reading | changes).encode()


@dataclass
class Message:
    topic: str
    payload: bytes
    retain: bool = False
    qos: int = 1


def publish(url: str, messages: Iterable[Message], *, window: int = 1000) -> int:
    """Publish over one connection and return when the broker acknowledged all."""
    address = mqtt_url.parse(url)
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"test-{uuid.uuid4().hex[:8]}", protocol=mqtt.MQTTv5)
    client.username_pw_set(address.username, address.password)
    client.max_inflight_messages_set(window)
    refused: list[str] = []

    def on_publish(_client, _data, _mid, reason, _properties):
        if reason.is_failure:
            refused.append(str(reason))

    client.on_publish = on_publish
    client.connect(address.host, address.port)
    client.loop_start()
    try:
        sent = [client.publish(one.topic, one.payload, qos=one.qos, retain=one.retain) for one in messages]
        for info in sent:
            info.wait_for_publish(60)
            assert info.is_published()
    finally:
        client.disconnect()
        client.loop_stop()
    assert refused == []
    return len(sent)


def numbered(site: str, device: str, numbers: Iterable[int]) -> Iterator[Message]:
    topic = topics.readings(site, device)
    for number in numbers:
        yield Message(topic, payload(number))


def forget_session(url: str, client_id: str) -> None:
    """Let the broker forget a client's session, so that nothing is kept for it."""
    address = mqtt_url.parse(url)
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=True)
    client.username_pw_set(address.username, address.password)
    client.connect(address.host, address.port)
    client.loop_start()
    try:
        wait_until(client.is_connected)
    finally:
        client.disconnect()
        client.loop_stop()


def session_options(url: str, client_id: str, **changes) -> SessionOptions:
    # The tests' sites only: on the shared broker another run's messages may be about.
    given = {
        "address": mqtt_url.parse(url),
        "client_id": client_id,
        "topic_filter": "jcm/v1/ingest-a/#",
    }
    return SessionOptions(**(given | changes))


@contextmanager
def collecting(
    mqtt: str, database: str, client_id: str, *, options: CollectorOptions | None = None, **changes
) -> Iterator[Collector]:
    """A collector in a thread; what it raises is raised here, after it ended."""
    collector = Collector(session_options(mqtt, client_id, **changes), database, options)
    raised: list[Exception] = []

    def run() -> None:
        try:
            collector.run()
        except Exception as error:  # noqa: BLE001 - raised again below
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        wait_until(lambda: collector.session.connected or raised, what="connected")
        if not raised:
            yield collector
    finally:
        collector.stop()
        thread.join(30)
        assert not thread.is_alive()
    if raised:
        raise raised[0]


@contextmanager
def exclusive(name: str) -> Iterator[Path]:
    """Keep other test runs on this machine out: they would share a broker, or have it stopped under them."""
    folder = local_directory()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def temporary_file(prefix: str, suffix: str = "") -> Path:
    """An empty file that whoever made it deletes."""
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix)
    os.close(handle)
    return Path(name)


@dataclass
class CollectorProcess:
    """`jcm-mrv collect` as its users run it."""

    mqtt: str
    database: str
    client_id: str
    settings: dict[str, str] = field(default_factory=dict)
    module: tuple[str, ...] = ("deploy.cli", "collect")

    def __post_init__(self) -> None:
        self.log = temporary_file("jcm-mrv-collect-", ".log")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, connected: bool = True) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("JCM_MRV_")}
        environment |= {
            "JCM_MRV_DATABASE_URL": self.database,
            "JCM_MRV_MQTT_URL": self.mqtt,
            "JCM_MRV_MQTT_CLIENT_ID": self.client_id,
            "JCM_MRV_LOG_FORMAT": "json",
        } | self.settings
        self.log.write_bytes(b"")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.module], env=environment, stdout=log, stderr=log
            )
        if connected:
            wait_until(lambda: "collector_started" in self.events() or self.ended(), what="the collector's start")
            assert not self.ended(), (self.process.returncode, self.log.read_text())

    def ended(self) -> bool:
        assert self.process is not None
        return self.process.poll() is not None

    def lines(self) -> list[dict]:
        # The last line may be half written.
        lines = self.log.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines()]

    def send(self, number: int = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, timeout_s: float = 60) -> int:
        assert self.process is not None
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)

    def close(self) -> None:
        self.kill()
        self.log.unlink(missing_ok=True)


def rows(url: str, query: str, *parameters) -> list[tuple]:
    with psycopg.connect(url) as connection:
        return connection.execute(query, parameters).fetchall()


def one(url: str, query: str, *parameters):
    return rows(url, query, *parameters)[0][0]


def assert_balanced(url: str) -> None:
    """The accounting identity, held against what is really in the tables."""
    account = rows(
        url,
        "select site_id, sum(messages_received), sum(messages_stored), sum(messages_duplicate), sum(messages_conflict),"
        " sum(messages_quarantined), sum(readings_received), sum(readings_stored), sum(readings_duplicate),"
        " sum(readings_conflict), sum(readings_quarantined) from ingest_account group by site_id",
    )
    for site, received, stored, duplicate, conflict, quarantined, *of_readings in account:
        assert received == stored + duplicate + conflict + quarantined
        assert of_readings[0] == sum(of_readings[1:])
        found = dict(
            rows(url, "select outcome, count(*) from message where coalesce(site_id, '') = %s group by 1", site)
        )
        assert {name: count for name, count in found.items() if count} == {
            name: count
            for name, count in {
                "stored": stored, "duplicate": duplicate, "conflict": conflict, "quarantined": quarantined
            }.items()
            if count
        }  # fmt: skip
        assert one(url, "select sum(readings) from message where coalesce(site_id, '') = %s", site) == of_readings[0]
    assert one(url, "select count(*) from reading") == sum(row[7] for row in account)
    assert one(url, "select count(*) from reading_conflict") == sum(row[9] for row in account)
    assert one(url, "select count(*) from quarantine where element is not null") == sum(row[10] for row in account)
    assert one(url, "select count(distinct message_id) from quarantine") == sum(row[5] for row in account)
    assert one(url, "select count(*) from message") == sum(row[1] for row in account)
