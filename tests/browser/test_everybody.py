"""What holds for every page: a way in, a keyboard is enough, scripts are not needed, other languages fit."""

import re

import pytest
from playwright.sync_api import Error, expect

from deploy.web.languages import FOLDER
from tests.browser.product import REPORT

# A page of each kind: a list with a form, and one with charts, tables and a contents list.
OF_EACH = [("operator", "/alerts"), ("verifier", REPORT)]
_FOCUSED = """() => {
  const at = document.activeElement, box = at.getBoundingClientRect(), style = getComputedStyle(at);
  return {
    name: at.id || at.getAttribute("href") || at.name || at.tagName, tag: at.tagName, top: box.top + scrollY,
    seen: box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight,
    marked: (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== "none",
  };
}"""


def test_the_way_in(browse, axe, screenshot):
    reader = browse(refusals=True)
    page = reader.open("/projects")
    assert page.url.startswith(f"{reader.product.url}/sign-in")
    axe(page)
    screenshot(page, "sign-in")
    page.fill("#token", "no such token")
    page.click("main button")
    expect(page.get_by_role("alert")).to_be_visible()
    axe(page)
    page.fill("#token", reader.product.tokens["verifier"])
    page.click("main button")
    page.wait_for_url("**/projects")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")
    assert reader.open("/projects").url.startswith(f"{reader.product.url}/sign-in")


def test_a_request_of_another_host_would_be_seen_and_reaches_none(browse):
    reader = browse()
    page = reader.open("/sign-in")
    with pytest.raises(Error, match="ERR_NAME_NOT_RESOLVED"):
        page.goto("http://elsewhere.example/style.css")
    assert reader.elsewhere() == ["http://elsewhere.example/style.css"]
    reader.asked.clear()
    reader.wrong.clear()


@pytest.mark.parametrize(("role", "path"), OF_EACH)
def test_a_keyboard_is_enough(browse, role, path):
    page = browse(role).open(path)
    page.keyboard.press("Tab")
    skip = page.locator(":focus")
    expect(skip).to_have_attribute("href", "#main")
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    # From there on every stop is in view, marked, and further down or on the same line of the page.
    stops = []
    for _ in range(25):
        page.keyboard.press("Tab")
        stops.append(page.evaluate(_FOCUSED))
        if stops[-1]["tag"] == "BODY":
            stops.pop()
            break
    assert [stop for stop in stops if not (stop["seen"] and stop["marked"])] == []
    assert len({stop["name"] for stop in stops}) > 5
    # Without a mouse to the end: the language.
    page.locator("footer a[hreflang=ja]").focus()
    page.keyboard.press("Enter")
    expect(page.locator("html")).to_have_attribute("lang", "ja")


@pytest.mark.parametrize(("role", "path"), OF_EACH)
def test_without_scripts_nothing_is_missing(browse, role, path):
    plain, full = browse(role, script=False).open(path), browse(role).open(path)
    # Times pass between the two, and 59 s become 1 min.
    told = [
        re.sub(r"\d+", "0", re.sub(r"\d[\d.,]* (s|min|h|d)\b", "0 s", page.locator("main").inner_text()))
        for page in (plain, full)
    ]
    assert told[0] == told[1]
    expect(plain.locator("main")).not_to_be_empty()


@pytest.mark.parametrize(("locale", "language"), [("ja-JP", "ja"), ("th-TH", "th")])
@pytest.mark.parametrize(("role", "path"), OF_EACH)
def test_other_languages_fit(browse, axe, fits, screenshot, role, path, locale, language):
    page = browse(role, locale=locale, phone=True).open(path)
    expect(page.locator("html")).to_have_attribute("lang", language)
    axe(page)
    screenshot(page, f"{language}-{role}")
    fits(page)
    if (FOLDER / f"{language}.po").exists():
        heading = page.get_by_role("heading").all_inner_texts()
        assert any(re.search(r"[\u0e00-\u0e7f\u3040-\u30ff\u4e00-\u9fff]", text) for text in heading), heading
