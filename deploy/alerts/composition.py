"""Alerts put together from the settings."""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import structlog
from psycopg import Connection

from deploy.alerts.config import load_alerts
from deploy.alerts.facts import Certificate
from deploy.alerts.service import Alerting
from deploy.certificates_due import certificates_due
from deploy.errors import DeployError
from deploy.local import LocalServers, default_directory
from deploy.settings import Settings
from devices.errors import DevicesError
from sql.connection import Role, connect

log = structlog.get_logger("deploy.alerts")


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
        certificates=partial(_ending, settings),
    )


def _ending(settings: Settings, now: datetime, within: timedelta) -> list[Certificate]:
    try:
        endings = certificates_due(settings, now, within)
    except (DeployError, DevicesError) as error:
        # What cannot be read says nothing of its end, and must not end the other rules.
        log.warning("certificates_unread", error=str(error))
        return []
    return [Certificate(one.what, one.name, one.ends, one.text(now)) for one in endings]
