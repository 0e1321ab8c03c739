"""The logins that compose makes: real psql, real passwords from files, least privilege on the real server."""

import os
import secrets
import subprocess
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo

from deploy.local.packages import find_packages
from deploy.local.state import State
from sql.connection import Role, connect
from sql.errors import SchemaError

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "compose" / "logins.sql"
LOGINS = ("collect", "schedule", "serve")


@pytest.fixture(scope="module")
def passwords(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("secrets")
    for name in LOGINS:
        (folder / f"{name}-password").write_text(secrets.token_hex(8) + "'")
    return folder


@pytest.fixture(scope="module")
def run(servers, shared_database, passwords):
    """Run the script as the owner."""
    packages = find_packages(servers.packages)
    psql = packages.postgres_bin / "psql"

    def run(url: str = shared_database, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [psql, "-X", "-q", "-d", url, "-f", SCRIPT],
            env=os.environ | {"SECRETS": str(passwords)} | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    yield run
    with psycopg.connect(shared_database, autocommit=True) as connection:
        for name in LOGINS:
            connection.execute(f"drop role if exists jcm_mrv_{name}")


@pytest.fixture(scope="module")
def login(shared_database, passwords, run):
    first = run()
    assert (first.returncode, first.stdout, first.stderr) == (0, "", "")
    return lambda name: conninfo.make_conninfo(
        shared_database, user=f"jcm_mrv_{name}", password=(passwords / f"{name}-password").read_text()
    )


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("collect", {Role.COLLECTOR, Role.READER}),
        ("schedule", {Role.MRV}),
        ("serve", {Role.SERVICE, Role.READER, Role.EXPORTER}),
    ],
)
def test_a_login_takes_its_roles_and_no_other(login, name, roles):
    for role in set(Role) - {Role.OWNER}:
        if role in roles:
            connect(login(name), role).close()
        else:
            with pytest.raises(SchemaError, match="may not act as"):
                connect(login(name), role)


@pytest.mark.parametrize("name", LOGINS)
def test_a_login_alone_may_nothing(login, name):
    with psycopg.connect(login(name), autocommit=True) as connection:
        for statement in ("select from reading", "select from account", "create table x ()", "create role y"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_run_again_it_gives_the_passwords_that_the_files_have_now(login, passwords, run):
    former = login("serve")
    (passwords / "serve-password").write_text(secrets.token_hex(8))
    assert run().returncode == 0
    psycopg.connect(login("serve")).close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(former).close()


def test_no_password_gets_into_the_servers_log_from_a_superuser(servers, shared_database, login, passwords, run):
    state = State.model_validate_json((servers.directory / "state.json").read_bytes())
    superuser = conninfo.make_conninfo(shared_database, user="postgres", password=state.superuser_password)
    done = run(superuser, PGOPTIONS="-c log_statement=all")
    assert (done.returncode, done.stderr) == (0, "")
    logs = [log.read_text(errors="replace") for log in (servers.directory / "postgres" / "log").iterdir()]
    assert [log for log in logs if "set_config(name, value, true)" in log], "statements are logged"
    for name in LOGINS:
        secret = (passwords / f"{name}-password").read_text().rstrip("'")
        assert not [log for log in logs if secret in log]
