"""Taking a backup: one file, of one moment, while collectors write."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from deploy.files import whole
from deploy.keeping import keys as key_files
from deploy.keeping.archive import DUMP, Keys, Manifest, Table, Writer
from deploy.keeping.content import About, about, hypertables, session_settings, table, tables
from deploy.keeping.errors import KeepingError
from deploy.keeping.tools import find_tool, pieces, running
from mrv.store import add_audit_event, snapshot
from sql.connection import Role, connect, describe
from sql.named import load

_QUERIES = load("keeping")
_TOLD_EVERY_S = 5.0

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """Which keys go with a backup, and what seals them."""

    evidence_key: Path | None
    authority: Path | None
    passphrase: bytes | None = None


def backup(url: str, out: Path, *, keys: KeyFiles | None, code_version: str, tell: Tell) -> Manifest:
    """Write a backup of a database, with the keys where they are asked for.

    The dump and the counts of the manifest are of one snapshot: what is written meanwhile is in neither.

    Parameters
    ----------
    url
        Connection string of the schema's owner.
    out
        The file, which is there whole or not at all, for its owner alone.
    keys
        None: without keys.
    tell
        Called with one line for each step.

    Raises
    ------
    KeepingError, OutputError, InputError, StoreError
        Nothing was written.
    """
    with connect(url, Role.OWNER, application="jcm-mrv backup") as connection, whole(out) as path:
        server = about(connection)
        if server.timescaledb is None or not server.has_schema:
            raise KeepingError(f"{describe(url)} has no schema of jcm-mrv; there is nothing to back up")
        pg_dump = find_tool("pg_dump", server.major)
        session_settings(connection)
        writer = Writer(path)
        with snapshot(connection):
            version = _value(connection, "schema_version")
            held = hypertables(connection)
            tell(f"dumping {describe(url)} with {pg_dump}")
            _dump(writer, url, pg_dump, str(_value(connection, "export_snapshot")), tell)
            counted = _count(connection, tell)
        manifest = _manifest(writer, server, counted, held, version, code_version, _add_keys(writer, keys, tell))
        writer.close(manifest)
        detail = {"out": str(out), "rows": sum(one.rows for one in counted.values()), "keys": keys is not None}
        add_audit_event(connection, "backup.made", manifest.made_at, detail)
    return manifest


def _value(connection: psycopg.Connection, query: str) -> object:
    row = connection.execute(_QUERIES[query]).fetchone()
    assert row is not None  # noqa: S101 - each is a select of one row
    return row[0]


def _dump(writer: Writer, url: str, pg_dump: Path, exported: str, tell: Tell) -> None:
    command = [
        str(pg_dump),
        "--format=custom",
        "--no-password",
        f"--snapshot={exported}",
        # A migration or a retention run holds what is dumped; rather an error than a night's wait.
        "--lock-wait-timeout=120s",
    ]
    with writer.member(DUMP) as member, running(command, url, writes=False) as stream:
        told = time.monotonic()
        for piece in pieces(stream):
            member.write(piece)
            if time.monotonic() - told > _TOLD_EVERY_S:
                told = time.monotonic()
                tell(f"  {member.bytes / 1e6:,.0f} MB")
    tell(f"  {member.bytes / 1e6:,.1f} MB")


def _count(connection: psycopg.Connection, tell: Tell) -> dict[str, Table]:
    names = tables(connection)
    tell(f"counting {len(names)} tables")
    return {name: table(connection, name) for name in names}


def _add_keys(writer: Writer, keys: KeyFiles | None, tell: Tell) -> Keys | None:
    if keys is None:
        return None
    files = key_files.collect(keys.evidence_key, keys.authority)
    for what, place, name in (
        ("evidence key", keys.evidence_key, "evidence-key.pem"),
        ("certificate authority", keys.authority, "authority/ca.key"),
    ):
        if place is not None and name not in files:
            tell(f"there is no {what} in {place}, so it is not in this backup")
    if not files:
        return None
    name = key_files.PLAIN if keys.passphrase is None else key_files.SEALED
    with writer.member(name) as member:
        member.write(key_files.pack(files, keys.passphrase))
    return Keys(member=name, encrypted=keys.passphrase is not None, files=list(files))


def _manifest(
    writer: Writer,
    server: About,
    counted: dict[str, Table],
    held: dict[str, int],
    version: object,
    code_version: str,
    keys: Keys | None,
) -> Manifest:
    assert isinstance(version, int)  # noqa: S101 - the number of the last migration
    return Manifest(
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        code_version=code_version,
        schema_version=version,
        postgresql=server.postgresql,
        timescaledb=server.timescaledb or "",
        edition=server.edition or "",
        tables=counted,
        hypertables=held,
        members=writer.members,
        keys=keys,
        holds_private_keys=keys is not None,
    )
