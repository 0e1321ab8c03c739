"""Third-party edge nodes on a real broker, as the host hears them.

What differs between them is asserted here, client by client.
"""

import json
import queue
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from devices import mqtt_url
from devices.sparkplug import host, messages, topics
from devices.sparkplug.host import Node, Occurrence, Step
from devices.sparkplug.payload import Metric, Payload, decode
from devices.sparkplug.topics import Address, Kind
from tests.conftest import Broker
from tests.interop.conftest import DEVICE, ENERGY, Program

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

SITE, GROUP = "interop-site", "JcmInterop"
BORN = {
    "Inverter/W": 4213.5,
    "Inverter/energy": ENERGY,
    "Inverter/temp": -12,
    "Inverter/signal": -1,
    "Inverter/state": "MPPT",
}


@dataclass
class Heard:
    address: Address
    payload: Payload
    step: Step

    @property
    def codes(self) -> list[Occurrence]:
        return [event.code for event in self.step.events]

    @property
    def values(self) -> dict:
        assert len(self.step.samples) == 1, self.step.samples
        return dict(self.step.samples[0].values)

    @property
    def metrics(self) -> dict[str | int | None, Metric]:
        return {metric.name or metric.alias: metric for metric in self.payload.metrics}


class Host:
    """A host application: hears one edge node, keeps its state as a database would, can be deaf for a frame."""

    def __init__(self, broker: Broker, namespace: str, edge: str) -> None:
        self._prefix = namespace.removesuffix(topics.NAMESPACE)
        self._frames: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
        self._state = b"null"
        self.heard: list[Heard] = []
        address = mqtt_url.parse(broker.collector_url)
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"host-{edge}")
        self._client.username_pw_set(address.username, address.password)
        self._client.on_message = lambda _client, _data, message: self._frames.put(message)
        ready: queue.Queue[bool] = queue.Queue()
        self._client.on_subscribe = lambda *_: ready.put(True)
        self._client.on_connect = lambda client, *_: client.subscribe(f"{namespace}/{GROUP}/+/{edge}/#")
        self._client.connect(address.host, address.port)
        self._client.loop_start()
        try:
            ready.get(timeout=60)
        except queue.Empty:
            self.close()
            raise

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def node(self) -> Node:
        return msgspec.json.decode(self._state, type=Node)

    def next(self) -> Heard:
        message = self._frames.get(timeout=60)
        address = topics.parse(message.topic.removeprefix(self._prefix))
        assert isinstance(address, Address)
        node = msgspec.json.decode(self._state, type=Node | None)
        step = host.take(node, address, message.payload, arrived_at=datetime.now(UTC), redelivered=message.dup)
        self._state = msgspec.json.encode(step.node)
        self.heard.append(Heard(address, decode(message.payload), step))
        return self.heard[-1]

    def expect(self, kind: Kind) -> Heard:
        heard = self.next()
        assert heard.address.kind is kind, heard
        return heard

    def miss(self) -> None:
        self._frames.get(timeout=60)

    def ask_for_rebirth(self, edge: str) -> None:
        topic = self._prefix + topics.ncmd(GROUP, edge)
        self._client.publish(topic, messages.rebirth_command(datetime.now(UTC))).wait_for_publish(60)


@dataclass
class Live:
    """An edge node that runs, and the host that hears it."""

    host: Host
    edge: str
    process: subprocess.Popen[str]

    def do(self, what: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()

    def stopped(self) -> None:
        self.do("stop")
        assert self.process.wait(60) == 0


@pytest.fixture
def live(broker: Broker) -> Iterator[Callable]:
    """Starts an edge node under the login of a site and hears it from its first message on."""
    user, password = broker.servers.site_credentials(SITE, [f"{topics.NAMESPACE}/{GROUP}/#"])

    @contextmanager
    def start(program: Program, namespace: str = topics.NAMESPACE) -> Iterator[Live]:
        edge = f"gw-{uuid.uuid4().hex[:8]}"
        hearing = Host(broker, namespace, edge)
        with closing(hearing), program.started() as process:
            try:
                running = Live(hearing, edge, process)
                where = {"host": broker.host, "port": broker.port, "user": user, "password": password}
                running.do(json.dumps(where | {"group": GROUP, "edge": edge, "namespace": namespace}))
                yield running
            finally:
                process.kill()

    return start


def born(running: Live) -> tuple[Heard, Heard]:
    node = running.host.expect(Kind.NBIRTH)
    assert (node.payload.seq, node.step.rejections, node.step.rebirth) == (0, (), False)
    device = running.host.expect(Kind.DBIRTH)
    assert (device.payload.seq, device.step.rejections, device.step.rebirth) == (1, (), False)
    assert device.values == BORN
    assert device.codes == [Occurrence.DEVICE_BORN]
    return node, device


def data(running: Live) -> list[Heard]:
    """What both edge nodes send: by alias alone, a negative Int8, a null, an hour old."""
    running.do("data")
    frames = [running.host.expect(Kind.DDATA) for _ in range(4)]
    by_alias, signal, null, late = frames
    assert [metric.name for metric in by_alias.payload.metrics] == [None, None]
    assert by_alias.values == {"Inverter/temp": -13, "Inverter/energy": ENERGY + 2}
    assert signal.values == {"Inverter/signal": -2}
    assert null.values == {"Inverter/W": None}
    assert late.values == {"Inverter/energy": ENERGY - 2}
    sample = late.step.samples[0]
    assert sample.historical
    assert timedelta(minutes=59) < late.payload.timestamp - sample.time < timedelta(minutes=61)
    assert [(one.step.rejections, one.step.events, one.step.rebirth) for one in frames] == [((), (), False)] * 4
    return frames


def test_npm_sparkplug_client(sparkplug_client, live):
    with live(sparkplug_client) as running:
        node, device = born(running)
        assert node.codes == [Occurrence.NODE_BORN]
        assert running.host.node.bd_seq == 0
        # Signs are extended to 32 bits.
        assert device.metrics["Inverter/temp"].raw == 2**32 - 12
        assert device.metrics["Inverter/signal"].raw == 2**32 - 1
        by_alias = data(running)[0]
        # A datatype although the specification leaves it out of data.
        assert by_alias.metrics[4].datatype is not None
        compressed = running.host.expect(Kind.DDATA)
        assert (compressed.values, compressed.codes) == ({"Inverter/temp": -14}, [])
        running.do("device death")
        assert running.host.expect(Kind.DDEATH).codes == [Occurrence.DEVICE_DEAD]
        assert running.host.node.online
        running.stopped()
        assert running.host.expect(Kind.NDEATH).codes == [Occurrence.NODE_DEAD]
        assert not running.host.node.online


def test_npm_sparkplug_client_killed(sparkplug_client, live):
    with live(sparkplug_client) as running:
        born(running)
        running.process.kill()
        assert running.host.expect(Kind.NDEATH).codes == [Occurrence.NODE_DEAD]
        assert not running.host.node.devices[DEVICE].online


def test_npm_sparkplug_client_is_born_again_after_a_lost_message(sparkplug_client, live):
    # Through a site's bridge, which is where a site's login hears commands.
    with live(sparkplug_client, f"jcm/v1/{SITE}/via/{topics.NAMESPACE}") as running:
        born(running)
        running.do("data")
        running.host.miss()
        after = running.host.expect(Kind.DDATA)
        assert (after.codes, after.step.rebirth) == ([Occurrence.SEQ_GAP], True)
        assert after.values == {"Inverter/signal": -2}
        for _ in range(3):
            assert not running.host.expect(Kind.DDATA).step.rebirth
        running.host.ask_for_rebirth(running.edge)
        assert running.host.expect(Kind.NCMD).step.samples == ()
        node, _ = born(running)
        assert node.codes == [Occurrence.NODE_BORN]
        assert not running.host.node.rebirth_wanted
        running.do("data")
        assert running.host.expect(Kind.DDATA).values == {"Inverter/temp": -13, "Inverter/energy": ENERGY + 2}


def test_pypi_pysparkplug(pysparkplug, live):
    with live(pysparkplug) as running:
        node, device = born(running)
        assert node.codes == [Occurrence.NODE_BORN]
        first = running.host.node.bd_seq
        # No "Node Control/Rebirth": it cannot be asked for a rebirth.
        assert [metric.name for metric in node.payload.metrics] == ["bdSeq"]
        # Signs are not extended.
        assert device.metrics["Inverter/temp"].raw == 2**16 - 12
        assert device.metrics["Inverter/signal"].raw == 2**8 - 1
        by_alias = data(running)[0]
        assert by_alias.metrics[4].datatype is None
        running.do("device death")
        assert running.host.expect(Kind.DDEATH).codes == [Occurrence.DEVICE_DEAD]
        running.stopped()
        death = running.host.expect(Kind.NDEATH)
        assert death.codes == [Occurrence.NDEATH_AHEAD, Occurrence.NODE_DEAD]
        assert death.metrics["bdSeq"].raw == first + 1
        assert not running.host.node.online


def test_pypi_pysparkplug_killed(pysparkplug, live):
    with live(pysparkplug) as running:
        born(running)
        running.process.kill()
        # Its will has the number of its birth, unlike its word at parting.
        assert running.host.expect(Kind.NDEATH).codes == [Occurrence.NODE_DEAD]


def test_pypi_mqtt_spb_wrapper(mqtt_spb_wrapper, live):
    with live(mqtt_spb_wrapper) as running:
        birth = running.host.expect(Kind.DBIRTH)
        assert birth.codes == [Occurrence.DBIRTH_BEFORE_NBIRTH, Occurrence.DEVICE_BORN]
        assert birth.step.rebirth
        assert birth.values == {f"DATA/{name}": value for name, value in BORN.items()}
        running.do("data")
        sent = running.host.expect(Kind.DDATA)
        assert sent.values == {"Inverter/temp": -13, "Inverter/energy": ENERGY + 2}
        assert sent.codes == [Occurrence.DATA_BEFORE_BIRTH, Occurrence.NAME_UNKNOWN]
        assert (sent.step.rejections, sent.step.rebirth) == ((), False)
        running.stopped()
        death = running.host.expect(Kind.DDEATH)
        assert death.codes == [Occurrence.SEQ_MISSING, Occurrence.DEVICE_DEAD]
        assert [metric.name for metric in death.payload.metrics] == ["bdSeq"]
        assert not running.host.node.devices[DEVICE].online


def test_pypi_mqtt_spb_wrapper_as_an_edge_node(mqtt_spb_wrapper, live):
    program = Program([*mqtt_spb_wrapper.command, "edge"])
    with live(program) as running:
        birth = running.host.expect(Kind.NBIRTH)
        assert (birth.codes, birth.step.rejections) == ([Occurrence.NODE_BORN], ())
        assert birth.values == {f"DATA/{name}": value for name, value in BORN.items()} | {
            # No rebirth is to be had under that name.
            "CMD/Node Control/Rebirth": False
        }
        running.do("data")
        assert running.host.expect(Kind.NDATA).values == {"Inverter/temp": -13, "Inverter/energy": ENERGY + 2}
        running.process.kill()
        # Its will was numbered before its birth counted on: by the specification, the death of an earlier session.
        death = running.host.expect(Kind.NDEATH)
        assert death.codes == [Occurrence.NDEATH_STALE]
        assert death.metrics["bdSeq"].raw == birth.metrics["bdSeq"].raw - 1
        assert running.host.node.online
    with live(program) as running:
        running.host.expect(Kind.NBIRTH)
        running.stopped()
        assert running.host.expect(Kind.NDEATH).codes == [Occurrence.NODE_DEAD]
