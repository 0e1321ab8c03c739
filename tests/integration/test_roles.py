"""Least privilege in the database: who cannot do what, tried on the real server."""

import psycopg
import pytest

from sql.connection import Role, acting, connect

EVIDENCE = ("message", "reading", "reading_conflict")


@pytest.mark.parametrize("table", EVIDENCE)
@pytest.mark.parametrize("role", [Role.COLLECTOR, Role.MRV, Role.READER])
@pytest.mark.parametrize("statement", ["delete from {}", "update {} set received_at = now()", "truncate {}"])
def test_nobody_but_the_owner_can_change_evidence(shared_database: str, role: Role, table: str, statement: str) -> None:
    with connect(shared_database, role) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.format(table))


@pytest.mark.parametrize("table", [*EVIDENCE, "quarantine", "ingest_account", "period_revision", "project"])
def test_the_reader_changes_nothing(shared_database: str, table: str) -> None:
    with connect(shared_database, Role.READER) as connection:
        connection.execute(f"select * from {table} limit 1")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"insert into {table} default values")


@pytest.mark.parametrize("table", ["project", "device", "device_install", "declaration", "period", "energy_day"])
def test_the_collector_writes_no_declaration_and_no_result(shared_database: str, table: str) -> None:
    with connect(shared_database, Role.COLLECTOR) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(f"insert into {table} default values")


@pytest.mark.parametrize("table", [*EVIDENCE, "quarantine", "device", "declaration"])
def test_the_mrv_module_writes_no_evidence_and_no_declaration(shared_database: str, table: str) -> None:
    with connect(shared_database, Role.MRV) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(f"insert into {table} default values")


@pytest.mark.parametrize("table", ["declaration", "audit_event"])
@pytest.mark.parametrize("statement", ["delete from {}", "truncate {}"])
def test_history_is_append_only_for_the_owner_too(shared_database: str, table: str, statement: str) -> None:
    with (
        connect(shared_database, Role.OWNER) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="append"),
    ):
        connection.execute(statement.format(table))


def test_a_finished_revision_cannot_be_changed_by_the_owner(shared_database: str) -> None:
    with connect(shared_database, Role.OWNER) as connection:
        connection.execute(
            "insert into project (id, title, host_country, methodology, methodology_version, crediting_from,"
            " crediting_to) values ('P', 'P', 'THA', 'TH_AM001', '1.0', '2020-01-01', '2029-12-31')"
        )
        connection.execute(
            "insert into period (project_id, first_day, last_day) values ('P', '2020-01-01', '2020-01-31')"
        )
        connection.execute(
            "insert into period_revision (period_id, revision, received_until, declarations, methodology, code_version)"
            " select period_id, 1, now(), '{}', '{}', '0' from period"
        )
        connection.execute("update period_revision set result = '{}', inputs_digest = 'sha256:0'")
        for statement in ("update period_revision set result = '{1}'", "delete from period_revision"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="frozen"):
                connection.execute(statement)


STEPS_OF = {
    Role.VERIFIER: {"finding", "finding_closing", "attestation"},
    Role.PARTICIPANT: {"submission", "finding_response", "notification"},
}
STEPS = set.union(*STEPS_OF.values())


SCOPED = [Role.VERIFIER, Role.PARTICIPANT, Role.OPERATOR]


@pytest.mark.parametrize("role", [Role.COLLECTOR, Role.MRV, Role.READER, *SCOPED, Role.SERVICE])
@pytest.mark.parametrize("table", sorted(STEPS | {"verifier_key", "verifier_key_withdrawal"}))
def test_each_side_of_a_verification_takes_its_own_steps_only(shared_database: str, role: Role, table: str) -> None:
    with connect(shared_database, role) as connection:
        may = table in STEPS_OF.get(role, set())
        granted = connection.execute("select has_table_privilege(%s, 'insert')", [table]).fetchone()
        assert granted == (may,)
        if not may:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"insert into {table} default values")
        for change in (
            f"update {table} set person = 'x'", f"delete from {table}", f"truncate public.{table}",
            f"update public.{table} set person = 'x'", f"insert into public.{table} default values",
        ):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(change)


PRIVILEGES = """
select relname, has_any_column_privilege(oid, 'insert'),
    has_any_column_privilege(oid, 'update') or has_table_privilege(oid, 'delete')
        or has_table_privilege(oid, 'truncate'),
    has_any_column_privilege(oid, 'select')
from pg_class where relnamespace = %s::regnamespace and relkind in ('r', 'v', 'p', 'm')
"""


@pytest.mark.parametrize("role", SCOPED)
def test_who_sees_projects_sees_and_writes_nothing_of_public(shared_database: str, role: Role) -> None:
    with connect(shared_database, role) as connection:
        rows = connection.execute(PRIVILEGES, ["public"]).fetchall()
    assert len(rows) > 30
    assert [name for name, *may in rows if any(may)] == []


@pytest.mark.parametrize("role", SCOPED)
def test_who_sees_projects_reads_every_scoped_view_and_writes_its_own_steps(shared_database: str, role: Role) -> None:
    with connect(shared_database, role) as connection:
        rows = connection.execute(PRIVILEGES, ["scoped"]).fetchall()
    assert {name for name, insert, _, _ in rows if insert} == STEPS_OF.get(role, set())
    assert [name for name, _, change, _ in rows if change] == []
    assert [name for name, _, _, read in rows if not read] == []


@pytest.mark.parametrize("role", SCOPED)
def test_what_the_service_becomes_has_the_same_rights_on_the_same_views(shared_database: str, role: Role) -> None:
    with connect(shared_database, role) as connection:
        same = sorted(connection.execute(PRIVILEGES, ["scoped"]).fetchall())
    with (
        psycopg.connect(shared_database, autocommit=True) as connection,
        acting(connection, role, None, read_only=False),
    ):
        rows = sorted(connection.execute(PRIVILEGES, ["within"]).fetchall())
        assert [(name, insert, False, read) for name, insert, _, read in rows] == same
        # Who acknowledged is what the session says; the service is believed.
        assert [name for name, _, change, _ in rows if change] == (["alert"] if role is Role.OPERATOR else [])
        assert not [name for name, *may in connection.execute(PRIVILEGES, ["public"]) if any(may)]
        assert not [name for name, insert, change, _ in connection.execute(PRIVILEGES, ["scoped"]) if insert or change]


ACCESS = {"account", "account_grant", "api_token", "web_session", "login_project"}


def test_rights_are_seen_by_the_service_only(shared_database: str) -> None:
    for role in (Role.COLLECTOR, Role.MRV, Role.READER, Role.EXPORTER, *SCOPED):
        with connect(shared_database, role) as connection:
            rows = connection.execute(PRIVILEGES, ["public"]).fetchall()
            assert [name for name, *may in rows if name in ACCESS and any(may)] == [], role


def test_who_writes_bundles_writes_nothing_else(shared_database: str) -> None:
    with connect(shared_database, Role.EXPORTER) as connection:
        rows = connection.execute(PRIVILEGES, ["public"]).fetchall()
    assert {name for name, insert, _, _ in rows if insert} == {"evidence_salt", "evidence_bundle"}
    assert [name for name, _, change, _ in rows if change] == []
    assert {name for name, _, _, read in rows if not read} == ACCESS


def test_the_service_reads_rights_and_no_evidence_and_takes_nothing_from_the_record(shared_database: str) -> None:
    with connect(shared_database, Role.SERVICE) as connection:
        rows = connection.execute(PRIVILEGES, ["public"]).fetchall()
        assert {name for name, _, _, read in rows if read} == ACCESS | {"project", "schema_migration", "audit_event"}
        assert {name for name, insert, _, _ in rows if insert} == ACCESS - {"login_project"} | {"audit_event"}
        for refused in (
            "delete from account", "delete from account_grant", "delete from api_token", "delete from audit_event",
            "update account set name = 'x'", "update account set oidc_subject = 'x', oidc_issuer = 'x'",
            "update account_grant set role = 'x'", "update api_token set sha256 = ''",
            "update api_token set expires_at = 'infinity'", "update web_session set account = 'x'",
        ):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(refused)
