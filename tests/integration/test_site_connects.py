"""What a site is given, used: certificates, rights and bridge against brokers that are configured as we say."""

import contextlib
import shutil
import socket
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import PacketTypes, Properties

from deploy import site_files
from deploy.authority import AuthorityFolder
from deploy.local import LocalServers
from deploy.local.mosquitto import password_file
from deploy.local.probe import connect_packet
from deploy.local.state import free_port
from devices import mqtt_url
from tests.harness import wait_until
from tests.mosquitto import OwnMosquitto

SITE = "site-1"
EXTRA = ("shellies/plant-1/#",)
NOT_AUTHORIZED = 0x87
ACL = Path(__file__).resolve().parents[2] / "deploy" / "mosquitto" / "acl"
PASSWORDS = {"collector": "for the test", SITE: "of-the-site"}


@dataclass
class Site:
    """A certificate and its key, as files."""

    folder: Path

    @property
    def certificate(self) -> Path:
        return self.folder / "client.crt"

    @property
    def key(self) -> Path:
        return self.folder / "client.key"


@dataclass
class Central:
    """The broker of an operator: the shipped ACL, a site's own lines, the listeners of `--server`."""

    broker: OwnMosquitto
    authority: AuthorityFolder
    password_port: int
    certificate_port: int
    places: Path

    def certify(self, site: str, authority: AuthorityFolder | None = None) -> tuple[Site, str]:
        pem, issued = (authority or self.authority).issue_client(site, days=30)
        made = Site(self.places / uuid.uuid4().hex[:8])
        made.folder.mkdir(parents=True)
        made.key.write_bytes(pem.key)
        made.certificate.write_bytes(pem.certificate)
        return made, issued.serial

    def revoke(self, serial: str) -> None:
        self.authority.revoke([serial])
        shutil.copy(self.authority.revocations, self.broker.folder / "crl.pem")
        self.broker.reload()

    def context(self, site: Site | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.authority.certificate)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        if site is not None:
            context.load_cert_chain(site.certificate, site.key)
        return context

    @contextlib.contextmanager
    def secured(self, site: Site | None) -> Iterator[ssl.SSLSocket]:
        with (
            socket.create_connection(("127.0.0.1", self.certificate_port), 30) as stream,
            self.context(site).wrap_socket(stream, server_hostname="localhost") as secured,
        ):
            yield secured

    def refusal(self, site: Site | None) -> str:
        """The broker's TLS alert to somebody whom it refuses."""
        with self.secured(site) as secured:
            try:
                # In TLS 1.3 the alert follows the handshake; sending into the closed connection would throw it away.
                return f"said {secured.recv(4)!r}"
            except ssl.SSLError as error:
                return str(error.reason)

    def answers(self, site: Site) -> bool:
        """Whether the broker answers to somebody who logs in."""
        with self.secured(site) as secured:
            secured.sendall(connect_packet("ignored", "ignored"))
            return secured.recv(4)[:1] == b"\x20"


@pytest.fixture(scope="module")
def central(servers: LocalServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Central]:
    folder = tmp_path_factory.mktemp("central")
    authority = AuthorityFolder(tmp_path_factory.mktemp("authority"))
    pem, _ = authority.issue_server(["localhost", "127.0.0.1"], days=30)
    (folder / "server.key").write_bytes(pem.key)
    (folder / "server.crt").write_bytes(pem.certificate)
    for file in (authority.certificate, authority.revocations):
        shutil.copy(file, folder)
    password_port = free_port()
    certificate_port = free_port(taken=[password_port])
    listeners = site_files.server_conf().replace(site_files.BROKER_FOLDER, str(folder))
    listeners = listeners.replace("listener 8884", f"listener {password_port} 127.0.0.1")
    listeners = listeners.replace("listener 8883", f"listener {certificate_port} 127.0.0.1")
    (folder / "acl").write_text(ACL.read_text() + "\n" + site_files.acl(SITE, EXTRA))
    (folder / "passwords").write_text(password_file(PASSWORDS))
    configuration = (
        "persistence true\nmax_queued_messages 1000000000\n"
        f"allow_anonymous false\nacl_file {folder / 'acl'}\npassword_file {folder / 'passwords'}\n{listeners}"
    )
    broker = OwnMosquitto(servers, folder, configuration, certificate_port)
    broker.start()
    yield Central(broker, authority, password_port, certificate_port, tmp_path_factory.mktemp("sites"))
    broker.stop()


@dataclass
class Client:
    """A paho client that remembers what it was told."""

    port: int
    context: ssl.SSLContext | None = None
    login: tuple[str, str] | None = None
    codes: dict[int, int] = field(default_factory=dict)
    heard: list[tuple[str, bytes]] = field(default_factory=list)
    qos: set[int] = field(default_factory=set)
    granted: dict[int, int] = field(default_factory=dict)
    name: str = ""
    connected: bool = False
    ended: bool = False

    def __enter__(self) -> Self:
        self._settled = threading.Event()
        self._paho = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=self.name, protocol=mqtt.MQTTv5, reconnect_on_failure=False
        )
        if self.context is not None:
            self._paho.tls_set_context(self.context)
        if self.login is not None:
            self._paho.username_pw_set(*self.login)
        self._paho.on_connect = self._on_connect
        self._paho.on_disconnect = self._on_disconnect
        self._paho.on_publish = lambda c, d, mid, code, p: self.codes.__setitem__(mid, code.value)
        self._paho.on_message = self._on_message
        self._paho.on_subscribe = lambda c, d, mid, codes, p: self.granted.__setitem__(mid, codes[0].value)
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = 3600 if self.name else 0
        host = "localhost" if self.context else "127.0.0.1"
        self._paho.connect(host, self.port, clean_start=not self.name, properties=session)
        self._paho.loop_start()
        if not self._settled.wait(60):
            self.__exit__()
            raise AssertionError("no answer to the login")
        return self

    def __exit__(self, *_: object) -> None:
        self._paho.disconnect()
        self._paho.loop_stop()

    def publish(self, topic: str, payload: bytes = b"{}", qos: int = 1) -> int:
        """Publish and give the reason code of the acknowledgement."""
        sent = self._paho.publish(topic, payload, qos=qos)
        if qos == 0:
            return 0
        wait_until(lambda: sent.mid in self.codes, what=f"acknowledgement of {topic}")
        # 0x10: taken, and nobody subscribed to it.
        return self.codes[sent.mid] if self.codes[sent.mid] != 0x10 else 0

    def subscribe(self, topic: str) -> int:
        _, mid = self._paho.subscribe(topic, qos=1)
        assert mid is not None
        wait_until(lambda: mid in self.granted, what=f"subscription to {topic}")
        return self.granted[mid]

    def _on_connect(self, _client: object, _data: object, _flags: object, code: mqtt.ReasonCode, _p: object) -> None:
        self.connected = not code.is_failure
        self._settled.set()

    def _on_message(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        self.heard.append((message.topic, message.payload))
        self.qos.add(message.qos)

    def _on_disconnect(self, *_: object) -> None:
        self.ended = True
        self._settled.set()


def collector(central: Central, name: str = "") -> Client:
    """A collector; with a name, its queue is kept while it is away."""
    return Client(central.password_port, central.context(None), ("collector", PASSWORDS["collector"]), name=name)


def test_a_site_with_its_certificate_writes_below_its_own_name_only(central: Central) -> None:
    site, _ = central.certify(SITE)
    with collector(central) as listener, Client(central.certificate_port, central.context(site)) as client:
        assert listener.subscribe("#") == 1
        assert client.connected
        assert {topic: client.publish(topic) for topic in (
            "jcm/v1/site-2/inverter-1/readings", "jcm/v1/readings", "shellies/plant-2/x", "spBv1.0/G/NCMD/N", "other",
            "jcm/v1/site-1/via/any/thing", "shellies/plant-1/em/0", "jcm/v1/site-1/inverter-1/readings",
        )} == {
            "jcm/v1/site-2/inverter-1/readings": NOT_AUTHORIZED, "jcm/v1/readings": NOT_AUTHORIZED,
            "shellies/plant-2/x": NOT_AUTHORIZED, "spBv1.0/G/NCMD/N": NOT_AUTHORIZED, "other": NOT_AUTHORIZED,
            "jcm/v1/site-1/via/any/thing": 0, "shellies/plant-1/em/0": 0, "jcm/v1/site-1/inverter-1/readings": 0,
        }  # fmt: skip
        wait_until(lambda: len(listener.heard) >= 3)
        assert [topic for topic, _ in listener.heard] == [
            "jcm/v1/site-1/via/any/thing", "shellies/plant-1/em/0", "jcm/v1/site-1/inverter-1/readings",
        ]  # fmt: skip


def test_another_site_has_not_this_ones_topics(central: Central) -> None:
    site, _ = central.certify("site-2")
    with Client(central.certificate_port, central.context(site)) as client:
        assert client.publish("shellies/plant-1/em/0") == NOT_AUTHORIZED
        assert client.publish("jcm/v1/site-1/inverter-1/readings") == NOT_AUTHORIZED
        assert client.publish("jcm/v1/site-2/inverter-1/readings") == 0


def test_a_site_hears_what_its_own_nodes_are_asked_and_that_the_host_is_there(central: Central) -> None:
    site, _ = central.certify(SITE)
    with collector(central) as asking, Client(central.certificate_port, central.context(site)) as client:
        for topic in ("#", "jcm/v1/site-1/via/spBv1.0/+/NCMD/#", "jcm/v1/site-2/via/spBv1.0/+/NCMD/#"):
            client.subscribe(topic)
        # What is refused to a reader is refused silently, message by message.
        for topic, code in {
            "jcm/v1/site-2/via/spBv1.0/G/NCMD/N": 0,
            "spBv1.0/G/NCMD/N": 0,
            "spBv1.0/STATE/jcm-mrv": 0,
            "spBv1.0/G/NDATA/N": NOT_AUTHORIZED,
            "jcm/v1/site-1/via/spBv1.0/G/DCMD/N/D": NOT_AUTHORIZED,
            "jcm/v1/site-1/via/spBv1.0/G/NCMD/N": 0,
        }.items():
            assert asking.publish(topic) == code, topic
        wait_until(lambda: len({topic for topic, _ in client.heard}) == 2)
        # Whether the primary host is there is no secret; what it asks of others is.
        assert {topic for topic, _ in client.heard} == {
            "jcm/v1/site-1/via/spBv1.0/G/NCMD/N",
            "spBv1.0/STATE/jcm-mrv",
        }


def test_a_revoked_certificate_is_refused_from_the_next_connection_on(central: Central) -> None:
    former, serial = central.certify(SITE)
    renewed, _ = central.certify(SITE)
    assert central.answers(former)
    with Client(central.certificate_port, central.context(former)) as connected:
        central.revoke(serial)
        assert central.refusal(former) == "SSLV3_ALERT_CERTIFICATE_REVOKED"
        with Client(central.certificate_port, central.context(former)) as client:
            assert not client.connected
            assert client.ended
        assert central.answers(renewed)
        # Mosquitto looks at a certificate once; who is connected stays so.
        assert connected.publish("jcm/v1/site-1/inverter-1/readings") == 0


def test_the_second_of_two_revocations_counts_as_well(central: Central) -> None:
    first, second = central.certify(SITE), central.certify(SITE)
    # Within a second: a list is not told from the one before by its time.
    central.revoke(first[1])
    central.revoke(second[1])
    assert [central.refusal(site) for site, _ in (first, second)] == ["SSLV3_ALERT_CERTIFICATE_REVOKED"] * 2


def test_a_certificate_of_another_authority_is_refused(central: Central, tmp_path: Path) -> None:
    forged, _ = central.certify(SITE, AuthorityFolder(tmp_path))
    assert central.refusal(forged) == "TLSV1_ALERT_UNKNOWN_CA"
    with Client(central.certificate_port, central.context(forged)) as client:
        assert not client.connected


def test_no_certificate_is_refused_whatever_the_password(central: Central) -> None:
    assert central.refusal(None) == "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    login = ("collector", PASSWORDS["collector"])
    with Client(central.certificate_port, central.context(None), login) as client:
        assert not client.connected


def test_the_brokers_own_certificate_is_no_login(central: Central, tmp_path: Path) -> None:
    shutil.copy(central.broker.folder / "server.crt", tmp_path / "client.crt")
    shutil.copy(central.broker.folder / "server.key", tmp_path / "client.key")
    assert central.refusal(Site(tmp_path)) == "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE"


def test_a_certificate_for_another_host_is_not_the_brokers(central: Central) -> None:
    with (
        pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"),
        socket.create_connection(("127.0.0.1", central.certificate_port), 5) as stream,
    ):
        central.context(None).wrap_socket(stream, server_hostname="broker.example")


@pytest.fixture(params=["password", "certificate"])
def at_the_site(
    request: pytest.FixtureRequest, central: Central, servers: LocalServers, tmp_path: Path
) -> Iterator[OwnMosquitto]:
    """The site's own Mosquitto, with the bridge that it was given."""
    by_certificate = request.param == "certificate"
    port = central.certificate_port if by_certificate else central.password_port
    address = mqtt_url.parse(f"mqtts://localhost:{port}")
    given = site_files.bridge_conf(
        site_files.Login(SITE, address, "not-asked-for" if by_certificate else PASSWORDS[SITE], own_ca=True)
    )
    wanted = [line.removeprefix("#").strip() for line in given.splitlines() if line.startswith("#   ")]
    site, _ = central.certify(SITE)
    for file in (site.key, site.certificate):
        shutil.copy(file, tmp_path)
    given = given.replace(site_files.SITE_FOLDER, str(tmp_path)).replace("restart_timeout 5 60", "restart_timeout 1")
    shutil.copy(central.authority.certificate, tmp_path / site_files.BROKER_CA)
    own = free_port()
    configuration = "\n".join([f"listener {own} 127.0.0.1", "allow_anonymous true", *wanted, given])
    broker = OwnMosquitto(servers, tmp_path, configuration, own)
    broker.start()
    wait_until(lambda: "Received CONNACK on connection" in broker.log, what="the bridge connects")
    yield broker
    broker.stop()


def eventually_heard(client: Client, topic: str, again: Callable[[], object]) -> None:
    """Do it again until it is heard: nobody tells when a bridge's subscriptions stand."""

    def heard() -> bool:
        again()
        return topic in {name for name, _ in client.heard}

    wait_until(heard, what=topic)


def test_a_bridge_passes_all_on_below_the_site_and_brings_commands_to_its_nodes(
    central: Central, at_the_site: OwnMosquitto
) -> None:
    with collector(central) as host, Client(at_the_site.port) as device:
        host.subscribe("jcm/v1/#")
        device.subscribe("#")
        eventually_heard(
            device, "spBv1.0/G/NCMD/N", lambda: host.publish("jcm/v1/site-1/via/spBv1.0/G/NCMD/N", b"rebirth")
        )
        asked = len(host.heard)
        assert device.publish("solar/116482923311/0/power", b"17.5") == 0
        assert device.publish("spBv1.0/G/NDATA/N", b"\0\xff") == 0
        wait_until(lambda: len(host.heard) >= asked + 2, what="what the devices publish")
        via = "jcm/v1/site-1/via/"
        assert host.heard[asked:] == [
            (f"{via}solar/116482923311/0/power", b"17.5"), (f"{via}spBv1.0/G/NDATA/N", b"\0\xff")
        ]  # fmt: skip
        # A command that came in does not go out again.
        assert {topic for topic, _ in host.heard[:asked]} == {"jcm/v1/site-1/via/spBv1.0/G/NCMD/N"}
        assert len(host.heard[:asked]) == len([1 for topic, _ in device.heard if topic == "spBv1.0/G/NCMD/N"])


def test_what_is_published_at_qos_0_while_the_line_is_down_comes_later(
    central: Central, at_the_site: OwnMosquitto
) -> None:
    name = f"collector-{uuid.uuid4().hex[:8]}"
    with collector(central, name) as host:
        host.subscribe("jcm/v1/site-1/via/meter/#")
    central.broker.stop()
    try:
        with Client(at_the_site.port) as device:
            # More than Mosquitto's own bound of 1,000.
            for number in range(1200):
                device.publish(f"meter/{number}", b"1", qos=0)
            device.publish("meter/last", b"1")
    finally:
        central.broker.start()
    with collector(central, name) as host:
        wait_until(lambda: len(host.heard) >= 1201, what="the queue")
        assert [topic for topic, _ in host.heard] == [
            *(f"jcm/v1/site-1/via/meter/{number}" for number in range(1200)), "jcm/v1/site-1/via/meter/last"
        ]  # fmt: skip
        assert host.qos == {1}
