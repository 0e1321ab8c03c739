"""What the MRV module writes besides revisions, and the view of the database it reads from."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from mrv.basis import Credited
from mrv.day_account import Account, DeviceDay
from sql.named import load

_QUERIES = load("mrv")
_TRACING = load("tracing")


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


def keep_account(
    connection: psycopg.Connection, period: int, revision: int, account: Account, number: Callable[[Credited], int]
) -> None:
    """Keep the days of a frozen revision, and what stands between them and EG.

    Parameters
    ----------
    connection
        In the transaction that finishes the revision.
    period, revision
        The revision's key.
    account
        What its computation came to.
    number
        Gives the number of a register's device in the database.
    """
    with connection.cursor() as cursor:
        with cursor.copy(_TRACING["keep_days"]) as copy:
            for one in account.days:
                credited, energy = one.credited, one.day.energy
                copy.write_row(
                    (
                        period,
                        revision,
                        energy.day,
                        credited.system.id,
                        number(credited),
                        credited.point,
                        credited.quantity,
                        one.category,
                        energy.within_wh,
                        energy.carried_wh,
                        energy.carried_from,
                        one.credited_wh,
                        one.left_out,
                        one.error_wh,
                        # As text: a JSON number that Python reads back is a float.
                        Jsonb({rule: f"{wh:f}" for rule, wh in one.day.withheld_wh.items()}),
                        energy.samples,
                        energy.covered_us,
                        energy.length_us,
                        one.owed,
                        Jsonb(dict(energy.rules)),
                        one.day.sha256,
                    )
                )
        for place, line in enumerate(account.lines):
            row = {"system": line.system, "year": line.year, "place": place, "name": line.name, "wh": line.wh}
            about = line.credited
            device = {
                "device": None if about is None else number(about),
                "quantity": None if about is None else about.quantity,
            }
            cursor.execute(_TRACING["keep_line"], {"period": period, "revision": revision, **row, **device})


def has_account(connection: psycopg.Connection, period: int, revision: int) -> bool:
    """Say whether the days of a frozen revision are kept."""
    given = {"period": period, "revision": revision}
    return connection.execute(_TRACING["any_day"], given).fetchone() is not None


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
