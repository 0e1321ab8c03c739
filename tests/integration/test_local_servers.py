"""The local servers themselves: starting, rights, what survives a stop and a kill."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
import psycopg
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import PacketTypes, Properties

from deploy.errors import LocalServersError
from deploy.local import LocalServers, default_directory
from deploy.local.probe import mqtt_connack
from deploy.local.processes import find_by_title, wait_until
from deploy.local.state import State, is_free, write_state
from devices import mqtt_url
from devices.errors import PublishError
from devices.publisher import Publisher


class Listener:
    """A subscriber with a session that outlives its connection."""

    def __init__(self, servers: LocalServers, name: str) -> None:
        url = urlsplit(servers.environment()["JCM_MRV_MQTT_URL"])
        self.topics: list[str] = []
        self._ready = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
        self._client.username_pw_set(url.username, url.password)
        self._client.on_message = lambda client, data, message: self.topics.append(message.topic)
        self._client.on_subscribe = lambda *_: self._ready.set()
        expiry = Properties(PacketTypes.CONNECT)
        expiry.SessionExpiryInterval = 3600
        self._client.connect(url.hostname or "", url.port or 0, clean_start=False, properties=expiry)
        self._client.loop_start()

    def subscribe(self, topic: str) -> None:
        self._client.subscribe(topic, qos=1)
        assert self._ready.wait(60)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def publish(servers: LocalServers, user: str, password: str, topics: list[str]) -> list[int]:
    """Publish at QoS 1 with MQTT 5 and return the reason codes of the acknowledgements."""
    url = urlsplit(servers.environment()["JCM_MRV_MQTT_URL"])
    codes: list[int] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.username_pw_set(user, password)
    connected = threading.Event()
    client.on_connect = lambda *_: connected.set()
    lost: list[object] = []
    client.on_disconnect = lambda c, d, flags, code, p: lost.append(code)
    client.on_publish = lambda c, d, mid, code, p: codes.append(code.value)
    client.connect(url.hostname or "", url.port or 0)
    client.loop_start()
    try:
        assert connected.wait(60)
        for topic in topics:
            client.publish(topic, b"{}", qos=1).wait_for_publish(60)
        assert wait_until(lambda: len(codes) == len(topics), 60)
        # With max_queued_messages 0 Mosquitto 2.0.21 throws a client out for a publication that it refuses.
        assert lost == []
    finally:
        client.disconnect()
        client.loop_stop()
    return codes


def execute(servers: LocalServers, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(servers.environment()["JCM_MRV_DATABASE_URL"], autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module")
def own() -> Iterator[LocalServers]:
    """An instance of this file's own, because its servers are killed."""
    home = default_directory()
    servers = LocalServers(home / f"test-{uuid.uuid4().hex[:8]}", packages=home / "packages")
    try:
        servers.start()
        yield servers
    finally:
        servers.reset()
        shutil.rmtree(servers.directory)


def test_both_answer_and_are_what_they_should_be(own: LocalServers) -> None:
    status = own.status()
    assert status.running
    assert status.postgres.version.startswith("17.")
    assert (status.timescaledb_version, status.mosquitto.version) == ("2.19.3", "2.0.21")
    assert status.postgres.data_bytes > 10_000_000
    execute(own, "create extension if not exists timescaledb")
    state = State.model_validate_json((own.directory / "state.json").read_bytes())
    as_superuser = psycopg.connect(
        own.environment()["JCM_MRV_DATABASE_URL"], user="postgres", password=state.superuser_password
    )
    with as_superuser as connection:
        connection.execute("select count(*) from timescaledb_information.hypertables")
        settings = dict(
            connection.execute(
                "select name, setting from pg_settings where name in ('fsync', 'synchronous_commit', 'jit', "
                "'TimeZone', 'data_checksums', 'unix_socket_directories')"
            ).fetchall()
        )
        # Debian's build may leave telemetry out, and with it the setting's entry in pg_settings.
        assert connection.execute("show timescaledb.telemetry_level").fetchone() == ("off",)
    assert settings == {
        "fsync": "on",
        "synchronous_commit": "on",
        "jit": "off",
        "TimeZone": "UTC",
        "data_checksums": "on",
        "unix_socket_directories": "",
    }
    assert execute(own, "select datlocprovider, datlocale from pg_database where datname = 'jcm_mrv'") == [
        ("b", "C.UTF-8")
    ]
    assert execute(own, "select rolsuper from pg_roles where rolname = current_user") == [(False,)]


def test_secrets_are_private_and_in_no_command_line(own: LocalServers) -> None:
    file = own.directory / "state.json"
    assert file.stat().st_mode & 0o777 == 0o600
    state = State.model_validate_json(file.read_bytes())
    secrets = [state.superuser_password, state.owner_password, state.collector_password]
    commands = b""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            commands += path.read_bytes()
        except OSError:
            continue
    assert b"postgres" in commands
    logs = "".join(path.read_text() for path in (own.directory / "postgres/log").iterdir())
    logs += (own.directory / "mosquitto/mosquitto.log").read_text()
    for secret in secrets:
        assert secret.encode() not in commands
        assert secret not in logs


def test_a_wrong_password_and_no_password_are_refused(own: LocalServers) -> None:
    port = own.status().mosquitto.port or 0
    assert mqtt_connack("127.0.0.1", port, "collector", "wrong") == 5
    assert mqtt_connack("127.0.0.1", port, "", "") == 5
    url = own.environment()["JCM_MRV_DATABASE_URL"]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url, password="wrong")


def test_starting_again_changes_nothing(own: LocalServers) -> None:
    before = own.status()
    began = time.monotonic()
    after = own.start()
    # That nothing was started is told by the processes; this much is not waited for what answers already.
    assert time.monotonic() - began < 10
    assert (after.postgres.pid, after.postgres.port) == (before.postgres.pid, before.postgres.port)
    assert (after.mosquitto.pid, after.mosquitto.port) == (before.mosquitto.pid, before.mosquitto.port)


def test_a_site_writes_below_its_own_name_only(own: LocalServers) -> None:
    first = own.site_credentials("site-a")
    second = own.site_credentials("site-b")
    assert own.site_credentials("site-a") == first
    assert first[1] != second[1]
    name = f"listener-{uuid.uuid4().hex}"
    with closing(Listener(own, name)) as listener:
        listener.subscribe("$share/collectors/jcm/#")
        codes = publish(
            own,
            *first,
            ["jcm/v1/site-b/inv-1/readings", "jcm/v1/readings", "other/site-a", "jcm/v1/site-a/inv-1/readings"],
        )
        assert wait_until(lambda: len(listener.topics) >= 1, 60)
    # 0x87: not authorized. The last message went the same way after the three, so they cannot still be under way.
    assert codes == [0x87, 0x87, 0x87, 0]
    assert listener.topics == ["jcm/v1/site-a/inv-1/readings"]


@pytest.mark.parametrize("name", ["", "collector", "a/b", "+", "#", "a:b", "a b", "ä", "x" * 65, "a\n"])
def test_a_name_that_would_break_the_rights_is_refused(own: LocalServers, name: str) -> None:
    with pytest.raises(LocalServersError, match="cannot be a broker user"):
        own.site_credentials(name)


def test_rows_and_queue_survive_a_stop(own: LocalServers) -> None:
    execute(own, "create table survives (n integer)")
    execute(own, "insert into survives values (1)")
    site = own.site_credentials("site-c")
    name = f"away-{uuid.uuid4().hex}"
    with closing(Listener(own, name)) as absent:
        absent.subscribe("jcm/v1/site-c/#")
    # More than Mosquitto's default bound of 1,000 messages for an absent subscriber.
    assert set(publish(own, *site, [f"jcm/v1/site-c/inv-{n}/readings" for n in range(1200)])) == {0}
    ports = (own.status().postgres.port, own.status().mosquitto.port)
    own.stop()
    stopped = own.status()
    assert not stopped.postgres.running
    assert not stopped.mosquitto.running
    assert all(is_free(port) for port in ports if port is not None)
    own.stop()
    started = own.start()
    assert (started.postgres.port, started.mosquitto.port) == ports
    assert execute(own, "select n from survives") == [(1,)]
    with closing(Listener(own, name)) as back:
        assert wait_until(lambda: len(back.topics) == 1200, 60)


def test_both_come_back_after_kill_9(own: LocalServers) -> None:
    execute(own, "create table killed (n integer)")
    execute(own, "insert into killed values (1)")
    for _ in range(3):
        before = own.status()
        assert before.postgres.pid is not None
        assert before.mosquitto.pid is not None
        os.kill(before.postgres.pid, signal.SIGKILL)
        os.kill(before.mosquitto.pid, signal.SIGKILL)
        after = own.start()
        assert after.running
        assert after.postgres.pid != before.postgres.pid
        assert (after.postgres.port, after.mosquitto.port) == (before.postgres.port, before.mosquitto.port)
    assert execute(own, "select n from killed") == [(1,)]


def test_a_backend_that_outlives_its_postmaster_is_ended(own: LocalServers) -> None:
    state = State.model_validate_json((own.directory / "state.json").read_bytes())
    before = own.status().postgres.pid
    assert before is not None
    with psycopg.connect(own.environment()["JCM_MRV_DATABASE_URL"], autocommit=True) as busy:
        backend = busy.info.backend_pid

        def work() -> str:
            try:
                # Minutes without a look at whether the postmaster lives.
                busy.execute(
                    "do $$ declare stop timestamptz := clock_timestamp() + '3 min'; "
                    "begin while clock_timestamp() < stop loop null; end loop; end $$"
                )
            except psycopg.OperationalError:
                return "lost"
            return "done"

        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(work)
            at_work = f"select 1 from pg_stat_activity where pid = {backend} and state = 'active'"
            assert wait_until(lambda: bool(execute(own, at_work)), 60)
            os.kill(before, signal.SIGKILL)
            assert backend in find_by_title(f"postgres: {state.instance}: ")
            assert own.start().running
            assert backend not in find_by_title(f"postgres: {state.instance}: ")
            assert ended.result() == "lost"


def test_a_recycled_process_id_is_not_taken_for_a_server(own: LocalServers) -> None:
    own.stop()
    lock = own.directory / "postgres" / "data" / "postmaster.pid"
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        try:
            data = own.directory / "postgres" / "data"
            lock.write_text(f"{other.pid}\n{data}\n{int(time.time())}\n5432\n\n127.0.0.1\n 1 1\nready\n")
            assert own.start().running
            assert other.poll() is None
        finally:
            other.kill()


def test_a_taken_port_is_given_up(own: LocalServers) -> None:
    before = own.status()
    own.stop()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", before.postgres.port or 0))
        taken.listen()
        after = own.start()
    assert after.running
    assert after.postgres.port != before.postgres.port
    assert after.mosquitto.port == before.mosquitto.port


def test_two_callers_start_one_server(own: LocalServers) -> None:
    own.stop()
    code = (
        "import sys; from pathlib import Path; from deploy.local import LocalServers; "
        "s = LocalServers(Path(sys.argv[1]), Path(sys.argv[2])).start(); "
        "print(s.running, s.postgres.pid, s.mosquitto.pid)"
    )
    command = [sys.executable, "-c", code, str(own.directory), str(own.packages)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = {process.communicate(timeout=200)[0] for process in running}
    assert len(said) == 1
    assert said.pop().startswith("True ")


def test_what_the_server_says_reaches_the_message(own: LocalServers) -> None:
    own.stop()
    conf = own.directory / "postgres" / "local.conf"
    kept = conf.read_text()
    conf.write_text("shared_buffers = 'plenty'\n")
    try:
        with pytest.raises(LocalServersError, match="shared_buffers"):
            own.start()
    finally:
        conf.write_text(kept)
    assert own.start().running


def test_reset_deletes_the_data_and_nothing_else() -> None:
    home = default_directory()
    servers = LocalServers(home / f"test-{uuid.uuid4().hex[:8]}", packages=home / "packages")
    try:
        with pytest.raises(LocalServersError, match="jcm-mrv local start"):
            servers.environment()
        # What a start leaves that failed before it chose ports.
        servers.directory.mkdir()
        write_state(servers.directory / "state.json", State())
        servers.reset()
        assert not (servers.directory / "state.json").exists()
        servers.start()
        (servers.directory / "mine.txt").write_text("kept")
        execute(servers, "create table gone (n integer)")
        old = servers.environment()
        state = servers.directory / "state.json"
        state.write_text("{")
        with pytest.raises(LocalServersError, match="jcm-mrv local reset"):
            servers.start()
        servers.reset()
        assert sorted(path.name for path in servers.directory.iterdir()) == ["lock", "mine.txt"]
        assert not servers.status().postgres.running
        assert servers.packages.is_dir()
        servers.start()
        assert servers.environment() != old
        assert execute(servers, "select to_regclass('gone') is null") == [(True,)]
    finally:
        servers.reset()
        shutil.rmtree(servers.directory)


def test_a_shell_gets_a_login_that_reads_and_one_that_writes(servers: LocalServers) -> None:
    environment = servers.environment()
    assert set(environment) == {"JCM_MRV_DATABASE_URL", "JCM_MRV_MQTT_URL", "JCM_MRV_MQTT_PUBLISH_URL"}
    address = mqtt_url.parse(environment["JCM_MRV_MQTT_PUBLISH_URL"])
    with Publisher(address) as publisher:
        publisher.publish("jcm/v1/any-site/any-device/readings", b"{}")
        # What `simulate --direct` does.
        publisher.publish("shellies/any-device/emeter/0/power", b"1")
    with pytest.raises(PublishError), Publisher(mqtt_url.parse(environment["JCM_MRV_MQTT_URL"])) as publisher:
        publisher.publish("jcm/v1/any-site/any-device/readings", b"{}")
