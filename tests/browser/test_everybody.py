"""What holds for every page: nothing from elsewhere, readable, usable with a keyboard."""

import pytest


def test_the_way_in(browse, axe, screenshot):
    reader = browse()
    page = reader.open("/projects")
    assert page.url.startswith(f"{reader.product.url}/sign-in")
    axe(page)
    screenshot(page, "sign-in")
    page.fill("#token", "no such token")
    page.click("main button")
    assert page.locator("[role=alert]").is_visible()
    reader.wrong.clear()
    page.fill("#token", reader.product.tokens["verifier"])
    page.click("main button")
    page.wait_for_url("**/projects")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_signing_in_is_readable(browse, axe, screenshot, scheme):
    page = browse(scheme=scheme, phone=True).open("/sign-in")
    axe(page)
    screenshot(page, f"sign-in-phone-{scheme}")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
