"""What is in a database, told so that two can be held against each other."""

from dataclasses import dataclass

import psycopg
from psycopg import sql

from deploy.keeping.archive import Table
from sql.named import load

_QUERIES = load("keeping")


@dataclass(frozen=True, slots=True)
class About:
    """Which server this is, and which schema its database has."""

    postgresql: str
    major: int
    timescaledb: str | None
    edition: str | None
    has_schema: bool


def about(connection: psycopg.Connection) -> About:
    """Ask a database what it is."""
    row = connection.execute(_QUERIES["about"]).fetchone()
    assert row is not None  # noqa: S101 - a select without from has one row
    version, major, timescaledb, edition, has_schema = row
    return About(version, major, timescaledb, edition, has_schema)


def tables(connection: psycopg.Connection) -> list[str]:
    """Name the tables of the schema."""
    return [name for (name,) in connection.execute(_QUERIES["tables"])]


def table(connection: psycopg.Connection, name: str) -> Table:
    """Count a table's rows and sum up what they are; needs `session_settings`."""
    row = connection.execute(sql.SQL(_QUERIES["table_content"]).format(table=sql.Identifier(name))).fetchone()
    assert row is not None  # noqa: S101 - an aggregate has one row
    return Table(rows=row[0], content=row[1])


def session_settings(connection: psycopg.Connection) -> None:
    """Have values written as text in one way, whatever the server's settings."""
    connection.execute(_QUERIES["session"])


def hypertables(connection: psycopg.Connection) -> dict[str, int]:
    """Count the chunks of each hypertable."""
    return dict(connection.execute(_QUERIES["hypertables"]).fetchall())


def mend_sequences(connection: psycopg.Connection) -> tuple[int, list[str]]:
    """See that every sequence goes on behind the numbers that are taken, and set those that do not.

    A dump has them right; where somebody wrote numbers by hand they were wrong before.

    Returns
    -------
    How many there are, and the names of those that were set.
    """
    found = connection.execute(_QUERIES["sequences"]).fetchall()
    mended = []
    for sequence, owner, column, increment in found:
        names = {
            "column": sql.Identifier(column),
            "table": sql.Identifier(owner),
            "sequence": sql.Identifier(sequence),
            "name": sql.Literal(sequence),
        }
        reaches = connection.execute(
            sql.SQL(_QUERIES["sequence_reaches"]).format(**names), {"increment": increment}
        ).fetchone()
        if reaches is None or not reaches[0]:
            connection.execute(sql.SQL(_QUERIES["set_sequence"]).format(**names))
            mended.append(sequence)
    return len(found), mended
