"""Who may see what through the API and the pages: by every route there is, so that a new one cannot be forgotten."""

import re
from collections.abc import Iterator

import httpx
import psycopg
import pytest

from deploy.access.principal import AccountRole, Scope
from tests.harness import one, rows
from tests.integration.two_projects import DAYS, ONE, OTHER, add_accounts, build
from tests.website import Website, serving

PERIOD = f"{DAYS[0]}/{DAYS[1]}"
ALERT = "select min(alert_id) from alert where subject = %s"
ENTRY = "select max(quarantine_id) from quarantine where site_id = %s"
WAITS = """
insert into quarantine (received_at, message_id, site_id, topic, reason, detail)
select received_at, message_id, site_id, topic, 'device_unknown', 'for a test' from message
where topic = 'elsewhere' or topic like '%unknown%'
"""
OF_NO_PROJECT = {"/api/v1/projects", "/api/v1/sites", "/api/v1/live", "/api/v1/quarantine", "/api/v1/alerts"}


@pytest.fixture(scope="module")
def site(shared_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    folder = tmp_path_factory.mktemp("keys")
    build(shared_database, folder)
    with psycopg.connect(shared_database) as connection:
        connection.execute(WAITS)
    with serving(shared_database, evidence_key_file=folder / "evidence.pem") as site:
        add_accounts(site)
        site.account("reader", AccountRole.VERIFIER, ONE, scopes=(Scope.READ,))
        yield site


def routes(site: Website, method: str) -> list[str]:
    with site.client("operator") as client:
        described = client.get("/api/v1/openapi.json").json()
    return [path for path, methods in described["paths"].items() if method in methods]


def filled(site: Website, path: str, project: str) -> str:
    """The path with what there really is of a project."""
    received_at, message, ts = rows(
        site.database,
        "select m.received_at, m.message_id, r.ts from reading r join message m using (message_id)"
        " where m.site_id = %s order by r.ts limit 1",
        f"s-{project}",
    )[0]
    known = {
        "project": project, "first": DAYS[0], "last": DAYS[1], "revision": 1, "site": f"s-{project}", "device": "inv-1",
        "day": DAYS[0], "ts": ts.isoformat(), "received_at": received_at.isoformat(), "message_id": message,
        "label": "FAR-1", "report_format": "csv",
        "number": one(site.database, ALERT if "alerts" in path else ENTRY, f"s-{project}"),
    }  # fmt: skip
    query = "?since=1" if path.endswith("/differences") else ""
    return re.sub(r"\{(\w+)\}", lambda found: str(known[found[1]]), path) + query


def test_every_get_of_a_project_is_there_for_its_own_and_not_for_others(site: Website) -> None:
    paths = [path for path in routes(site, "get") if path not in OF_NO_PROJECT]
    assert len(paths) > 20
    refused, wrong = [], []
    with site.client(f"verifier-{ONE}".lower()) as verifier, site.client(f"operator-{ONE}".lower()) as operator:
        for path in paths:
            operators = any(part in path for part in ("/sites/{", "/quarantine/{"))
            client = operator if operators else verifier
            of_others = client.get(filled(site, path, OTHER))
            if of_others.status_code != 404:
                wrong.append((path, of_others.status_code, of_others.text[:200]))
            own = client.get(filled(site, path, ONE))
            if own.status_code not in (200, 400, 409):
                refused.append((path, own.status_code, own.text[:200]))
    assert wrong == []
    assert refused == []


def test_lists_hold_only_ones_own(site: Website) -> None:
    for role, paths in {
        "verifier": ["/api/v1/projects"],
        "operator": [
            "/api/v1/projects",
            "/api/v1/sites",
            "/api/v1/quarantine",
            "/api/v1/alerts",
            "/api/v1/live?events=1",
        ],
    }.items():
        with site.client(f"{role}-{ONE}".lower()) as client:
            for path in paths:
                answer = client.get(path)
                assert answer.status_code == 200, path
                assert ONE in answer.text, path
                assert OTHER not in answer.text, path
    with site.client("operator") as client:
        assert OTHER in client.get("/api/v1/sites").text
        assert "elsewhere" in client.get("/api/v1/quarantine").text


def test_messages_of_no_site_are_for_who_may_see_all(site: Website) -> None:
    with site.client(f"operator-{ONE}".lower()) as client:
        assert "elsewhere" not in client.get("/api/v1/quarantine?limit=1000").text


def test_nobody_and_who_was_granted_nothing_see_nothing(site: Website) -> None:
    with site.client() as client:
        for path in routes(site, "get"):
            answer = client.get(filled(site, path, ONE))
            assert answer.status_code == 401, path
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["www-authenticate"].startswith("Bearer")
        # The list of its calls is a page.
        assert client.get("/api/v1").headers["location"] == "/sign-in?next=/api/v1"
    with site.client("nobody") as client:
        assert client.get("/api/v1/projects").json() == []
        assert client.get(f"/api/v1/projects/{ONE}").status_code == 404
        assert client.get("/api/v1/sites").status_code == 403


def test_a_narrow_token_reads_no_evidence_and_takes_no_step(site: Website) -> None:
    with site.client("reader") as client:
        base = f"/api/v1/projects/{ONE}/periods/{PERIOD}/revisions/1"
        assert client.get(base).status_code == 200
        proof = filled(site, "/api/v1/projects/{project}/periods/{first}/{last}/revisions/{revision}"
                             "/messages/{received_at}/{message_id}/proof", ONE)  # fmt: skip
        assert client.get(proof).status_code == 403
        assert client.get(f"{base}/bundle.zip").status_code == 403
        assert client.post(f"{base}/findings", json={"kind": "CL", "text": "?"}).status_code == 403


def test_every_access_to_evidence_is_on_record(site: Website) -> None:
    path = filled(site, "/api/v1/projects/{project}/periods/{first}/{last}/revisions/{revision}"
                        "/messages/{received_at}/{message_id}/payload", ONE)  # fmt: skip
    count = "select count(*) from audit_event where action = 'evidence.read' and actor like %s"
    before = one(site.database, count, f"%verifier-{ONE}%".lower())
    with site.client(f"verifier-{ONE}".lower()) as client:
        assert client.get(path).status_code == 200
    assert one(site.database, count, f"%verifier-{ONE}%".lower()) == before + 1


def test_steps_are_for_those_whose_they_are(site: Website) -> None:
    base = f"/api/v1/projects/{ONE}/periods/{PERIOD}/revisions/1"
    with site.client(f"participant-{ONE}".lower()) as client:
        assert client.post(f"{base}/findings", json={"kind": "CL", "text": "?"}).status_code == 403
        assert client.post(f"{base}/submission").status_code == 409  # it is notified already
    with site.client(f"verifier-{ONE}".lower()) as client:
        assert client.post(f"{base}/submission").status_code == 403
        refused = client.post(f"{base}/findings", json={"kind": "CL", "text": "?"})
        assert refused.status_code == 409
        assert "notified" in refused.json()["detail"]
    with site.client(f"verifier-{OTHER}".lower()) as client:
        assert client.post(f"{base}/findings", json={"kind": "CL", "text": "?"}).status_code == 404


def test_a_browser_must_prove_that_no_other_site_speaks_through_it(site: Website) -> None:
    order = {"ids": [one(site.database, "select max(quarantine_id) from quarantine")], "dry_run": True}
    with site.browser("operator") as client:
        assert client.get("/api/v1/sites").status_code == 200
        assert client.post("/api/v1/quarantine/replay", json=order).status_code == 403
        assert client.post("/quarantine/replay", data={"number": order["ids"]}).status_code == 403
        page = client.get("/quarantine").text
        csrf = re.search(r'name="csrf" value="([^"]+)"', page)[1]
        assert client.post("/quarantine/replay", data={"number": order["ids"], "csrf": csrf}).status_code == 200
        answer = client.post("/api/v1/quarantine/replay", json=order, headers={"X-CSRF-Token": csrf})
        assert answer.status_code == 200
        assert answer.json()["dry_run"] is True


def test_signing_out_ends_the_session_for_whoever_has_the_cookie(site: Website) -> None:
    with site.browser("operator") as client, httpx.Client(base_url=site.url) as thief:
        thief.cookies.update(dict(client.cookies))
        assert thief.get("/sites").status_code == 200
        csrf = re.search(r'name="csrf" value="([^"]+)"', client.get("/sites").text)[1]
        assert client.post("/sign-out", data={"csrf": csrf}).status_code == 303
        assert thief.get("/sites").status_code == 303
        assert thief.get("/sites").headers["location"] == "/sign-in?next=/sites"


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example", "/\\evil.example", "evil"])
def test_nobody_is_led_elsewhere_after_signing_in(site: Website, elsewhere: str) -> None:
    with site.client() as client:
        answer = client.post("/sign-in", data={"token": site.tokens["operator"], "next": elsewhere})
        assert answer.headers["location"] == "/"
        cross = client.post(
            "/sign-in", data={"token": site.tokens["operator"]}, headers={"Sec-Fetch-Site": "cross-site"}
        )
        assert cross.status_code == 403


def test_the_cookie_is_for_this_server_alone(site: Website) -> None:
    with site.client() as client:
        cookie = client.post("/sign-in", data={"token": site.tokens["operator"]}).headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    assert site.tokens["operator"] not in cookie


def test_a_revoked_token_ends_what_began_with_it(site: Website) -> None:
    site.account("leaver", AccountRole.OPERATOR)
    with site.browser("leaver") as browser, site.client("leaver") as script:
        assert browser.get("/sites").status_code == 200
        rows_of = "update api_token set revoked_at = now(), revoked_by = 'test' where account = 'leaver' returning 1"
        with psycopg.connect(site.database, autocommit=True) as connection:
            assert connection.execute(rows_of).fetchall() == [(1,)]
        assert script.get("/api/v1/sites").status_code == 401
        assert browser.get("/sites").status_code == 303


def test_every_answer_keeps_the_browser_on_this_host(site: Website) -> None:
    with site.client("operator") as client:
        for path in ("/sites", "/api/v1/sites", "/nothing", "/api/v1/nothing", "/static/style.css", "/livez"):
            headers = client.get(path).headers
            assert "default-src 'none'" in headers["content-security-policy"], path
            assert headers["x-content-type-options"] == "nosniff", path
            assert headers["referrer-policy"] == "same-origin", path
        assert client.get("/sites").headers["cache-control"] == "private, no-cache"
        assert client.get("/sites", headers={"Host": "evil.example"}).status_code == 400


def test_too_many_requests_are_told_to_wait(shared_database: str, site: Website) -> None:
    with serving(shared_database, rate_limit="5/minute", rate_limit_failures="3/minute") as limited:
        with httpx.Client(base_url=limited.url, headers={"Authorization": "Bearer jcm_wrong"}) as client:
            answers = [client.get("/api/v1/projects") for _ in range(8)]
        assert {answer.status_code for answer in answers} == {401, 429}
        assert int(answers[-1].headers["retry-after"]) > 0
        assert answers[-1].json()["type"] == "/problems/too-many-requests"


def test_metrics_are_for_the_house(site: Website) -> None:
    with site.client() as client:
        metrics = client.get("/metrics").text
        assert "jcm_mrv_http_request_duration_seconds_bucket" in metrics
        assert "jcm_mrv_fleet_up 1.0" in metrics
        assert client.get("/metrics", headers={"X-Forwarded-For": "203.0.113.7"}).status_code in (303, 401)
    with site.client(f"operator-{ONE}".lower()) as client:
        assert client.get("/metrics", headers={"X-Forwarded-For": "203.0.113.7"}).status_code == 403
    with site.client("operator") as client:
        assert client.get("/metrics", headers={"X-Forwarded-For": "203.0.113.7"}).status_code == 200


def test_head_is_answered_as_get_without_the_content(site: Website) -> None:
    with site.client(f"verifier-{ONE}".lower()) as client:
        revision = f"{ONE}/{PERIOD}/r1"
        for path in ("/livez", f"/api/v1/projects/{ONE}", f"/projects/{revision}", f"/projects/{revision}/report.xlsx"):
            shown, head = client.get(path), client.head(path)
            assert (head.status_code, head.content) == (200, b""), path
            for name in ("content-type", "etag", "content-security-policy", "content-disposition"):
                assert head.headers.get(name) == shown.headers.get(name), (path, name)
        assert client.head(f"/api/v1/projects/{OTHER}").status_code == 404
        assert client.head("/sign-out").status_code == 405
    with site.client() as client:
        assert client.head(f"/api/v1/projects/{ONE}").status_code == 401


def test_an_answer_is_not_sent_twice(site: Website) -> None:
    with site.client(f"verifier-{ONE}".lower()) as client:
        path = f"/api/v1/projects/{ONE}/periods/{PERIOD}/revisions/1"
        first = client.get(path)
        again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert again.status_code == 304
        assert again.content == b""
        assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
