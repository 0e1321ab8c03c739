"""What is told, to whom, once: groups of alerts that fire together, and their recovery."""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from psycopg import Connection
from psycopg.types.json import Jsonb

from deploy.alerts.config import AlertsFile, Target
from deploy.alerts.rules import RULES, Severity
from deploy.alerts.state import Alert, alerts_by_id
from sql.named import load

FIRING, RESOLVED = "firing", "resolved"
_QUERIES = load("alerts")
_BY_SEVERITY = list(Severity)


def write(connection: Connection, config: AlertsFile, now: datetime) -> int:
    """Write the notices that are due, within the transaction that changed the alerts; return how many.

    Whatever happens to the process afterwards, each is there to be sent, once for a group and target.
    """
    return _firing(connection, config, now) + _recovered(connection, config, now)


def _firing(connection: Connection, config: AlertsFile, now: datetime) -> int:
    wait = timedelta(seconds=config.group_wait_s)
    ids = [number for (number,) in connection.execute(_QUERIES["untold"], {"now": now, "wait": wait})]
    if not ids:
        return 0
    group = min(ids)
    alerts = alerts_by_id(connection, ids)
    written = 0
    for name, target in config.targets.items():
        meant = [one for one in alerts if is_for(target, one)]
        written += _add(connection, config, group, name, FIRING, meant, now)
    connection.execute(_QUERIES["join_group"], {"group": group, "ids": ids})
    return written


def _recovered(connection: Connection, config: AlertsFile, now: datetime) -> int:
    written = 0
    wait = timedelta(seconds=config.recovery_wait_s)
    for group, ids in connection.execute(_QUERIES["recovered"], {"now": now, "wait": wait}).fetchall():
        muted = {number for (number,) in connection.execute(_QUERIES["muted_at"], {"ids": ids, "now": now})}
        alerts = alerts_by_id(connection, set(ids) - muted)
        # To those who were told, of what they were told.
        for name, told, key in connection.execute(_QUERIES["told_of"], {"group": group}).fetchall():
            if name in config.targets:
                meant = [one for one in alerts if one.id in told]
                written += _add(connection, config, group, name, RESOLVED, meant, now, answers=key)
        connection.execute(_QUERIES["recovery_told"], {"ids": ids, "now": now})
    return written


def is_for(target: Target, alert: Alert) -> bool:
    """Tell whether a target wants to hear of an alert."""
    return (
        _BY_SEVERITY.index(alert.severity) >= _BY_SEVERITY.index(target.least)
        and (target.rules is None or alert.rule in target.rules)
        and (target.projects is None or alert.project in target.projects)
    )


def _add(
    connection: Connection,
    config: AlertsFile,
    group: int,
    target: str,
    kind: str,
    alerts: Sequence[Alert],
    now: datetime,
    *,
    answers: str | None = None,
) -> int:
    if not alerts:
        return 0
    given = {
        "group": group,
        "target": target,
        "kind": kind,
        "alerts": [one.id for one in alerts],
        "key": key_of(kind, alerts),
        "content": Jsonb(content_of(kind, group, alerts, now, config.external_url, answers=answers)),
        "now": now,
    }
    return connection.execute(_QUERIES["add_notice"], given).rowcount


def key_of(kind: str, alerts: Iterable[Alert]) -> str:
    """Name the event: the same for the same alerts of the same installation, whenever and by whomever it is sent."""
    parts = sorted(f"{one.id} {one.rule} {one.subject} {one.first_seen.isoformat()}" for one in alerts)
    return hashlib.sha256("\n".join([kind, *parts]).encode()).hexdigest()[:32]


def content_of(
    kind: str,
    group: int,
    alerts: Sequence[Alert],
    now: datetime,
    external_url: str | None,
    *,
    answers: str | None = None,
) -> dict[str, Any]:
    """Fix what a notice says; webhooks and mails are made of this alone."""
    return {
        "kind": kind,
        "group": group,
        "at": now.isoformat(),
        "external_url": external_url,
        "answers": answers,
        "alerts": [
            {
                "id": one.id,
                "rule": one.rule,
                "title": RULES[one.rule].title if one.rule in RULES else one.rule,
                "do": RULES[one.rule].do if one.rule in RULES else "",
                "subject": one.subject,
                "project": one.project,
                "site": one.site,
                "severity": one.severity.value,
                "said": one.said,
                "since": one.since.isoformat(),
                "firing_since": None if one.firing_since is None else one.firing_since.isoformat(),
                "resolved_at": None if one.resolved_at is None else one.resolved_at.isoformat(),
            }
            for one in alerts
        ],
    }
