"""What requests find, put together from the settings."""

from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry

from deploy.access.facade import Access
from deploy.access.rate import Rates
from deploy.alerts.composition import alerting
from deploy.fleet_metrics import FleetCollector
from deploy.servers import Endpoints
from deploy.settings import Settings
from deploy.web.database import Database
from deploy.web.operator.watch import make_watch
from deploy.web.state import State
from sql.connection import Role


def make_state(servers: Endpoints, port: int, registry: CollectorRegistry) -> State:
    """Put it together for a server that listens on `port`."""
    settings = servers.settings
    fleet = alerting(settings, servers.database_url, role=Role.READER, application="jcm-mrv serve")
    registry.register(FleetCollector(fleet))
    return State(
        settings=settings,
        url=address_of(settings, port),
        database=Database(servers.database_url),
        access=Access.of(settings),
        watch=make_watch(servers),
        rates=Rates(settings.rate_limit),
        failures=Rates(settings.rate_limit_failures),
    )


def address_of(settings: Settings, port: int) -> str:
    """Tell how people reach a server: as was set, else at its own address and port."""
    if settings.web_url:
        return settings.web_url
    host = settings.web_address
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - nobody listens here; it is what is replaced
        host = "127.0.0.1"
    return urlsplit(f"http://{f'[{host}]' if ':' in host else host}:{port}").geturl()
