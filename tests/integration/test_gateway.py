"""The gateway as a process: a real Modbus server, a real broker, kills, cuts and a clock that is not set."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
import pytest
from click.testing import CliRunner
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import PacketTypes, Properties

from deploy.cli import cli
from deploy.local import default_directory as local_directory
from deploy.local.packages import find_packages
from deploy.local.state import free_port
from devices import mqtt_url
from devices.errors import PollError
from devices.gateway.config import parse
from devices.gateway.gateway import lines
from tests.fault.link import Link
from tests.harness import assert_balanced, collecting, declare, forget_session, rows, wait_until
from tests.integration.modbus_site import START_WH, Site, rtu_over_tcp, serial_line

STEPPED_CLOCK = Path(__file__).parents[1] / "fault" / "stepped_clock"
PLAIN = """
[[device.register]]
point = "PhVphA"
address = 10
type = "f32"
[[device.register]]
point = "TotWhImp"
address = 342
type = "u32"
word_order = "little"
scale = 100
[[device.register]]
point = "W"
address = 350
type = "u16"
missing = [0xFFFF]
"""


def device(port: int, unit: int, kind: str = "sunspec", interval_s: float = 0.03, more: str = "") -> str:
    return (
        f'[[device]]\nid = "unit-{unit}"\nkind = "{kind}"\nhost = "127.0.0.1"\nport = {port}\nunit = {unit}\n'
        f"poll_interval_s = {interval_s}\ntimeout_s = 20\n{more}\n"
    )


def head(site: str, spool: Path, **changes: object) -> str:
    given = {"grace_s": 5, "backfill_per_s": 400, "health_interval_s": 1, "spool_limit_mb": 50,
             "when_full": '"drop-oldest"'} | changes  # fmt: skip
    options = "\n".join(f"{key} = {value}" for key, value in given.items())
    return f'[gateway]\nid = "gw"\nsite = "{site}"\nspool = "{spool}"\n{options}\n'


@pytest.fixture
def bus() -> Iterator[Site]:
    with Site() as site:
        yield site


@dataclass
class Process:
    """`jcm-mrv gateway` as it runs at a site."""

    file: Path
    url: str
    environment: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        log = self.file.with_suffix(".log").open("ab")
        environment = os.environ | {"JCM_MRV_MQTT_PUBLISH_URL": self.url, "JCM_MRV_LOG_FORMAT": "json"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "deploy.cli", "gateway", str(self.file)],
            env=environment | self.environment, stdout=log, stderr=log,
        )  # fmt: skip
        log.close()

    def events(self) -> list[str]:
        # The last line may be half written.
        lines_ = self.file.with_suffix(".log").read_text().splitlines(keepends=True)
        return [json.loads(line)["event"] for line in lines_ if line.startswith("{") and line.endswith("\n")]

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)


@contextmanager
def gateway(folder: Path, text: str, url: str, **environment: str) -> Iterator[Process]:
    file = folder / "gateway.toml"
    file.write_text(text)
    process = Process(file, url, environment)
    process.start()
    try:
        yield process
    finally:
        process.close()


class Ear:
    """Hears what the broker passes on, with a session that outlives its connection."""

    def __init__(self, url: str, topic: str) -> None:
        self.heard: list[tuple[float, str, bytes]] = []
        self.subscribed = threading.Event()
        address = mqtt_url.parse(url)
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=f"ear-{uuid.uuid4().hex[:8]}", protocol=mqtt.MQTTv5
        )
        if address.username:
            self.client.username_pw_set(address.username, address.password)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_message = lambda _c, _d, one: self.heard.append((time.monotonic(), one.topic, one.payload))
        self.client.on_connect = lambda *_: self.client.subscribe(topic, qos=1)
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 60
        self.client.connect(address.host, address.port, properties=properties)
        self.client.loop_start()
        if not self.subscribed.wait(60):
            self.close()
            raise AssertionError("not subscribed")

    def readings(self) -> list[dict]:
        return [json.loads(payload) for _, topic, payload in list(self.heard) if "/gw/" not in topic]

    def of(self, name: str) -> list[dict]:
        return [json.loads(payload) for _, topic, payload in list(self.heard) if topic.split("/")[3] == name]

    def away(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def close(self) -> None:
        self.away()


@pytest.fixture
def ears() -> Iterator[Callable[..., Ear]]:
    made: list[Ear] = []

    def make(*given) -> Ear:
        made.append(Ear(*given))
        return made[-1]

    yield make
    for ear in made:
        ear.close()


def in_spool(file: Path) -> list[tuple[str, int]]:
    with sqlite3.connect(file) as database:
        found = database.execute("select device, seq from reading where device <> 'gw'").fetchall()
    database.close()
    return found


def new_site() -> str:
    return f"gw-{uuid.uuid4().hex[:8]}"


def test_an_outage_and_kills_lose_nothing_and_double_nothing(tmp_path, broker, bus, database, ears):
    """An hour of a site with four devices asked every few seconds: 2,400 readings, while the broker is out of reach."""
    site = new_site()
    names = [f"unit-{unit}" for unit in (1, 2, 3, 4)]
    declare(database, site, [*names, "gw"])
    ear = ears(broker.collector_url, f"jcm/v1/{site}/#")
    link = Link(lambda: (broker.host, broker.port))
    parts = urlsplit(broker.site_url(site))
    url = parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{link.port}").geturl()
    text = head(site, tmp_path / "spool.sqlite") + "".join(device(bus.port, unit) for unit in (1, 2, 3, 4))
    client_id = f"collector-{site}"
    try:
        with (
            collecting(broker.collector_url, database, client_id, topic_filter=f"jcm/v1/{site}/#"),
            gateway(tmp_path, text, url) as process,
        ):
            wait_until(lambda: len(ear.readings()) > 100)
            link.cut()
            start = sum(bus.served.values())
            for part in (800, 1600):
                wait_until(lambda part=part: sum(bus.served.values()) - start >= part, 180)
                process.end(signal.SIGKILL)
                process.start()
            wait_until(lambda: sum(bus.served.values()) - start >= 2400, 180)
            mended, cut_until = time.monotonic(), time.time() * 1000
            link.mend(reset=True)
            wait_until(lambda: any(one["ts"] > cut_until for one in ear.readings()))
            live_after = len(ear.heard)
            wait_until(lambda: len(ear.readings()) - live_after > 1500)
            # Polls go on; none gives a reading any more.
            bus.failing |= {1, 2, 3, 4}
            wait_until(lambda: all(all_came(ear, bus, unit, lost=2) for unit in (1, 2, 3, 4)), what="the last readings")
            heard = {(topic.split("/")[3], json.loads(payload)["seq"]) for _, topic, payload in ear.heard}
            wait_until(lambda: len(rows(database, "select 1 from reading")) >= len(heard))
            assert process.end() == 0
    finally:
        link.close()
        forget_session(broker.collector_url, client_id)
    by_device: dict[str, dict[int, set[bytes]]] = defaultdict(lambda: defaultdict(set))
    for _, topic, payload in ear.heard:
        by_device[topic.split("/")[3]][json.loads(payload)["seq"]].add(payload)
    for name in names:
        seqs = by_device[name]
        # Without a gap, and one reading to a number however often it came.
        assert sorted(seqs) == list(range(1, len(seqs) + 1))
        assert all(len(payloads) == 1 for payloads in seqs.values())
        readings = [json.loads(next(iter(seqs[seq]))) for seq in sorted(seqs)]
        assert [one["ts"] for one in readings] == sorted({one["ts"] for one in readings})
        counts = [one["points"]["TotWhExp"] / 1000 - START_WH for one in readings]
        # Each kill may have cost the answer that was on its way: served, and never taken.
        missing = set(range(int(counts[-1]))) - set(map(int, counts))
        assert len(missing) <= 2
        assert counts == sorted(set(counts))
    assert all((name, seq) in heard for name, seq in in_spool(tmp_path / "spool.sqlite"))
    # New readings came past the old ones, which came at their rate and in order.
    after = [
        (at, json.loads(payload)["ts"]) for at, topic, payload in ear.heard if at >= mended and "/gw/" not in topic
    ]
    old = [(at, ts) for at, ts in after if ts <= cut_until]
    assert live_after < len(ear.heard)
    assert any(ts > cut_until for at, ts in after if at < old[-1][0])
    assert (old[-1][0] - old[0][0]) >= len(old) / 400 - 2
    for name in names:
        times = [
            json.loads(payload)["ts"]
            for at, topic, payload in ear.heard
            if at >= mended and f"/{name}/" in topic and json.loads(payload)["ts"] <= cut_until
        ]
        assert times == sorted(times)
    # And the same at the collector.
    stored = dict(rows(database, "select d.id, count(*) from reading r join device d using (device_id) group by d.id"))
    assert {name: stored[name] for name in names} == {name: len(by_device[name]) for name in names}
    assert rows(database, "select sum(readings_conflict), sum(readings_quarantined) from ingest_account") == [(0, 0)]
    assert_balanced(database)


def whole(readings: list[dict]) -> bool:
    seqs = {one["seq"] for one in readings}
    return seqs == set(range(1, len(seqs) + 1))


def all_came(ear: Ear, bus: Site, unit: int, lost: int = 0) -> bool:
    """Whether everything came that was read until the device began to fail; kills may have cost so many answers.

    What the gateway tells of the failure is sent after the readings before it.
    """
    readings = ear.of(f"unit-{unit}")
    seqs = {one["seq"] for one in readings}
    told = any(f"unit-{unit}" in one["points"]["failing"] for one in ear.of("gw"))
    return told and whole(readings) and len(seqs) >= bus.served[unit] - lost


@contextmanager
def forgetful_broker(folder: Path, program: str, port: int) -> Iterator[Callable[[], None]]:
    """A Mosquitto that saves nothing; gives what kills it and starts it again."""
    configuration = folder / "mosquitto.conf"
    configuration.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nuser root\n")

    def start() -> subprocess.Popen:
        return subprocess.Popen(
            [program, "-c", str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    running = [start()]

    def kill() -> None:
        running[0].kill()
        running[0].wait(30)
        running[0] = start()

    try:
        yield kill
    finally:
        running[0].kill()
        running[0].wait(30)


def test_what_a_killed_broker_acknowledged_and_forgot_is_sent_again(tmp_path, servers, bus, ears):
    """Mosquitto gives its PUBACK from memory; what it had not saved when it was killed is still with the gateway."""
    packages = find_packages(local_directory() / "packages")
    assert packages is not None
    port = free_port()
    url, site = f"mqtt://127.0.0.1:{port}", new_site()
    file = tmp_path / "spool.sqlite"
    with forgetful_broker(tmp_path, str(packages.mosquitto), port) as kill:
        wait_until(lambda: answers(port))
        # A subscriber that is away: the broker keeps for it what it acknowledges, in memory.
        ear = ears(url, f"jcm/v1/{site}/#")
        ear.away()
        with gateway(tmp_path, head(site, file, grace_s=300) + device(bus.port, 1), url) as process:
            wait_until(lambda: bus.served[1] > 100)
            bus.failing.add(1)
            wait_until(lambda: "gateway_device_failing" in process.events())
            time.sleep(1)
            kill()
            assert ear.readings() == []
            wait_until(lambda: answers(port))
            again = ears(url, f"jcm/v1/{site}/#")
            wait_until(lambda: all_came(again, bus, 1), what="everything again")
            assert process.end() == 0
    taken = {seq for _, seq in in_spool(file)}
    assert {one["seq"] for one in again.readings()} == taken == set(range(1, len(taken) + 1))


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_no_collector_yet_is_no_delivery(tmp_path, servers, bus, ears):
    """MQTT 5 says when a message is kept for nobody; the gateway keeps it until somebody has subscribed."""
    packages = find_packages(local_directory() / "packages")
    assert packages is not None
    port = free_port()
    url, site = f"mqtt://127.0.0.1:{port}", new_site()
    # A broker of its own: at the shared one, collectors of other tests hear every site.
    with (
        forgetful_broker(tmp_path, str(packages.mosquitto), port),
        gateway(tmp_path, head(site, tmp_path / "spool.sqlite") + device(bus.port, 1), url) as process,
    ):
        wait_until(lambda: "gateway_broker_lost" in process.events())
        ear = ears(url, f"jcm/v1/{site}/#")
        wait_until(lambda: 1 in {one["seq"] for one in ear.readings()})
        bus.failing.add(1)
        wait_until(lambda: all_came(ear, bus, 1), what="all that was kept")
        assert process.end() == 0
        seqs = {one["seq"] for one in ear.readings()}
    assert seqs == set(range(1, len(seqs) + 1))


def test_readings_from_before_the_clock_was_set_get_their_true_time(tmp_path, broker, bus, ears):
    site = new_site()
    ear = ears(broker.collector_url, f"jcm/v1/{site}/#")
    clock = tmp_path / "clock"
    clock.write_text(str(-time.time() + 60))
    environment = {"STEPPED_CLOCK": str(clock), "PYTHONPATH": f"{STEPPED_CLOCK}:{Path.cwd()}"}
    text = head(site, tmp_path / "spool.sqlite") + device(bus.port, 1)
    began = time.time()
    with gateway(tmp_path, text, broker.site_url(site), **environment) as process:
        wait_until(lambda: bus.served[1] > 30)
        # The machine runs on, the gateway is started again: what it finds in its store can still be dated.
        assert process.end() == 0
        process.start()
        wait_until(lambda: process.events().count("gateway_broker_connected") == 2)
        time.sleep(0.5)
        assert ear.readings() == []
        set_at = time.time()
        clock.write_text("0")
        wait_until(lambda: 1 in {one["seq"] for one in ear.readings()})
        bus.failing.add(1)
        # The answer that was on its way when the gateway ended.
        wait_until(lambda: all_came(ear, bus, 1, lost=1), what="all that was kept")
        assert process.end() == 0
        assert "gateway_readings_dated" in process.events()
    times = {one["seq"]: one["ts"] / 1000 for one in ear.readings()}
    assert sorted(times) == list(range(1, len(times) + 1))
    assert began <= times[1] <= times[20] < set_at
    ordered = [times[seq] for seq in sorted(times)]
    assert all(later - earlier > -0.005 for earlier, later in pairwise(ordered))


def test_the_gateway_tells_its_own_health(tmp_path, broker, bus, ears):
    site = new_site()
    ear = ears(broker.collector_url, f"jcm/v1/{site}/#")
    bus.failing.add(2)
    text = head(site, tmp_path / "spool.sqlite") + device(bus.port, 1) + device(bus.port, 2)
    began = time.time()

    def is_of_both(points: dict) -> bool:
        """Whether it was told after both devices were asked and something was kept."""
        return points["polls"] > points["poll_errors"] > 0 and points["queued"] > 0

    with gateway(tmp_path, text, broker.site_url(site)):
        wait_until(lambda: [one for one in ear.of("gw") if is_of_both(one["points"])], what="its health")
    told = next(one for one in ear.of("gw") if is_of_both(one["points"]))
    assert began - 1 < told["ts"] / 1000 < time.time() + 1
    points = told["points"]
    assert (points["St"], points["failing"], points["dropped"]) == (7, "unit-2", 0)


@contextmanager
def pollers(*devices: str) -> Iterator[list]:
    configuration = parse(head("s", Path("unused")) + "".join(devices), "test.toml")
    made = lines(configuration)
    try:
        yield [one for _, on_line in made for one in on_line]
    finally:
        for line, _ in made:
            line.close()


def test_scale_factors_sentinels_and_failures_on_the_wire(bus):
    with pollers(device(bus.port, 1), device(bus.port, 5), device(bus.port, 7, "modbus", more=PLAIN)) as (
        inverter, meter, plain,
    ):  # fmt: skip
        first = inverter.poll()
        assert (first["W"], first["TotWhExp"], first["SN"], first["WRtg"]) == (49870.0, 1_001_000.0, "SN-1", 50_000.0)
        bus.overrides[1] = {"WH": 10_020, "WH_SF": 2, "W": -0x8000}
        assert inverter.poll() == {"TotWhExp": 1_002_000.0, "Hz": 50.01, "St": 4.0}
        bus.overrides[1] = {"WH": 0}
        assert "TotWhExp" not in inverter.poll()
        bus.failing.add(1)
        with pytest.raises(PollError, match=r"unit 1.*it has failed"):
            inverter.poll()
        bus.failing.clear()
        meter.poll()
        assert meter.poll() == {"W": -5000.0, "TotWhExp": 1002.0, "TotWhImp": 7.0}
        assert plain.poll() == {"PhVphA": 230.5, "TotWhImp": 123_456_700.0}


def test_modbus_rtu_over_a_serial_line_and_over_tcp():
    with serial_line() as port:
        meter = device(0, 7, "modbus", more=PLAIN).replace('host = "127.0.0.1"\nport = 0', f'serial_port = "{port}"')
        configuration = parse(
            head("s", Path("unused")) + meter.replace("unit = 7", "unit = 7\nbaud_rate = 115200"), "f"
        )
        [(line, [poller])] = lines(configuration)
        assert [poller.poll() for _ in range(3)] == [{"PhVphA": 230.5, "TotWhImp": 123_456_700.0}] * 3
        line.close()
    with rtu_over_tcp() as number, pollers(device(number, 7, "modbus", more=f'framing = "rtu"\n{PLAIN}')) as (meter,):
        assert meter.poll() == {"PhVphA": 230.5, "TotWhImp": 123_456_700.0}


def test_another_device_in_the_place_of_a_declared_one_gives_nothing(bus):
    with (
        pollers(device(bus.port, 1, more='serial_number = "SN-9"')) as (inverter,),
        pytest.raises(PollError, match="SN-1, and SN-9 is declared"),
    ):
        inverter.poll()


def test_a_dead_line_is_a_failed_poll_and_comes_back():
    # Not one of those that outgoing connections take, for it must be free again.
    port = free_port()
    with Site(port=port):
        configuration = parse(head("s", Path("unused")) + device(port, 1), "test.toml")
        [(line, [inverter])] = lines(configuration)
        assert inverter.poll()
    with pytest.raises(PollError):
        inverter.poll()
    with pytest.raises(PollError, match="does not take a connection"):
        inverter.poll()
    with Site(port=port):
        assert inverter.poll()["TotWhExp"] == 1_001_000.0
        line.close()


def test_check_shows_what_devices_say_and_fails_when_one_says_nothing(tmp_path, bus):
    file = tmp_path / "gateway.toml"
    file.write_text(head("s", tmp_path / "spool") + device(bus.port, 1) + device(bus.port, 2))
    done = CliRunner().invoke(cli, ["gateway", str(file), "--check"])
    assert done.exit_code == 0
    assert "unit-1: W 49870.0, " in done.output
    bus.failing.add(2)
    done = CliRunner().invoke(cli, ["gateway", str(file), "--check"])
    assert "unit-2: 127.0.0.1" in done.output
    assert "1 of 2 devices gave no reading" in str(done.exception)
    assert not (tmp_path / "spool").exists()
