"""The shell command by which compose starts Mosquitto, run with the real programs on paths of the test's own."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from deploy.authority import AuthorityFolder
from deploy.local.packages import find_loader, find_packages
from deploy.local.state import free_port
from devices import mqtt_url
from devices.publisher import Publisher
from devices.tls import TlsFiles
from tests.harness import Message, publish, wait_until

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SERVICE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["mosquitto"]
PASSWORD = "of the collector"


class Container:
    """The folders of the image, and its programs first on the path."""

    def __init__(self, servers, folder: Path) -> None:
        packages = find_packages(servers.packages)
        self.folder, self.ports = folder, {1883: free_port(), 8883: 0}
        self.ports[8883] = free_port(taken=[self.ports[1883]])
        for name in ("mosquitto/config", "mosquitto/data", "mosquitto/certs", "run/secrets", "tmp", "bin"):
            (folder / name).mkdir(parents=True)
        libraries, loader = find_loader(packages.root)
        for name, path in (
            ("mosquitto", packages.mosquitto),
            ("mosquitto_passwd", packages.root / "usr/bin/mosquitto_passwd"),
        ):
            run = folder / "bin" / name
            run.write_text(f'#!/bin/sh\nexec {loader} --library-path {libraries} {path} "$@"\n')
            run.chmod(0o755)
        (folder / "run/secrets/mqtt-password").write_text(PASSWORD)

    def put(self, source: str, target: str) -> None:
        """As a volume of compose, with the paths and ports of the test."""
        (self.folder / target).write_text(self.local((DEPLOY / source).read_text()))

    def local(self, text: str) -> str:
        text = re.sub(r"(?<= )(?=/(?:mosquitto|run/secrets|tmp)/)", str(self.folder), text)
        for port, own in self.ports.items():
            text = text.replace(f"listener {port}\n", f"listener {own} 127.0.0.1\n")
        # Started by root it would become another user, who cannot enter pytest's folder.
        return text.replace("allow_anonymous false", "allow_anonymous false\nuser root") if os.geteuid() == 0 else text

    @contextmanager
    def running(self) -> Iterator[None]:
        shell, flag, command = SERVICE["command"]
        command = self.local(command.replace("$$", "$"))
        log = (self.folder / "log").open("ab")
        environment = {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}
        with log, subprocess.Popen([shell, flag, command], env=environment, stdout=log, stderr=log) as process:
            try:
                wait_until(lambda: process.poll() is not None or self.says(" running\n"))
                assert process.poll() is None, (self.folder / "log").read_text()
                yield
            finally:
                process.terminate()

    def says(self, word: str) -> bool:
        return word in (self.folder / "log").read_text(errors="replace")

    def url(self, password: str = PASSWORD) -> str:
        return f"mqtt://collector:{password.replace(' ', '%20')}@127.0.0.1:{self.ports[1883]}"


@pytest.fixture
def container(servers, tmp_path) -> Container:
    made = Container(servers, tmp_path)
    for volume in SERVICE["volumes"]:
        source, _, target = volume.removesuffix(":ro").partition(":")
        if source.startswith("./"):
            made.put(source[2:], target.lstrip("/"))
    return made


def asked(container: Container) -> Callable[[str], object]:
    topic = "spBv1.0/STATE/me"  # what the collector may write
    return lambda password: publish(container.url(password), [Message(topic, b"x")])


def test_the_collector_logs_in_with_the_secret_also_after_a_second_start(container):
    passwords = container.folder / "mosquitto/data/passwords"
    with container.running():
        assert asked(container)(PASSWORD) == 1
        assert PASSWORD not in passwords.read_text()
        assert passwords.stat().st_mode & 0o077 == 0
    first = passwords.read_bytes()
    (container.folder / "log").unlink()
    with container.running():
        assert asked(container)(PASSWORD) == 1
        assert passwords.read_bytes() == first
    assert (container.folder / "mosquitto/data/mosquitto.db").exists()


def test_it_does_not_start_without_the_secret(container):
    (container.folder / "run/secrets/mqtt-password").unlink()
    with pytest.raises(AssertionError, match="No such file"), container.running():
        pass
    assert not container.says("mosquitto version")


def test_with_tls_yaml_a_site_with_a_certificate_is_let_in(container):
    override = yaml.safe_load((DEPLOY / "compose" / "tls.yaml").read_text())["services"]["mosquitto"]
    source, _, target = override["volumes"][0].removesuffix(":ro").partition(":")
    container.put(source.removeprefix("./"), target.lstrip("/"))
    authority = AuthorityFolder(container.folder / "authority")
    certificates = container.folder / "mosquitto/certs"
    pem, _ = authority.issue_server(["localhost"], days=1)
    (certificates / "server.key").write_bytes(pem.key)
    (certificates / "server.crt").write_bytes(pem.certificate)
    for file in (authority.certificate, authority.revocations):
        shutil.copy(file, certificates)
    site, _ = authority.issue_client("s-1", days=1)
    for name, content in (("key", site.key), ("crt", site.certificate)):
        (container.folder / f"site.{name}").write_bytes(content)
        (container.folder / f"site.{name}").chmod(0o600)
    files = TlsFiles(authority.certificate, container.folder / "site.crt", container.folder / "site.key")
    with (
        container.running(),
        Publisher(mqtt_url.parse(f"mqtts://localhost:{container.ports[8883]}", files)) as publisher,
    ):
        publisher.publish("jcm/v1/s-1/inverter-1/readings", b"{}")
