"""`jcm-mrv account` as administrators run it, and a login of a verifier from its making to its end."""

import json
import os

import psycopg
import pytest
from psycopg import conninfo

from deploy.access.facade import Access
from deploy.access.principal import AccountRole, Grant, Scope
from sql.connection import Role, connect
from tests.forked import run_command
from tests.harness import declare


@pytest.fixture(scope="module")
def run(shared_database: str, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("run")
    for project in ("A", "B"):
        declare(shared_database, f"s-{project}", ["inv-1"], project)
    environment = {
        **os.environ,
        "JCM_MRV_DATABASE_URL": shared_database,
        "JCM_MRV_MQTT_URL": "mqtt://nobody:nothing@localhost:1",
    }

    def run(*arguments: str, status: int = 0, **changes: str) -> str:
        done = run_command("account", *arguments, environment=environment | changes, cwd=folder)
        assert done.returncode == status, done.stderr
        run.stderr = done.stderr
        return done.stdout if status == 0 else done.stderr

    return run


def test_from_an_account_to_a_session_and_back(run, shared_database: str) -> None:
    assert run("list") == "there is no account yet; see `jcm-mrv account add`\n"
    assert run("token", "list") == "no token was issued; see `jcm-mrv account token issue`\n"
    assert "may do nothing yet" in run("add", "ada", "--person", "Ada Lovelace", "--organisation", "Body A")
    assert run("grant", "ada", "verifier", "A") == "ada is now verifier of A\n"
    assert run("grant", "ada", "verifier", "A") == "ada is verifier of A already\n"
    assert run("grant", "ada", "administrator", "--all-projects") == "ada is now administrator of all projects\n"
    assert run("list") == "ada: Ada Lovelace, Body A: administrator of all projects, verifier of A\n"
    said = json.loads(run("list", "--json"))
    assert said[0]["grants"] == [{"role": "administrator", "project": None}, {"role": "verifier", "project": "A"}]

    token = run("token", "issue", "ada", "--name", "laptop", "--scope", "read", "--scope", "verify").strip()
    assert token.startswith("jcm_")
    assert "it is shown this once" in run.stderr
    assert token not in run.stderr
    with connect(shared_database, Role.SERVICE) as service:
        found = Access().principal_of_token(service, token)
        assert found.scopes == {Scope.READ, Scope.VERIFY}
        assert set(found.grants) == {Grant(AccountRole.VERIFIER, "A"), Grant(AccountRole.ADMINISTRATOR)}
        listed = run("token", "list", "ada")
        assert "ada laptop: read, verify; until" in listed
        assert token not in listed + run("token", "list", "--json")
        issued = json.loads(run("token", "issue", "ada", "--name", "x", "--scope", "read", "--days", "1", "--json"))
        assert set(issued) == {"id", "token", "expires_at"}
        assert Access().principal_of_token(service, issued["token"]).token == str(issued["id"])
        assert run("token", "revoke", str(issued["id"]), "--by", "Root") == f"revoked token {issued['id']}\n"
        assert Access().principal_of_token(service, issued["token"]) is None
        assert run("revoke", "ada", "verifier", "A") == "ada is no longer verifier of A\n"
        assert json.loads(run("disable", "ada", "--by", "Root", "--json"))["disabled_at"]
        assert Access().principal_of_token(service, token) is None
        actors = service.execute("select actor from audit_event where action = 'account.disabled'").fetchall()
        assert actors == [("Root",)]
    assert "disabled" in run("list")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["grant", "nobody", "verifier", "A"], 1, "there is no account nobody; there are"),
        (["grant", "bob", "verifier", "X"], 1, "there is no project X; there are A, B"),
        (["grant", "bob", "verifier"], 2, "give a PROJECT, or --all-projects"),
        (["grant", "bob", "verifier", "A", "--all-projects"], 2, "give a PROJECT, or --all-projects"),
        (["grant", "bob", "king", "A"], 2, "'operator', 'participant', 'verifier', 'administrator'"),
        (["revoke", "bob", "verifier", "A"], 1, "bob is not verifier of A; granted is nothing"),
        (["add", "bob", "--person", "B"], 1, "there is an account bob already"),
        (["add", "bob2", "--person", "B", "--oidc-subject", "s"], 1, "set JCM_MRV_OIDC_ISSUER"),
        (["token", "issue", "bob", "--name", "x", "--scope", "all"], 2, "'read', 'evidence', 'operate'"),
        (["token", "issue", "bob", "--name", "x"], 2, "Missing option '--scope'"),
        (["token", "list", "nobody"], 1, "there is no account nobody; there are"),
        (["token", "revoke", "99999"], 1, "there is no token 99999; valid are"),
        (["token", "revoke", "99999999999999999999"], 2, "99999999999999999999 is not in the range"),
        (["disable", "nobody"], 1, "there is no account nobody; there are"),
        (["login", "allow", "no_such_login", "A"], 1, "there is no login no_such_login; make it with"),
        (["login", "allow", "jcm_mrv", "A"], 1, "jcm_mrv sees every project by its roles"),
        (["login", "forbid", "jcm_mrv", "A"], 1, "jcm_mrv does not see A; of the projects it sees none"),
    ],
)
def test_a_mistake_is_one_line_that_names_what_there_is(run, arguments, status, said) -> None:
    if "bob" not in run("list"):
        run("add", "bob", "--person", "Bob")
    stderr = run(*arguments, status=status)
    assert said in stderr
    assert stderr.startswith("jcm-mrv: ")
    assert stderr.count("\n") == 1


def test_an_account_of_the_provider(run) -> None:
    issuer = {"JCM_MRV_OIDC_ISSUER": "https://id.example.org", "JCM_MRV_OIDC_CLIENT_ID": "x"}
    made = json.loads(run("add", "eve", "--person", "Eve", "--oidc-subject", "s-9", "--json", **issuer))
    assert (made["oidc_issuer"], made["oidc_subject"]) == ("https://id.example.org", "s-9")
    assert "eve (provider): Eve: nothing" in run("list")


@pytest.mark.parametrize("issuer", ["http://id.example.org", "id.example.org", "ftp://localhost"])
def test_a_provider_without_https_is_refused(run, issuer) -> None:
    assert "https://host" in run("list", status=1, JCM_MRV_OIDC_ISSUER=issuer)


@pytest.mark.parametrize("rate", ["often", "10", "ten/minute"])
def test_a_rate_that_is_none_is_refused(run, rate) -> None:
    assert "give it as 600/minute" in run("list", status=1, JCM_MRV_RATE_LIMIT=rate)


def test_a_login_sees_what_it_is_let_see(run, shared_database: str) -> None:
    login, other = f"vera_{shared_database[-12:]}", f"nora_{shared_database[-12:]}"
    url = conninfo.make_conninfo(shared_database, user=login, password="x")
    with connect(shared_database, Role.OWNER) as owner:
        owner.execute(f"create role {login} login password 'x' in role jcm_mrv_verifier")
        owner.execute(f"create role {other} login password 'x'")
        try:
            assert "has no role that sees projects; `grant jcm_mrv_verifier" in run(
                "login", "allow", other, "A", status=1
            )
            assert "there is no project X" in run("login", "allow", login, "X", status=1)
            assert run("login", "list") == "no login sees a project; see `jcm-mrv account login allow`\n"
            with psycopg.connect(url, autocommit=True) as vera:
                assert vera.execute("select id from scoped.site").fetchall() == []
                assert f"{login} now sees A" in run("login", "allow", login, "A")
                assert f"{login} sees A already" in run("login", "allow", login, "A")
                assert vera.execute("select id from scoped.site").fetchall() == [("s-A",)]
                run("login", "allow", login, "B")
                assert run("login", "list") == f"{login}: A, B\n"
                assert json.loads(run("login", "list", "--json")) == {login: ["A", "B"]}
                assert run("login", "forbid", login, "A") == f"{login} no longer sees A\n"
                assert vera.execute("select id from scoped.site").fetchall() == [("s-B",)]
                with connect(url, Role.VERIFIER) as command:
                    assert command.execute("select id from site").fetchall() == [("s-B",)]
        finally:
            owner.execute(f"drop role {login}")
            owner.execute(f"drop role {other}")
