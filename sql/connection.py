"""Connections that say clearly what is wrong, in UTC, each under the role of its room."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

import psycopg
from psycopg import conninfo

from sql.errors import DatabaseUnavailableError, SchemaError, StoreError


class Role(StrEnum):
    """The database role that a room's connection takes; `OWNER` keeps the login's own rights."""

    OWNER = ""
    COLLECTOR = "jcm_mrv_collector"
    MRV = "jcm_mrv_mrv"
    READER = "jcm_mrv_reader"
    VERIFIER = "jcm_mrv_verifier"
    PARTICIPANT = "jcm_mrv_participant"


def describe(url: str) -> str:
    """Say which database a connection string means, without its password."""
    try:
        parts = conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return "the database (its URL cannot be read)"
    return (
        f"{parts.get('dbname', 'the default database')} at {parts.get('host', 'localhost')}:{parts.get('port', 5432)}"
    )


def connect(url: str, role: Role, *, application: str = "jcm-mrv", timeout_s: int = 5) -> psycopg.Connection:
    """Open a connection in autocommit mode, with UTC and the role's rights.

    Raises
    ------
    DatabaseUnavailableError
        The server does not answer within `timeout_s` seconds or refuses the login.
    SchemaError
        The role does not exist yet: the schema was never migrated.
    """
    settings = "-c timezone=UTC -c datestyle=ISO"
    if role:
        settings += f" -c role={role.value}"
    try:
        return psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=timeout_s,
            application_name=application,
            options=settings,
            # A black-holed network must end a wait: half a minute without an answer is a lost connection.
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=4,
            tcp_user_timeout=30_000,
        )
    except psycopg.ProgrammingError as error:
        raise DatabaseUnavailableError(
            "the database URL cannot be read; give it as postgresql://user:password@host:port/name"
        ) from error
    except psycopg.OperationalError as error:
        said = _first_line(error)
        if role and "permission denied to set role" in said:
            raise SchemaError(
                f"this login may not act as {role.value} on {describe(url)}; its owner allows it with "
                f"`grant {role.value} to <login>`"
            ) from error
        if role and re.search(rf'role "?{role.value}"? does not exist', said):
            raise SchemaError(
                f"{describe(url)} has no role {role.value} for this login; run `jcm-mrv migrate` as the owner"
            ) from error
        raise DatabaseUnavailableError(
            f"{describe(url)} does not answer ({said}); start it or correct JCM_MRV_DATABASE_URL"
        ) from error


@contextmanager
def reported() -> Iterator[None]:
    """Turn what psycopg raises into a `StoreError` of one line, for commands that a person runs."""
    try:
        yield
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        raise SchemaError(f"the schema is not up to date ({_first_line(error)}); run `jcm-mrv migrate`") from error
    except psycopg.OperationalError as error:
        raise DatabaseUnavailableError(f"the database went away ({_first_line(error)}); try again") from error
    except psycopg.Error as error:
        raise StoreError(f"the database refused: {_first_line(error)}") from error


def _first_line(error: psycopg.Error) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rpartition("FATAL:")[2].strip() if lines else type(error).__name__
