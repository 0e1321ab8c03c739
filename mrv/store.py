"""What the MRV module writes besides revisions, and the view of the database it reads from."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from mrv.computation import DeviceDay
from sql.named import load

_QUERIES = load("mrv")


def store_days(connection: psycopg.Connection, device: int, days: Iterable[DeviceDay], as_of: datetime) -> None:
    """Keep the energy of a device's days as it was computed from what was there at an instant."""
    rows = [
        {
            "device": device,
            "day": day.energy.day,
            "within": day.energy.within_wh,
            "carried": day.energy.carried_wh,
            "carried_from": day.energy.carried_from,
            "samples": day.energy.samples,
            "coverage": day.energy.coverage,
            "rules": Jsonb(dict(day.energy.rules)),
            "sha256": day.sha256,
            "as_of": as_of,
        }
        for day in days
        if day.energy.samples or day.energy.rules
    ]
    if rows:
        with connection.transaction():
            connection.cursor().executemany(_QUERIES["upsert_energy_day"], rows)


def add_audit_event(
    connection: psycopg.Connection, action: str, subject: str, detail: Mapping[str, Any], actor: str | None = None
) -> None:
    """Add to the record of who did what; None as actor is the login of the database."""
    event = {"action": action, "subject": subject, "detail": Jsonb(dict(detail)), "actor": actor}
    connection.execute(_QUERIES["add_audit_event"], event)


@contextmanager
def snapshot(connection: psycopg.Connection) -> Iterator[None]:
    """Read within one view of the database, whatever is written meanwhile."""
    with connection.transaction():
        connection.execute(_QUERIES["snapshot"])
        yield


def now_of(connection: psycopg.Connection) -> datetime:
    """Return the database's clock, the one that `received_at` is taken from."""
    row = connection.execute(_QUERIES["now"]).fetchone()
    assert row is not None  # noqa: S101 - a select without from has one row
    now: datetime = row[0]
    return now
