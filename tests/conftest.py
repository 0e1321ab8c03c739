"""The real parts that tests talk to: the project's own local servers, in a folder of the tests' own."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from deploy.local import LocalServers
from deploy.local import default_directory as local_directory
from tests.databases import Databases

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
    home.mkdir(parents=True, exist_ok=True)
    with (home / "test-users.lock").open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        servers.start()
        yield servers
        if os.environ.get("CI"):
            # The last run that uses them stops them.
            with suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                servers.stop()


@pytest.fixture(scope="session")
def broker(servers: LocalServers) -> Broker:
    """A running broker."""
    return Broker(servers, servers.environment()["JCM_MRV_MQTT_URL"])


@pytest.fixture(scope="session")
def databases(servers: LocalServers) -> Iterator[Databases]:
    """Makes databases for tests."""
    databases = Databases(servers.environment()["JCM_MRV_DATABASE_URL"])
    yield databases
    databases.close()


@pytest.fixture
def empty_database(databases: Databases) -> Iterator[str]:
    """The URL of a new database without a schema; dropped afterwards."""
    url = databases.new(migrated=False)
    yield url
    databases.drop(url)


@pytest.fixture
def database(databases: Databases) -> Iterator[str]:
    """The URL of a new, migrated database; dropped afterwards."""
    url = databases.new(migrated=True)
    yield url
    databases.drop(url)


@pytest.fixture(scope="module")
def shared_database(databases: Databases) -> Iterator[str]:
    """The URL of a migrated database for all tests of a module that leave nothing behind."""
    url = databases.new(migrated=True)
    yield url
    databases.drop(url)


@pytest.fixture
def recordings() -> Path:
    """The folder of the plant recordings beside the project."""
    if not RECORDINGS.is_dir():
        pytest.skip("the plant recordings (../shared/data) are not beside this checkout")
    return RECORDINGS
