"""Alerts put together from the settings."""

from collections.abc import Callable

from psycopg import Connection

from deploy.alerts.config import load_alerts
from deploy.alerts.service import Alerting
from deploy.local import LocalServers, default_directory
from deploy.settings import Settings
from sql.connection import Role, connect


def alerting(settings: Settings, url: str, *, role: Role = Role.MRV, application: str = "jcm-mrv alerts") -> Alerting:
    """Make what judges and tells; `url` is the database's.

    Raises
    ------
    ConfigurationError
        The file that JCM_MRV_ALERTS_FILE names is wrong.
    """
    connected: Callable[[], Connection] = lambda: connect(url, role, application=application)  # noqa: E731
    local = settings.database_url is None
    return Alerting(
        connected,
        load_alerts(settings.alerts_file),
        sealing=settings.evidence_key_file is not None,
        folder=LocalServers(default_directory()).directory if local else None,
    )
