"""Putting a backup back into an empty database, and seeing that it is what was backed up.

TimescaleDB's catalogue can be restored by a superuser only (timescaledb #2686), so one is needed for the dump; what is
restored then goes to the owner, whose login does all the rest. The database is marked until all of that is done, also
when this ends in between: every command refuses it until the restore is repeated.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from deploy.keeping.archive import DUMP, Manifest, Reader
from deploy.keeping.content import about, hypertables, mend_sequences, session_settings, table, tables
from deploy.keeping.errors import RestoreError, ToolError
from deploy.keeping.places import Target
from deploy.keeping.tools import find_tool, pieces, running
from mrv.store import add_audit_event
from sql.connection import Role, connect
from sql.migrator import migrate, migrations
from sql.named import load

_QUERIES = load("keeping")
# Databases are made from the templates, and dropped from the third.
_THE_SERVERS_OWN = {"postgres", "template0", "template1"}

Tell = Callable[[str], None]


def restore(backup: Reader, target: Target, *, again: bool, code_version: str, tell: Tell) -> None:
    """Put a backup into an empty database, bring its schema up to date, and hold every table against the manifest.

    Parameters
    ----------
    again
        Drop the database first where an earlier restore into it did not end.
    tell
        Called with one line for each step.

    Raises
    ------
    BackupFileError, RestoreError, ToolError, StoreError
        The database was not touched, or it is still marked as being restored and nobody can use it.
    """
    manifest = backup.manifest
    name = str(conninfo_to_dict(target.owner).get("dbname", ""))
    if name in _THE_SERVERS_OWN:
        raise RestoreError(f"{name} is the server's own database; name another one with --into, it is made for you")
    known = len(migrations())
    if manifest.schema_version > known:
        raise RestoreError(
            f"the backup has schema {manifest.schema_version:04}, this version knows {known:04}; "
            f"restore it with jcm-mrv {manifest.code_version} or newer"
        )
    backup.check()
    tell(f"{backup.path} is whole: {', '.join(manifest.members)} as its manifest says")
    _make_ready(target, again=again, tell=tell)
    with connect(target.owner, Role.OWNER, application="jcm-mrv restore") as owner:
        pg_restore = find_tool("pg_restore", _check_empty(owner, target, manifest))
        _create_extension(owner, target, manifest)
        row = owner.execute(_QUERIES["me"]).fetchone()
    assert row is not None  # noqa: S101 - a select without from has one row
    _mark(target, "mark_restoring")
    _load(backup, target, pg_restore, str(row[0]), tell)
    with connect(target.owner, Role.OWNER, application="jcm-mrv restore") as owner:
        _compare(owner, manifest, tell)
    _mark(target, "unmark_restoring")
    for done in migrate(target.owner, code_version=code_version):
        tell(f"applied {done.version:04} {done.name}, which the backup did not have")
    with connect(target.owner, Role.OWNER, application="jcm-mrv restore") as owner:
        add_audit_event(owner, "backup.restored", manifest.made_at, {"file": backup.path.name, "into": target.name})
    tell("roles and what each may do: as this version has them")


def _make_ready(target: Target, *, again: bool, tell: Tell) -> None:
    """Make the database where there is none, and anew where a restore did not end."""
    name = str(conninfo_to_dict(target.owner).get("dbname", ""))
    maintenance = make_conninfo(target.superuser, dbname="postgres")
    # From elsewhere: whoever is connected to a database keeps it from being dropped.
    with connect(maintenance, Role.OWNER, application="jcm-mrv restore") as connection:
        row = connection.execute(_QUERIES["database_exists"], {"name": name}).fetchone()
        exists = bool(row and row[0])
    if exists:
        with connect(target.owner, Role.OWNER, application="jcm-mrv restore") as owner:
            row = owner.execute(_QUERIES["restoring"]).fetchone()
        if not (row and row[0]):
            return
        if not again:
            raise RestoreError(f"a restore into {target.name} did not end; --again drops what it left and begins anew")
        tell(f"dropping what a restore into {target.name} left behind")
    _create(maintenance, target, name, drop=exists)


def _create(maintenance: str, target: Target, name: str, *, drop: bool) -> None:
    owner = str(conninfo_to_dict(target.owner).get("user", ""))
    given = {"name": sql.Identifier(name), "owner": sql.Identifier(owner)}
    with connect(maintenance, Role.OWNER, application="jcm-mrv restore") as connection:
        if drop:
            connection.execute(sql.SQL(_QUERIES["drop_database"]).format(**given))
        connection.execute(sql.SQL(_QUERIES["create_database"]).format(**given))


def _check_empty(owner: psycopg.Connection, target: Target, manifest: Manifest) -> int:
    server = about(owner)
    row = owner.execute(_QUERIES["content"]).fetchone()
    if server.has_schema or (row and row[0]):
        raise RestoreError(f"{target.name} is not empty; name another database with --into, it is made for you")
    row = owner.execute(_QUERIES["may_create"]).fetchone()
    if not (row and row[0]):
        raise RestoreError(
            f"{target.name} is not this login's to create in; `alter database … owner to …`, or name another one with "
            "--into, it is made for you"
        )
    before = int(manifest.postgresql.partition(".")[0])
    if server.major < before:
        raise RestoreError(
            f"{target.name} is PostgreSQL {server.major}, the backup is of {before}; take {before} or newer"
        )
    return server.major


def _create_extension(owner: psycopg.Connection, target: Target, manifest: Manifest) -> None:
    """Create TimescaleDB in the version of the backup: its catalogue fits that version only."""
    wanted = manifest.timescaledb
    found = owner.execute(_QUERIES["timescaledb_versions"]).fetchall()
    offered = {version for version, _, _ in found}
    installed = next((installed for _, _, installed in found), None)
    if wanted not in offered or installed not in {None, wanted}:
        has = installed or next((default for _, default, _ in found), "no TimescaleDB")
        raise RestoreError(
            f"the backup is of TimescaleDB {wanted} and {target.name} has {has}; a dump fits its own version only: "
            f"install {wanted} there, restore, then `alter extension timescaledb update`"
        )
    if installed is None:
        statement = sql.SQL(_QUERIES["create_timescaledb"]).format(version=sql.Literal(wanted))
        try:
            owner.execute(statement)
        except psycopg.errors.InsufficientPrivilege:
            with connect(target.superuser, Role.OWNER, application="jcm-mrv restore") as superuser:
                superuser.execute(statement)


def _mark(target: Target, query: str) -> None:
    name = str(conninfo_to_dict(target.superuser).get("dbname", ""))
    # Where a provider's administrator may prepare a restore but set no such mark, TimescaleDB's own has to do.
    with (
        connect(target.superuser, Role.OWNER, application="jcm-mrv restore") as superuser,
        suppress(psycopg.errors.InsufficientPrivilege),
    ):
        superuser.execute(sql.SQL(_QUERIES[query]).format(name=sql.Identifier(name)))


def _load(backup: Reader, target: Target, pg_restore: Path, owner: str, tell: Tell) -> None:
    with connect(target.superuser, Role.OWNER, application="jcm-mrv restore") as superuser:
        try:
            superuser.execute(_QUERIES["pre_restore"])
        except psycopg.errors.InsufficientPrivilege:
            raise RestoreError(
                "TimescaleDB's catalogue can be restored by a superuser only; give the login of one in "
                "JCM_MRV_DATABASE_ADMIN_URL"
            ) from None
        tell(f"restoring into {target.name} with {pg_restore}")
        command = [str(pg_restore), "--no-owner", "--no-privileges", "--no-password", "--exit-on-error"]
        name = str(conninfo_to_dict(target.superuser).get("dbname", ""))
        try:
            with (
                backup.open(DUMP) as source,
                running([*command, f"--dbname={name}"], target.superuser, writes=True) as stream,
            ):
                for piece in pieces(source):
                    stream.write(piece)
        except ToolError as error:
            raise RestoreError(f"{error}; {target.name} is of no use now, --again begins anew") from None
        superuser.execute(_QUERIES["post_restore"])
    with connect(target.superuser, Role.OWNER, application="jcm-mrv restore") as superuser, superuser.transaction():
        for (statement,) in superuser.execute(_QUERIES["give"], {"owner": owner}).fetchall():
            superuser.execute(statement)
    tell(f"all of it belongs to {owner}")


def _compare(owner: psycopg.Connection, manifest: Manifest, tell: Tell) -> None:
    session_settings(owner)
    owner.execute(_QUERIES["analyze"])
    names = set(tables(owner))
    missing = sorted(manifest.tables.keys() - names)
    if missing:
        raise RestoreError(f"tables of the backup are missing after the restore: {', '.join(missing)}")
    for name, before in manifest.tables.items():
        after = table(owner, name)
        if after != before:
            raise RestoreError(
                f"{name} is not what was backed up: {before.rows:,} rows were, {after.rows:,} are there"
                + ("" if after.rows != before.rows else ", and other ones")
            )
    rows = sum(one.rows for one in manifest.tables.values())
    tell(f"{rows:,} rows in {len(manifest.tables)} tables: each table is what it was, by number and content")
    if hypertables(owner) != manifest.hypertables:
        raise RestoreError(f"the hypertables are {hypertables(owner)}, they were {manifest.hypertables}")
    chunks = ", ".join(f"{name} {number}" for name, number in manifest.hypertables.items())
    tell(f"hypertables with their chunks: {chunks}")
    number, mended = mend_sequences(owner)
    tell(f"{number} sequences go on behind the numbers that are taken")
    for name in mended:
        tell(f"{name} did not when it was backed up; it was set")
