"""Letting raw messages go, and compressing what is closed. What may go is decided by 0013_retention.sql, not here."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import psycopg

from deploy.keeping.errors import RetentionError
from sql.named import load
from sql.server import Server

_QUERIES = load("keeping")
_REFUSED = "JR001"

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk of messages: a UTC day of receipt, and why it stays; nothing speaks against it when `stays` is empty."""

    start: datetime
    end: datetime
    messages: int
    stays: tuple[str, ...]


def record_bundle(
    connection: psycopg.Connection, project: str, days: tuple[date, date], revision: int, file: Path, *, redacted: bool
) -> None:
    """Put on record that a bundle of a revision was written, by the SHA-256 of the file."""
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    given = {"project": project, "first": days[0], "last": days[1], "revision": revision, "redacted": redacted}
    connection.execute(_QUERIES["add_bundle"], {**given, "sha256": digest, "bytes": file.stat().st_size})


def plan(connection: psycopg.Connection, years: int, *, quarantined: bool) -> list[Chunk]:
    """Say of each chunk of messages whether it may go, and else why not.

    Parameters
    ----------
    years
        How long after the notification of every period that uses them.
    quarantined
        Also let go what waits in quarantine.

    Raises
    ------
    RetentionError
        The database refuses the question.
    """
    with _refusals():
        rows = connection.execute(_QUERIES["message_chunks"], {"years": years, "quarantined": quarantined}).fetchall()
    return [Chunk(start, end, messages, tuple(stays)) for start, end, stays, messages in rows]


def apply(connection: psycopg.Connection, years: int, *, quarantined: bool) -> Iterator[Chunk]:
    """Drop what may go, oldest first, each chunk in a transaction that looks again; give each that is gone.

    Parameters
    ----------
    connection
        The owner's, in autocommit mode.

    Raises
    ------
    RetentionError
        The database refuses a chunk; those before it are gone.
    """
    for chunk in plan(connection, years, quarantined=quarantined):
        if not chunk.stays:
            given = {"start": chunk.start, "years": years, "quarantined": quarantined}
            with _refusals(), connection.transaction():
                connection.execute(_QUERIES["drop_message_chunk"], given)
            yield chunk


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn what the database refuses with a message for a person into an error of one line."""
    try:
        yield
    except psycopg.errors.LockNotAvailable:
        raise RetentionError("a batch of readings was being written for over a minute; try again") from None
    except psycopg.Error as error:
        if error.sqlstate == _REFUSED:
            raise RetentionError(error.diag.message_primary or str(error)) from None
        raise


@dataclass(frozen=True, slots=True)
class Compressed:
    """How much a hypertable's compressed chunks took before and take now, in bytes."""

    hypertable: str
    chunks: int
    before_bytes: int
    after_bytes: int


def compressible(connection: psycopg.Connection, days: int) -> list[tuple[str, datetime, datetime, str]]:
    """List the closed chunks that are not compressed yet: hypertable, start, end, name."""
    return connection.execute(_QUERIES["compressible"], {"days": days}).fetchall()


def why_not_compressed(server: Server) -> str | None:
    """Say why nothing is compressed on a server, or nothing when it can be.

    From 2.19.0 to 2.20.0 a column that is null throughout a batch is compressed to what `pg_restore` cannot read back
    (timescaledb #8153, #8893): such a backup would be lost.
    """
    if not server.community:
        return "TimescaleDB's Apache-2 edition has no compression; the Community edition has"
    version = tuple(int(part) for part in server.timescaledb.split(".")[:3] if part.isdigit())
    if (2, 19, 0) <= version < (2, 20, 1):
        return (
            f"what TimescaleDB {server.timescaledb} compresses cannot be restored from a backup (timescaledb #8153); "
            "upgrade it to 2.20.1 or newer"
        )
    return None


def compress(connection: psycopg.Connection, days: int, tell: Tell) -> int:
    """Compress closed chunks that are older than so many days; return how many.

    Parameters
    ----------
    connection
        The owner's, in autocommit mode, to a server that `why_not_compressed` has nothing against.
    """
    enabled = {name for (name,) in connection.execute(_QUERIES["columnstore_enabled"])}
    found = compressible(connection, days)
    for hypertable in sorted({hypertable for hypertable, *_ in found} - enabled):
        connection.execute(_QUERIES[f"enable_columnstore_{hypertable}"])
    for hypertable, start, end, chunk in found:
        connection.execute(_QUERIES["compress"], {"chunk": chunk})
        tell(f"compressed {hypertable} from {start:%Y-%m-%d} to {end:%Y-%m-%d}")
    return len(found)


def compressed(connection: psycopg.Connection) -> list[Compressed]:
    """Say what compression saved."""
    return [Compressed(*row) for row in connection.execute(_QUERIES["compression"])]
