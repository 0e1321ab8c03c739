"""The web server against those who mean it no good: another site, a thief of a cookie, a verifier of others."""

import base64
import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import psycopg
import pytest
from psycopg import conninfo

from deploy.access import accounts
from deploy.access.principal import AccountRole
from deploy.web import impatience, limits, operations, streams
from mrv import periods
from sql.connection import Role, connect
from tests.harness import one, rows
from tests.integration.conftest import Plant
from tests.integration.received import receive
from tests.integration.two_projects import DAYS, ONE, OTHER, RECEIVED, add_accounts, build
from tests.website import Website, serving

PERIOD = f"{DAYS[0]}/{DAYS[1]}"
API = f"/api/v1/projects/{ONE}/periods/{PERIOD}/revisions/1"
PAGE = f"/projects/{ONE}/{PERIOD}/r1"
WAITS = """
insert into quarantine (received_at, message_id, site_id, topic, reason, detail)
select received_at, message_id, site_id, topic, 'device_unknown', '<img src=x onerror=alert(1)>' from message
where topic like '%unknown%'
"""

FORM = b"POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"


@pytest.fixture(scope="module")
def site(shared_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    folder = tmp_path_factory.mktemp("keys")
    build(shared_database, folder)
    with psycopg.connect(shared_database) as connection:
        connection.execute(WAITS)
    with serving(shared_database, evidence_key_file=folder / "evidence.pem") as site:
        add_accounts(site)
        site.account("everything", AccountRole.VERIFIER)
        with connect(shared_database, Role.OWNER) as connection:
            for role in (AccountRole.OPERATOR, AccountRole.PARTICIPANT):
                accounts.grant(connection, "everything", role, None)
        yield site


def entry_of(site: Website, project: str) -> int:
    return one(site.database, "select max(quarantine_id) from quarantine where site_id = %s", f"s-{project}")


# --- another web site -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "own"}, 303),
        ({"Origin": "own", "Sec-Fetch-Site": "same-origin"}, 303),
        ({}, 303),  # a script
    ],
)
def test_another_site_signs_nobody_in(site: Website, headers: dict, status: int) -> None:
    """Browsers send Sec-Fetch-Site to https and to this machine only; Origin with every form."""
    given = {name: site.url if value == "own" else value for name, value in headers.items()}
    with site.client() as client:
        answer = client.post("/sign-in", data={"token": site.tokens["operator"]}, headers=given)
    assert answer.status_code == status


def test_own_pages_let_browsers_say_where_a_form_comes_from(site: Website) -> None:
    """With `no-referrer` browsers send `Origin: null` with our own forms too (Fetch standard, 3.2)."""
    with site.client() as client:
        assert client.get("/sign-in").headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("given", ["//[", "/\n/evil.example", "/%5c", "//[::1]]/"])
def test_a_strange_place_to_go_on_is_no_failure(site: Website, given: str) -> None:
    with site.client() as client:
        assert client.get("/sign-in", params={"next": given}).status_code == 200


# --- who stole a cookie or a token, and who had a right ---------------------------------------------------------------


def test_a_stream_ends_with_the_right_to_it(site: Website, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "AGAIN_S", 0.5)
    for name in ("leaver", "fired"):
        site.account(name, AccountRole.OPERATOR)
    taken = [
        "update api_token set revoked_at = now(), revoked_by = 'test' where account = 'leaver'",
        "update account_grant set revoked_at = now(), revoked_by = 'test' where account = 'fired'",
    ]
    with ExitStack() as stack:
        opened = {}
        for name, path in (("leaver", "/api/v1/live"), ("fired", "/sites/live")):
            client = stack.enter_context(site.client(name))
            answer = stack.enter_context(client.stream("GET", path, timeout=60))
            assert answer.status_code == 200
            opened[name] = answer.iter_lines()
            next(opened[name])
        with psycopg.connect(site.database, autocommit=True) as connection:
            for statement in taken:
                connection.execute(statement)
        begun = time.monotonic()
        for stream in opened.values():
            for _ in stream:
                assert time.monotonic() - begun < 40, "the stream goes on"


def test_an_account_has_so_many_streams_and_no_more(site: Website) -> None:
    site.account("greedy", AccountRole.OPERATOR, ONE)
    site.account("other", AccountRole.OPERATOR, ONE)
    with ExitStack() as stack:
        client = stack.enter_context(site.client("greedy"))
        statuses = []
        for n in range(14):
            path = "/sites/live" if n % 2 else "/api/v1/live"
            statuses.append(stack.enter_context(client.stream("GET", path)).status_code)
        assert set(statuses[:8]) == {200}
        assert statuses[-1] == 429
        other = stack.enter_context(site.client("other"))
        assert stack.enter_context(other.stream("GET", "/sites/live")).status_code == 200
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with site.client("greedy") as client, client.stream("GET", "/sites/live") as again:
            if again.status_code == 200:
                return
        time.sleep(0.3)
    pytest.fail("streams that ended are counted for ever")


# --- somebody with two roles ------------------------------------------------------------------------------------------


def test_evidence_of_one_project_is_not_read_with_the_right_for_another(site: Website) -> None:
    """An administrator sees operations of ONE and no payload; as a verifier of OTHER payloads of that."""
    site.account("both", AccountRole.ADMINISTRATOR, ONE)
    with connect(site.database, Role.OWNER) as connection:
        accounts.grant(connection, "both", AccountRole.VERIFIER, OTHER)
    number = entry_of(site, ONE)
    with site.client("both") as client:
        page = client.get(f"/quarantine/{number}")
        assert page.status_code == 200
        assert "7b 7d" not in page.text, "the payload is shown"
        assert client.get(f"/quarantine/{number}/payload").status_code in (403, 404)
        assert client.get(f"/api/v1/quarantine/{number}/payload").status_code in (403, 404)
        # Nor the operations of the project that they verify.
        of_other = entry_of(site, OTHER)
        assert client.get(f"/quarantine/{of_other}").status_code == 404
        assert client.get(f"/api/v1/quarantine/{of_other}/payload").status_code == 404


def test_the_record_says_of_which_project_the_payload_was(site: Website) -> None:
    number = entry_of(site, ONE)
    with site.client("operator") as client:
        assert client.get(f"/api/v1/quarantine/{number}/payload").status_code == 200
    found = rows(
        site.database,
        "select project_id from audit_event where action = 'evidence.read' and subject = %s order by id desc limit 1",
        f"quarantine {number}",
    )
    assert found == [(ONE,)]


# --- what is sent that nobody asked for -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/sign-in", f"{API}/findings", f"{PAGE}/attestation"])
def test_a_body_is_refused_before_it_is_read(site: Website, path: str) -> None:
    kind = "application/json" if path.startswith("/api/") else "application/x-www-form-urlencoded"
    with site.client() as client:
        answer = client.post(path, content=b"x" * (3 << 20), headers={"Content-Type": kind})
    assert answer.status_code == 413
    if path.startswith("/api/"):
        assert answer.json()["type"] == "/problems/too-large"


def test_a_body_of_no_stated_length_is_refused_at_the_limit(site: Website) -> None:
    where = urlsplit(site.url)
    with socket.create_connection((where.hostname, where.port), timeout=60) as connection:
        connection.sendall(
            b"POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        )
        part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
        connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
        piece = b"x" * 65536
        try:
            for _ in range(64):
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        except OSError:
            pass
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b""),
        (b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ", b""),
        (FORM + b"Content-Length: 10\r\n\r\ntoke", b"HTTP/1.1 408"),
    ],
)
def test_who_sends_slowly_holds_no_place(
    site: Website, monkeypatch: pytest.MonkeyPatch, sent: bytes, answer: bytes
) -> None:
    monkeypatch.setattr(impatience, "PATIENCE_S", 0.7)
    monkeypatch.setattr(limits, "BODY_S", 0.7)
    where = urlsplit(site.url)
    with socket.create_connection((where.hostname, where.port), timeout=60) as connection:
        connection.sendall(sent)
        came = connection.recv(65536)
    assert came.startswith(answer)
    assert bool(came) == bool(answer)


def test_requests_one_after_the_other_use_a_connection(site: Website, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(impatience, "PATIENCE_S", 1.5)
    where = urlsplit(site.url)
    asked = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with socket.create_connection((where.hostname, where.port), timeout=60) as connection:
        for pause in (0.0, 1.8):
            time.sleep(pause)
            connection.sendall(asked[:9])
            time.sleep(0.1)
            connection.sendall(asked[9:])
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "path",
    [
        f"/projects/{ONE}/{PERIOD}/r{'9' * 5000}",
        f"{PAGE}/message/{'9' * 5000}/1",
        "/projects/" + "x" * 20_000,
        f"/sign-in?next={'%2F' * 9000}",
    ],
)
def test_an_endless_address_is_refused(site: Website, path: str) -> None:
    with site.client("everything") as client:
        assert 400 <= client.get(path).status_code < 500


@pytest.mark.parametrize(
    "path",
    [
        "/projects/%00", "/projects/{p}/%00/%00/r1", "{page}/%00/%00/2021-03-01", "{page}/reading/%00/%00/5",
        "{page}/reading/s-ONE/inv-1/5", "{page}/findings?device=%00&day=%00&message_id=%00", "{page}/r%00",
        "{page}/findings?day=0001-01-01", "{page}/0001-01", "{page}/9999-12", "{page}/s-ONE/inv-1/9999-12-31",
        "{page}/s-ONE/inv-1/0001-01-01", "{page}/message/0/1", "{page}/late?after=e30", "{page}/conflicts?after=%00",
        "/sites/%00", "/quarantine?site=%00&reason=%00", "/quarantine?after=-1", "/quarantine/99999999999999999999",
        "/problems/%00", "/?lang=%00", "/api/v1/projects/%00", "{api}/devices/%00/%00/days/2021-03-01",
        "{api}/devices/%00/%00/readings/2021-03-01T00:00:00Z", "{api}/days?device=%00/%00&rule=%00",
        "/api/v1/sites/%00/gaps", "/api/v1/quarantine?site=%00", "{api}/messages/0001-01-01T00:00:00Z/1",
        "{api}/messages/9999-12-31T23:59:59.999999-12:00/1", "{api}/devices/s-ONE/inv-1/days/9999-12-31",
        "{api}/devices/s-ONE/inv-1/readings/9999-12-31T23:59:59.999999-12:00", "{api}/days?month=9999-12",
        "{api}/devices/s-ONE/inv-1/days/0001-01-01", "/static/%00", "/static/..%2f..%2fserver.py",
        "/static/%2e%2e/app.py",
    ],
)  # fmt: skip
def test_no_address_is_a_failure_of_ours(site: Website, path: str) -> None:
    asked = path.format(p=ONE, page=PAGE, api=API)
    with site.client("everything") as client:
        answer = client.get(asked)
    assert answer.status_code < 500, answer.text[-600:]


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("findings", {"kind": "CAR", "text": "\0", "device": "\0"}),
        ("findings", {"kind": "\0", "text": "x"}),
        ("findings", {"kind": "CL", "text": "x", "day": "0001-01-01", "rule": "\0"}),
        ("findings/CAR-1/response", {"text": "\0"}),
        ("findings/%00/closing", {"text": "x"}),
        ("submission", {"confirmed": "\0"}),
    ],
)
def test_no_form_is_a_failure_of_ours(site: Website, path: str, form: dict) -> None:
    with site.client("everything") as client:
        answer = client.post(f"{PAGE}/{path}", data=form)
    assert answer.status_code < 500, answer.text[-600:]


def test_deeply_nested_json_is_refused(site: Website) -> None:
    with site.client("everything") as client:
        for content in (b"[" * 100_000, b'{"ids":' * 50_000, b"1" * 20_000, b'{"ids": [1e999]}', b'{"ids": ["\xff"]}'):
            answer = client.post(
                "/api/v1/quarantine/replay", content=content, headers={"Content-Type": "application/json"}
            )
            assert 400 <= answer.status_code < 500, content[:10]


@pytest.mark.parametrize("header", ["X-Real-IP", "Via", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded"])
def test_what_a_proxy_passes_on_is_not_from_here(site: Website, header: str) -> None:
    with site.client() as client:
        assert client.get("/metrics", headers={header: "203.0.113.7"}).status_code in (303, 401)


@pytest.mark.parametrize(
    ("host", "path", "status"),
    [
        ("10.1.2.3:8080", "/livez", 200),  # a kubelet
        ("[fd00::1]:8080", "/readyz", 200),
        ("serve:8080", "/metrics", 200),  # Prometheus under compose
        ("evil.example", "/metrics", 400),  # a name that leads to this machine, in a browser beside the service
        ("evil.example", "/livez", 400),
        ("10.1.2.3", "/sign-in", 400),
        ("serve", "/sign-in", 400),
        ("[", "/livez", 400),
    ],
)
def test_what_watches_the_service_asks_it_under_its_address(site: Website, host: str, path: str, status: int) -> None:
    with site.client() as client:
        assert client.get(path, headers={"Host": host}).status_code == status


# --- limits -----------------------------------------------------------------------------------------------------------


def test_made_up_tokens_and_cookies_are_limited_and_not_remembered(shared_database: str, site: Website) -> None:
    with serving(shared_database, rate_limit="6/minute", rate_limit_failures="4/minute") as limited:
        with limited.client() as client:
            tokens = [
                client.get("/api/v1/projects", headers={"Authorization": f"Bearer jcm_{n:043}"}).status_code
                for n in range(12)
            ]
            cookies = [
                client.get("/sign-in", headers={"Cookie": f"jcm_mrv_session={n:043}"}).status_code for n in range(12)
            ]
        assert tokens[-1] == 429
        assert cookies[-1] == 429
        # Whoever has a token is not locked out by them, though they come from the same address.
        with httpx.Client(base_url=limited.url) as client:
            own = {"Authorization": f"Bearer {site.tokens['operator']}"}
            assert client.get("/api/v1/projects", headers=own).status_code == 200


def test_a_token_is_limited_wherever_it_comes_from(shared_database: str, site: Website) -> None:
    own = {"Authorization": f"Bearer {site.tokens['operator']}"}
    with (
        serving(shared_database, rate_limit="5/minute", web_trusted_proxies="127.0.0.1") as limited,
        limited.client() as client,
    ):
        answers = [
            client.get("/api/v1/projects", headers={**own, "X-Forwarded-For": f"203.0.113.{n}"}).status_code
            for n in range(8)
        ]
    assert answers[-1] == 429


def test_more_sessions_are_not_more_requests(shared_database: str, site: Website) -> None:
    site.account("many", AccountRole.VERIFIER, ONE)
    with serving(shared_database, rate_limit="9/minute") as limited, ExitStack() as stack:
        limited.tokens["many"] = site.tokens["many"]
        browsers = [stack.enter_context(limited.browser("many")) for _ in range(3)]
        answers = [browsers[n % 3].get("/projects").status_code for n in range(12)]
    assert answers[-1] == 429


def test_a_provider_that_takes_its_time_holds_no_connection(shared_database: str, site: Website) -> None:
    """Anybody can come back from a sign-in that they made up, and have the provider asked about it."""
    known = {"state": "s", "nonce": "n", "verifier": "v"}
    cookie = {"Cookie": f"jcm_mrv_oidc={base64.urlsafe_b64encode(json.dumps(known).encode()).decode()}"}
    with socket.create_server(("127.0.0.1", 0), backlog=64) as slow:
        issuer = f"http://127.0.0.1:{slow.getsockname()[1]}"
        with (
            serving(shared_database, oidc_issuer=issuer, oidc_client_id="x", rate_limit_failures="5/minute") as limited,
            ThreadPoolExecutor(20) as pool,
            httpx.Client(base_url=limited.url, timeout=60) as client,
        ):
            came = [pool.submit(client.get, "/sign-in/callback?code=c&state=s", headers=cookie) for _ in range(20)]
            time.sleep(0.5)
            own = {"Authorization": f"Bearer {site.tokens['operator']}"}
            # Ten seconds is what a provider is given.
            assert client.get("/api/v1/projects", headers=own, timeout=8).status_code == 200
            slow.close()
            assert {one.result().status_code for one in came} == {409, 429}


def test_a_query_does_not_run_for_ever(site: Website) -> None:
    """A statement of the web's ends after half a minute; that of a bundle does not (`deploy.web.verifier.bundles`)."""
    from deploy.web.database import Database

    with Database(site.database) as database, database.service() as connection:
        assert connection.execute("show statement_timeout").fetchone() == ("30s",)


def test_readiness_asks_the_database_once_a_second(site: Website, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "READY_FOR_S", 60.0)
    calls = "select sum(xact_commit) from pg_stat_database where datname = current_database()"
    with site.client() as client:
        assert client.get("/readyz").status_code == 200
        time.sleep(1.5)
        before = one(site.database, calls)
        for _ in range(200):
            assert client.get("/readyz").status_code == 200
        time.sleep(1.5)
    # Each would be four or more of them; TimescaleDB's own and what the tests before left are counted as well.
    assert one(site.database, calls) - before < 400


# --- a login of one's own ---------------------------------------------------------------------------------------------


def test_a_login_of_ones_own_can_be_kept_from_the_collectors_locks(site: Website, servers) -> None:
    """What docs/access.md has a superuser run; without it whoever may write SQL can stop every collector."""
    text = (Path(__file__).parents[2] / "docs" / "access.md").read_text(encoding="utf-8")
    statement = re.search(r"```sql\n(do \$\$.*?)```", text, re.DOTALL)[1]
    batch = "select pg_advisory_xact_lock_shared(hashtext('jcm-mrv batch'))"
    superuser = conninfo.make_conninfo(
        servers.superuser_url(), dbname=conninfo.conninfo_to_dict(site.database)["dbname"]
    )
    with connect(site.database, Role.VERIFIER) as verifier:
        verifier.execute(batch)
        with psycopg.connect(superuser, autocommit=True) as connection:
            connection.execute(statement)
        for asked in (
            batch,
            batch.replace("_shared", ""),
            "select pg_try_advisory_lock(1)",
            "select pg_advisory_lock(1, 2)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                verifier.execute(asked)
        # Steps lock their period (0008_verification.sql).
        verifier.execute("select pg_advisory_xact_lock(1, 2)")
    for role in (Role.COLLECTOR, Role.MRV, Role.OWNER):
        with connect(site.database, role) as connection:
            connection.execute(batch)
            assert connection.execute("select pg_try_advisory_lock(1), pg_advisory_unlock(1)").fetchone() == (
                True,
                True,
            )


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_file_is_named_after_its_project_whatever_that_is_called(site: Website) -> None:
    name = "日本; 'x'"
    with closing(Plant(site.database, project=name)) as plant:
        plant.apply(plant.toml)
        topic, text = f"jcm/v1/{plant.site}/inv-1/readings", '{{"ts": "{}", "points": {{"TotWhExp": {}, "W": 1}}}}'
        sent = [(topic, text.format(ts.isoformat(), wh).encode()) for ts, wh in plant.days(*DAYS, hourly_wh=1000.0)]
        receive(plant.owner, sent, RECEIVED, first_id=70_000)
        periods.freeze(plant.connection, name, *DAYS, code_version="1")
    page, api = f"/projects/{quote(name)}/{PERIOD}/r1", f"/api/v1/projects/{quote(name)}/periods/{PERIOD}/revisions/1"
    with site.client("everything") as client:
        for path in (f"{page}/report.csv", f"{page}/report.xlsx", f"{page}/statement.json", f"{api}/report.csv"):
            answer = client.get(path)
            assert answer.status_code == 200, (path, answer.text[-300:])
            said = answer.headers["content-disposition"]
            assert said.startswith('attachment; filename="___')
            assert "filename*=UTF-8''%E6%97%A5%E6%9C%AC%3B%20%27x%27-" in said


def test_what_a_device_sent_is_text_on_pages(site: Website) -> None:
    number = entry_of(site, ONE)
    with site.client("operator") as client:
        for path in ("/quarantine", f"/quarantine/{number}"):
            page = client.get(path).text
            assert "&lt;img" in page
            assert "<img" not in page


def test_an_error_tells_nothing_of_the_house(site: Website) -> None:
    with site.client("everything") as client:
        for path in ("/readyz?verbose", "/livez?verbose", "/api/v1/nothing", "/nothing"):
            assert "postgres" not in client.get(path).text
