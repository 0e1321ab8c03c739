"""Judging at an interval and sending what is due, each in a thread of its own, beside the schedule.

Any number of processes may do both on one database: judging is done by one of them at a time, and each notice is
claimed before it is sent. A process that dies between sending and recording leaves a notice that is sent again, under
the same key; nothing else is ever sent twice.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import structlog

from deploy.alerts import mail, notices, state, webhook
from deploy.alerts.config import AlertsFile, Email, Webhook
from deploy.alerts.errors import NoticeError
from deploy.alerts.facts import Certificate, Facts, gather
from deploy.alerts.judge import Judgement, judge
from deploy.errors import DeployError
from sql.errors import StoreError
from sql.named import load

_QUERIES = load("alerts")
log = structlog.get_logger("deploy.alerts")
_STEPS = 12
"""A claim lasts as many times a target's patience: each step of a mail's delivery has it for itself."""
_SEND_EVERY = timedelta(seconds=2)

Connect = Callable[[], psycopg.Connection]
"""Opens a connection in autocommit mode with the role of the MRV module."""


@dataclass(frozen=True)
class Alerting:
    """Judges and tells.

    Parameters
    ----------
    connect
        Opens a connection for each piece of work.
    config
        Rules and targets.
    sealing
        Whether this installation has a key that seals.
    folder
        A folder on the database's volume where this process can see it, for a file that names none.
    certificates
        Tells which certificates end within a time, of those that this process can see.
    """

    connect: Connect
    config: AlertsFile
    sealing: bool = False
    folder: Path | None = None
    certificates: Callable[[datetime, timedelta], Sequence[Certificate]] = lambda _now, _within: ()

    def facts(self, connection: psycopg.Connection) -> Facts:
        """Read what is judged."""
        found = gather(connection, self.config, sealing=self.sealing, folder=self.folder)
        within = timedelta(seconds=self.config.rules.certificate_ending.within_s)
        return replace(found, certificates=tuple(self.certificates(found.at, within)))

    def look(self, connection: psycopg.Connection) -> tuple[Facts, Judgement]:
        """Judge now, and change nothing."""
        facts = self.facts(connection)
        return facts, judge(facts, self.config, facts.at)

    def evaluate(self) -> bool:
        """Judge, keep what became of the alerts, write the notices; False: another process is at it.

        Raises
        ------
        StoreError, psycopg.Error
            The database is away; the next time finds the same.
        """
        with self.connect() as connection:
            row = connection.execute(_QUERIES["alone"]).fetchone()
            if row is None or not row[0]:
                return False
            try:
                facts, judged = self.look(connection)
                with connection.transaction():
                    steps = state.apply(connection, judged, self.config, facts.at)
                    written = notices.write(connection, self.config, facts.at)
            finally:
                if not connection.closed:
                    connection.execute(_QUERIES["alone_done"])
        if steps.begun or steps.fired or steps.resolved:
            log.info(
                "alerts_changed",
                begun=len(steps.begun),
                fired=len(steps.fired) + len(steps.begun_firing),
                resolved=len(steps.resolved),
                notices=written,
            )
        return True

    def deliver(self, go_on: Callable[[], bool] = lambda: True) -> int:
        """Send what is due, each to its target once; return how many were taken.

        No transaction is open while a target is asked. A target that fails is asked no more this time, so that one that
        is away does not hold up the others.
        """
        sent = 0
        targets = self.config.targets
        with self.connect() as connection:
            after = timedelta(seconds=self.config.give_up_after_s)
            for number, name, kind, attempts in connection.execute(_QUERIES["give_up"], {"after": after}):
                log.warning("notice_given_up", notice=number, target=name, kind=kind, attempts=attempts)
            lease_s = _STEPS * max((one.timeout_s for one in targets.values()), default=1)
            left = set(targets)
            while left and go_on():
                given = {"targets": sorted(left), "lease": lease_s}
                row = connection.execute(_QUERIES["claim_notice"], given).fetchone()
                if row is None:
                    break
                number, name, kind, key, content, attempts, _ = row
                try:
                    outcome = send(targets[name], name, key, content)
                except (NoticeError, DeployError) as error:
                    failed = {"id": number, "outcome": str(error), "pause": self.config.retry_s}
                    connection.execute(_QUERIES["notice_failed"], failed)
                    left.discard(name)
                    log.warning("notice_not_taken", notice=number, target=name, attempts=attempts, error=str(error))
                    continue
                connection.execute(_QUERIES["notice_sent"], {"id": number, "outcome": outcome})
                log.info("notice_sent", notice=number, target=name, kind=kind, alerts=len(content["alerts"]))
                sent += 1
        return sent


def send(target: Webhook | Email, name: str, key: str, content: dict[str, Any]) -> str:
    """Send a notice to a target, and say what came of it.

    Raises
    ------
    NoticeError
        It was not taken.
    """
    if isinstance(target, Webhook):
        return webhook.send(target, name, key, content)
    return mail.send(target, name, key, content)


class AlertThreads:
    """Judges at an interval and sends what is due, so that neither waits for the other or for the schedule's jobs."""

    def __init__(self, alerting: Alerting, interval: timedelta, *, send_every: timedelta = _SEND_EVERY) -> None:
        self._alerting = alerting
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._repeat, args=(alerting.evaluate, interval.total_seconds()), name="jcm-mrv-alerts"
            ),
            threading.Thread(
                target=self._repeat, args=(self._deliver, send_every.total_seconds()), name="jcm-mrv-notices"
            ),
        ]

    def start(self) -> None:
        """Begin; the first look comes at once."""
        for thread in self._threads:
            thread.daemon = True
            thread.start()

    def stop(self, patience_s: float = 5.0) -> None:
        """End; a notice that is being sent then is sent again by whoever is next, under the same key."""
        self._ended.set()
        for thread in self._threads:
            thread.join(patience_s)

    def _deliver(self) -> int:
        return self._alerting.deliver(lambda: not self._ended.is_set())

    def _repeat(self, work: Callable[[], object], every_s: float) -> None:
        while True:
            try:
                work()
            except (StoreError, psycopg.Error) as error:
                log.warning("alerts_failed", error=str(error).strip().splitlines()[:1])
            except Exception:
                # A fault in the code must not end the alerts for good.
                log.exception("alerts_fault")
            if self._ended.wait(every_s):
                return
