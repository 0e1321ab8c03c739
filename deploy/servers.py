"""Which database and broker a command talks to: the ones of the settings, or the local servers."""

from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from deploy.local import LocalServers, default_directory
from deploy.settings import Settings, load_settings


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the servers are; the URLs hold passwords, so this is never printed."""

    _settings: Settings
    _local: LocalServers | None

    @property
    def database_url(self) -> str:
        """The database, with the login that this process was given."""
        if self._settings.database_url is not None:
            return self._settings.database_url.get_secret_value()
        return self._started().environment()["JCM_MRV_DATABASE_URL"]

    @property
    def mqtt_url(self) -> str:
        """The broker, with the collector's login."""
        if self._settings.mqtt_url is not None:
            return self._settings.mqtt_url.get_secret_value()
        return self._started().environment()["JCM_MRV_MQTT_URL"]

    def publish_url(self, site: str) -> str:
        """Where readings of a site are published: locally with the site's own broker login."""
        for setting in (self._settings.mqtt_publish_url, self._settings.mqtt_url):
            if setting is not None:
                return setting.get_secret_value()
        servers = self._started()
        user, password = servers.site_credentials(site)
        address = urlsplit(servers.environment()["JCM_MRV_MQTT_URL"])
        return f"mqtt://{quote(user, safe='')}:{quote(password, safe='')}@{address.hostname}:{address.port}"

    def _started(self) -> LocalServers:
        assert self._local is not None  # noqa: S101 - one of the two settings is missing wherever this is asked
        self._local.start()
        return self._local


def endpoints(settings: Settings | None = None) -> Endpoints:
    """Find the servers for a command; local ones are started when first asked for."""
    settings = load_settings() if settings is None else settings
    both_given = settings.database_url is not None and settings.mqtt_url is not None
    return Endpoints(settings, None if both_given else LocalServers(default_directory()))
