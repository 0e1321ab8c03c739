"""Fetching the time stamps that seals do not have yet; a seal stands without one, whatever the TSA does."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
import structlog

from mrv.evidence.errors import TimestampError
from mrv.evidence.timestamping import Tsa
from mrv.schedule import Schedule
from sql.named import load

_QUERIES = load("evidence")
log = structlog.get_logger("mrv.evidence")
_PER_TICK = 100
_PAUSE_S = 3600.0


@dataclass(frozen=True, slots=True)
class Stamped:
    """What a run fetched, and what it left."""

    fetched: int
    missing: int
    first: datetime | None = None
    last: datetime | None = None
    failure: str | None = None
    """What ended it at the first time stamp that was not to be had."""


def stamp_missing(
    connection: psycopg.Connection,
    tsa: Tsa,
    *,
    most: int | None = None,
    go_on: Callable[[], bool] = lambda: True,
) -> Stamped:
    """Fetch the time stamps of seals that have none, the newest seals first; end at the first failure.

    Parameters
    ----------
    connection
        In autocommit mode, with the role of the MRV module; no transaction is open while the TSA is asked.
    most
        Most time stamps of this run; None: all.
    go_on
        Asked before each.
    """
    row = connection.execute(_QUERIES["stamp_alone"]).fetchone()
    if row is None or not row[0]:
        return Stamped(0, 0)
    try:
        done = _fetch(connection, tsa, most, go_on)
    finally:
        if not connection.closed:
            connection.execute(_QUERIES["stamp_done"])
    if done.failure is not None:
        log.warning("time_stamps_missing", seals=done.missing, fetched=done.fetched, error=done.failure)
    elif done.fetched:
        log.info("time_stamps_fetched", seals=done.fetched, missing=done.missing)
    return done


def _fetch(connection: psycopg.Connection, tsa: Tsa, most: int | None, go_on: Callable[[], bool]) -> Stamped:
    waiting = connection.execute(_QUERIES["unstamped"]).fetchall()
    times: list[datetime] = []
    failure = None
    for site, day, statement in waiting[:most]:
        if not go_on():
            break
        try:
            stamp = tsa.stamp(statement.encode())
        except TimestampError as error:
            failure = str(error)
            break
        given = {"site": site, "day": day, "token": stamp.token, "time": stamp.time, "policy": stamp.policy}
        connection.execute(_QUERIES["add_timestamp"], given)
        times.append(stamp.time)
    return Stamped(len(times), len(waiting) - len(times), min(times, default=None), max(times, default=None), failure)


class StampedSchedule(Schedule):
    """A schedule that sees after each tick to the time stamps of the seals.

    Parameters
    ----------
    tsa
        Gives them; after a failure it is left alone for an hour.
    given
        As for `Schedule`.
    """

    def __init__(self, *given: Any, tsa: Tsa, **named: Any) -> None:
        super().__init__(*given, **named)
        self._tsa = tsa
        self._not_before = 0.0

    def tick(self) -> int:
        """Do what is due as `Schedule` does, then fetch what time stamps are missing; these are no jobs."""
        finished = super().tick()
        if not self._stopping.is_set() and time.monotonic() >= self._not_before:
            with self._connect() as connection:
                done = stamp_missing(connection, self._tsa, most=_PER_TICK, go_on=lambda: not self._stopping.is_set())
            if done.failure is not None:
                self._not_before = time.monotonic() + _PAUSE_S
        return finished
