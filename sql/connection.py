"""Connections that say clearly what is wrong, in UTC, each under the role of its room."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

import psycopg
from psycopg import conninfo
from psycopg.pq import TransactionStatus

from sql.errors import DatabaseUnavailableError, SchemaError, StoreError
from sql.named import load

_QUERIES = load("access")
_SCOPED_PATH = "scoped,public"
_SERVED_PATH = "within,public"
_ALL_PROJECTS = "*"


class Role(StrEnum):
    """The database role that a room's connection takes; `OWNER` keeps the login's own rights."""

    OWNER = ""
    COLLECTOR = "jcm_mrv_collector"
    MRV = "jcm_mrv_mrv"
    READER = "jcm_mrv_reader"
    VERIFIER = "jcm_mrv_verifier"
    PARTICIPANT = "jcm_mrv_participant"
    OPERATOR = "jcm_mrv_operator"
    SERVICE = "jcm_mrv_service"
    EXPORTER = "jcm_mrv_exporter"

    @property
    def scoped(self) -> bool:
        """Whether it sees the projects of its session only (scope.sql)."""
        return self in {Role.VERIFIER, Role.PARTICIPANT, Role.OPERATOR}


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
    if role.scoped:
        settings += f" -c search_path={_SCOPED_PATH}"
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
def acting(
    connection: psycopg.Connection, role: Role, projects: frozenset[str] | None, *, read_only: bool
) -> Iterator[psycopg.Connection]:
    """Take a role and a set of projects for the length of the block, on a connection that comes from a pool.

    For the service, whose statements are ours: names mean the views of `within` (scope.sql).

    One round trip at the start and one at the end; both cover role, projects, search path and whether anything may be
    written. What the block leaves open is rolled back. A connection that cannot be given back as it was is closed, so
    that the pool makes a new one.

    Parameters
    ----------
    connection
        In autocommit mode and in no transaction; its login may take `role`.
    projects
        What is seen of the scoped views (scope.sql); None stands for all. A role that is not scoped sees by its grants.
    read_only
        Refuse every write, also where the role may write.

    Raises
    ------
    psycopg.errors.InsufficientPrivilege
        The login may not take the role.
    """
    connection.execute(
        _QUERIES["act"],
        {
            "role": f"{role.value}_served" if role.scoped else role.value or "none",
            "search_path": _SERVED_PATH if role.scoped else "public",
            "projects": _ALL_PROJECTS if projects is None else json.dumps(sorted(projects)),
            "read_only": "on" if read_only else "off",
        },
    )
    try:
        yield connection
    finally:
        try:
            if connection.info.transaction_status != TransactionStatus.IDLE:
                connection.rollback()
            connection.execute(_QUERIES["act_no_more"])
        except psycopg.Error:
            connection.close()


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
