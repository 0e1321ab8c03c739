"""The verifier's journey: from the tonnes to a payload with its proof in three clicks, a finding, what to take away."""

import re
import zipfile
from urllib.parse import urlsplit

import pytest
from openpyxl import load_workbook
from playwright.sync_api import expect

from tests.browser.product import DEMO, FIRST, LAST, REPORT

DAY = f"{REPORT}/demo-golden/meter-rsf-ii/2022-01-04"
OTHERS = "/projects/OTHER/2021-03-01/2021-03-02/r1"
PAGES = {
    "projects": "/projects",
    "project": f"/projects/{DEMO}",
    "report": REPORT,
    "month": f"{REPORT}/2022-01",
    "day": DAY,
    "differences": f"{REPORT}/differences",
    "findings": f"{REPORT}/findings",
    "attestation": f"{REPORT}/attestation",
}


def path(page) -> str:
    return urlsplit(page.url).path


def test_three_clicks_lead_from_the_tonnes_to_the_payload_and_its_proof(browse, axe, screenshot):
    reader = browse("verifier")
    page = reader.open("/")
    assert path(page) == "/projects"
    page.get_by_role("main").get_by_role("link", name=DEMO).first.click()
    page.get_by_role("link", name="revision 2").click()
    assert path(page) == REPORT
    expect(page.get_by_role("heading", level=1)).to_contain_text("monitoring report")
    axe(page)
    screenshot(page, "report")
    # One: the month.
    page.locator("#energy ~ div").get_by_role("link", name=re.compile("2022-01, rsf-ii")).click()
    axe(page)
    screenshot(page, "month")
    # Two: the device's day.
    page.locator(f'main a[href="{DAY}"]').first.click()
    expect(page.locator(".notice.good").first).to_contain_text("Computed again")
    axe(page)
    screenshot(page, "day")
    # Three: the payload with its proof.
    page.locator("#readings ~ div").get_by_role("link", name="12:00:00").click()
    expect(page.locator("#payload ~ pre").first).to_contain_text('"TotWhExp"')
    expect(page.locator("#payload ~ p .chip.good")).to_be_visible()
    late = page.locator("#proof ~ p.notice")
    axe(page)
    screenshot(page, "payload-late")
    # What came late was received today, which is sealed tomorrow; an hour before there is a proof.
    expect(late).to_contain_text("not sealed yet")
    page.go_back()
    page.locator("#readings ~ div").get_by_role("link", name="10:00:00").click()
    expect(page.locator("#proof ~ p.notice")).to_contain_text("It holds")
    axe(page)
    screenshot(page, "payload")


def test_a_finding_is_raised_where_it_was_seen(browse, axe, screenshot):
    reader = browse("verifier")
    page = reader.open(DAY)
    page.get_by_role("link", name="Raise a finding about this").click()
    expect(page.locator("#device")).to_have_value("demo-golden/meter-rsf-ii")
    expect(page.locator("#day")).to_have_value("2022-01-04")
    page.get_by_label("CL").check()
    page.locator("#text").fill("Why did two hours of this day come late?")
    page.get_by_role("button", name="Raise the finding").click()
    raised = page.locator("article", has_text="two hours of this day")
    expect(raised).to_contain_text("CL-")
    expect(raised).to_contain_text("V. Auditor")
    axe(page)
    screenshot(page, "findings")
    answering = browse("participant").open(f"{REPORT}/findings")
    thread = answering.locator("article", has_text="two hours of this day")
    thread.get_by_label("Response").fill("The gateway's line was down.")
    thread.get_by_role("button", name="Respond").click()
    expect(answering.locator("article", has_text="The gateway's line was down.")).to_be_visible()
    page.reload()
    page.get_by_label("Why it is closed").fill("The gateway's log shows it.")
    page.get_by_role("button", name="Close").click()
    expect(page.locator("article", has_text="The gateway's log shows it.")).to_contain_text("closed")


def test_workbook_csv_and_bundle_are_taken_away(browse, tmp_path):
    reader = browse("verifier", refusals=True)
    taken = {}
    # What came late to the second revision is sealed tomorrow: its bundle cannot be made today.
    for kind, name, revision in (
        ("xlsx", "Workbook", 2), ("csv", "One fact a row", 2), ("zip", "Evidence bundle", 1)
    ):  # fmt: skip
        page = reader.open(REPORT.replace("/r2", f"/r{revision}"))
        with page.expect_download() as download:
            page.locator("#downloads ~ ul").get_by_role("link", name=name).click()
        taken[kind] = tmp_path / f"report.{kind}"
        download.value.save_as(taken[kind])
    workbook = load_workbook(taken["xlsx"], read_only=True)
    assert workbook.sheetnames
    workbook.close()
    assert DEMO in taken["csv"].read_text()
    with zipfile.ZipFile(taken["zip"]) as bundle:
        assert bundle.testzip() is None
    page = reader.open(REPORT)
    page.locator("#downloads ~ ul").get_by_role("link", name="Evidence bundle").click()
    expect(page.get_by_role("main")).to_contain_text("not sealed yet")


def test_what_changed_between_the_revisions_is_shown(browse, axe, screenshot):
    page = browse("verifier").open(f"{REPORT}/differences")
    expect(page.get_by_role("main")).to_contain_text("2022-01-04")
    axe(page)
    screenshot(page, "differences")


@pytest.mark.parametrize("name", PAGES)
def test_a_phone_in_the_dark_shows_it_all(browse, axe, fits, screenshot, name):
    page = browse("verifier", phone=True, scheme="dark").open(PAGES[name])
    assert page.get_by_role("heading", level=1).is_visible()
    axe(page)
    screenshot(page, f"phone-dark-{name}")
    fits(page)


def test_a_verifier_sees_nothing_of_another_project(browse):
    reader = browse("verifier", refusals=True)
    page = reader.open("/projects")
    assert DEMO in page.content()
    assert "OTHER" not in page.content()
    token = reader.product.tokens["verifier"]
    for where in (
        "/projects/OTHER", OTHERS, f"{OTHERS}/2021-03", f"{OTHERS}/s-OTHER/inv-1/2021-03-01", f"{OTHERS}/report.json",
        f"{REPORT}/s-OTHER/inv-1/2021-03-01", "/sites/s-OTHER", "/api/v1/projects/OTHER",
    ):  # fmt: skip
        refused = page.goto(reader.product.url + where)
        # What is not his to see is not there; a page that is for operators only says so.
        assert refused.status in ({403, 404} if where.startswith("/sites") else {404}), where
        assert "A test plant" not in page.content()
        asked = reader.context.request.get(reader.product.url + where, headers={"Authorization": f"Bearer {token}"})
        assert asked.status in {403, 404}, where
    listed = reader.context.request.get(f"{reader.product.url}/api/v1/projects")
    assert listed.ok
    assert "OTHER" not in listed.text()
    assert FIRST.isoformat() in page.goto(reader.product.url + f"/projects/{DEMO}").text()
    assert LAST.isoformat() in page.content()
