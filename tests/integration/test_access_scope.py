"""Who sees one project sees nothing of another: by each view, with a login of their own, by every way around them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import conninfo

from mrv.errors import PeriodError
from mrv.verification import findings, steps
from mrv.verification.findings import About
from mrv.verification.steps import Author
from sql.connection import Role, acting, connect
from sql.migrator import migrate
from tests.integration.two_projects import DAYS, ONE, OTHER, PROJECTS, build, entity

NOT_OF_A_PROJECT = {
    "signing_key": "public keys of the house; every seal names one",
    "verifier_key": "public keys of third-party entities; every attestation names one",
    "verifier_key_withdrawal": "as the keys",
    "schema_migration": "what the code checks its own version against",
}
OF_SEVERAL = {
    "decoder_state": "what collectors remember; a joined reading's frame may be of any site",
    "alert_notice": "one notice tells of alerts of several projects",
}
OF_THE_HOUSE = {
    "account": "who may sign in",
    "account_grant": "who may do what",
    "api_token": "digests of tokens",
    "web_session": "digests of cookies",
    "login_project": "which login sees what",
}
SCOPED = [Role.VERIFIER, Role.PARTICIPANT, Role.OPERATOR]
RELATIONS = """
select c.relname from pg_class c where c.relnamespace = %s::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f')
    and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e')
"""


CHUNK = """
select format('%I.%I', chunk_schema, chunk_name) from timescaledb_information.chunks
where hypertable_name = 'message' limit 1
"""


@dataclass(frozen=True)
class World:
    """A database with two projects, and a login of a verifier for each and for none."""

    url: str
    connection: psycopg.Connection
    logins: dict[str, str]

    def login(self, who: str) -> psycopg.Connection:
        parts = {"user": self.logins[who], "password": "x"}
        return psycopg.connect(conninfo.make_conninfo(self.url, **parts), autocommit=True)


@pytest.fixture(scope="module")
def world(shared_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    build(shared_database, tmp_path_factory.mktemp("keys"))
    name = shared_database[-12:]
    logins = {who: f"{who.lower()}_{name}" for who in (*PROJECTS, "NONE", "SERVICE")}
    with connect(shared_database, Role.OWNER) as owner:
        try:
            for who, login in logins.items():
                role = "service" if who == "SERVICE" else "verifier"
                owner.execute(f"create role {login} login password 'x' in role jcm_mrv_{role}")
                if who in PROJECTS:
                    owner.execute("insert into login_project (login, project_id) values (%s, %s)", [login, who])
            with psycopg.connect(shared_database, autocommit=True) as connection:
                yield World(shared_database, connection, logins)
        finally:
            for login in logins.values():
                owner.execute(f"drop role if exists {login}")


def rows(connection: psycopg.Connection, relation: str) -> set[str]:
    return {row[0] for row in connection.execute(f"select to_jsonb(t)::text from {relation} t")}


def seen(world: World, role: Role, projects: frozenset[str] | None, relation: str) -> set[str]:
    with acting(world.connection, role, projects, read_only=True):
        return rows(world.connection, relation)


def views(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return sorted(name for (name,) in connection.execute(RELATIONS, ["scoped"]))


def test_every_table_is_scoped_or_said_not_to_be(shared_database: str) -> None:
    with psycopg.connect(shared_database) as connection:
        known = {name for (name,) in connection.execute(RELATIONS, ["public"])}
        served = {name for (name,) in connection.execute(RELATIONS, ["within"])}
    assert set(views(shared_database)) == served == known - set(OF_THE_HOUSE), "list it in sql/scope.sql, or above"


def test_each_view_shows_the_rows_of_its_projects_only(world: World) -> None:
    for view in views(world.url):
        everything = seen(world, Role.VERIFIER, None, view)
        if view in NOT_OF_A_PROJECT:
            assert seen(world, Role.VERIFIER, frozenset({ONE}), view) == everything, view
            continue
        if view in OF_SEVERAL:
            assert seen(world, Role.VERIFIER, frozenset(PROJECTS), view) == set(), view
            continue
        one, other = (seen(world, Role.VERIFIER, frozenset({project}), view) for project in PROJECTS)
        assert one, view
        assert other, view
        assert not one & other, view
        assert one | other == seen(world, Role.VERIFIER, frozenset(PROJECTS), view) <= everything, view
        assert seen(world, Role.VERIFIER, frozenset(), view) == set(), view
        assert seen(world, Role.VERIFIER, frozenset({"no such project"}), view) == set(), view
        with world.login(ONE) as login:
            assert rows(login, f"scoped.{view}") == one, view
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                login.execute(f"select from within.{view}")
        with world.login("NONE") as login:
            assert rows(login, f"scoped.{view}") == set(), view


@pytest.mark.parametrize("role", SCOPED)
def test_each_role_sees_the_same_of_a_project(world: World, role: Role) -> None:
    for view in ("message", "reading", "finding_state", "audit_event", "alert"):
        found = seen(world, role, frozenset({ONE}), view)
        assert found == seen(world, Role.VERIFIER, frozenset({ONE}), view) != set()
        assert not [row for row in found if OTHER in row], view


def test_a_message_of_no_declared_site_is_seen_by_who_sees_all(world: World) -> None:
    def topics(projects: frozenset[str] | None) -> set[str]:
        found = seen(world, Role.OPERATOR, projects, "message")
        return {match[1] for row in found if (match := re.search(r'"topic": "([^"]*)"', row))}

    assert "elsewhere" in topics(None)
    assert "elsewhere" not in topics(frozenset(PROJECTS))


def test_what_somebody_did_is_seen_by_who_sees_its_project(world: World) -> None:
    with world.login(ONE) as login:
        found = dict(login.execute("select action, subject from scoped.audit_event").fetchall())
    assert set(found) >= {"apply", "period.frozen", "period.submitted", "finding.raised", "period.notified"}
    assert not [action for action in found if action.startswith("verifier_key")]
    # Who was let see the project is its business too; there the subject is the login.
    assert found.pop("login.allowed") == world.logins[ONE]
    assert {subject.split()[0] for subject in found.values()} == {ONE}


def test_a_project_named_like_anothers_beginning_is_not_taken_for_it(world: World) -> None:
    with connect(world.url, Role.OWNER) as owner:
        found = owner.execute(
            "insert into audit_event (action, subject) values ('period.frozen', 'ONE 2 2021-03-01 2021-03-02')"
            " returning project_id"
        ).fetchone()
    assert found == ("ONE 2",)


ATTEMPTS = {
    "the other project by the setting": "select set_config('jcm_mrv.projects', '[\"OTHER\"]', false)",
    "all projects by the setting": "select set_config('jcm_mrv.projects', '*', false)",
    "both projects by the setting": "select set_config('jcm_mrv.projects', '[\"ONE\", \"OTHER\"]', false)",
    "its own role": "set role jcm_mrv_verifier",
    "tables first": "set search_path = public, scoped",
    "its own tables first": (
        "set search_path = pg_temp, scoped, public; create temp table login_project as"
        " select session_user::text as login, 'OTHER' as project_id; create temp table project as select 'OTHER' as id;"
        " create temp table site as select 's-OTHER' as id, 'ONE' as project_id"
    ),
    "no row security": "set row_security = off",
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_a_login_of_its_own_cannot_widen_what_it_sees(world: World, attempt: str) -> None:
    with world.login(ONE) as login:
        before = {view: rows(login, f"scoped.{view}") for view in ("project", "message", "reading", "period")}
        login.execute(ATTEMPTS[attempt])
        for view, found in before.items():
            assert rows(login, f"scoped.{view}") <= found, view
        assert login.execute("select scoped.everything()").fetchone() == (False,)
        assert login.execute("select scoped.projects() <@ array['ONE']").fetchone() == (True,)


def test_a_login_of_its_own_can_narrow_what_it_sees(world: World) -> None:
    with connect(world.url, Role.OWNER) as owner, world.login(ONE) as login:
        owner.execute("insert into login_project values (%s, %s)", [world.logins[ONE], OTHER])
        try:
            assert login.execute("select scoped.projects()").fetchone() == ([ONE, OTHER],)
            login.execute("select set_config('jcm_mrv.projects', '[\"OTHER\"]', false)")
            assert login.execute("select scoped.projects()").fetchone() == ([OTHER],)
        finally:
            owner.execute("delete from login_project where project_id = %s", [OTHER])


@pytest.mark.parametrize(
    "role", ["jcm_mrv_reader", "jcm_mrv_mrv", "jcm_mrv_participant", "jcm_mrv_service", "jcm_mrv_verifier_served"]
)
def test_a_login_of_its_own_takes_no_other_role(world: World, role: str) -> None:
    with world.login(ONE) as login, pytest.raises(psycopg.errors.InsufficientPrivilege):
        login.execute(f"set role {role}")


def test_nothing_but_the_views_is_read_by_a_login_of_its_own(world: World) -> None:
    """Chunks and what TimescaleDB compresses them into have rights of their own; so may a table made later."""
    with world.login(ONE) as login:
        found = login.execute(
            "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where n.nspname not in ('pg_catalog', 'information_schema') and c.relkind in ('r', 'p', 'v', 'm', 'f')"
            " and has_any_column_privilege(c.oid, 'select') and has_schema_privilege(n.oid, 'usage')"
            " and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e')"
        ).fetchall()
        (chunk,) = login.execute(CHUNK).fetchone()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            login.execute(f"select * from {chunk}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            login.execute("select * from public.message")
    assert {schema for schema, _ in found} == {"scoped"}


def test_a_right_on_chunks_from_before_is_taken_back(world: World) -> None:
    with connect(world.url, Role.OWNER) as owner, world.login(ONE) as login:
        owner.execute("grant select on all tables in schema public to jcm_mrv_verifier")
        assert login.execute("select count(*) > 0 from public.message").fetchone() == (True,)
        migrate(world.url)
        (chunk,) = owner.execute(CHUNK).fetchone()
        for relation in ("public.message", "public.reading", chunk):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                login.execute(f"select * from {relation}")
        assert rows(login, "scoped.message") != set()


def test_functions_with_the_owners_rights_tell_nothing_of_others(world: World) -> None:
    with world.login(ONE) as login:
        definers = login.execute(
            "select p.pronamespace::regnamespace::text || '.' || p.proname, p.prorettype::regtype::text, p.proconfig"
            " from pg_proc p where p.prosecdef and not exists"
            " (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')"
        ).fetchall()
        # A trigger's function cannot be called.
        asked = {name for name, kind, _ in definers if kind != "trigger"}
        assert asked == {f"scoped.{name}" for name in ("everything", "projects", "sites", "devices", "periods")}
        assert {tuple(config) for *_, config in definers} == {("search_path=public, pg_temp",)}
        mine = {name: login.execute(f"select {name}()").fetchone()[0] for name in asked}
        every = {"sites": "id from scoped.site", "devices": "device_id from scoped.device",
                 "periods": "period_id from scoped.period"}  # fmt: skip
        for name, select in every.items():
            assert mine[f"scoped.{name}"] == [row[0] for row in login.execute(f"select {select}")]
    assert (mine["scoped.everything"], mine["scoped.projects"]) == (False, [ONE])


def test_a_condition_of_ones_own_is_not_asked_of_rows_of_others(world: World) -> None:
    """Without a security barrier the cheapest condition goes first, and what it raises or notes tells of the row."""
    with world.login(ONE) as login:
        noticed: list[str] = []
        login.add_notice_handler(lambda diagnostic: noticed.append(diagnostic.message_primary))
        login.execute(
            "create function pg_temp.peek(text) returns boolean language plpgsql cost 0.0001 as"
            " $$ begin raise notice '%', $1; return true; end $$"
        )
        login.execute("select count(*) from scoped.message where pg_temp.peek(topic)")
    assert len(noticed) > 10
    assert not [said for said in noticed if OTHER in said or said == "elsewhere"]


def test_a_verifier_takes_no_step_in_another_project(world: World) -> None:
    with connect(world.url, Role.VERIFIER) as everywhere:
        other = steps.state_of(everywhere, OTHER, *DAYS)
        (finding,) = [one for one in findings.findings(everywhere, OTHER) if one.kind == "FAR"]
    auditor = Author("V", entity(OTHER))
    with world.login(ONE) as login:
        login.execute("set search_path = scoped, public")
        with pytest.raises(PeriodError, match="was never frozen"):
            findings.raise_finding(login, other, "CL", "?", About(), auditor)
        for period in (other.period_id, 10**6):
            with pytest.raises(psycopg.Error, match="a period that is not there cannot be given a finding"):
                login.execute(
                    "insert into scoped.finding (period_id, revision, kind, text, person, organisation)"
                    " values (%s, 1, 'CL', '?', 'V', %s)", [period, entity(OTHER)])  # fmt: skip
        for number in (finding.finding_id, 10**6):
            with pytest.raises(psycopg.errors.NotNullViolation):
                login.execute("insert into scoped.finding_closing (finding_id, text, person, organisation)"
                              " values (%s, '!', 'V', %s)", [number, entity(OTHER)])  # fmt: skip


def test_tables_of_ones_own_stand_in_for_no_state(world: World) -> None:
    """A temporary table is found before others of its name: the steps must not look at it."""
    with world.login(ONE) as login:
        login.execute("set search_path = pg_temp, scoped, public")
        login.execute("create temp table revision_state as select * from scoped.revision_state")
        login.execute("update pg_temp.revision_state set state = 'submitted'")
        with pytest.raises(psycopg.Error, match="it is notified and cannot change"):
            login.execute(
                "insert into scoped.finding (period_id, revision, kind, text, person, organisation)"
                " select period_id, 1, 'CL', '?', 'V', %s from scoped.period", [entity(ONE)])  # fmt: skip


def test_the_service_sees_what_it_is_told_to_and_without_that_nothing(world: World) -> None:
    with world.login("SERVICE") as login:
        for role in (*SCOPED, Role.READER):
            with acting(login, role, frozenset({ONE}), read_only=True):
                found = login.execute("select id from project").fetchall()
                assert found == ([(ONE,), (OTHER,)] if role is Role.READER else [(ONE,)])
        with acting(login, Role.VERIFIER, None, read_only=True):
            assert len(rows(login, "project")) == 2
        login.execute("set role jcm_mrv_verifier_served")
        assert rows(login, "within.project") == rows(login, "scoped.project") == set()
        login.execute("reset role")
        for relation in ("public.message", "scoped.message", "public.reading"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                login.execute(f"select * from {relation}")
        login.execute("set role jcm_mrv_exporter; select count(*) from message; reset role")
        for role in ("jcm_mrv_mrv", "jcm_mrv_collector", "jcm_mrv_verifier"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                login.execute(f"set role {role}")


NEWEST = {
    "the newest readings of a device": "select * from reading where device_id = 1 order by ts desc limit 1",
    "the newest of each device": (
        "select (select ts from reading r where r.device_id = d.device_id order by ts desc limit 1) from device d"
    ),
    "the newest messages": "select topic from message order by received_at desc, message_id desc limit 50",
}


@pytest.mark.parametrize("what", NEWEST)
def test_the_service_finds_the_newest_by_their_index(world: World, what: str) -> None:
    """84 ms instead of 0.3 ms on 60 days of 50 devices, where they were sorted behind a barrier."""
    with acting(world.connection, Role.OPERATOR, frozenset({ONE}), read_only=True), world.connection.transaction():
        # Of the handful of rows here everything else is as cheap, as the statistics are just then.
        for way in ("seqscan", "bitmapscan", "sort"):
            world.connection.execute(f"set local enable_{way} = off")
        plan = "\n".join(line for (line,) in world.connection.execute(f"explain (costs off) {NEWEST[what]}"))
    assert "Backward using" in plan
    assert "Sort" not in plan


@pytest.mark.parametrize("schema", ["scoped", "within"])
def test_a_span_of_time_is_looked_up_by_an_index_in_its_chunks_only(world: World, schema: str) -> None:
    with acting(world.connection, Role.OPERATOR, frozenset({ONE}), read_only=True):
        world.connection.execute("set enable_seqscan = off")
        for statement in (
            "select from {}.reading where device_id = 1 and ts >= '2021-03-01' and ts < '2021-03-02'",
            "select from {}.message where received_at = '2021-03-04' and message_id = 7",
        ):
            asked = f"explain (costs off) {statement.format(schema)}"
            plan = "\n".join(line for (line,) in world.connection.execute(asked))
            assert re.search(r"Index Cond: .*(ts >=|received_at =)", plan), plan
            assert len(re.findall(r"on _hyper_", plan)) <= 1, plan
        world.connection.execute("reset enable_seqscan")
