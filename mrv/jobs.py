"""Claims on work, so that of several replicas one does it: a row in `job_run`, a heartbeat, a fence.

Two replicas of a scheduler on one job store fire almost every tick twice (measured: 19 of 21), so each replica ticks
for itself and the database decides who works. A claim whose heartbeat is older than the limit is taken over; `attempts`
fences off whoever lost it.
"""

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
import structlog

from mrv.errors import ClaimLostError
from sql.errors import StoreError
from sql.named import load

Connect = Callable[[], psycopg.Connection]
"""Opens a connection in autocommit mode with the role of the MRV module."""

_QUERIES = load("mrv")
_LOG = structlog.get_logger("mrv.jobs")


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of work: what, for which scope, for the period that starts when."""

    job: str
    scope: str
    start: datetime

    def row(self, **more: object) -> dict[str, object]:
        """Return the key as the queries want it."""
        return {"job": self.job, "scope": self.scope, "start": self.start, **more}


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that this replica does; void once another attempt began."""

    job: Job
    attempt: int


def claim(connection: psycopg.Connection, job: Job, *, by: str, limit: timedelta) -> Claim | None:
    """Claim a job.

    Parameters
    ----------
    job
        The work; it need not have been opened before.
    by
        Name of the replica.
    limit
        Age of a heartbeat from which a claim may be taken over.

    Returns
    -------
    Claim or None
        None when it is finished, or another replica is at it.
    """
    row = connection.execute(_QUERIES["claim_job"], job.row(by=by, limit=limit)).fetchone()
    return None if row is None else Claim(job, int(row[0]))


def finish(connection: psycopg.Connection, done: Claim) -> None:
    """Finish a job, in the transaction of what it writes.

    Raises
    ------
    ClaimLostError
        Another attempt began meanwhile; the transaction ends without effect.
    """
    if connection.execute(_QUERIES["finish_job"], done.job.row(attempt=done.attempt)).rowcount != 1:
        raise ClaimLostError(f"{done.job.job} {done.job.scope} was taken over or opened again")


def fail(connection: psycopg.Connection, failed: Claim, failure: str) -> None:
    """Keep why a job failed; it is taken up again once its heartbeat is older than the limit."""
    connection.execute(_QUERIES["fail_job"], failed.job.row(attempt=failed.attempt, failure=failure))


def release(connection: psycopg.Connection, held: Claim) -> None:
    """Give a claim back unfinished, so that another replica need not wait for the limit."""
    connection.execute(_QUERIES["release_job"], held.job.row(attempt=held.attempt))


def open_jobs(connection: psycopg.Connection, job: str, scope: str, starts: Sequence[datetime]) -> list[datetime]:
    """Open jobs that were found due, again if they were finished; a run under way will not count.

    Returns
    -------
    list of datetime
        The starts of those that were not open already.
    """
    given = {"job": job, "scope": scope, "starts": list(starts)}
    return sorted(start for (start,) in connection.execute(_QUERIES["open_jobs"], given))


def last_claims(
    connection: psycopg.Connection, job: str, keys: Collection[tuple[str, datetime]]
) -> dict[tuple[str, datetime], datetime | None]:
    """Tell by scope and start when the last run of a job began; None where none has."""
    scopes, starts = [scope for scope, _ in keys], [start for _, start in keys]
    rows = connection.execute(_QUERIES["last_claims"], {"job": job, "scopes": scopes, "starts": starts})
    return {(scope, start): at for scope, start, at in rows}


@contextmanager
def heartbeat(connect: Connect, held: Claim, limit: timedelta) -> Iterator[None]:
    """Keep a claim alive while its work lasts, on a connection of its own.

    It is only opened once a third of the limit has passed: most jobs are done by then.
    """
    over = threading.Event()
    every_s = limit.total_seconds() / 3

    def beat() -> None:
        while not over.wait(every_s):
            try:
                with connect() as connection:
                    while True:
                        connection.execute(_QUERIES["heartbeat"], held.job.row(attempt=held.attempt))
                        if over.wait(every_s):
                            return
            except (psycopg.Error, StoreError) as error:
                # The next beat tries again; if it fails for too long, another replica takes over, as it should.
                _LOG.warning("no heartbeat", job=held.job.job, scope=held.job.scope, error=str(error))

    thread = threading.Thread(target=beat, name="jcm-mrv heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
