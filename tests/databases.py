"""Databases for tests: copies of one migrated template.

Migrating takes 0.2 s, a copy 0.05 s. A database is dropped at once when nobody wants it: a drop ends with a checkpoint,
which is cheap while few files are dirty (0.06 s), and takes a minute where two hundred databases wait to be dropped.
"""

import hashlib
import itertools
import os
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import conninfo, sql

import sql as sql_room
from sql.migrator import migrate

_SQL = Path(sql_room.__file__).parent
_TEMPLATE = "test_template_"
_MAKING = "test_making_"
# Templates of other versions that stay: runs of two work trees take turns.
_KEPT = 3
_TRIES = 5
_LOCK, _SWEEP = 0x6A636D_74657374, 0x6A636D_74657375


class Databases:
    """Makes and drops the databases of one run on one server.

    Parameters
    ----------
    admin
        Connection string of a login that may create databases.
    """

    def __init__(self, admin: str) -> None:
        self._admin = admin
        self._connection = psycopg.connect(admin, autocommit=True)
        # What ended runs left does not keep this one waiting.
        threading.Thread(target=self._sweep, name="drops left databases", daemon=True).start()

    def new(self, *, migrated: bool) -> str:
        """Make a database and return its URL."""
        # The process's number tells a later run whose databases nobody wants any more.
        name = f"test_{os.getpid()}_{uuid.uuid4().hex[:8]}"
        for tries in itertools.count(1):
            template = self._template() if migrated else "template0"
            try:
                self._execute("create database {} template {}", name, template)
            except psycopg.errors.InvalidCatalogName:
                # A run of another version took it for an old one in between.
                if tries == _TRIES:
                    raise
            else:
                break
        return with_database(self._admin, name)

    def drop(self, url: str) -> None:
        """Drop a database that was made here."""
        _drop(self._connection, str(conninfo.conninfo_to_dict(url)["dbname"]))

    def close(self) -> None:
        """End."""
        self._connection.close()

    def _template(self) -> str:
        """Return the name of the database that has this version's schema, made when there is none."""
        name = _TEMPLATE + _digest()
        if self._exists(name):
            return name
        self._connection.execute("select pg_advisory_lock(%s)", [_LOCK])
        try:
            if not self._exists(name):
                self._make_template(name)
        finally:
            self._connection.execute("select pg_advisory_unlock(%s)", [_LOCK])
        return name

    def _make_template(self, name: str) -> None:
        unwanted = self._connection.execute(
            "(select datname from pg_database where starts_with(datname, %s)) union all"
            " (select datname from pg_database where starts_with(datname, %s) order by oid desc offset %s)",
            [_MAKING, _TEMPLATE, _KEPT],
        )
        for (old,) in unwanted.fetchall():
            _drop(self._connection, old)
        making = _MAKING + name.removeprefix(_TEMPLATE)
        self._execute("create database {} template template0", making)
        migrate(with_database(self._admin, making), code_version="test")
        # TimescaleDB's scheduler came with the extension and would stay, and nobody copies a database with somebody in
        # it. The renaming ends it; where no connection is allowed, none is started again.
        self._execute("alter database {} allow_connections false", making)
        self._execute("alter database {} rename to {}", making, name)

    def _exists(self, name: str) -> bool:
        return self._connection.execute("select from pg_database where datname = %s", [name]).rowcount == 1

    def _execute(self, statement: str, *names: str) -> None:
        self._connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def _sweep(self) -> None:
        with psycopg.connect(self._admin, autocommit=True) as connection, suppress(psycopg.Error):
            row = connection.execute("select pg_try_advisory_lock(%s)", [_SWEEP]).fetchone()
            if row is not None and row[0]:
                for name in _of_ended_runs(connection):
                    _drop(connection, name)


def with_database(url: str, name: str) -> str:
    """The same server's URL, with another database."""
    if "://" in url:
        return urlsplit(url)._replace(path=f"/{name}").geturl()
    return conninfo.make_conninfo(url, dbname=name)


def _digest() -> str:
    digest = hashlib.sha256()
    for path in [_SQL / "migrator.py", *sorted(_SQL.glob("*.sql")), *sorted((_SQL / "migrations").glob("*.sql"))]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _of_ended_runs(connection: psycopg.Connection) -> list[str]:
    found = connection.execute(r"select datname from pg_database where datname ~ '^test_\d+_[0-9a-f]{8}$'").fetchall()
    return [name for (name,) in found if not _lives(int(name.split("_")[1]))]


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _drop(connection: psycopg.Connection, name: str) -> None:
    end = time.monotonic() + 20
    for force in itertools.cycle((" with (force)", "")):
        # By force clients are ended, yet not an autovacuum worker, which belongs to the superuser; without force it is
        # the other way round.
        try:
            connection.execute(sql.SQL("drop database if exists {}" + force).format(sql.Identifier(name)))
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectInUse):
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return
