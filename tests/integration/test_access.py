"""Accounts, tokens, sessions and the record, with the service's rights on a real database."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from deploy.access import accounts, sessions, tokens
from deploy.access.errors import AccessError, UnknownAccountError
from deploy.access.facade import Access, AccessOptions
from deploy.access.principal import AccountRole, Grant, Permission, Scope
from sql.connection import Role, acting, connect
from tests.harness import declare

DAY = timedelta(days=1)
ACCESS = Access()


@pytest.fixture(scope="module")
def world(shared_database: str) -> str:
    for project in ("A", "B"):
        declare(shared_database, f"s-{project}", ["inv-1"], project)
    return shared_database


@pytest.fixture
def service(world: str) -> Iterator[psycopg.Connection]:
    with connect(world, Role.SERVICE) as connection:
        yield connection


@pytest.fixture
def owner(world: str) -> Iterator[psycopg.Connection]:
    with connect(world, Role.OWNER) as connection:
        yield connection


@pytest.fixture
def ada(service: psycopg.Connection, request: pytest.FixtureRequest) -> str:
    """The name of a new account that verifies A."""
    name = f"ada-{abs(hash(request.node.name))}"
    accounts.add(service, name, "Ada Lovelace", "Body A", email="ada@example.org", by="root")
    accounts.grant(service, name, AccountRole.VERIFIER, "A", by="root")
    return name


def record_of(connection: psycopg.Connection, actions: str) -> list[tuple]:
    return connection.execute(
        "select actor, action, subject, project_id, detail from audit_event where action ~ %s order by id", [actions]
    ).fetchall()


def test_a_token_is_who_it_was_issued_to_with_its_scopes(service, ada) -> None:
    issued = tokens.issue(service, ada, "script", {Scope.READ, Scope.EVIDENCE}, DAY)
    assert issued.token.startswith("jcm_")
    assert len(issued.token) == 47
    assert issued.token not in repr(issued)
    found = ACCESS.principal_of_token(service, issued.token)
    assert (found.account, found.person, found.organisation) == (ada, "Ada Lovelace", "Body A")
    assert (found.grants, found.scopes) == ((Grant(AccountRole.VERIFIER, "A"),), {Scope.READ, Scope.EVIDENCE})
    assert found.token == str(issued.token_id)
    assert found.may(Permission.READ_EVIDENCE, "A")
    assert not found.may(Permission.READ_EVIDENCE, "B")
    assert not found.may(Permission.ATTEST, "A")


def test_the_token_stands_nowhere(service, owner, ada) -> None:
    issued = tokens.issue(service, ada, "script", {Scope.READ}, DAY)
    cookie = ACCESS.begin_session(service, ACCESS.principal_of_token(service, issued.token))
    for table in ("account", "account_grant", "api_token", "web_session", "audit_event"):
        for (row,) in owner.execute(f"select to_jsonb(t)::text from {table} t"):
            for secret in (issued.token, cookie):
                assert secret not in row
                assert secret.encode().hex() not in row
    (actor, _, subject, _, detail) = next(row for row in record_of(owner, "^token.issued") if row[2] == ada)
    assert (actor, subject) == ("jcm_mrv", ada)
    assert set(detail) == {"token", "token_name", "scopes", "expires_at"}


@pytest.mark.parametrize(
    "change", [lambda t: t[:-1], lambda t: t[:-1] + ("A" if t[-1] != "A" else "B"), str.upper, lambda t: f" {t}",
               lambda _: "", lambda _: "jcm_", lambda _: "jcm_" + "é" * 43, lambda t: t[4:], lambda t: t + "="],
)  # fmt: skip
def test_nearly_the_token_is_nobody(service, ada, change) -> None:
    issued = tokens.issue(service, ada, "script", {Scope.READ}, DAY)
    assert ACCESS.principal_of_token(service, change(issued.token)) is None


def test_a_token_ends_by_the_clock_by_being_revoked_and_with_its_account(service, owner, ada) -> None:
    old, revoked, left = (tokens.issue(service, ada, name, {Scope.READ}, DAY) for name in ("old", "revoked", "left"))
    owner.execute("update api_token set created_at = now() - interval '2 days', expires_at = now() - interval '1 s'"
                  " where token_id = %s", [old.token_id])  # fmt: skip
    tokens.revoke(service, revoked.token_id, by="root")
    assert ACCESS.principal_of_token(service, old.token) is None
    assert ACCESS.principal_of_token(service, revoked.token) is None
    assert ACCESS.principal_of_token(service, left.token) is not None
    accounts.disable(service, ada, by="root")
    assert ACCESS.principal_of_token(service, left.token) is None
    assert [one.state for one in tokens.tokens(service, ada)] == ["expired", "revoked", "disabled"]
    with pytest.raises(AccessError, match="is revoked already"):
        tokens.revoke(service, revoked.token_id)
    with pytest.raises(UnknownAccountError, match=r"there is no token 999999; valid are"):
        tokens.revoke(service, 999999)
    with pytest.raises(AccessError, match="is disabled; no token"):
        tokens.issue(service, ada, "more", {Scope.READ}, DAY)


@pytest.mark.parametrize(
    ("name", "scopes", "lifetime", "said"),
    [
        ("x", {Scope.READ}, timedelta(days=367), "1 to 366 days"),
        ("x", {Scope.READ}, timedelta(0), "1 to 366 days"),
        ("x", set(), DAY, "at least one scope"),
        (" ", {Scope.READ}, DAY, "has a name"),
        ("taken", {Scope.READ}, DAY, "has a token taken already"),
    ],
)
def test_a_token_that_cannot_be_issued(service, ada, name, scopes, lifetime, said) -> None:
    tokens.issue(service, ada, "taken", {Scope.READ}, DAY)
    with pytest.raises(AccessError, match=said):
        tokens.issue(service, ada, name, scopes, lifetime)


def test_when_a_token_was_last_used_is_told_to_the_hour(service, owner, ada) -> None:
    issued = tokens.issue(service, ada, "script", {Scope.READ}, DAY)
    began = datetime.now(UTC)
    ACCESS.principal_of_token(service, issued.token)
    (one,) = tokens.tokens(service, ada)
    assert one.last_used_at in {at.replace(minute=0, second=0, microsecond=0) for at in (began, datetime.now(UTC))}
    before = owner.execute("select xmin from api_token where token_id = %s", [issued.token_id]).fetchone()
    for _ in range(3):
        ACCESS.principal_of_token(service, issued.token)
    # Nothing was written for these.
    assert owner.execute("select xmin from api_token where token_id = %s", [issued.token_id]).fetchone() == before


def test_a_grant_counts_from_the_next_request_on_and_stays_on_record(service, owner, ada) -> None:
    issued = tokens.issue(service, ada, "script", set(Scope), DAY)
    assert accounts.grant(service, ada, AccountRole.OPERATOR, None, by="root")
    assert not accounts.grant(service, ada, AccountRole.OPERATOR, None, by="root")
    assert ACCESS.principal_of_token(service, issued.token).may(Permission.OPERATE)
    accounts.revoke(service, ada, AccountRole.OPERATOR, None, by="root")
    assert ACCESS.principal_of_token(service, issued.token).grants == (Grant(AccountRole.VERIFIER, "A"),)
    assert accounts.grant(service, ada, AccountRole.OPERATOR, None)
    held = owner.execute(
        "select role, granted_by, revoked_by from account_grant where account = %s order by grant_id", [ada]
    ).fetchall()
    assert held == [("verifier", "root", None), ("operator", "root", "root"), ("operator", "jcm_mrv", None)]
    with pytest.raises(UnknownAccountError, match=f"{ada} is not verifier of B; granted is operator of all projects, "):
        accounts.revoke(service, ada, AccountRole.VERIFIER, "B")
    with pytest.raises(UnknownAccountError, match="there is no project X; there are A, B"):
        accounts.grant(service, ada, AccountRole.VERIFIER, "X")
    with pytest.raises(UnknownAccountError, match=r"there is no account nobody; there are .*ada"):
        accounts.grant(service, "nobody", AccountRole.VERIFIER, "A")


@pytest.mark.parametrize("name", ["", "Ada", "a b", "-a", "a" * 101, "a\nb", "名"])
def test_a_name_that_cannot_be_an_accounts(service, name) -> None:
    with pytest.raises(AccessError, match="cannot be an account's name"):
        accounts.add(service, name, "X")


def test_an_account_that_is_there_or_nobodys(service, ada) -> None:
    with pytest.raises(AccessError, match=f"there is an account {ada} already"):
        accounts.add(service, ada, "Somebody Else")
    with pytest.raises(AccessError, match="give the person's name"):
        accounts.add(service, "nobody", " ")
    accounts.add(service, f"{ada}-p", "X", oidc=("https://issuer.example", "s"))
    with pytest.raises(AccessError, match="s has an account"):
        accounts.add(service, f"{ada}-q", "X", oidc=("https://issuer.example", "s"))


def test_a_session_of_a_token_has_its_scopes_and_ends_with_it(service, ada) -> None:
    issued = tokens.issue(service, ada, "browser", {Scope.READ, Scope.VERIFY}, timedelta(hours=1))
    principal = ACCESS.principal_of_token(service, issued.token)
    cookie, other = (ACCESS.begin_session(service, principal) for _ in range(2))
    found, csrf = ACCESS.principal_of_session(service, cookie)
    assert found == replace(principal, token=None)
    assert csrf != ACCESS.principal_of_session(service, other)[1]
    ACCESS.end_session(service, cookie)
    ACCESS.end_session(service, cookie)
    ACCESS.end_session(service, "none")
    assert ACCESS.principal_of_session(service, cookie) is None
    assert ACCESS.principal_of_session(service, other) is not None
    expires = service.execute("select max(expires_at) from web_session where account = %s", [ada]).fetchone()[0]
    assert expires == issued.expires_at  # before the session's own twelve hours
    tokens.revoke(service, issued.token_id)
    assert ACCESS.principal_of_session(service, other) is None
    for wrong in ("", "x", cookie[:-1], "é"):
        assert ACCESS.principal_of_session(service, wrong) is None


def test_a_session_ends_by_idling_by_the_clock_and_with_its_account(service, owner, ada) -> None:
    principal = replace(ACCESS.principal_of_token(service, tokens.issue(service, ada, "x", {Scope.READ}, DAY).token),
                        token=None)  # fmt: skip
    own = Access(AccessOptions(session_idle=timedelta(minutes=10), session_lifetime=timedelta(hours=2)))
    idle, old, left = (own.begin_session(service, principal) for _ in range(3))
    for cookie, change in ((idle, "last_seen_at = now() - interval '11 min'"),
                           (old, "created_at = now() - interval '3 h', expires_at = now() - interval '1 s'"),
                           (left, "last_seen_at = now() - interval '9 min'")):  # fmt: skip
        owner.execute(f"update web_session set {change} where sha256 = %s", [tokens.digest(cookie)])
    assert own.principal_of_session(service, idle) is None
    assert own.principal_of_session(service, old) is None
    assert own.principal_of_session(service, left) is not None
    seen = owner.execute("select now() - last_seen_at < interval '1 min', xmin from web_session where sha256 = %s",
                         [tokens.digest(left)]).fetchone()  # fmt: skip
    assert seen[0]
    own.principal_of_session(service, left)
    again = owner.execute("select xmin from web_session where sha256 = %s", [tokens.digest(left)]).fetchone()
    assert again[0] == seen[1]  # told to the minute, so nothing was written
    accounts.disable(service, ada)
    assert own.principal_of_session(service, left) is None
    ended = owner.execute("select count(*) from web_session where account = %s and ended_at is null", [ada]).fetchone()
    assert ended == (0,)


def test_sessions_of_long_ago_are_forgotten_and_stay_on_record(service, owner, ada) -> None:
    principal = ACCESS.principal_of_token(service, tokens.issue(service, ada, "x", {Scope.READ}, DAY).token)
    cookie = ACCESS.begin_session(service, principal)
    owner.execute("update web_session set created_at = now() - interval '32 days', expires_at = now() - interval '31 d'"
                  " where sha256 = %s", [tokens.digest(cookie)])  # fmt: skip
    sessions.begin(service, principal, DAY)
    assert owner.execute("select count(*) from web_session where account = %s", [ada]).fetchone() == (1,)
    assert len([row for row in record_of(owner, "^session.began") if row[2] == ada]) == 2


def test_who_looked_at_what_is_on_record(service, owner, ada) -> None:
    principal = ACCESS.principal_of_token(service, tokens.issue(service, ada, "x", {Scope.EVIDENCE}, DAY).token)
    ACCESS.record(service, principal, "evidence.read", "message 4711", {"as": "raw"}, project="A")
    ACCESS.record(service, replace(principal, token=None), "evidence.read", "bundle", project="B")
    first, second = [row for row in record_of(owner, "^evidence.read") if row[0] == ada]
    detail = {"as": "raw", "person": "Ada Lovelace", "organisation": "Body A", "project": "A", "token": principal.token}
    assert first == (ada, "evidence.read", "message 4711", "A", detail)
    assert (second[2], second[3], "token" in second[4]) == ("bundle", "B", False)
    with acting(service, Role.VERIFIER, frozenset({"A"}), read_only=True):
        seen = service.execute("select subject from audit_event where actor = %s", [ada]).fetchall()
    assert seen == [("message 4711",)]
    with pytest.raises(ValueError, match="no name of an action"):
        ACCESS.record(service, principal, "evidence read", "x")


def test_every_change_of_a_right_is_on_record_also_with_sql(owner, service, ada) -> None:
    owner.execute("insert into account_grant (account, role, granted_by) values (%s, 'operator', 'me')", [ada])
    owner.execute("update account set organisation = 'Z' where name = %s", [ada])
    owner.execute("insert into login_project (login, project_id) values ('somebody', 'A')")
    owner.execute("delete from login_project where login = 'somebody'")
    found = [row[:4] for row in record_of(owner, ".") if row[2] in {ada, "somebody"}]
    assert found == [
        ("root", "account.created", ada, None),
        ("root", "grant.given", ada, "A"),
        ("me", "grant.given", ada, None),
        ("jcm_mrv", "login.allowed", "somebody", "A"),
        ("jcm_mrv", "login.forbidden", "somebody", "A"),
    ]


def test_acting_gives_a_connection_back_as_it_was(world: str, service) -> None:
    del service
    settings = (
        "select current_user::text, current_setting('search_path'),"
        " coalesce(current_setting('jcm_mrv.projects', true), ''), current_setting('default_transaction_read_only')"
    )
    with psycopg.connect(world, autocommit=True) as connection:
        before = connection.execute(settings).fetchone()
        with acting(connection, Role.PARTICIPANT, frozenset({"B", "A"}), read_only=True):
            now = connection.execute(settings).fetchone()
            assert now == ("jcm_mrv_participant_served", "within,public", '["A", "B"]', "on")
            assert connection.execute("select array_agg(id order by id) from project").fetchone() == (["A", "B"],)
        assert connection.execute(settings).fetchone() == before
        with pytest.raises(ZeroDivisionError), acting(connection, Role.VERIFIER, None, read_only=False):
            raise ZeroDivisionError
        assert connection.execute(settings).fetchone() == before
        with (
            pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
            acting(connection, Role.SERVICE, None, read_only=True),
        ):
            connection.execute("insert into account (name, person) values ('x', 'X')")
        assert connection.execute(settings).fetchone() == before
        with pytest.raises(psycopg.errors.DivisionByZero), acting(connection, Role.VERIFIER, None, read_only=True):
            connection.execute("begin; select 1 / 0")
        assert connection.execute(settings).fetchone() == before
        with acting(connection, Role.OPERATOR, frozenset(), read_only=True):
            connection.execute("set search_path = nowhere")
            connection.execute("set role jcm_mrv_reader")
        assert connection.execute(settings).fetchone() == before
        with acting(connection, Role.OPERATOR, frozenset(), read_only=True):
            connection.close()
        assert connection.closed


def test_two_who_begin_at_once_get_one_account_and_two_sessions(world: str) -> None:
    def once(_: int) -> str:
        with connect(world, Role.SERVICE) as connection:
            try:
                accounts.add(connection, "racer", "R")
            except AccessError as error:
                return str(error)
            return ""

    with ThreadPoolExecutor(4) as pool:
        said = sorted(pool.map(once, range(4)))
    assert said[0] == ""
    assert all("there is an account racer already" in one for one in said[1:])
