"""The pages of verifiers and participants as a browser without JavaScript meets them: real server, real database."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from html.parser import HTMLParser
from itertools import pairwise
from threading import BoundedSemaphore

import httpx
import pytest
from fastapi.routing import APIRoute

from deploy.access.principal import AccountRole, Scope
from deploy.web.verifier import bundles, evidence_pages, pages, step_pages
from mrv.evidence.verification import verify
from mrv.reports import FORMATS, render
from mrv.revisions import find_revision
from sql.connection import Role, connect
from tests import evidence_reader
from tests.harness import one, rows
from tests.integration.verifier_world import DAYS, ENTITY, HOSTILE, OTHER, PROJECT, SILENT, World, build
from tests.website import Website, serving

PERIOD = f"{DAYS[0]}/{DAYS[1]}"
FIRST, SECOND = (f"/projects/{PROJECT}/{PERIOD}/r{n}" for n in (1, 2))
SPIKED = "2021-02-26"
STRANGE = 900_000


class Seen(HTMLParser):
    """What a page has, as a reader meets it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.headings: list[int] = []
        self.links: list[tuple[str, str]] = []
        self.ids: Counter[str] = Counter()
        self.labels: set[str] = set()
        self.wrong: list[str] = []
        self.tables: list[list[list[str]]] = []
        self._inside = self._captioned = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if "id" in given:
            self.ids[given["id"]] += 1
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "a" and given.get("href"):
            self.links.append((given["href"], given.get("aria-label", "")))
        if tag == "label":
            self.labels.add(given.get("for"))
        self._table(tag, given)
        self.wrong += [f"{tag} {given}: {said}" for said in wrongs(tag, given, self.labels)]

    def _table(self, tag, given):
        if tag == "table":
            self.tables.append([])
            self._inside, self._captioned = True, False
        if tag == "caption":
            self._captioned = True
        if tag == "thead" and not self._captioned:
            self.wrong.append("a table without a caption")
        if tag == "tr" and self._inside:
            self.tables[-1].append([])
        if tag in {"td", "th"} and self._inside:
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        if tag == "table":
            self._inside = False

    def handle_data(self, data):
        if self._inside and self.tables[-1] and self.tables[-1][-1]:
            self.tables[-1][-1][-1] += data.strip()

    def link(self, pattern: str) -> str:
        """The first link to an address of this pattern."""
        return next(href for href, _ in self.links if re.fullmatch(pattern, href))


def wrongs(tag: str, given: dict, labels: set) -> Iterator[str]:
    """What the policy forbids, and what whoever does not see the page would miss."""
    if given.keys() & {"style", "onclick", "onload"} or tag == "style" or (tag == "script" and "src" not in given):
        yield "inline"
    if tag == "th" and "scope" not in given:
        yield "no scope"
    if tag == "div" and given.get("class") == "scroll" and not (given.get("tabindex") and given.get("aria-label")):
        yield "no name"
    if tag == "svg" and given.get("role") == "img" and "aria-labelledby" not in given:
        yield "no name"
    typed = tag in {"textarea", "select"} or (
        tag == "input" and given.get("type") not in {"hidden", "radio", "checkbox"}
    )
    if typed and given.get("id") not in labels:
        yield "no label"


@pytest.fixture(scope="module")
def world(shared_database: str, tmp_path_factory: pytest.TempPathFactory) -> World:
    return build(shared_database, tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def site(world: World) -> Iterator[Website]:
    with serving(world.database, evidence_key_file=world.evidence_key) as site:
        site.account("verifier", AccountRole.VERIFIER, PROJECT, organisation=ENTITY)
        site.account("participant", AccountRole.PARTICIPANT, PROJECT, organisation="A")
        site.account("other", AccountRole.VERIFIER, OTHER, organisation=ENTITY)
        site.account("administrator", AccountRole.ADMINISTRATOR)
        site.account("reader", AccountRole.VERIFIER, PROJECT, organisation=ENTITY, scopes=(Scope.READ,))
        yield site


@pytest.fixture(scope="module")
def verifier(site: Website) -> Iterator[httpx.Client]:
    with site.browser("verifier") as client:
        yield client


@pytest.fixture(scope="module")
def participant(site: Website) -> Iterator[httpx.Client]:
    with site.browser("participant") as client:
        yield client


def get(client: httpx.Client, path: str) -> Seen:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return Seen(answer.text)


def send(client: httpx.Client, path: str, form: str | None = None, **fields) -> httpx.Response:
    """Send a form of a page with the token that the page has."""
    files = {name: fields.pop(name) for name in list(fields) if isinstance(fields[name], bytes)}
    page = client.get(form or path).text
    csrf = re.search(r'name="csrf" value="([^"]+)"', page)[1]
    return client.post(path, data={"csrf": csrf, **fields}, files=files or None)


def message_path(site: Website, message_id: int) -> str:
    received = one(site.database, "select extract(epoch from received_at) * 1000000 from message where message_id = %s",
                   message_id)  # fmt: skip
    return f"{FIRST}/message/{int(received)}/{message_id}"


def every_page(site: Website) -> list[str]:
    reading = f"{FIRST}/reading/s-{PROJECT}/inv-1/1614618000000000"
    return [
        "/projects", f"/projects/{PROJECT}", FIRST, SECOND, f"{SECOND}/differences", f"{FIRST}/conflicts",
        f"{FIRST}/late", f"{FIRST}/2021-03", f"{FIRST}/s-{PROJECT}/inv-1/{SPIKED}", reading,
        message_path(site, STRANGE), f"{SECOND}/findings", f"{SECOND}/attestation",
    ]  # fmt: skip


def test_the_raw_payload_is_three_clicks_from_the_report(verifier):
    report = get(verifier, FIRST)
    month = get(verifier, report.link(f"{FIRST}/2021-03"))
    day = get(verifier, month.link(f"{FIRST}/s-{PROJECT}/inv-1/2021-03-02"))
    reading = get(verifier, day.link(rf"{FIRST}/reading/s-{PROJECT}/inv-1/\d+"))
    assert "&#34;TotWhExp&#34;: 11240000.0" in reading.text
    assert "It holds: from this message" in reading.text
    assert "the payload has it" in reading.text
    assert "does not hold" not in reading.text
    assert reading.text.count(">yes</span>") == 3  # each point decodes to what is stored


def test_the_projects_lead_to_the_report(verifier):
    listed = get(verifier, "/projects")
    assert OTHER not in {cell for row in listed.tables[0] for cell in row}
    project = get(verifier, listed.link(f"/projects/{PROJECT}"))
    assert "unconfirmed" in project.text
    assert [row for row in project.tables[0] if f"{DAYS[0]} – {DAYS[1]}" in row]
    assert {FIRST, SECOND} <= {href for href, _ in project.links}


def numbers(table: list[list[str]]) -> Iterator[tuple[list[Decimal], Decimal]]:
    """For each group of a table of months: the numbers of a column that add up, and what is reported."""
    parts: list[Decimal] = []
    for row in table[1:]:
        if len(row) == 1:
            parts = []
        elif row[0].startswith("Reported"):
            yield parts, Decimal(row[1].replace(",", ""))
        else:
            parts.append(Decimal(row[1].replace(",", "") or 0))


@pytest.mark.parametrize("page", ["", "/2021-02", "/2021-03"])
def test_months_days_and_remainders_add_up_to_what_is_reported_exactly(verifier, page):
    found = get(verifier, FIRST + page)
    table = next(table for table in found.tables if any(row and row[0].startswith("Reported") for row in table))
    groups = list(numbers(table))
    assert len(groups) == 2
    for parts, reported in groups:
        assert len(parts) >= 2
        assert sum(parts) == reported > 13
    if page:
        exact = next(table for table in found.tables if table[0][:2] == ["Device", "Sum"])
        for row in exact[1:]:
            cells = [Decimal(cell.replace(",", "")) for cell in row[1:] if cell]
            assert cells[0] == sum(cells[1:])
            assert cells[0] / 10**6 in {parts[0] for parts, _ in groups}


def test_a_day_shows_rules_what_is_late_and_what_was_offered(verifier):
    day = get(verifier, f"{FIRST}/s-{PROJECT}/inv-1/{SPIKED}")
    assert "register.spike@1" in day.text
    assert "the same as was kept when the revision was frozen" in day.text
    assert len(re.findall('<svg class="chart axes"', day.text)) == 2
    assert "late: does not count" in get(verifier, f"{FIRST}/s-{PROJECT}/inv-1/{SILENT}").text
    assert "late: does not count" not in get(verifier, f"{SECOND}/s-{PROJECT}/inv-1/{SILENT}").text
    offered = get(verifier, f"{FIRST}/s-{PROJECT}/inv-1/2021-03-02").text
    assert "&lt;script&gt;alert(1)" in offered
    assert HOSTILE not in offered


def test_the_report_says_what_differs_and_what_came_late(verifier):
    first, second = get(verifier, FIRST).text, get(verifier, SECOND).text
    assert "they do not count in this revision" in first
    assert "A later revision exists" in first
    assert "Late readings: 4." in second
    assert "meter.delayed_calibration@1" in second
    assert "Installation of Solar PV System" in second
    differences = get(verifier, f"{SECOND}/differences").text
    assert "910000" in differences
    assert "register.gap@1" in differences or "register." in differences


def test_every_page_is_in_order(site, verifier):
    for path in every_page(site):
        page = get(verifier, path)
        assert page.wrong == [], path
        assert page.headings[0] == 1, path
        assert page.headings.count(1) == 1, path
        for before, after in pairwise(page.headings):
            assert after <= before + 1, path
        assert {name: n for name, n in page.ids.items() if name and n > 1} == {}, path
        anchors = {href[1:] for href, _ in page.links if href.startswith("#")}
        assert anchors <= page.ids.keys(), path


def test_a_project_that_is_not_ones_own_is_not_there(site):
    routers = (pages.router, evidence_pages.router, step_pages.router)
    paths = {
        route.path
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute) and "GET" in route.methods
    }
    assert len(paths) >= 19
    with site.browser("other") as client:
        for path in paths:
            if path == "/projects":
                continue
            filled = fill(path)
            answer = client.get(filled)
            assert answer.status_code == 404, (filled, answer.status_code)
            assert "A test plant" not in answer.text
            answer = client.post(filled, data={})
            assert answer.status_code in (403, 404, 405), (filled, answer.status_code)
        assert PROJECT not in {cell for row in get(client, "/projects").tables[0] for cell in row}
    with site.client() as nobody:
        for path in paths:
            answer = nobody.get(fill(path))
            assert (answer.status_code, answer.headers["location"].split("?")[0]) == (303, "/sign-in"), path


class Filled(dict):
    """Values of an address of the project."""

    def __missing__(self, name: str) -> str:
        known = {"project": PROJECT, "first": DAYS[0], "last": DAYS[1], "revision": 1, "month": "2021-03",
                 "site": f"s-{PROJECT}", "device": "inv-1", "day": SPIKED, "ts_us": 1614618000000000,
                 "received_us": 1, "message_id": 1, "kind": "csv", "name": "seal.json"}  # fmt: skip
        return str(known[name])


def fill(path: str) -> str:
    return re.sub(r"\{(\w+)(:\w+)?\}", lambda found: Filled()[found[1]], path)


def test_evidence_of_another_project_is_not_reached_through_ones_own(site, verifier):
    received, number = rows(site.database, "select extract(epoch from received_at) * 1000000, message_id from message"
                            " where site_id = %s limit 1", f"s-{OTHER}")[0]  # fmt: skip
    assert verifier.get(f"{FIRST}/message/{int(received)}/{number}").status_code == 404
    assert verifier.get(f"{FIRST}/reading/s-{OTHER}/inv-1/1614618000000000").status_code == 404


def test_who_may_see_both_projects_sees_a_message_under_its_own_only(site):
    received, number = rows(site.database, "select extract(epoch from received_at) * 1000000, message_id from message"
                            " where site_id = %s limit 1", f"s-{OTHER}")[0]  # fmt: skip
    site.account("both", AccountRole.VERIFIER)
    with site.browser("both") as client:
        tail = f"message/{int(received)}/{number}"
        assert client.get(f"/projects/{OTHER}/{PERIOD}/r1/{tail}").status_code == 200
        assert client.get(f"{FIRST}/{tail}").status_code == 404
        assert client.get(f"{FIRST}/reading/s-{OTHER}/inv-1/1614618000000000").status_code == 404


def test_each_access_to_evidence_is_on_record_and_needs_the_permission(site, verifier):
    reading = f"{FIRST}/reading/s-{PROJECT}/inv-1/1614618000000000"
    base = message_path(site, 100_624)
    asked = {
        reading: "evidence.read", base: "evidence.read", f"{base}/payload.bin": "evidence.payload",
        f"{base}/proof.json": "evidence.proof", f"{base}/seal.sig": "evidence.proof",
        f"{FIRST}/bundle.zip?redacted=true": "evidence.bundle",
    }  # fmt: skip
    count = ("select count(*) from audit_event where actor = 'verifier' and action = %s and detail ->> 'project' = %s"
             " and detail ->> 'revision' = '1'")  # fmt: skip
    for path, action in asked.items():
        before = one(site.database, count, action, PROJECT)
        assert verifier.get(path).status_code == 200, path
        assert one(site.database, count, action, PROJECT) == before + 1, path
    total = "select count(*) from audit_event where action like 'evidence.%%' and detail ->> 'person' is not null"
    before = one(site.database, total)
    for name in ("reader", "administrator"):
        with site.browser(name) as client:
            assert "/reading/" not in get(client, f"{FIRST}/s-{PROJECT}/inv-1/{SPIKED}").text
            for path in asked:
                assert client.get(path).status_code == 403, (name, path)
    assert one(site.database, total) == before


def test_a_payload_is_never_markup(site, verifier):
    path = message_path(site, STRANGE)
    page = get(verifier, path)
    assert HOSTILE not in page.text
    assert "3c 73 63 72 69 70 74" in page.text
    assert "It is not text." in page.text
    assert "quarantined" in page.text
    text = get(verifier, message_path(site, STRANGE + 1)).text
    assert HOSTILE not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;</pre>" in text
    given = verifier.get(f"{path}/payload.bin")
    assert given.content == HOSTILE.encode() + b"\xff\x00"
    assert given.headers["content-type"] == "application/octet-stream"
    assert given.headers["content-disposition"].startswith("attachment")
    assert given.headers["x-content-type-options"] == "nosniff"
    assert hashlib.sha256(given.content).hexdigest() in page.text


def test_the_commands_on_the_page_check_the_proof_without_us(site, verifier, tmp_path):
    base = message_path(site, 100_624)
    page = get(verifier, base).text
    for name in ("proof.json", "seal.json", "seal.sig", "seal-key.pem"):
        local = f"message-100624-{name}" if name == "proof.json" else name
        (tmp_path / local).write_bytes(verifier.get(f"{base}/{name}").content)
    commands = [text.replace("&#39;", "'").replace("&#34;", '"').replace("&gt;", ">")
                for text in re.findall(r"<pre[^>]*Command that[^>]*>(.*?)</pre>", page, re.DOTALL)]  # fmt: skip
    path, signature = commands
    path = path.replace("python3", sys.executable, 1)
    run = subprocess.run(["/bin/sh", "-c", path], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "True", run.stderr
    proof = tmp_path / "message-100624-proof.json"
    said = json.loads(proof.read_text())
    message = said["message"]
    assert evidence_reader.leaf(said["site"], message, b"", bytes.fromhex(message["salt"])).hex() == said["leaf"]
    proof.write_text(proof.read_text().replace('"leaf": "', '"leaf": "00', 1))
    run = subprocess.run(["/bin/sh", "-c", path], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "False"
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed (package openssl)")
    run = subprocess.run(["/bin/sh", "-c", signature], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Verified Successfully" in run.stdout


@pytest.mark.parametrize("kind", FORMATS)
def test_reports_are_those_of_the_command_line(site, verifier, kind):
    with connect(site.database, Role.READER) as connection:
        found = find_revision(connection, PROJECT, *DAYS, 1)
    answer = verifier.get(f"{FIRST}/report.{kind}")
    assert answer.content == render(found.result, found.basis.declaration, kind)
    assert answer.headers["content-disposition"] == f'attachment; filename="{PROJECT}-{DAYS[0]}-{DAYS[1]}-r1.{kind}"'


@pytest.mark.parametrize("redacted", ["false", "true"])
def test_a_bundle_verifies_away_from_here(site, tmp_path, redacted):
    with (
        site.browser("other") as client,
        client.stream("GET", f"/projects/{OTHER}/{PERIOD}/r1/bundle.zip?redacted={redacted}") as answer,
    ):
        assert answer.status_code == 200
        (tmp_path / "bundle.zip").write_bytes(answer.read())
        assert int(answer.headers["content-length"]) == (tmp_path / "bundle.zip").stat().st_size
    done = verify(tmp_path / "bundle.zip", [])
    assert (done.project, done.revision, done.redacted) == (OTHER, 1, redacted == "true")


def test_a_bundle_that_cannot_be_made_says_why(verifier):
    refused = verifier.get(f"{SECOND}/bundle.zip")
    assert (refused.status_code, "not sealed yet" in refused.text) == (409, True)


def test_two_bundles_are_made_at_a_time_and_none_by_a_service_without_a_key(site, world, verifier, monkeypatch):
    monkeypatch.setattr(bundles, "_making", BoundedSemaphore(1))
    with bundles._making:
        busy = verifier.get(f"{FIRST}/bundle.zip")
        assert (busy.status_code, "being made" in busy.text) == (503, True)
    assert verifier.get(f"{FIRST}/bundle.zip").status_code == 200
    with serving(world.database) as keyless:
        keyless.tokens = site.tokens
        with keyless.client("verifier") as client:
            refused = client.get(f"{FIRST}/bundle.zip")
            page = client.get(FIRST).text
    assert f"<code>jcm-mrv evidence export {PROJECT} {DAYS[0]} {DAYS[1]} --revision 1</code>" in page
    assert "bundle.zip" not in page
    assert "bundle.zip" in verifier.get(FIRST).text
    assert refused.status_code == 409
    assert f"jcm-mrv evidence export {PROJECT} {DAYS[0]} {DAYS[1]} --revision 1" in refused.text
    assert "JCM_MRV" not in refused.text


@pytest.mark.parametrize(
    "tail",
    ["r3", "r0", "r99999999999999999999", "rx", "r1/2021-13", "r1/2021", f"r1/s-{PROJECT}/inv-9/2021-03-01",
     f"r1/s-{PROJECT}/inv-1/2022-03-01", f"r1/s-{PROJECT}/inv-1/2021-02-30", "r1/message/1/1",
     "r1/message/99999999999999999999999/1", "r1/message/1/99999999999999999999", "r1/report.pdf",
     f"r1/reading/s-{PROJECT}/inv-1/1"],
)  # fmt: skip
def test_what_is_not_there_is_404(verifier, tail):
    assert verifier.get(f"/projects/{PROJECT}/{PERIOD}/{tail}").status_code == 404


@pytest.mark.parametrize("days", ["2021-02-20/2021-02-19", "20210220/20210320", "2021-02-20/2021-02-30", "a/b"])
def test_what_is_no_period_is_404(verifier, days):
    assert verifier.get(f"/projects/{PROJECT}/{days}/r1").status_code == 404


def test_in_japanese(verifier):
    page = verifier.get(SECOND, headers={"Accept-Language": "ja"}).text
    assert '<html lang="ja">' in page
    assert "排出削減量" in page


def test_from_submission_to_attestation_in_the_browser(site, world, verifier, participant):
    findings, attestation = f"{SECOND}/findings", f"{SECOND}/attestation"
    # Nothing is submitted by a verifier, without the page's token, or without the tick.
    assert verifier.get(f"{SECOND}/submission").status_code == 403
    assert send(verifier, f"{SECOND}/submission", form=findings, confirmed="yes").status_code == 403
    assert participant.post(f"{SECOND}/submission", data={"confirmed": "yes"}).status_code == 403
    refused = send(participant, f"{SECOND}/submission")
    assert (refused.status_code, "tick the box" in refused.text) == (409, True)
    early = send(verifier, findings, kind="CAR", text="too early")
    assert (early.status_code, "it is not submitted yet" in early.text) == (409, True)
    assert ">too early</textarea>" in early.text
    assert send(participant, f"{SECOND}/submission", confirmed="yes").headers["location"] == SECOND
    assert "submitted" in get(participant, SECOND).text
    again = send(participant, f"{SECOND}/submission", form=findings, confirmed="yes")
    assert (again.status_code, "submitted" in again.text) == (409, True)

    # A finding from a day's own link; what is refused keeps what was typed.
    day = get(verifier, f"{SECOND}/s-{PROJECT}/inv-1/{SPIKED}")
    form = get(verifier, next(href for href, _ in day.links if "/findings?" in href).split("#")[0])
    assert f'value="s-{PROJECT}/inv-1"' in form.text
    assert f'value="{SPIKED}"' in form.text
    assert send(participant, findings, kind="CAR", text="no").status_code == 403
    assert verifier.post(findings, data={"kind": "CAR", "text": "from elsewhere"}).status_code == 403
    refused = send(verifier, findings, kind="CL", text=HOSTILE, device="s/none", day=SPIKED)
    assert refused.status_code == 409
    assert "has no device s/none" in refused.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;</textarea>" in refused.text
    assert 'value="s/none"' in refused.text
    assert 'value="CL" required checked' in refused.text
    for wrong, said in (
        ({"day": "29 Feb"}, "is not a day"),
        ({"message_id": "x"}, "no number"),
        ({"kind": "X"}, "no kind"),
    ):
        refused = send(verifier, findings, **{"kind": "CL", "text": "?"} | wrong)
        assert (refused.status_code, said in refused.text) == (409, True)
    raised = send(verifier, findings, kind="CAR", text=HOSTILE, device=f"s-{PROJECT}/inv-1", day=SPIKED)
    assert raised.headers["location"] == f"{findings}#CAR-1"
    assert send(verifier, findings, kind="FAR", text="next time", rule="register.gap@1").status_code == 303
    thread = get(verifier, findings)
    assert thread.text.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 1
    assert thread.link(f"{SECOND}/s-{PROJECT}/inv-1/{SPIKED}")
    assert thread.wrong == []
    assert one(site.database, "select person from finding where kind = 'CAR'") == "verifier the person"

    # It cannot be attested while a CAR is open, closed before a response, or answered by the verifier.
    statement = verifier.get(f"{SECOND}/statement.json").content
    signature = world.key.sign(statement)
    refused = send(verifier, attestation, signature=signature)
    assert (refused.status_code, "CAR-1 not closed" in refused.text) == (409, True)
    refused = send(verifier, f"{findings}/CAR-1/closing", form=findings, text="fine")
    assert (refused.status_code, "nobody has responded" in refused.text) == (409, True)
    assert ">fine</textarea>" in refused.text
    assert send(verifier, f"{findings}/CAR-1/response", form=findings, text="no").status_code == 403
    assert send(participant, f"{findings}/CAR-1/closing", form=findings, text="no").status_code == 403
    assert send(participant, f"{findings}/CAR-7/response", form=findings, text="no").status_code == 409
    assert send(participant, f"{findings}/CAR-1/praise", form=findings, text="no").status_code == 404
    assert send(participant, f"{findings}/CAR-1/response", form=findings, text="an outage").status_code == 303
    assert send(verifier, f"{findings}/CAR-1/closing", form=findings, text="seen").status_code == 303
    assert "an outage" in get(participant, findings).text

    # The statement names the FAR, so it is another now; a signature over the old one is refused with what differs.
    now = verifier.get(f"{SECOND}/statement.json").content
    assert b'"open_far":["FAR-1"]' in now
    assert now.decode() in get(verifier, attestation).text.replace("&#34;", '"')
    refused = send(verifier, attestation, signature=b"x" * 10)
    assert (refused.status_code, "this one 10" in refused.text) == (409, True)
    refused = send(verifier, attestation, signature=world.key.sign(b"another"))
    assert (refused.status_code, "was not made over this statement" in refused.text) == (409, True)
    old = now.replace(b'"open_far":["FAR-1"]', b'"open_far":[]')
    refused = send(verifier, attestation, signature=world.key.sign(old), signed=old)
    assert (refused.status_code, "open_far" in refused.text) == (409, True)
    assert send(participant, attestation, signature=world.key.sign(now)).status_code == 403
    assert verifier.post(attestation, files={"signature": world.key.sign(now)}).status_code == 403
    done = send(verifier, attestation, signature=world.key.sign(now))
    assert done.headers["location"] == attestation
    page = get(participant, attestation).text
    assert "The signature holds, over the result as it is stored" in page
    assert world.key.sign(now).hex() in page
    assert f"Attested by verifier the person for {ENTITY}" in get(participant, SECOND).text
    assert send(verifier, attestation, form=findings, signature=world.key.sign(now)).status_code == 409
