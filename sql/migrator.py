"""Bring the schema up to date: numbered SQL files, each once, each with its checksum, under a lock."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

from sql.connection import Role, connect, describe
from sql.errors import SchemaError, StoreError
from sql.named import load
from sql.server import require_timescaledb

_DIRECTORY = Path(__file__).parent
_FILE_NAME = re.compile(r"(\d{4})_(\w+)\.sql")
_DOWN = ".down.sql"
# Raised by a way back that would lose what cannot be had again.
_WOULD_LOSE = "JD001"
# Continuous aggregates and concurrent indexes cannot be made inside a transaction.
_NO_TRANSACTION = "-- no-transaction"


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    version: int
    name: str
    text: str
    down: str | None = None
    """The way back, `NNNN_name.down.sql`; it is no part of the checksum."""

    @property
    def sha256(self) -> bytes:
        """The checksum that the database keeps beside the version."""
        return hashlib.sha256(self.text.encode()).digest()

    @property
    def transactional(self) -> bool:
        """Whether the file runs in one transaction with its own record."""
        return not self.text.startswith(_NO_TRANSACTION)


def migrations(directory: Path = _DIRECTORY / "migrations") -> list[Migration]:
    """Read the migration files in order.

    Raises
    ------
    SchemaError
        A file name is not `NNNN_name.sql`, or the numbers have a gap or a repetition.
    """
    found = []
    for path in sorted(directory.glob("*.sql")):
        if path.name.endswith(_DOWN):
            continue
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise SchemaError(f"{path.name}: a migration is named NNNN_name.sql")
        back = path.with_name(path.name.removesuffix(".sql") + _DOWN)
        down = back.read_text(encoding="utf-8") if back.exists() else None
        found.append(Migration(int(match[1]), match[2], path.read_text(encoding="utf-8"), down))
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise SchemaError("the migrations are not numbered 1, 2, 3, …; name each number once")
    return found


def migrate(
    url: str,
    *,
    known: Sequence[Migration] | None = None,
    code_version: str = "",
    tell: Callable[[str], None] = lambda _line: None,
) -> list[Migration]:
    """Apply what is missing, then what each role sees and may do; return what was applied.

    Parameters
    ----------
    url
        Connection string of the schema's owner.
    known
        The migrations of this version of the code; by default the files beside this module.
    code_version
        Kept beside each migration.
    tell
        Called with one line for each step.

    Raises
    ------
    DatabaseUnavailableError, ServerNotSupportedError, SchemaError
        See `check`; nothing was changed.
    """
    queries = load("migrator")
    known = migrations() if known is None else known
    with connect(url, Role.OWNER, application="jcm-mrv migrate") as connection:
        connection.execute(queries["lock"])
        try:
            require_timescaledb(connection, create=True, where=describe(url))
            connection.execute(queries["create_table"])
            done = _compare(connection, known)
            for migration in known[done:]:
                tell(f"applying {migration.version:04} {migration.name}")
                _apply(connection, migration, code_version)
            with connection.transaction():
                for name in ("scope.sql", "roles.sql"):
                    connection.execute((_DIRECTORY / name).read_text(encoding="utf-8"))
        except psycopg.errors.InsufficientPrivilege as error:
            raise SchemaError(
                f"the login may not do this ({error.diag.message_primary}); migrate as the owner"
            ) from error
        finally:
            if not connection.closed:
                connection.execute(queries["unlock"])
    return list(known[done:])


def plan(url: str) -> tuple[int, list[Migration]]:
    """Say up to which version the schema is, and which migrations this version of the code has; change nothing.

    Raises
    ------
    DatabaseUnavailableError, SchemaError
        The schema is newer, or a migration was changed after it was applied.
    """
    known = migrations()
    with connect(url, Role.OWNER, application="jcm-mrv migrate") as connection:
        try:
            return _compare(connection, known), known
        except psycopg.errors.UndefinedTable:
            return 0, known


def roll_back(url: str, to: int, *, tell: Callable[[str], None] = lambda _line: None) -> list[Migration]:
    """Take migrations back until the schema is at a version, in one transaction; return what was taken back.

    What each role sees goes too, for it rests on what is taken back: the older version's `migrate` makes its own.

    Raises
    ------
    SchemaError
        The schema is not as far, a migration has no way back, or it would lose what cannot be had again; nothing was
        changed.
    """
    queries = load("migrator")
    known = migrations()
    with connect(url, Role.OWNER, application="jcm-mrv migrate") as connection:
        connection.execute(queries["lock"])
        done = _compare(connection, known)
        if not 0 < to < done:
            raise SchemaError(f"the schema is at {done:04}; name a version from 0001 to {done - 1:04}")
        back = known[to:done][::-1]
        for migration in back:
            if migration.down is None:
                raise SchemaError(
                    f"{migration.version:04} {migration.name} has no way back; restore a backup that was made before it"
                )
        with connection.transaction():
            connection.execute(queries["drop_scope"])
            for migration in back:
                tell(f"taking back {migration.version:04} {migration.name}")
                _take_back(connection, migration)
    return back


def _take_back(connection: psycopg.Connection, migration: Migration) -> None:
    try:
        connection.execute(migration.down or "")
        connection.execute(load("migrator")["forget"], [migration.version])
    except psycopg.Error as error:
        if error.sqlstate == _WOULD_LOSE:
            raise SchemaError(
                f"{migration.version:04} {migration.name} is not taken back: {error.diag.message_primary}; "
                "nothing was changed, restore a backup that was made before it instead"
            ) from None
        raise StoreError(f"taking back {migration.version:04} {migration.name} failed: {error}") from error


def check(connection: psycopg.Connection, *, known: Sequence[Migration] | None = None) -> None:
    """See that the schema is the one this code was written for.

    Raises
    ------
    ServerNotSupportedError
        The server has no TimescaleDB, or one that is too old.
    SchemaError
        The schema is missing, older, newer, or a migration was changed after it was applied.
    """
    known = migrations() if known is None else known
    require_timescaledb(connection, create=False, where=describe(connection.info.dsn))
    try:
        done = _compare(connection, known)
    except psycopg.errors.UndefinedTable:
        raise SchemaError("the database has no schema yet; run `jcm-mrv migrate`") from None
    if done < len(known):
        raise SchemaError(f"the schema is at {done:04}, this version needs {len(known):04}; run `jcm-mrv migrate`")


def _compare(connection: psycopg.Connection, known: Sequence[Migration]) -> int:
    applied = connection.execute(load("migrator")["applied"]).fetchall()
    if len(applied) > len(known):
        version, name, _ = applied[len(known)]
        raise SchemaError(
            f"the schema is newer ({version:04} {name}) than this version knows ({len(known):04}); upgrade jcm-mrv"
        )
    for (version, name, sha256), migration in zip(applied, known, strict=False):
        if version != migration.version or bytes(sha256) != migration.sha256:
            raise SchemaError(
                f"migration {version:04} {name} was changed after it was applied; "
                "restore the file and put the change into a new migration"
            )
    return len(applied)


def _apply(connection: psycopg.Connection, migration: Migration, code_version: str) -> None:
    record = (migration.version, migration.name, migration.sha256, code_version)
    text = migration.text
    try:
        if migration.transactional:
            with connection.transaction():
                connection.execute(text)
                connection.execute(load("migrator")["record"], record)
        else:
            for statement in migration.text.removeprefix(_NO_TRANSACTION).split(";\n"):
                if statement.strip():
                    connection.execute(statement)
            connection.execute(load("migrator")["record"], record)
    except psycopg.errors.InsufficientPrivilege:
        raise
    except psycopg.Error as error:
        raise StoreError(f"migration {migration.version:04} {migration.name} failed: {error}") from error
