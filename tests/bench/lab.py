"""The servers of the bench, a database for each measurement, a fleet of declared devices."""

import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from deploy.local import LocalServers, default_directory
from deploy.local.mosquitto import Mosquitto
from deploy.local.place import give, write_private
from deploy.local.postgres import Postgres
from deploy.local.state import free_port
from sql.migrator import migrate

# A plant has some inverters, meters and sensors; a fleet of 100,000 devices is 1,000 plants.
DEVICES_A_SITE = 100


class _Broker(Mosquitto):
    """The product's broker with a TLS listener beside its own, so that both serve the same queues."""

    listener = ""

    def _text(self, port: int) -> str:
        return super()._text(port) + self.listener


class _Servers(LocalServers):
    listener = ""

    def _servers(self) -> tuple[Postgres, Mosquitto]:
        broker = _Broker(self.directory / "mosquitto", self._user)
        broker.listener = self.listener
        return Postgres(self.directory / "postgres", self._user), broker


class Lab:
    """Real servers of the bench's own, made anew for each run."""

    def __init__(self, folder: str = "bench") -> None:
        home = default_directory()
        self.servers = _Servers(home / folder, packages=home / "packages")
        self.tls_port = 0
        self.certificates = self.servers.directory / "certificates"

    @property
    def ca_file(self) -> Path:
        return self.certificates / "ca.pem"

    def start(self) -> None:
        self.servers.reset()
        self.servers.directory.mkdir(parents=True, exist_ok=True)
        self._certify()
        self.servers.start()
        environment = self.servers.environment()
        self.database_url = environment["JCM_MRV_DATABASE_URL"]
        self.collector_url = environment["JCM_MRV_MQTT_URL"]
        self.publisher_url = environment["JCM_MRV_MQTT_PUBLISH_URL"]
        parts = urlsplit(self.collector_url)
        login = parts.netloc.rpartition("@")[0]
        self.tls_url = f"mqtts://{login}@127.0.0.1:{self.tls_port}"

    def stop(self) -> None:
        self.servers.reset()

    def restart_postgres(self) -> None:
        """Restart the database as an update does: clients are cut, and find it again some seconds later."""
        postgres, _ = self.servers._servers()
        postgres.stop(self.servers._known_state())
        self.servers.start()

    @contextmanager
    def database(self, devices: int = 0) -> Iterator[str]:
        """A migrated database with so many devices declared; dropped afterwards."""
        name = f"bench_{uuid.uuid4().hex[:8]}"
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute(f"create database {name} template template0")
        url = urlsplit(self.database_url)._replace(path=f"/{name}").geturl()
        try:
            migrate(url, code_version="bench")
            if devices:
                declare(url, devices)
            yield url
        finally:
            with psycopg.connect(self.database_url, autocommit=True) as connection:
                for _ in range(50):
                    try:
                        connection.execute(f"drop database {name} with (force)")
                        break
                    except psycopg.errors.InsufficientPrivilege:
                        # One of TimescaleDB's workers is in it; it soon leaves.
                        connection.execute("select pg_sleep(0.1)")

    def _certify(self) -> None:
        folder, user = self.certificates, self.servers._user
        folder.mkdir(exist_ok=True)
        give(folder, user)
        _certificate(folder, "ca", "/CN=bench CA", "-addext", "basicConstraints=critical,CA:TRUE")
        signed = ["-CA", str(folder / "ca.pem"), "-CAkey", str(folder / "ca.key")]
        names = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
        _certificate(folder, "server", "/CN=127.0.0.1", *names, *signed)
        write_private(folder / "server.key", (folder / "server.key").read_text(), user)
        self.tls_port = free_port()
        self.servers.listener = f"""
listener {self.tls_port} 127.0.0.1
certfile {folder / "server.pem"}
keyfile {folder / "server.key"}
"""


def _certificate(folder: Path, name: str, subject: str, *options: str) -> None:
    key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-keyout",
        str(folder / f"{name}.key"),
    ]
    made = ["-days", "30", "-subj", subject, "-out", str(folder / f"{name}.pem")]
    subprocess.run(["openssl", "req", "-x509", *key, *made, *options], check=True, capture_output=True)


def place(number: int) -> tuple[str, str]:
    """Site and device of the device with this number."""
    return f"bench-{number // DEVICES_A_SITE:04d}", f"d{number % DEVICES_A_SITE:02d}"


def declare(url: str, devices: int) -> None:
    """Declare a fleet, as `jcm-mrv apply` would have done it."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "insert into project"
            " (id, title, host_country, methodology, methodology_version, crediting_from, crediting_to)"
            " values ('BENCH', 'Bench', 'THA', 'TH_AM001', '1.0', '2020-01-01', '2030-12-31')"
        )
        connection.execute(
            "insert into site (id, project_id, name, time_zone)"
            " select 'bench-' || to_char(n, 'FM0000'), 'BENCH', 'Site', 'UTC' from generate_series(0, %s) n",
            [(devices - 1) // DEVICES_A_SITE],
        )
        connection.execute(
            "insert into device (site_id, id, project_id, kind, profile)"
            " select 'bench-' || to_char(n / %s, 'FM0000'), 'd' || to_char(n %% %s, 'FM00'), 'BENCH', 'inverter',"
            " 'native' from generate_series(0, %s) n",
            [DEVICES_A_SITE, DEVICES_A_SITE, devices - 1],
        )
        connection.execute("analyze")


def committed(connection: psycopg.Connection) -> tuple[int, int]:
    """How many messages and readings are committed, by the account."""
    row = connection.execute(
        "select coalesce(sum(messages_received), 0)::bigint, coalesce(sum(readings_received), 0)::bigint"
        " from ingest_account"
    ).fetchone()
    assert row is not None
    return row
