"""Which database and broker a command talks to: the ones of the settings, or the local servers."""

from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from urllib.parse import quote, urlsplit

from deploy.local import LocalServers, default_directory, progress_for
from deploy.settings import Settings, load_settings
from sql.connection import Role, connect
from sql.errors import SchemaError, ServerNotSupportedError
from sql.migrator import check, migrate


@dataclass(frozen=True)
class Endpoints:
    """Where the servers are; the URLs hold passwords, so this is never printed."""

    settings: Settings

    @property
    def database_url(self) -> str:
        """The database, with the login that this process was given."""
        given = self.settings.database_url
        return given.get_secret_value() if given is not None else self._local["JCM_MRV_DATABASE_URL"]

    @property
    def knows_database(self) -> bool:
        """Whether the database that goes with the broker is known: both are given, or both are local."""
        return self.settings.database_url is not None or self.settings.mqtt_url is None

    @property
    def mqtt_url(self) -> str:
        """The broker, with the collector's login."""
        given = self.settings.mqtt_url
        return given.get_secret_value() if given is not None else self._local["JCM_MRV_MQTT_URL"]

    def publish_url(self, site: str) -> str:
        """Where readings of a site are published: on the local broker with the site's own login."""
        for given in (self.settings.mqtt_publish_url, self.settings.mqtt_url):
            if given is not None:
                return given.get_secret_value()
        address = urlsplit(self._local["JCM_MRV_MQTT_URL"])
        user, password = self._servers.site_credentials(site)
        return f"mqtt://{quote(user, safe='')}:{quote(password, safe='')}@{address.hostname}:{address.port}"

    @cached_property
    def _servers(self) -> LocalServers:
        return LocalServers(default_directory())

    @cached_property
    def _local(self) -> dict[str, str]:
        """Addresses of the local servers, started when first asked for, with a schema that is up to date."""
        if not self._servers.status().running:
            self._servers.start(progress_for())
        environment = self._servers.environment()
        url = environment["JCM_MRV_DATABASE_URL"]
        try:
            with connect(url, Role.OWNER) as connection:
                check(connection)
        except (SchemaError, ServerNotSupportedError):
            migrate(url, code_version=version("jcm-mrv"))
        return environment


def endpoints(settings: Settings | None = None) -> Endpoints:
    """Find the servers for a command."""
    return Endpoints(load_settings() if settings is None else settings)
