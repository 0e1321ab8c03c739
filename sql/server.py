"""What server this is: TimescaleDB's version and edition."""

import re
from dataclasses import dataclass

import psycopg

from sql.errors import SchemaError, ServerNotSupportedError
from sql.named import load

# Before 2.18.1 an upsert silently skips the rows that follow the first conflict (timescaledb #7672, #7673).
MINIMUM_TIMESCALEDB = (2, 18, 1)


@dataclass(frozen=True, slots=True)
class Server:
    """A PostgreSQL server with TimescaleDB."""

    postgresql: str
    timescaledb: str
    edition: str
    """`apache` (hypertables only) or `timescale` (Community: also columnstore, continuous aggregates, policies)."""

    @property
    def community(self) -> bool:
        """Whether the features of the Community edition are there."""
        return self.edition == "timescale"


def require_timescaledb(connection: psycopg.Connection, *, create: bool, where: str) -> Server:
    """Say which TimescaleDB this is, and refuse what this version does not work with.

    Parameters
    ----------
    create
        Create the extension in this database where the server has it and the database has not.

    Raises
    ------
    ServerNotSupportedError
        TimescaleDB is not there, not preloaded, or older than 2.18.1.
    SchemaError
        A restore into this database did not end.
    """
    queries = load("migrator")
    row = connection.execute(queries["available_timescaledb"]).fetchone()
    available, installed = row if row is not None else (None, None)
    least = ".".join(map(str, MINIMUM_TIMESCALEDB))
    if available is None:
        raise ServerNotSupportedError(
            f"{where} has no TimescaleDB; install TimescaleDB {least} or newer there, "
            "or unset JCM_MRV_DATABASE_URL to use the local servers"
        )
    version = str(installed or available)
    if _version(version) < MINIMUM_TIMESCALEDB:
        raise ServerNotSupportedError(
            f"{where} has TimescaleDB {version}, which loses rows after a conflict; upgrade it to {least} or newer"
        )
    if installed is None:
        if not create:
            raise ServerNotSupportedError(f"{where} has TimescaleDB but not in this database; run `jcm-mrv migrate`")
        try:
            connection.execute(queries["create_timescaledb"])
        except psycopg.Error as error:
            said = (error.diag.message_primary or str(error)).splitlines()[0]
            raise ServerNotSupportedError(
                f"{where}: TimescaleDB cannot be created ({said}); "
                "let an administrator preload it (shared_preload_libraries) and run CREATE EXTENSION timescaledb there"
            ) from error
    postgresql, edition, restoring = connection.execute(queries["server"]).fetchone() or ("", "", False)
    if restoring:
        raise SchemaError(f"a restore into {where} did not end; repeat it with `jcm-mrv restore FILE --again`")
    return Server(postgresql=str(postgresql), timescaledb=version, edition=str(edition))


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])
