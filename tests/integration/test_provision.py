"""`jcm-mrv device provision` as its users run it: local broker, broker of one's own, renewal, revocation, wrong use."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from cryptography import x509

from deploy.commands.device import device as device_command
from deploy.local import LocalServers, default_directory
from deploy.local.mosquitto import password_hash
from deploy.local.probe import ACCEPTED, mqtt_connack
from devices import mqtt_url
from devices.errors import PublishError
from devices.gateway import config
from devices.publisher import Publisher
from sql.migrator import migrate
from tests.harness import declare, wait_until

FILES = {
    "README.txt", "acl", "client.crt", "client.key", "gateway.env", "gateway.toml", "mosquitto-bridge.conf",
    "password", "password-line",
}  # fmt: skip


@dataclass
class Command:
    """Runs the command in a folder of its own, with settings of its own."""

    folder: Path
    settings: dict[str, str]

    def __call__(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        environment = {name: value for name, value in os.environ.items() if not name.startswith("JCM_MRV_")}
        return subprocess.run(
            [sys.executable, "-m", "deploy.cli", "device", "provision", "--ca", "ca", *arguments],
            env=environment | self.settings | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
            cwd=self.folder, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def says(self, *arguments: str) -> str:
        done = self(*arguments)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    def document(self, *arguments: str) -> dict:
        found = json.loads(self.says(*arguments, "--json"))
        assert isinstance(found, dict)
        return found

    def refuses(self, *arguments: str, code: int = 1) -> str:
        done = self(*arguments)
        assert done.returncode == code, (done.stdout, done.stderr)
        assert done.stdout == ""
        assert done.stderr.startswith("jcm-mrv: ")
        assert len(done.stderr.splitlines()) == 1
        return done.stderr


@pytest.fixture(scope="module")
def declared(shared_database: str) -> str:
    declare(shared_database, "site-1", ["inverter-1"])
    declare(shared_database, "a b", ["inverter-1"])
    with psycopg.connect(shared_database, autocommit=True) as connection:
        connection.execute(
            "insert into device (site_id, id, project_id, kind, profile) values "
            "('site-1', 'gone', 'P', 'meter', 'native'), ('site-1', 'gw', 'P', 'gateway', 'native')"
        )
        connection.execute(
            "insert into device_install (device_id, installed_at, removed_at) select device_id, '2020-01-01', "
            "'2021-01-01' from device where id = 'gone'"
        )
    return shared_database


@pytest.fixture
def command(declared: str, tmp_path: Path) -> Command:
    """With a broker of somebody else's, which is not asked anything."""
    settings = {"JCM_MRV_DATABASE_URL": declared, "JCM_MRV_MQTT_URL": "mqtts://collector:hidden@broker.example:8883"}
    return Command(tmp_path, settings)


def private(folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in folder.iterdir():
        # The broker's own configuration holds no secret, and the broker's user reads it again at each SIGHUP.
        assert path.stat().st_mode & 0o777 == (0o644 if path.name == "mosquitto-tls.conf" else 0o600), path.name


def serial(folder: Path, name: str = "client.crt") -> str:
    return f"{x509.load_pem_x509_certificate((folder / name).read_bytes()).serial_number:x}"


def test_with_a_broker_of_ones_own_it_says_what_to_add(command: Command) -> None:
    said = command.says("site-1")
    folder = command.folder / "site-1"
    assert {path.name for path in folder.iterdir()} == FILES
    private(folder)
    password = (folder / "password").read_text().strip()
    assert len(password) >= 32
    for secret in (password, "hidden", "PRIVATE KEY"):
        assert secret not in said
    assert "add site-1/password-line to the password file of mqtts://broker.example:8883 and site-1/acl" in said
    user, _, hashed = (folder / "password-line").read_text().strip().partition(":")
    assert (user, password_hash(password, base64.b64decode(hashed.split("$")[3]))) == ("site-1", hashed)
    read = config.load(folder / "gateway.toml")
    assert (read.gateway.id, [one.id for one in read.devices]) == ("gw", ["inverter-1"])
    assert f"mqtts://site-1:{password}@broker.example:8883\n" in (folder / "gateway.env").read_text()
    assert "hidden" not in "".join(path.read_text() for path in folder.iterdir())


def test_the_broker_can_be_reached_otherwise_and_signed_by_ones_own_authority(command: Command) -> None:
    (command.folder / "authority.pem").write_text("the authority's certificate\n")
    command.settings["JCM_MRV_MQTT_CA_FILE"] = "authority.pem"
    found = command.document("site-1", "--out", "given", "--broker", "mqtts://outside.example")
    folder = command.folder / "given"
    assert {path.name for path in folder.iterdir()} == FILES | {"broker-ca.pem"}
    assert (folder / "broker-ca.pem").read_text() == "the authority's certificate\n"
    assert "address outside.example:8883\n" in (folder / "mosquitto-bridge.conf").read_text()
    assert (found["broker"], found["broker_user"], found["folder"]) == (
        "mqtts://outside.example:8883", "to add", "given"
    )  # fmt: skip


def test_nothing_is_overwritten_unless_rotated_and_then_not_what_a_person_wrote(command: Command) -> None:
    command.says("site-1")
    folder = command.folder / "site-1"
    (folder / "gateway.toml").write_text("# mine\n")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert "--rotate" in command.refuses("site-1")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    first = serial(folder)

    found = command.document("site-1", "--rotate", "--days", "30", "--overlap", "5")
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    private(folder)
    assert {name for name in before if before[name] != after[name]} == {"client.key", "client.crt", "password-line"}
    assert [(one["serial"], one["state"]) for one in found["certificates"]] == [
        (first, "retiring"), (serial(folder), "valid")
    ]  # fmt: skip
    left = datetime.fromisoformat(found["certificates"][0]["retires"]) - datetime.now(UTC)
    assert timedelta(days=4.9) < left <= timedelta(days=5)
    assert len(found["ending"]) == 1
    # The refused run issued nothing.
    assert len(json.loads((command.folder / "ca" / "issued.json").read_text())) == 2
    assert "gateway and collector take them up" in command.says("site-1", "--rotate")


def test_a_rotation_without_overlap_revokes_at_once(command: Command) -> None:
    command.says("site-1")
    first = serial(command.folder / "site-1")
    found = command.document("site-1", "--rotate", "--overlap", "0")
    second = serial(command.folder / "site-1")
    assert (found["revoked"], {one["serial"]: one["state"] for one in found["certificates"]}) == (
        [first], {first: "revoked", second: "valid"}
    )  # fmt: skip


def test_revoking_needs_no_database_and_takes_a_site_or_a_serial_number(command: Command) -> None:
    command.says("site-1")
    first = serial(command.folder / "site-1")
    command.says("site-1", "--rotate")
    second = serial(command.folder / "site-1")
    command.settings["JCM_MRV_DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/none"
    # As openssl writes it.
    spelt = ":".join(first.upper().rjust(40, "0")[at : at + 2] for at in range(0, 40, 2))
    found = command.document(spelt, "--revoke")
    assert (found["revoked"], [one["serial"] for one in found["certificates"]]) == ([first], [first])
    said = command.says("site-1", "--revoke")
    assert "a password still holds" in said
    assert "stays so until the connection ends" in said
    crl = x509.load_pem_x509_crl((command.folder / "ca" / "crl.pem").read_bytes())
    assert {f"{one.serial_number:x}" for one in crl} == {first, second}
    listed = command.document("site-1", "--list")
    assert [one["state"] for one in listed["certificates"]] == ["revoked", "revoked"]
    assert "revoked" not in listed


def test_the_list_is_brought_to_the_broker_as_the_settings_say(command: Command) -> None:
    command.says("site-1")
    command.says("site-1", "--rotate", "--overlap", "0")
    (command.folder / "broker").mkdir()
    command.settings["JCM_MRV_BROKER_CRL_FILE"] = "broker/crl.pem"
    found = command.document("--refresh-crl")
    assert (found["revoked"], found["revocation_list"], found["broker_reloaded"]) == ([], "broker/crl.pem", False)
    brought = command.folder / "broker" / "crl.pem"
    assert brought.read_bytes() == (command.folder / "ca" / "crl.pem").read_bytes()
    assert brought.stat().st_mode & 0o777 == 0o644
    (command.folder / "broker" / "pid").write_text(f"{os.getpid()}\n")
    command.settings["JCM_MRV_BROKER_PID_FILE"] = "broker/pid"
    assert "not mosquitto; nothing was sent" in command.refuses("site-1", "--revoke")
    # It was revoked all the same, and stands in the list that the broker will read.
    assert len(x509.load_pem_x509_crl(brought.read_bytes())) == 2


def test_a_certificate_for_the_collector(command: Command) -> None:
    command.says("--server", "broker.example", "--out", "broker")
    said = command.says("--collector")
    folder = command.folder / "collector"
    private(folder)
    assert {path.name for path in folder.iterdir()} == {"broker-ca.pem", "client.crt", "client.key", "collector.env"}
    certificate = x509.load_pem_x509_certificate((folder / "client.crt").read_bytes())
    assert certificate.subject.rfc4514_string() == "CN=collector"
    # The broker's own certificate is of this authority.
    assert (folder / "broker-ca.pem").read_bytes() == (command.folder / "ca" / "ca.pem").read_bytes()
    assert "hidden" not in said + (folder / "collector.env").read_text()
    listed = command.says("--list")
    assert "of collector valid" in listed
    assert "of broker.example valid" in listed


def test_the_authoritys_passphrase_comes_from_a_file(command: Command) -> None:
    (command.folder / "passphrase").write_text("quite secret\n")
    command.settings["JCM_MRV_AUTHORITY_PASSPHRASE_FILE"] = "passphrase"
    command.says("site-1")
    assert b"ENCRYPTED" in (command.folder / "ca" / "ca.key").read_bytes()
    (command.folder / "passphrase").write_text("another\n")
    told = command.refuses("site-1", "--rotate")
    assert "cannot be read" in told
    assert "another" not in told
    del command.settings["JCM_MRV_AUTHORITY_PASSPHRASE_FILE"]
    assert "JCM_MRV_AUTHORITY_PASSPHRASE_FILE" in command.refuses("site-1", "--rotate")


def test_listing_changes_nothing_not_even_the_authority(command: Command) -> None:
    assert "no certificate was issued to site-1" in command.says("site-1", "--list")
    assert list(command.folder.iterdir()) == []


def test_a_certificate_for_the_broker(command: Command) -> None:
    said = command.says("--server", "broker.example", "--server", "127.0.0.1", "--out", "broker")
    folder = command.folder / "broker"
    private(folder)
    assert "PRIVATE KEY" not in said
    assert {path.name for path in folder.iterdir()} == {
        "ca.pem", "crl.pem", "mosquitto-tls.conf", "server.crt", "server.key"
    }  # fmt: skip
    certificate = x509.load_pem_x509_certificate((folder / "server.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["broker.example"]
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes()))
    assert command.document("--server", "broker.example", "--revoke")["revoked"] == [serial(folder, "server.crt")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ghost",), "there is no site 'ghost'; declare it with `jcm-mrv apply`"),
        (("a b",), "cannot be a broker user"),
        (("site-1", "--revoke"), "no certificate was issued to site-1"),
        (("site-1", "--out", "no/where"), "there is no folder"),
        (("site-1", "--out", "file"), "is not a folder"),
        (("site-1", "--out", "others"), "is there already"),
        (("site-1", "--out", "others", "--rotate"), "holds other things and no client.crt"),
        (("site-1", "--broker", "broker.example"), "starts with mqtt://"),
        (("site-1", "--broker", "mqtts://site-1:secret@broker.example"), "--broker takes no login"),
        (("site-1", "--days", "3653"), "is not in the range"),
        (("site-1", "--days", "0"), "is not in the range"),
        (("site-1", "--days", "many"), "is not a valid integer range"),
        (("site-1", "--server", "b"), "one of SITE, --server HOST"),
        ((), "one of SITE, --server HOST"),
        (("--list", "--rotate", "site-1"), "give one of them"),
        (("site-1", "--collector"), "one of SITE, --server HOST and --collector"),
        (("site-1", "--refresh-crl"), "for all certificates"),
        (("--revoke",), "one of SITE, --server HOST"),
        (("--collector", "--broker", "mqtt://127.0.0.1"), "does without TLS"),
    ],
)
def test_what_is_wrong_is_said_in_a_line_and_leaves_nothing(
    command: Command, arguments: tuple[str, ...], said: str
) -> None:
    (command.folder / "file").write_text("")
    (command.folder / "others").mkdir()
    (command.folder / "others" / "mine").write_text("")
    wrong_use = "--days" in arguments or any(one in said for one in ("one of", "for all"))
    told = command.refuses(*arguments, code=2 if wrong_use else 1)
    assert said in told
    assert "secret" not in told
    assert {path.name for path in command.folder.iterdir()} == {"file", "others"}
    assert [path.name for path in (command.folder / "others").iterdir()] == ["mine"]


def test_a_file_of_authorities_that_is_not_there_is_said(command: Command) -> None:
    command.settings["JCM_MRV_MQTT_CA_FILE"] = "nowhere.pem"
    assert "JCM_MRV_MQTT_CA_FILE names nowhere.pem" in command.refuses("site-1")
    assert list(command.folder.iterdir()) == []


def test_the_group_finds_its_commands_without_importing_them() -> None:
    code = (
        "import sys; from deploy.commands.device import device; names = device.list_commands(None); "
        "assert 'provision' in names, names; assert not [m for m in sys.modules if '_device_' in m]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])
    assert device_command.get_command(None, "nothing") is None  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def own() -> Iterator[LocalServers]:
    """Servers of this file's own in a home of their own, as a user has them."""
    home = default_directory()
    servers = LocalServers(home / f"test-{uuid.uuid4().hex[:8]}", packages=home / "packages")
    servers.start()
    migrate(servers.environment()["JCM_MRV_DATABASE_URL"], code_version="test")
    declare(servers.environment()["JCM_MRV_DATABASE_URL"], "site-1", ["inverter-1"])
    yield servers
    servers.reset()
    shutil.rmtree(servers.directory)


def test_with_the_local_servers_the_user_is_made_and_the_rights_hold(own: LocalServers, tmp_path: Path) -> None:
    command = Command(tmp_path, {"JCM_MRV_LOCAL_DIR": str(own.directory)})
    found = command.document("site-1")
    folder = tmp_path / "site-1"
    private(folder)
    password = (folder / "password").read_text().strip()
    port = own.status().mosquitto.port or 0
    assert (found["broker"], found["broker_user"]) == (f"mqtt://127.0.0.1:{port}", "made")
    assert mqtt_connack("127.0.0.1", port, "site-1", password) == ACCEPTED
    lines = (folder / "gateway.env").read_text().splitlines()
    address = mqtt_url.parse(lines[0].partition("=")[2])
    with Publisher(address) as publisher:
        publisher.publish("jcm/v1/site-1/inverter-1/readings", b"{}")
        publisher.publish("jcm/v1/site-1/via/x", b"{}")
    for topic in ("jcm/v1/site-2/inverter-1/readings", "shellies/plant-1/x"):
        with pytest.raises(PublishError), Publisher(address) as publisher:
            publisher.publish(topic, b"{}")
    command.says("site-1", "--rotate")
    assert (folder / "password").read_text().strip() == password


def may_publish(own: LocalServers, site: str, topic: str) -> bool:
    user, password = own.site_credentials(site)
    port = own.status().mosquitto.port
    try:
        with Publisher(mqtt_url.parse(f"mqtt://{user}:{password}@127.0.0.1:{port}")) as publisher:
            publisher.publish(topic, b"{}")
    except PublishError:
        return False
    return True


def test_topics_of_its_own_are_granted_and_taken_in_the_running_broker(own: LocalServers) -> None:
    assert not may_publish(own, "site-9", "shellies/plant-9/x")
    own.site_credentials("site-9", ["shellies/plant-9/#"])
    assert may_publish(own, "site-9", "shellies/plant-9/x")
    assert not may_publish(own, "site-9", "shellies/plant-1/x")
    own.site_credentials("site-10", ["shellies/plant-10/#"])
    assert may_publish(own, "site-9", "shellies/plant-9/x")
    assert not may_publish(own, "site-9", "shellies/plant-10/x")
    own.site_credentials("site-9", [])
    assert not may_publish(own, "site-9", "shellies/plant-9/x")
    assert may_publish(own, "site-9", "jcm/v1/site-9/inverter-1/readings")


def test_a_broker_that_an_older_version_started_gets_the_rights_of_this_one(own: LocalServers) -> None:
    access = own.directory / "mosquitto" / "access"
    kept = access.read_text()
    pid = own.status().mosquitto.pid
    assert pid is not None
    access.write_text("user publisher\ntopic write jcm/v1/#\n")
    os.kill(pid, signal.SIGHUP)
    wait_until(lambda: not may_publish(own, "site-9", "jcm/v1/site-9/x"))
    own.start()
    assert access.read_text() == kept
    wait_until(lambda: may_publish(own, "site-9", "jcm/v1/site-9/x"))
    assert own.status().mosquitto.pid == pid
