"""The migrator on a real TimescaleDB: once each, under a lock, and never a changed or a newer schema."""

import threading
from dataclasses import replace

import psycopg
import pytest

from sql.connection import Role, connect
from sql.errors import DatabaseUnavailableError, SchemaError, ServerNotSupportedError, StoreError
from sql.migrator import Migration, check, migrate, migrations
from sql.server import require_timescaledb


def test_every_migration_is_applied_once(empty_database: str) -> None:
    told: list[str] = []
    applied = migrate(empty_database, code_version="1", tell=told.append)
    assert [migration.version for migration in applied] == [migration.version for migration in migrations()]
    assert len(told) == len(applied)
    assert migrate(empty_database, code_version="2") == []
    with connect(empty_database, Role.OWNER) as connection:
        check(connection)


def test_readings_and_messages_are_hypertables(database: str) -> None:
    with connect(database, Role.OWNER) as connection:
        rows = connection.execute(
            "select hypertable_name from timescaledb_information.hypertables order by 1"
        ).fetchall()
    assert rows == [("device_event",), ("message",), ("reading",), ("reading_part",)]


def test_eight_migrators_at_once_apply_each_migration_once(empty_database: str) -> None:
    applied: list[int] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            applied.append(len(migrate(empty_database)))
        except BaseException as error:  # noqa: BLE001 - a thread's failure must fail the test
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(applied) == [0] * 7 + [len(migrations())]


def test_a_changed_migration_is_refused(database: str) -> None:
    first, *rest = migrations()
    changed = [replace(first, text=first.text + "\n-- changed"), *rest]
    with pytest.raises(SchemaError, match=r"0001 registry was changed after it was applied"):
        migrate(database, known=changed)


def test_a_newer_schema_is_refused(database: str) -> None:
    with pytest.raises(SchemaError, match=r"newer .* upgrade jcm-mrv"):
        migrate(database, known=migrations()[:-1])


def test_an_older_schema_is_refused_by_commands_that_do_not_migrate(database: str) -> None:
    newer = [*migrations(), Migration(len(migrations()) + 1, "next", "select 1")]
    with connect(database, Role.READER) as connection, pytest.raises(SchemaError, match="run `jcm-mrv migrate`"):
        check(connection, known=newer)


def test_a_database_without_a_schema_is_refused_with_the_way_out(empty_database: str) -> None:
    with connect(empty_database, Role.OWNER) as connection:
        require_timescaledb(connection, create=True, where="here")
        with pytest.raises(SchemaError, match="no schema yet; run `jcm-mrv migrate`"):
            check(connection)


def test_a_failing_migration_leaves_nothing_behind(database: str) -> None:
    broken = Migration(len(migrations()) + 1, "broken", "create table left_behind (n integer); select 1 / 0;")
    with pytest.raises(StoreError, match=r"broken failed: division by zero"):
        migrate(database, known=[*migrations(), broken])
    with connect(database, Role.OWNER) as connection:
        assert connection.execute("select to_regclass('left_behind')").fetchone() == (None,)
    assert migrate(database) == []


def test_a_migration_outside_a_transaction_runs_statement_by_statement(database: str) -> None:
    index = Migration(
        len(migrations()) + 1,
        "index",
        "-- no-transaction\ncreate index concurrently audit_at_idx on audit_event (at);\nselect 1;\n",
    )
    assert migrate(database, known=[*migrations(), index]) == [index]


def test_a_server_that_is_too_old_is_refused(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sql.server.MINIMUM_TIMESCALEDB", (99, 0, 0))
    with (
        connect(database, Role.READER) as connection,
        pytest.raises(ServerNotSupportedError, match=r"upgrade it to 99"),
    ):
        check(connection)


def test_the_edition_is_known(database: str) -> None:
    with connect(database, Role.READER) as connection:
        server = require_timescaledb(connection, create=False, where="here")
    assert server.edition in {"apache", "timescale"}
    assert server.community == (server.edition == "timescale")


def test_a_wrong_password_is_one_line_without_the_password(database: str) -> None:
    wrong = psycopg.conninfo.make_conninfo(database, password="not-this-one")
    with pytest.raises(DatabaseUnavailableError) as caught:
        connect(wrong, Role.READER)
    assert "password authentication failed" in str(caught.value)
    assert "not-this-one" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_server_is_one_line() -> None:
    with pytest.raises(
        DatabaseUnavailableError, match=r"x at 127.0.0.1:9 does not answer .*JCM_MRV_DATABASE_URL"
    ) as caught:
        connect("postgresql://u:secret@127.0.0.1:9/x", Role.READER)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
