"""The operator's journey: what is silent, what comes in, what is no reading, what is wrong."""

import json
import re
from datetime import UTC, datetime

import pytest
from playwright.sync_api import expect

from tests.harness import Message, collecting, forget_session, one, publish, wait_until

PAGES = ("/sites", "/sites/demo-golden", "/quarantine", "/alerts", "/health")


@pytest.fixture
def live(broker, product):
    """Publish to the live site through the broker and a collector: `live("inv-1", 5)`."""
    client_id = f"browser-{product.live_site}"

    def say(device: str, register: int) -> None:
        payload = {"ts": datetime.now(UTC).isoformat(), "points": {"W": 100.0, "TotWhExp": register}}
        topic = f"jcm/v1/{product.live_site}/{device}/readings"
        publish(broker.site_url(product.live_site), [Message(topic, json.dumps(payload).encode())])

    with collecting(
        broker.collector_url, product.database, client_id, topic_filter=f"jcm/v1/{product.live_site}/#"
    ):  # fmt: skip
        yield say
    forget_session(broker.collector_url, client_id)


def test_what_comes_in_is_seen_without_reloading(browse, axe, screenshot, live):
    reader = browse("operator")
    page = reader.open("/")
    assert page.url.endswith("/sites")
    # The most urgent first: the roof has never sent, Golden fell silent years ago.
    names = page.locator("ul.sites h2 a")
    expect(names.first).to_contain_text(re.compile("roof-|s-OTHER"))
    card = page.locator("ul.sites > li", has_text=reader.product.live_site)
    expect(card).to_have_class(re.compile("bad"))
    expect(page.locator("#live-state")).to_have_text("Changes are shown as they come.")
    axe(page)
    page.evaluate("window.sinceLoaded = true")
    live("inv-1", 5_000)
    expect(card).to_have_class(re.compile("good"))
    expect(card.locator("dt:text-is('Readings a minute') + dd")).to_have_text("1")
    live("inv-1", 6_000)
    expect(card.locator("dt:text-is('Readings a minute') + dd")).to_have_text("2")
    assert page.evaluate("window.sinceLoaded")
    screenshot(page, "fleet")
    # Back in its place: silence first.
    expect(names.last).to_have_text(reader.product.live_site)


def test_an_entry_of_the_quarantine_is_replayed_after_the_device_is_declared(browse, axe, screenshot, live):
    reader = browse("operator")
    product = reader.product
    live("inv-9", 7_000)
    count = "select count(*) from quarantine where released_at is null"
    wait_until(lambda: one(product.database, count) == 1, what="the entry")
    page = reader.open("/quarantine")
    row = page.locator("form table tr", has_text="inv-9")
    expect(row).to_contain_text("device_unknown")
    axe(page)
    screenshot(page, "quarantine")
    row.locator("th a").click()
    expect(page.locator("pre").first).to_contain_text('"TotWhExp": 7000')
    axe(page)
    screenshot(page, "quarantine-entry")
    page.get_by_role("button", name="Try").click()
    expect(page.locator("main")).to_contain_text("Tried, nothing was changed")
    expect(page.locator("main")).to_contain_text("Refused again")
    product.declare_device("inv-9")
    page.get_by_role("button", name="Replay").click()
    expect(page.get_by_role("status")).to_contain_text("1 entry released")
    expect(page.locator("dl")).to_contain_text("released")
    assert one(product.database, count) == 0
    reading = "select count(*) from reading join device using (device_id) where id = 'inv-9'"
    assert one(product.database, reading) == 1


def test_an_alert_is_acknowledged_and_muted(browse, axe, screenshot):
    reader = browse("operator")
    page = reader.open("/alerts")
    alert = page.locator("section.alert", has_text="site_silent").filter(has_text="demo-golden")
    expect(alert).to_be_visible()
    axe(page)
    screenshot(page, "alerts")
    alert.get_by_label("Note").fill("snow on the arrays")
    alert.get_by_role("button", name="Acknowledge").click()
    expect(alert).to_contain_text("O. Watch")
    expect(alert).to_contain_text("snow on the arrays")
    alert.get_by_label("Mute for").select_option("24")
    alert.get_by_role("button", name="Mute").click()
    expect(alert).to_contain_text("muted until")
    axe(page)
    alert.get_by_role("button", name="Unmute").click()
    expect(alert).not_to_contain_text("muted")
    kept = "select acknowledged_note from alert where subject = 'demo-golden' and rule = 'site_silent'"
    assert one(reader.product.database, kept) == "snow on the arrays"


def test_a_site_shows_its_gaps_and_the_health_page_the_identity(browse, axe, screenshot):
    reader = browse("operator")
    page = reader.open("/sites/demo-golden")
    expect(page.locator("#devices")).to_be_visible()
    expect(page.get_by_role("table", name="Readings of inverter-2 by hour")).to_be_visible()
    axe(page)
    screenshot(page, "site")
    page = reader.open("/health")
    expect(page.locator("#account + p")).to_have_class("notice good")
    axe(page)
    screenshot(page, "health")


@pytest.mark.parametrize("path", PAGES)
def test_a_phone_in_the_dark_shows_it_all(browse, axe, fits, screenshot, path):
    page = browse("operator", phone=True, scheme="dark").open(path)
    axe(page)
    screenshot(page, f"phone-dark{path.replace('/', '-')}")
    fits(page)
