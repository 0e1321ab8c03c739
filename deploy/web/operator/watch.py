"""What operators' pages ask again and again, asked of the system once every few seconds however many of them look."""

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from deploy.access.principal import Permission, Principal
from deploy.servers import Endpoints
from deploy.web.database import Database
from deploy.web.operator.fleet import Fleet, Kept, fleet
from deploy.web.operator.services import BrokerStatus, CollectorStatus, Recent, broker_status, collector_statuses
from devices.errors import DevicesError
from devices.mqtt_url import parse
from sql.named import load

FLEET_S = 2.0
_SERVICES_S = 5.0


@dataclass(frozen=True)
class Watch:
    """Fleet, collectors and broker, as they were a moment ago."""

    kept: Kept
    collectors: Recent[list[CollectorStatus]]
    broker: Recent[BrokerStatus]

    def fleet(self, database: Database, principal: Principal) -> Fleet:
        """Return how the sites stand that somebody may see."""

        def read() -> Fleet:
            with database.reading(principal, Permission.READ_OPERATIONS) as connection:
                return fleet(connection)

        return self.kept.get(principal.projects(Permission.READ_OPERATIONS), read)


def make_watch(servers: Endpoints) -> Watch:
    """Make it from the settings."""
    settings = servers.settings

    def ask_broker() -> BrokerStatus:
        if settings.mqtt_url is None and settings.database_url is not None:
            return BrokerStatus(reachable=False, said="not asked: JCM_MRV_MQTT_URL is not set for this service")
        try:
            return broker_status(parse(servers.mqtt_url, settings.mqtt_tls))
        except DevicesError as error:
            return BrokerStatus(reachable=False, said=str(error))

    return Watch(
        Kept(FLEET_S),
        Recent(lambda: collector_statuses(settings.collector_addresses), _SERVICES_S),
        Recent(ask_broker, _SERVICES_S),
    )


def replayable(connection: psycopg.Connection, principal: Principal, ids: Sequence[int]) -> tuple[list[int], list[int]]:
    """Part quarantine entries into those that somebody may replay, and the others."""
    rows = connection.execute(load("operator")["project_of_entries"], {"ids": list(ids)}).fetchall()
    whose: dict[int, str | None] = dict(rows)
    allowed = [one for one in ids if one in whose and principal.may(Permission.OPERATE, whose[one])]
    return allowed, [one for one in ids if one not in allowed]
