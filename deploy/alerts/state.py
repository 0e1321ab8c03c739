"""Alerts as they are kept: what is open, what was; acknowledging and muting."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from psycopg import Connection

from deploy.alerts.config import AlertsFile
from deploy.alerts.errors import AlertError
from deploy.alerts.judge import Judgement
from deploy.alerts.rules import Severity
from deploy.alerts.transitions import Open, Steps, step
from sql.named import load

_QUERIES = load("alerts")
_NAME_LENGTH = 200
_NOTE_LENGTH = 2000


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert."""

    id: int
    rule: str
    subject: str
    """A site, `site/device`, or what of the installation."""
    project: str | None
    """None: it is of the whole installation."""
    site: str | None
    severity: Severity
    said: str
    since: datetime
    """Since when it has been so, as far as the data tells."""
    first_seen: datetime
    last_seen: datetime
    firing_since: datetime | None
    resolved_at: datetime | None
    group: int | None
    """Those that were told of together."""
    acknowledged_by: str | None
    acknowledged_at: datetime | None
    acknowledged_note: str | None
    muted_by: str | None
    muted_at: datetime | None
    muted_until: datetime | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "severity", Severity(self.severity))

    @property
    def state(self) -> str:
        """`pending`, `firing` or `resolved`."""
        return "resolved" if self.resolved_at else "firing" if self.firing_since else "pending"

    def is_muted(self, at: datetime) -> bool:
        """Tell whether nothing is told of it at an instant."""
        return self.muted_until is not None and self.muted_until > at


@dataclass(frozen=True, slots=True)
class Notice:
    """What was sent, or is still to be sent, to one target."""

    id: int
    group: int
    target: str
    kind: str
    """`firing` or `resolved`."""
    key: str
    """The same at every attempt; the target can tell by it what it has had already."""
    created_at: datetime
    attempts: int
    tried_at: datetime | None
    outcome: str | None
    sent_at: datetime | None
    given_up_at: datetime | None


def apply(connection: Connection, judged: Judgement, config: AlertsFile, now: datetime) -> Steps:
    """Bring what is kept to what was judged, within a transaction of the caller's."""
    held = [Open(*row) for row in connection.execute(_QUERIES["open"])]
    steps = step(held, judged, config, now)
    for one in steps.begun:
        given: dict[str, object] = {
            "rule": one.rule,
            "subject": one.subject,
            "project": one.project,
            "site": one.site,
            "said": one.said,
        }
        given |= {"severity": one.severity, "since": one.since, "now": now, "firing": one.key in steps.begun_firing}
        connection.execute(_QUERIES["begin"], given)
    if steps.seen:
        rows = [{"id": number, "now": now, "severity": one.severity, "said": one.said} for number, one in steps.seen]
        connection.cursor().executemany(_QUERIES["seen"], rows)
    for name, ids in (("fire", steps.fired), ("drop", steps.dropped), ("resolve", steps.resolved)):
        if ids:
            connection.execute(_QUERIES[name], {"ids": list(ids), "now": now})
    return steps


def open_alerts(connection: Connection, projects: frozenset[str] | None = None) -> list[Alert]:
    """List what is pending and firing, the critical first.

    Parameters
    ----------
    projects
        Whose alerts may be seen; None: all, also those of the whole installation (disk, schedule, seals, collectors).
    """
    rows = connection.execute(_QUERIES["open_alerts"], {"projects": _listed(projects)})
    return [Alert(*row) for row in rows]


def history(
    connection: Connection, projects: frozenset[str] | None = None, *, subject: str | None = None, limit: int = 100
) -> list[Alert]:
    """List what is over, the latest first; `subject` may name a site or a device (`site/device`)."""
    given = {"projects": _listed(projects), "subject": subject, "limit": limit}
    return [Alert(*row) for row in connection.execute(_QUERIES["history"], given)]


def alerts_by_id(connection: Connection, ids: Iterable[int]) -> list[Alert]:
    """Read alerts by their numbers; those that are not there are left out."""
    return [Alert(*row) for row in connection.execute(_QUERIES["alerts"], {"ids": list(ids)})]


def notices_of(connection: Connection, ids: Iterable[int]) -> list[Notice]:
    """List what was told of alerts, in order."""
    return [Notice(*row) for row in connection.execute(_QUERIES["notices_of"], {"ids": list(ids)})]


def project_of(connection: Connection, alert: int) -> str | None:
    """Name the project of an alert, to see whether somebody may change it; None: it is of the whole installation.

    Raises
    ------
    AlertError
        There is no such alert.
    """
    row = connection.execute(_QUERIES["project_of"], {"id": alert}).fetchone()
    if row is None:
        raise AlertError(f"there is no alert {alert}; `jcm-mrv alert list` shows what is open")
    found: str | None = row[0]
    return found


def acknowledge(connection: Connection, alert: int, by: str, note: str = "") -> None:
    """Say that somebody knows of an open alert and sees to it; a later word replaces an earlier one.

    Raises
    ------
    AlertError
        There is no such alert, or it is over.
    """
    by, note = _who(by), note.strip()[:_NOTE_LENGTH]
    _change(connection, "acknowledge", alert, by, note=note or None)


def mute(connection: Connection, alert: int, by: str, until: datetime) -> None:
    """Send nothing of an open alert until an instant, also when it recovers or comes again before.

    Raises
    ------
    AlertError
        There is no such alert, it is over, or the instant is not ahead.
    """
    if until.tzinfo is None:
        raise AlertError("an alert is muted until an instant with an offset from UTC")
    _change(connection, "mute", alert, _who(by), until=until)


def unmute(connection: Connection, alert: int, by: str) -> None:
    """Let notices of an alert be sent again; one that fires and was not told of is told then.

    Raises
    ------
    AlertError
        There is no such alert, or it is not muted.
    """
    _change(connection, "unmute", alert, _who(by))


def _change(connection: Connection, query: str, alert: int, by: str, **given: object) -> None:
    with connection.transaction():
        connection.execute(_QUERIES["act_as"], {"by": by})
        row = connection.execute(_QUERIES[query], {"id": alert, "by": by, **given}).fetchone()
        if row is None:
            project_of(connection, alert)
            is_open = connection.execute(_QUERIES["project_of"], {"id": alert}).fetchall()[0][1]
            over = "is over" if not is_open else "can be muted until a time ahead only"
            raise AlertError(f"alert {alert} {'is not muted' if query == 'unmute' else over}")


def _who(by: str) -> str:
    name = " ".join(by.split())[:_NAME_LENGTH]
    if not name:
        raise AlertError("say who does it")
    return name


def _listed(projects: frozenset[str] | None) -> list[str] | None:
    return None if projects is None else sorted(projects)
