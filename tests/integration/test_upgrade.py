"""Migrations up and down with data in place: nothing is lost, or the way back is refused."""

import os
from datetime import date
from pathlib import Path

import psycopg
import pytest

from mrv import periods
from sql.connection import Role, connect
from sql.errors import SchemaError
from sql.migrator import check, migrate, migrations, roll_back
from tests.forked import run_command
from tests.integration.conftest import Plant

ROOT = Path(__file__).resolve().parents[2]
DAYS = (date(2021, 3, 1), date(2021, 3, 2))
FIRST_WITH_A_WAY_BACK = 10


def shape(url: str) -> list[tuple]:
    """Every column, index, constraint, trigger and function of the schema, without what roles see."""
    with psycopg.connect(url) as connection:
        return connection.execute("""
            select table_name, column_name, data_type || is_nullable from information_schema.columns
            where table_schema = 'public' and table_name !~ 'pg_|timescale'
            union all select tablename, indexname, indexdef from pg_indexes where schemaname = 'public'
            union all select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint
            where connamespace = 'public'::regnamespace
            union all select tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) from pg_trigger
            where not tgisinternal and tgrelid::regclass::text !~ '_timescaledb'
            union all select 'function', p.oid::regprocedure::text, md5(prosrc) from pg_proc p
            where pronamespace = 'public'::regnamespace
                and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
            order by 1, 2, 3
        """).fetchall()


def content(url: str) -> dict[str, int]:
    with psycopg.connect(url) as connection:
        return {
            table: connection.execute(f"select count(*) from {table}").fetchone()[0]
            for table in ("reading", "project", "declaration", "period_revision", "emission_result", "audit_event")
        }


@pytest.fixture
def filled(plants):
    """A plant with a frozen period."""
    plant: Plant = plants()
    plant.insert(plant.days(*DAYS, hourly_wh=100_000.0))
    periods.freeze(plant.connection, "P1", *DAYS, code_version="1")
    return plant


def test_every_migration_from_0010_on_has_a_way_back():
    assert [one.version for one in migrations() if one.down is None] == list(range(1, FIRST_WITH_A_WAY_BACK))


def test_the_way_back_leads_to_what_was_there_before(empty_database):
    known, shapes = migrations(), {}
    for number in range(FIRST_WITH_A_WAY_BACK - 1, len(known) + 1):
        if number == len(known):
            migrate(empty_database)
        else:
            # Without what roles see, which asks for the whole schema.
            with connect(empty_database, Role.OWNER) as connection:
                apply(connection, known[:number])
        shapes[number] = shape(empty_database)
    for number in reversed(range(FIRST_WITH_A_WAY_BACK - 1, len(known))):
        roll_back(empty_database, number)
        assert shape(empty_database) == shapes[number], number
    migrate(empty_database)
    assert shape(empty_database) == shapes[len(known)]


def apply(connection: psycopg.Connection, known) -> None:
    from sql.migrator import _apply, _compare
    from sql.named import load
    from sql.server import require_timescaledb

    require_timescaledb(connection, create=True, where="here")
    connection.execute(load("migrator")["create_table"])
    for migration in known[_compare(connection, known) :]:
        _apply(connection, migration, "1")


def test_down_and_up_with_data_in_place(filled):
    before = content(filled.url)
    text = periods.recompute(filled.connection, "P1", *DAYS).result_text
    filled.close()
    told: list[str] = []
    taken = roll_back(filled.url, 9, tell=told.append)
    assert [one.version for one in taken] == list(range(len(migrations()), 9, -1))
    assert told[0].startswith("taking back 0013 retention")
    assert content(filled.url) == before
    with connect(filled.url, Role.OWNER) as connection, pytest.raises(SchemaError, match="the schema is at 0009"):
        check(connection)
    migrate(filled.url, code_version="2")
    assert content(filled.url) == before
    with connect(filled.url, Role.MRV) as connection:
        check(connection)
        again = periods.recompute(connection, "P1", *DAYS)
        assert again.result_text == text
        # What 0011 had held is there again.
        assert connection.execute("select count(*) from revision_day").fetchone()[0] > 0


LOSSES = {
    "an account": (
        "insert into account (name, person) values ('a', 'A')",
        9,
        "0010 access is not taken back: accounts",
    ),
    "a login": (
        "insert into login_project (login, project_id) values ('a', 'P1')",
        9,
        "0010 access is not taken back: accounts",
    ),
    "an alert that fired": (
        """insert into alert (rule, subject, severity, said, since, first_seen, last_seen, firing_since)
        values ('r', 's', 'warning', 'x', now(), now(), now(), now())""",
        11,
        "0012 alert is not taken back: alerts that fired",
    ),
    "a bundle on record": (
        """insert into evidence_bundle (period_id, revision, redacted, sha256, bytes)
        select period_id, 1, false, repeat('0', 64), 1 from period""",
        12,
        "0013 retention is not taken back: the record of the bundles",
    ),
    "messages that were dropped": (
        "insert into message_drop values (now(), now(), '', 1, 0, 0, 0, 1, '[]', '2 years')",
        12,
        "0013 retention is not taken back: messages were dropped",
    ),
}


def test_what_would_be_lost_is_refused_and_nothing_is_changed(filled):
    shaped, before = shape(filled.url), content(filled.url)
    filled.close()
    for statement, to, said in LOSSES.values():
        with psycopg.connect(filled.url, autocommit=True) as owner:
            owner.execute(statement)
            tables = content(filled.url)
            with pytest.raises(SchemaError, match=said) as caught:
                roll_back(filled.url, to)
            assert "nothing was changed, restore a backup that was made before it instead" in str(caught.value)
            table = statement.split()[2]
            owner.execute(f"alter table {table} disable trigger user")
            owner.execute(f"delete from {table}")
            owner.execute(f"alter table {table} enable trigger user")
        assert content(filled.url) == tables
    with connect(filled.url, Role.READER) as connection:
        check(connection)
        assert connection.execute("select to_regnamespace('scoped')").fetchone() != (None,)
    assert shape(filled.url) == shaped
    assert content(filled.url).items() >= {name: n for name, n in before.items() if name != "audit_event"}.items()


def test_a_way_back_that_there_is_not_is_refused(database):
    with pytest.raises(
        SchemaError, match="0009 seal_timestamp has no way back; restore a backup that was made before it"
    ):
        roll_back(database, 8)
    newest = len(migrations())
    for to in (newest, newest + 1):
        with pytest.raises(SchemaError, match=f"the schema is at {newest:04}; name a version from 0001 to"):
            roll_back(database, to)
    assert migrate(database) == []


def test_the_command_plans_and_rolls_back(database):
    def run(*arguments, status=0):
        environment = {**os.environ, "JCM_MRV_DATABASE_URL": database}
        done = run_command("migrate", *arguments, environment=environment, cwd=ROOT)
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    assert "0013 retention            applied        has a way back" in run("--plan")
    said = run("--rollback-to", "11")
    assert "taking back 0012 alert" in said
    assert "the schema is at 0011" in said
    planned = run("--plan")
    assert "0012 alert                to be applied  has a way back" in planned
    assert "0009 seal_timestamp       applied        back by restore only" in planned
    assert "exclude each other" in run("--plan", "--rollback-to", "3", status=2)
    assert "applying 0012 alert" in run()
