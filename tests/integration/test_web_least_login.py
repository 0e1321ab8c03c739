"""The web server with a login that is a member of `jcm_mrv_service` only: every page, every step, what is refused."""

import base64
import re
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import psycopg
import pytest
from psycopg import conninfo, sql

from deploy.access.principal import AccountRole
from tests.harness import exclusive, one, rows
from tests.integration import verifier_world
from tests.integration.verifier_world import DAYS, ENTITY, PROJECT, World
from tests.website import Website, serving

LOGIN = "jcm_mrv_least_login_test"
API = f"/api/v1/projects/{PROJECT}/periods/{DAYS[0]}/{DAYS[1]}/revisions/2"
SEALED = API.replace("revisions/2", "revisions/1")
PAGE = f"/projects/{PROJECT}/{DAYS[0]}/{DAYS[1]}/r2"


@pytest.fixture(scope="module")
def world(shared_database: str, tmp_path_factory: pytest.TempPathFactory) -> World:
    return verifier_world.build(shared_database, tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def site(world: World) -> Iterator[Website]:
    password = secrets.token_hex(8)
    with exclusive("least-login-test"), psycopg.connect(world.database, autocommit=True) as owner:
        owner.execute(sql.SQL("drop role if exists {}").format(sql.Identifier(LOGIN)))
        owner.execute(
            sql.SQL("create role {} login noinherit in role jcm_mrv_service password {}").format(
                sql.Identifier(LOGIN), sql.Literal(password)
            )
        )
        try:
            least = conninfo.make_conninfo(world.database, user=LOGIN, password=password)
            with serving(least, evidence_key_file=world.evidence_key) as site:
                site.database, site.least = world.database, least
                site.account("verifier", AccountRole.VERIFIER, PROJECT, organisation=ENTITY)
                site.account("participant", AccountRole.PARTICIPANT, PROJECT, organisation="A")
                site.account("operator", AccountRole.OPERATOR)
                yield site
        finally:
            owner.execute(sql.SQL("drop role {}").format(sql.Identifier(LOGIN)))


def quarantined(site: Website) -> int:
    """Put a message into quarantine; return the entry's number."""
    with psycopg.connect(site.database, autocommit=True) as owner:
        return owner.execute(
            "insert into quarantine (received_at, message_id, site_id, topic, reason, detail)"
            " select received_at, message_id, site_id, topic, 'device_unknown', '' from message limit 1"
            " returning quarantine_id"
        ).fetchone()[0]


def form(client, page: str, to: str, **fields) -> int:
    """Send a form of a page as a browser does."""
    csrf = re.search(r'name="csrf" value="([^"]+)"', client.get(page).text)[1]
    return client.post(to, data={"csrf": csrf, **fields}).status_code


def test_the_steps_of_a_verification_are_taken(site: Website, world: World) -> None:
    with site.browser("participant") as participant, site.browser("verifier") as verifier:
        assert form(participant, f"{PAGE}/submission", f"{PAGE}/submission", confirmed="yes") == 303
        assert form(verifier, f"{PAGE}/findings", f"{PAGE}/findings", kind="CL", text="Why?") == 303
        assert form(participant, f"{PAGE}/findings", f"{PAGE}/findings/CL-1/response", text="So.") == 303
        assert form(verifier, f"{PAGE}/findings", f"{PAGE}/findings/CL-1/closing", text="Good.") == 303
        # Another one by scripts.
        with site.client("verifier") as script, site.client("participant") as engineer:
            assert script.post(f"{API}/findings", json={"kind": "CAR", "text": "?"}).status_code == 201
            assert engineer.post(f"{API}/findings/CAR-1/responses", json={"text": "!"}).status_code == 201
            assert script.post(f"{API}/findings/CAR-1/closing", json={"text": "."}).status_code == 201
            statement = script.get(f"{API}/statement").content
            given = {
                "statement": base64.b64encode(statement).decode(),
                "signature": base64.b64encode(world.key.sign(statement)).decode(),
            }
            answer = script.post(f"{API}/attestation", json=given)
            assert answer.status_code == 201, answer.text
            assert script.get(f"{API}/attestation").status_code == 200
    assert one(site.database, "select count(*) from audit_event where starts_with(action, 'finding.')") >= 6


def test_every_page_and_call_is_answered(site: Website) -> None:
    """Each has its own set of tables that the login must be able to read."""
    received_us, message_id = rows(
        site.database,
        "select (extract(epoch from received_at) * 1000000)::bigint, message_id from message"
        " where site_id = (select min(id) from site where project_id = %s) and outcome = 'stored' limit 1", PROJECT,
    )[0]  # fmt: skip
    where, device = one(site.database, "select min(id) from site where project_id = %s", PROJECT), "inv-1"
    message = f"{PAGE}/message/{received_us}/{message_id}"
    with site.client("verifier") as client:
        for path in (
            "/projects", f"/projects/{PROJECT}", PAGE, f"{PAGE}/differences", f"{PAGE}/conflicts", f"{PAGE}/late",
            f"{PAGE}/{DAYS[0]:%Y-%m}", f"{PAGE}/{where}/{device}/{DAYS[0]}", f"{PAGE}/findings", f"{PAGE}/attestation",
            f"{PAGE}/statement.json", message, f"{message}/payload.bin", f"{message}/proof.json",
            f"{message}/seal.json", f"{PAGE}/report.xlsx", f"{PAGE}/report.html", API, f"{API}/months", f"{API}/days",
            f"{API}/flags", f"{API}/late",
            f"{API}/calibrations", f"{API}/conflicts", f"{API}/differences?since=1&with_days=true", f"{API}/state",
        ):  # fmt: skip
            answer = client.get(path)
            assert answer.status_code == 200, (path, answer.text[-300:])
    entry = quarantined(site)
    with site.client("operator") as client:
        for path in (
            "/sites", f"/sites/{where}", "/quarantine", f"/quarantine/{entry}", "/alerts", "/health", "/api/v1/sites",
            f"/api/v1/sites/{where}/gaps", f"/api/v1/sites/{where}/clocks", "/api/v1/quarantine", "/api/v1/alerts",
            f"/api/v1/quarantine/{entry}/payload", "/api/v1/alerts?over=true", "/api/v1/live?events=1",
        ):  # fmt: skip
            answer = client.get(path)
            assert answer.status_code == 200, (path, answer.text[-300:])


@pytest.mark.parametrize("redacted", ["false", "true"])
def test_a_bundle_is_made(site: Website, redacted: str) -> None:
    with site.client("verifier") as client:
        answer = client.get(f"{SEALED}/bundle.zip?redacted={redacted}")
    assert answer.status_code == 200, answer.text[-300:]
    assert answer.content[:2] == b"PK"


def test_what_computes_for_long_is_done_once_at_a_time_for_an_account(site: Website) -> None:
    together = Barrier(8)

    def ask(path: str) -> int:
        with site.client("verifier") as client:
            together.wait(60)
            return client.get(path).status_code

    for path in (f"{PAGE}/differences", f"{API}/differences?since=1&with_days=true", f"{SEALED}/bundle.zip"):
        statuses: set[int] = set()
        for _ in range(10):  # two of the eight have to be there at once
            with ThreadPoolExecutor(8) as pool:
                statuses |= set(pool.map(ask, [path] * 8))
            if 429 in statuses:
                break
        assert {429} <= statuses <= {200, 429, 503}, path
        with site.client("verifier") as client:
            assert client.get(path).status_code == 200, path


def test_a_key_that_is_not_there_is_not_named(site: Website, tmp_path: Path) -> None:
    with serving(site.least, evidence_key_file=tmp_path / "gone.pem") as other, other.client() as client:
        headers = {"Authorization": f"Bearer {site.tokens['verifier']}"}
        answer = client.get(f"{SEALED}/bundle.zip", headers=headers)
    assert answer.status_code == 409
    assert "gone.pem" not in answer.text
    assert "jcm-mrv evidence export" in answer.json()["detail"]


def test_alerts_are_acknowledged(site: Website) -> None:
    with psycopg.connect(site.database, autocommit=True) as owner:
        (number,) = owner.execute(
            "insert into alert (rule, subject, project_id, severity, said, since, first_seen, last_seen)"
            " values ('silent', 'x', %s, 'warning', '', now(), now(), now()) returning alert_id", [PROJECT]
        ).fetchone()  # fmt: skip
    with site.client("operator") as client:
        assert client.post(f"/api/v1/alerts/{number}/acknowledge", json={"note": "seen"}).status_code == 204
    with site.browser("operator") as client:
        assert form(client, "/alerts", f"/alerts/{number}", step="mute") == 303
        assert form(client, "/alerts", f"/alerts/{number}", step="unmute") == 303
    with site.client("verifier") as client:
        assert client.post(f"/api/v1/alerts/{number}/unmute").status_code in (403, 404)


def test_a_replay_is_refused_and_says_what_to_do_and_not_where_the_database_is(site: Website) -> None:
    entry = quarantined(site)
    server = conninfo.conninfo_to_dict(site.database)
    with site.client("operator") as client:
        answer = client.post("/api/v1/quarantine/replay", json={"ids": [entry], "dry_run": True})
        page = client.post("/quarantine/replay", data={"number": [str(entry)]})
    assert answer.status_code == page.status_code == 409
    for said in (answer.json()["detail"], page.text):
        assert "jcm-mrv quarantine replay" in said
        assert str(server["port"]) not in said
        assert str(server["dbname"]) not in said


def test_metrics_and_readiness_are_answered(site: Website) -> None:
    with site.client() as client:
        metrics = client.get("/metrics").text
        assert "jcm_mrv_fleet_up 1.0" in metrics
        assert client.get("/readyz").status_code == 200


def test_the_login_alone_reads_nothing(site: Website) -> None:
    """A statement that forgot to take a role sees nothing, and a role that is not for the web cannot be taken."""
    with psycopg.connect(site.least, autocommit=True) as connection:
        for statement in (
            "select from message",
            "select from account",
            "set role jcm_mrv_collector",
            "set role jcm_mrv_mrv",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
