"""The logins that compose makes: real psql, real passwords from files, least privilege on the real server."""

import os
import secrets
import subprocess
import sys
import urllib.request
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo

from deploy.local.packages import find_packages
from deploy.local.state import State, free_port
from sql.connection import Role, connect
from sql.errors import SchemaError
from tests.harness import exclusive, forget_session, wait_until
from tests.service_manager import Manager

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

    # The logins are the whole server's, which another test run may use.
    with exclusive("logins-test"):
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


def test_the_services_work_with_their_logins(login, broker, tmp_path):
    """Each with its own login from a file, until it says that it is ready and after."""
    more = {"collect": {"JCM_MRV_MQTT_URL": broker.collector_url, "JCM_MRV_MQTT_CLIENT_ID": "logins-test"}}
    port = free_port()
    more["serve"] = {"JCM_MRV_WEB_PORT": str(port)}
    with ExitStack() as stack:
        managers, processes = {}, {}
        for name in LOGINS:
            managers[name] = stack.enter_context(closing(Manager(tmp_path / name)))
            (tmp_path / f"{name}-url").write_text(login(name))
            environment = os.environ | managers[name].environment | more.get(name, {})
            log = stack.enter_context((tmp_path / f"{name}.log").open("wb"))
            processes[name] = subprocess.Popen(
                [sys.executable, "-m", "deploy.cli", name],
                env=environment | {"JCM_MRV_DATABASE_URL_FILE": str(tmp_path / f"{name}-url")},
                stdout=log,
                stderr=log,
            )
            stack.callback(processes[name].wait, 60)
            stack.callback(processes[name].terminate)
        for name in LOGINS:
            said = tmp_path / f"{name}.log"
            wait_until(lambda: managers[name].hears("READY=1") or processes[name].poll() is not None)  # noqa: B023
            assert processes[name].poll() is None, said.read_text()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
            assert "jcm_mrv_fleet_up 1.0" in answer.read().decode()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=60) as answer:
            assert answer.status == 200
    for name in LOGINS:
        told = (tmp_path / f"{name}.log").read_text()
        assert processes[name].returncode == 0, told
        assert "denied" not in told, told
    forget_session(broker.collector_url, "logins-test")


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
