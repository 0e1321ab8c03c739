"""The real parts that tests talk to: the project's own local servers, in a folder of the tests' own."""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from psycopg import conninfo, sql

from deploy.local import LocalServers
from deploy.local import default_directory as local_directory
from sql.migrator import migrate

RECORDINGS = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Broker:
    """A running Mosquitto with the product's settings."""

    servers: LocalServers
    collector_url: str

    @property
    def host(self) -> str:
        return urlsplit(self.collector_url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.collector_url).port or 0

    def site_url(self, site: str) -> str:
        """The broker URL with the login of a site, which may write below its own topic only."""
        user, password = self.servers.site_credentials(site)
        return f"mqtt://{quote(user, safe='')}:{quote(password, safe='')}@{self.host}:{self.port}"


@pytest.fixture(autouse=True, scope="session")
def _settings_of_the_machine() -> Iterator[None]:
    """Tests choose their settings themselves; those of the shell they were started from do not count."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("JCM_MRV_")}
    yield
    os.environ.update(kept)


@pytest.fixture(scope="session")
def servers() -> Iterator[LocalServers]:
    """The tests' own local servers; left running, so that the next run starts at once."""
    home = local_directory()
    servers = LocalServers(home / "test", packages=home / "packages")
    servers.start()
    yield servers
    if os.environ.get("CI"):
        servers.stop()


@pytest.fixture(scope="session")
def broker(servers: LocalServers) -> Broker:
    """A running broker."""
    return Broker(servers, servers.environment()["JCM_MRV_MQTT_URL"])


@pytest.fixture
def empty_database(servers: LocalServers) -> Iterator[str]:
    """The URL of a new database without a schema; dropped afterwards."""
    with _new_database(servers) as url:
        yield url


@pytest.fixture
def database(empty_database: str) -> str:
    """The URL of a new, migrated database."""
    migrate(empty_database, code_version="test")
    return empty_database


@pytest.fixture(scope="module")
def shared_database(servers: LocalServers) -> Iterator[str]:
    """The URL of a migrated database for all tests of a module that leave nothing behind."""
    with _new_database(servers) as url:
        migrate(url, code_version="test")
        yield url


@pytest.fixture
def recordings() -> Path:
    """The folder of the plant recordings beside the project."""
    if not RECORDINGS.is_dir():
        pytest.skip("the plant recordings (../shared/data) are not beside this checkout")
    return RECORDINGS


@contextmanager
def _new_database(servers: LocalServers) -> Iterator[str]:
    admin = servers.environment()["JCM_MRV_DATABASE_URL"]
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {} template template0").format(sql.Identifier(name)))
    try:
        yield _with_database(admin, name)
    finally:
        with psycopg.connect(admin, autocommit=True) as connection:
            _drop(connection, name)


def _drop(connection: psycopg.Connection, name: str) -> None:
    statement = sql.SQL("drop database {} with (force)").format(sql.Identifier(name))
    for _ in range(100):
        try:
            connection.execute(statement)
        except psycopg.errors.InsufficientPrivilege:
            # An autovacuum worker or TimescaleDB's scheduler is in it, which only a superuser may end; it soon leaves.
            time.sleep(0.1)
        else:
            return
    connection.execute(statement)


def _with_database(url: str, name: str) -> str:
    if "://" in url:
        return urlsplit(url)._replace(path=f"/{name}").geturl()
    return conninfo.make_conninfo(url, dbname=name)
