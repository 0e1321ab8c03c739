"""Certificates with a real Mosquitto, configured as shipped: who gets in, who does not, and what is said of it."""

import json
import os
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from deploy import broker_reload
from deploy.authority import AuthorityFolder
from deploy.certificates import Authority, Pem, issue_client
from deploy.errors import BrokerReloadError
from deploy.local import LocalServers
from deploy.local.mosquitto import password_file
from deploy.local.state import free_port
from devices import mqtt_url
from devices.errors import ListenError, PublishError
from devices.gateway.clock import now as taken
from devices.gateway.forwarder import Forwarder, Options
from devices.gateway.spool import Spool
from devices.listener import listen
from devices.mqtt_url import BrokerAddress
from devices.publisher import Publisher
from devices.tls import TlsFiles, refusal
from ingest.errors import BrokerRefusedError
from tests.forked import run_command
from tests.harness import (
    CollectorProcess,
    assert_balanced,
    collecting,
    declare,
    numbered,
    one,
    rows,
    wait_until,
)  # fmt: skip
from tests.mosquitto import OwnMosquitto

# paho leaves the socket of a failed handshake to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"),
]
SHIPPED = Path(__file__).resolve().parents[2] / "deploy" / "mosquitto"
SITE, OTHER = "site-1", "site-2"
PASSWORD = "only-for-this-test-9f3"
NOW = datetime.now(UTC).replace(microsecond=0)


@dataclass
class Hall:
    """A broker with the shipped TLS listener beside a plain one, and who may come in."""

    broker: OwnMosquitto
    authority: AuthorityFolder
    port: int
    plain_port: int
    places: Path

    @property
    def crl(self) -> Path:
        return self.broker.folder / "crl.pem"

    def issue(self, name: str) -> tuple[TlsFiles, str]:
        pem, issued = self.authority.issue_client(name, days=30)
        return self.lay(pem), issued.serial

    def lay(self, pem: Pem) -> TlsFiles:
        folder = self.places / uuid.uuid4().hex[:8]
        folder.mkdir()
        (folder / "client.key").touch(0o600)
        (folder / "client.key").write_bytes(pem.key)
        (folder / "client.crt").write_bytes(pem.certificate)
        return TlsFiles(self.authority.certificate, folder / "client.crt", folder / "client.key")

    def address(self, files: TlsFiles, host: str = "localhost") -> BrokerAddress:
        return mqtt_url.parse(f"mqtts://{host}:{self.port}", files)

    def signer(self) -> Authority:
        folder = self.authority.folder
        return Authority.load(Pem((folder / "ca.key").read_bytes(), (folder / "ca.pem").read_bytes()))

    def take_list(self) -> None:
        broker_reload.bring(self.authority.revocations, self.crl)
        self.broker.reload()

    def refused(self, files: TlsFiles, host: str = "localhost") -> str:
        """What a publisher is told; it must not take long."""
        began = time.monotonic()
        with pytest.raises(PublishError) as raised, Publisher(self.address(files, host)):
            pass
        # Fifteen seconds is what is waited for a broker that says nothing.
        assert time.monotonic() - began < 12
        assert "\n" not in str(raised.value)
        return str(raised.value)

    def takes(self, files: TlsFiles, topic: str = f"jcm/v1/{SITE}/inverter-1/readings") -> bool:
        with Publisher(self.address(files)) as publisher:
            publisher.publish(topic, b"{}")
        return True


@pytest.fixture(scope="module")
def hall(servers: LocalServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    folder = tmp_path_factory.mktemp("broker")
    authority = AuthorityFolder(tmp_path_factory.mktemp("authority"))
    pem, _ = authority.issue_server(["localhost"], days=30)
    (folder / "server.key").write_bytes(pem.key)
    (folder / "server.crt").write_bytes(pem.certificate)
    for file in (authority.certificate, authority.revocations):
        shutil.copy(file, folder)
    port = free_port()
    plain = free_port(taken=[port])
    tls = (SHIPPED / "tls.conf").read_text().replace("/mosquitto/certs", str(folder))
    tls = tls.replace("listener 8883", f"listener {port} 127.0.0.1")
    (folder / "acl").write_text((SHIPPED / "acl").read_text())
    (folder / "passwords").write_text(password_file({"collector": PASSWORD, SITE: PASSWORD}))
    configuration = (
        f"listener {plain} 127.0.0.1\nallow_anonymous false\nacl_file {folder / 'acl'}\npersistence true\n"
        f"password_file {folder / 'passwords'}\nmax_queued_messages 1000000000\npid_file {folder / 'pid'}\n"
        f"include_dir {folder / 'tls'}\n"
    )
    (folder / "tls").mkdir()
    (folder / "tls" / "tls.conf").write_text(tls)
    broker = OwnMosquitto(servers, folder, configuration, port)
    broker.start()
    yield Hall(broker, authority, port, plain, tmp_path_factory.mktemp("clients"))
    broker.stop()


@pytest.fixture(scope="module")
def own(hall: Hall) -> TlsFiles:
    """The certificate of the site, which no test revokes."""
    return hall.issue(SITE)[0]


def test_a_site_publishes_below_its_own_name_only(hall: Hall, own: TlsFiles) -> None:
    assert hall.takes(own)
    for topic in (f"jcm/v1/{OTHER}/inverter-1/readings", "jcm/v1/readings", "other"):
        with pytest.raises(PublishError, match="only below the topics of its own site"):
            hall.takes(own, topic)
    # The login in the URL does not count: the name is the certificate's.
    claimed = mqtt_url.parse(f"mqtts://{OTHER}:{PASSWORD}@localhost:{hall.port}", own)
    with pytest.raises(PublishError, match="only below"), Publisher(claimed) as publisher:
        publisher.publish(f"jcm/v1/{OTHER}/inverter-1/readings", b"{}")


def test_who_shows_no_certificate_is_told_where_to_name_one(hall: Hall) -> None:
    bare = TlsFiles(hall.authority.certificate)
    assert "asks for a certificate; name ours in JCM_MRV_MQTT_CERT_FILE" in hall.refused(bare)
    with pytest.raises(ListenError, match="asks for a certificate"):
        listen(hall.address(bare), "jcm/v1/#", seconds=5, most=1)


def test_a_certificate_of_another_authority_is_refused(hall: Hall, tmp_path: Path) -> None:
    pem, _ = AuthorityFolder(tmp_path / "forger").issue_client(SITE, days=30)
    assert "its authority is not one that the broker knows" in hall.refused(hall.lay(pem))


def test_an_expired_certificate_is_found_here_and_refused_there(
    hall: Hall, own: TlsFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    del own
    past = Authority(hall.signer().key, _older(hall.signer()))
    files = hall.lay(issue_client(past, SITE, NOW - timedelta(days=20), days=10))
    with pytest.raises(Exception, match=r"ended on .*; `jcm-mrv device provision SITE --rotate`"):
        hall.takes(files)
    # A machine whose clock is behind does not know; the broker does.
    monkeypatch.setattr("devices.tls.validity", lambda _: (NOW, NOW + timedelta(days=1)))
    assert "as expired" in hall.refused(files)


def _older(authority: Authority) -> x509.Certificate:
    """The same authority, begun earlier, so that it can issue in the past."""
    found = authority.certificate
    builder = x509.CertificateBuilder(
        found.issuer, found.subject, found.public_key(), found.serial_number, NOW - timedelta(days=50),
        found.not_valid_after_utc, list(found.extensions),
    )  # fmt: skip
    return builder.sign(authority.key, hashes.SHA256())


def test_a_revoked_certificate_is_refused_once_the_broker_has_reloaded(hall: Hall, own: TlsFiles) -> None:
    former, serial = hall.issue(SITE)
    hall.authority.revoke([serial])
    assert hall.takes(former)
    broker_reload.bring(hall.authority.revocations, hall.crl)
    # The file alone changes nothing.
    assert hall.takes(former)
    reloads = hall.broker.log.count("Reloading config.")
    assert broker_reload.reload_broker(hall.broker.folder / "pid", hall.crl) > 0
    wait_until(lambda: hall.broker.log.count("Reloading config.") > reloads)
    assert "it was revoked; `jcm-mrv device provision SITE --rotate` issues another" in hall.refused(former)
    assert hall.takes(own)


def test_the_list_is_whole_and_readable_at_every_moment(hall: Hall, own: TlsFiles) -> None:
    """A Mosquitto that cannot read it when it reloads lets revoked ones in, so there must be no such moment."""
    revoked, serial = hall.issue(SITE)
    hall.authority.revoke([serial])
    hall.take_list()
    seen: set[tuple[int, bool]] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            mode = stat.S_IMODE(hall.crl.stat().st_mode)
            seen.add((mode, hall.crl.read_bytes().endswith(b"-----END X509 CRL-----\n")))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for _ in range(20):
            hall.authority.refresh()
            broker_reload.bring(hall.authority.revocations, hall.crl)
    finally:
        ended.set()
        watcher.join()
    assert seen == {(0o644, True)}
    hall.broker.reload()
    assert "was revoked" in hall.refused(revoked)
    assert hall.takes(own)


def test_a_list_that_has_run_out_locks_out_and_refreshing_lets_in(hall: Hall, own: TlsFiles) -> None:
    signer = hall.signer()
    over = (
        x509.CertificateRevocationListBuilder().issuer_name(signer.certificate.subject)
        .last_update(NOW - timedelta(days=9)).next_update(NOW - timedelta(days=1)).sign(signer.key, hashes.SHA256())
    )  # fmt: skip
    hall.crl.write_bytes(over.public_bytes(serialization.Encoding.PEM))
    hall.broker.reload()
    assert "--refresh-crl" in hall.refused(own)
    hall.authority.refresh()
    hall.take_list()
    assert hall.takes(own)


def test_another_host_name_is_not_the_brokers(hall: Hall, own: TlsFiles) -> None:
    told = hall.refused(own, "127.0.0.1")
    assert "shows a certificate for another name" in told
    assert "127.0.0.1" in told


def test_a_broker_whose_authority_we_do_not_know_is_not_spoken_to(hall: Hall, own: TlsFiles, tmp_path: Path) -> None:
    other = AuthorityFolder(tmp_path / "other")
    other.issue_client("x", days=1)
    stranger = TlsFiles(other.certificate, own.certificate, own.key)
    assert "did not sign; name its own in JCM_MRV_MQTT_CA_FILE" in hall.refused(stranger)
    # The machine's own authorities have not signed it either.
    assert "the machine's authorities did not sign" in hall.refused(TlsFiles(None, own.certificate, own.key))


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1.* is deprecated:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_an_old_tls_is_refused_by_the_broker(hall: Hall, own: TlsFiles, version: ssl.TLSVersion) -> None:
    context = hall.address(own).tls_context()
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    error = refusal("localhost", hall.port, context)
    assert isinstance(error, ssl.SSLError)
    assert "PROTOCOL_VERSION" in (error.reason or "")
    assert "no TLS of version 1.2" in hall.address(own).why_refused(error)
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
    assert refusal("localhost", hall.port, context, timeout_s=0.3) is None


def test_a_plain_port_is_told_from_one_with_tls(hall: Hall, own: TlsFiles) -> None:
    address = mqtt_url.parse(f"mqtts://localhost:{hall.plain_port}", own)
    with pytest.raises(PublishError, match="may not speak TLS on this port"), Publisher(address):
        pass


def test_readings_go_from_site_to_database_by_certificates_alone(
    hall: Hall, own: TlsFiles, shared_database: str
) -> None:
    declare(shared_database, SITE, ["inverter-1"])
    files, serial = hall.issue("collector")
    address = hall.address(files)
    url = f"mqtts://localhost:{hall.port}"
    with collecting(url, shared_database, "tls-collector", address=address, topic_filter=f"jcm/v1/{SITE}/#"):
        with Publisher(hall.address(own), must_be_heard=True) as publisher:
            for message in numbered(SITE, "inverter-1", range(50)):
                publisher.publish(message.topic, message.payload)
        wait_until(lambda: one(shared_database, "select count(*) from reading") == 50)
        # The broker drops the connection; the certificate was renewed meanwhile, the former revoked.
        renewed, _ = hall.issue("collector")
        for new, old in ((renewed.certificate, files.certificate), (renewed.key, files.key)):
            assert new is not None
            assert old is not None
            shutil.copy(new, old)
        hall.authority.revoke([serial])
        hall.take_list()
        hall.broker.stop()
        hall.broker.start()
        with Publisher(hall.address(own), must_be_heard=True) as publisher:
            for message in numbered(SITE, "inverter-1", range(50, 100)):
                publisher.publish(message.topic, message.payload)
        wait_until(lambda: one(shared_database, "select count(*) from reading") == 100)
    assert_balanced(shared_database)


def test_a_collector_that_is_refused_says_why_and_ends(hall: Hall, shared_database: str) -> None:
    files, serial = hall.issue("collector")
    hall.authority.revoke([serial])
    hall.take_list()
    url = f"mqtts://localhost:{hall.port}"
    with (
        pytest.raises(BrokerRefusedError, match="it was revoked"),
        collecting(url, shared_database, "tls-refused", address=hall.address(files)),
    ):
        pass


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool.sqlite", limit_bytes=50_000_000, when_full="drop-oldest")
    yield made
    made.close()


def test_a_rotation_under_load_loses_nothing(hall: Hall, database: str, spool: Spool) -> None:
    """A gateway publishes, its certificate is renewed half at a time, and the former is revoked: one row a reading."""
    declare(database, SITE, ["inverter-1"])
    collector, _ = hall.issue("collector")
    files, former = hall.issue(SITE)
    forwarder = Forwarder(spool, Options(hall.address(files), SITE, "gw", backfill_per_s=2000, grace_s=5))
    running = threading.Thread(target=forwarder.run)
    ended = threading.Event()
    count = 0

    def poll() -> None:
        nonlocal count
        while not ended.wait(0.004):
            spool.put("inverter-1", taken(), {"TotWhExp": 1000.0 + count, "W": 5.0})
            count += 1

    polling = threading.Thread(target=poll)
    url = f"mqtts://localhost:{hall.port}"
    with collecting(url, database, "tls-rotation", address=hall.address(collector), topic_filter=f"jcm/v1/{SITE}/#"):
        running.start()
        polling.start()
        try:
            wait_until(lambda: forwarder.counts.acknowledged > 100)
            renewed, _ = hall.issue(SITE)
            hall.authority.retire([former], days=0)
            assert files.certificate is not None
            assert files.key is not None
            shutil.copy(renewed.certificate or "", files.certificate)
            # The gateway looks every second; half a pair must not end anything.
            time.sleep(1.3)
            before = forwarder.counts.acknowledged
            wait_until(lambda: forwarder.counts.acknowledged > before, what="the load to go on")
            assert (forwarder.counts.connections, forwarder.connected) == (1, True)
            shutil.copy(renewed.key or "", files.key)
            wait_until(lambda: forwarder.counts.connections == 2, what="the gateway's change")
            assert [one.serial for one in hall.authority.refresh()] == [former]
            hall.take_list()
            hall.broker.stop()
            hall.broker.start()
            wait_until(lambda: forwarder.counts.connections == 3, what="the gateway's return")
            ended.set()
            polling.join()
            wait_until(lambda: one(database, "select count(*) from reading") == count, what="every reading")
        finally:
            ended.set()
            polling.join()
            forwarder.stop()
            running.join(60)
    assert count > 300
    assert [row[0] for row in rows(database, "select seq from reading order by seq")] == list(range(1, count + 1))
    assert rows(database, "select 1 from reading_conflict") == []
    assert_balanced(database)


def test_a_publisher_whose_certificate_is_revoked_meanwhile_ends_and_says_so(hall: Hall) -> None:
    files, serial = hall.issue(SITE)

    def publish() -> None:
        with Publisher(hall.address(files)) as publisher:
            publisher.publish(f"jcm/v1/{SITE}/inverter-1/readings", b"{}")
            assert publisher.wait_for_all(60)
            hall.authority.revoke([serial])
            hall.take_list()
            hall.broker.stop()
            hall.broker.start()
            publisher.publish(f"jcm/v1/{SITE}/inverter-1/readings", b"{}")

    with pytest.raises(PublishError, match="it was revoked"):
        publish()


def test_a_gateway_without_a_good_certificate_polls_on_and_takes_the_next(
    hall: Hall, own: TlsFiles, tmp_path: Path
) -> None:
    """Files are named in gateway.toml; one that is not there is a mistake, one that has expired is told and borne."""
    past = Authority(hall.signer().key, _older(hall.signer()))
    files = hall.lay(issue_client(past, SITE, NOW - timedelta(days=20), days=10))
    assert files.certificate is not None
    assert files.key is not None
    text = (
        f'[gateway]\nid = "gw"\nsite = "{SITE}"\nspool = "{tmp_path}/spool"\nspool_limit_mb = 10\n'
        f'when_full = "drop-oldest"\nhealth_interval_s = 0.2\nbroker = "mqtts://localhost:{hall.port}"\n'
        f'ca_file = "{files.authorities}"\ncert_file = "{files.certificate}"\nkey_file = "{files.key}"\n'
        f'[[device]]\nid = "inverter-1"\nkind = "sunspec"\nhost = "127.0.0.1"\nport = 1\n'
    )
    (tmp_path / "gateway.toml").write_text(text)
    (tmp_path / "wrong.toml").write_text(text.replace("client.key", "clerk.key"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JCM_MRV_")}
    wrong = run_command("gateway", "wrong.toml", environment=environment, cwd=tmp_path)
    assert wrong.returncode == 1
    assert "clerk.key cannot be read: no such file" in wrong.stderr
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.cli", "gateway", str(tmp_path / "gateway.toml")], stdout=out, stderr=out,
            env=environment | {"JCM_MRV_LOG_FORMAT": "json"},
        )  # fmt: skip
    try:
        wait_until(lambda: "gateway_certificate_unusable" in log.read_text(), what="the reason")
        assert "gateway_broker_connected" not in log.read_text()
        shutil.copy(own.certificate or "", files.certificate)
        shutil.copy(own.key or "", files.key)
        wait_until(lambda: "gateway_broker_connected" in log.read_text(), what="the connection")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user")
def test_a_broker_that_could_not_read_the_list_is_not_told_to(hall: Hall, tmp_path: Path) -> None:
    """Any process of that name, of a user who may not enter the folder; SIGHUP would end it."""
    del hall
    shutil.copy(shutil.which("sleep") or "/bin/sleep", tmp_path / "mosquitto")
    tmp_path.chmod(0o755)
    closed, opened = Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp())
    opened.chmod(0o755)
    shutil.copy(tmp_path / "mosquitto", opened)
    # Who was started by nohup hands on that SIGHUP is ignored.
    process = subprocess.Popen(
        ["/usr/bin/env", "--default-signal=HUP", str(opened / "mosquitto"), "60"],
        user=65534, group=65534, extra_groups=[],
    )  # fmt: skip
    try:
        wait_until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "mosquitto\n")
        (tmp_path / "pid").write_text(f"{process.pid}\n")
        for folder in (closed, opened):
            (folder / "crl.pem").write_text("a list")
        with pytest.raises(BrokerReloadError, match="the broker's user cannot read"):
            broker_reload.reload_broker(tmp_path / "pid", closed / "crl.pem")
        assert process.poll() is None
        assert broker_reload.reload_broker(tmp_path / "pid", opened / "crl.pem") == process.pid
        assert process.wait(60) == -signal.SIGHUP
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(closed)
        shutil.rmtree(opened)


def test_a_pid_file_that_is_not_the_brokers_gets_no_signal(hall: Hall, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    for content, said in ((str(os.getpid()), "not mosquitto"), ("4194304", "no broker runs"), ("x", "no broker runs")):
        file.write_text(content)
        with pytest.raises(BrokerReloadError, match=said):
            broker_reload.reload_broker(file, hall.crl)


def test_no_secret_is_logged_or_in_a_command_line(hall: Hall, own: TlsFiles, shared_database: str) -> None:
    """A collector that starts, loses its broker and is refused, with passwords and a key that are known here."""
    collector, _ = hall.issue("collector")
    settings = {
        "JCM_MRV_MQTT_CA_FILE": str(collector.authorities), "JCM_MRV_MQTT_CERT_FILE": str(collector.certificate),
        "JCM_MRV_MQTT_KEY_FILE": str(collector.key),
    }  # fmt: skip
    assert own.key is not None
    process = CollectorProcess(
        f"mqtts://collector:{PASSWORD}@localhost:{hall.port}", shared_database, "tls-secrets", settings
    )
    words = [PASSWORD, shared_database.partition("://")[2].partition("@")[0].partition(":")[2]]
    words += [line for line in (collector.key or Path()).read_text().splitlines() if "-----" not in line]
    assert all(len(word) > 8 for word in words)
    try:
        process.start()
        assert process.process is not None
        hall.broker.stop()
        wait_until(lambda: "broker_lost" in process.events())
        hall.broker.start()
        wait_until(lambda: process.events().count("broker_connected") >= 2)
        lines = Path(f"/proc/{process.process.pid}/cmdline").read_bytes().decode()
        children = Path(f"/proc/{process.process.pid}/task/{process.process.pid}/children").read_text().split()
        lines += "".join(Path(f"/proc/{child}/cmdline").read_text() for child in children)
        process.send(signal.SIGTERM)
        assert process.wait() == 0
        said = lines + process.log.read_text() + hall.broker.log
        assert json.loads(process.log.read_text().splitlines()[-1])["event"] == "collector_stopped"
    finally:
        process.close()
    assert [word for word in words if word in said] == []


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (("status",), {"JCM_MRV_DATABASE_URL": "postgresql://nobody:{word}@{database}"}),
        (("collect",), {"JCM_MRV_MQTT_URL": "mqtt://collector:{word}@127.0.0.1:{plain}"}),
        (("collect",), {"JCM_MRV_MQTT_URL": "mqtts://collector:{word}@localhost:{port}"}),
        (("simulate", "--days", "1"), {"JCM_MRV_MQTT_PUBLISH_URL": "mqtt://publisher:{word}@127.0.0.1:{plain}"}),
        (("device", "probe", "a/#"), {"JCM_MRV_MQTT_URL": "mqtt://collector:{word}@127.0.0.1:{plain}"}),
    ],
)
def test_a_refused_login_is_told_without_its_password(
    hall: Hall, shared_database: str, tmp_path: Path, arguments: tuple[str, ...], settings: dict[str, str]
) -> None:
    word = "Wr0ng-and-secret"
    place = {"word": word, "plain": hall.plain_port, "port": hall.port}
    place["database"] = shared_database.partition("@")[2]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JCM_MRV_")}
    environment |= {"JCM_MRV_DATABASE_URL": shared_database, "JCM_MRV_MQTT_URL": "mqtt://127.0.0.1:1"}
    environment |= {name: value.format(**place) for name, value in settings.items()}
    done = run_command(*arguments, environment=environment, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("jcm-mrv: ")
    assert word not in done.stdout + done.stderr
