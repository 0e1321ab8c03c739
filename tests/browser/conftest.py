"""A real browser that reports what a reader would not see: requests that leave the host, errors, poor accessibility."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, StorageState, ViewportSize, expect, sync_playwright

from deploy.local import default_directory
from tests.browser import chromium
from tests.browser.product import Product, running
from tests.databases import Databases

HOST = "127.0.0.1"
DESKTOP: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 360, "height": 740}
_PATIENCE_MS = 40_000
_SERIOUS = {"serious", "critical"}
_FOUND = pytest.StashKey[Counter[tuple[str, str]]]()
_LOOKED_AT = pytest.StashKey[list[str]]()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, which finds no other host than this one."""
    if chromium.find() is None and (why := chromium.install()):
        pytest.skip(why)
    # For this folder only: Playwright's loop stays in the thread, where no other test could run one.
    with sync_playwright() as playwright:
        arguments = [f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {HOST}", "--disable-background-networking"]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")
        # Its own five seconds are few for a browser, a server and a collector that share a busy machine.
        expect.set_options(timeout=_PATIENCE_MS)
        browser = playwright.chromium.launch(executable_path=str(chromium.find()), args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture(scope="package")
def product(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """The server that all tests of this folder look at."""
    url = databases.new(migrated=True)
    with running(url, tmp_path_factory.mktemp("product")) as product:
        yield product
    databases.drop(url)


@dataclass
class Reader:
    """Somebody with a browser of their own."""

    product: Product
    context: BrowserContext
    page: Page
    refusals: bool
    asked: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """Go to a page of the product."""
        self.page.goto(self.product.url + path)
        return self.page

    def watch(self) -> None:
        """Note what is asked for and what goes wrong."""
        self.context.on("request", lambda request: self.asked.append(request.url))
        self.context.on("weberror", lambda error: self.wrong.append(str(error.error)))
        self.context.on("console", self._console)

    def _console(self, message: Any) -> None:
        # The browser says of a page with status 404 what the test came to see.
        if message.type == "error" and not (self.refusals and message.text.startswith("Failed to load resource")):
            self.wrong.append(message.text)

    def elsewhere(self) -> list[str]:
        """What was asked of another host."""
        asked = (urlsplit(url) for url in self.asked)
        return sorted({url.geturl() for url in asked if url.scheme not in {"data", "blob"} and url.hostname != HOST})


Browse = Callable[..., Reader]


@pytest.fixture(scope="package")
def sessions(browser: Browser, product: Product) -> dict[str, StorageState]:
    """Sign everybody in once; `test_everybody` looks at the way in itself."""
    signed_in = {}
    for role, token in product.tokens.items():
        context = browser.new_context()
        context.request.post(f"{product.url}/sign-in", form={"token": token}, max_redirects=0)
        signed_in[role] = context.storage_state()
        context.close()
    return signed_in


@pytest.fixture
def browse(browser: Browser, product: Product, sessions: dict[str, StorageState]) -> Iterator[Browse]:
    """Give somebody a browser: `browse("verifier", scheme="dark", phone=True, locale="ja-JP", script=False)`."""
    readers: list[Reader] = []

    def made(
        role: str | None = None,
        *,
        scheme: Literal["light", "dark"] = "light",
        phone: bool = False,
        locale: str = "en-GB",
        script: bool = True,
        refusals: bool = False,
    ) -> Reader:
        context = browser.new_context(
            color_scheme=scheme, locale=locale, viewport=PHONE if phone else DESKTOP, has_touch=phone,
            device_scale_factor=2 if phone else 1, java_script_enabled=script, accept_downloads=True,
            storage_state=sessions[role] if role else None,
        )  # fmt: skip
        context.set_default_timeout(_PATIENCE_MS)
        reader = Reader(product, context, context.new_page(), refusals)
        readers.append(reader)
        reader.watch()
        return reader

    yield made
    for reader in readers:
        reader.context.close()
    assert [wrong for reader in readers for wrong in reader.wrong] == []
    assert [url for reader in readers for url in reader.elsewhere()] == []


@pytest.fixture(scope="session")
def screenshot() -> Callable[..., Path]:
    """Keep a picture of a page: `screenshot(page, "report")`."""
    folder = default_directory() / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)

    def taken(page: Page, name: str, *, whole: bool = True) -> Path:
        path = folder / f"{name}.png"
        page.screenshot(path=path, full_page=whole, scale="css")
        return path

    return taken


# What is to be seen sideways only, outside of regions that scroll by themselves; a text may be wider than its element.
_TOO_WIDE = """() => {
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
  const room = document.documentElement.clientWidth;
  for (let node = walker.nextNode(); node && document.documentElement.scrollWidth > room; node = walker.nextNode()) {
    const range = document.createRange();
    range.selectNode(node);
    const box = node.nodeType === Node.TEXT_NODE ? range : node;
    let inside = false;
    for (let at = node.parentElement; at; at = at.parentElement)
      inside ||= getComputedStyle(at).overflowX !== "visible";
    if (!inside && box.getBoundingClientRect().right > room) found.push((node.outerHTML || node.data).slice(0, 200));
  }
  return found;
}"""


@pytest.fixture(scope="session")
def fits() -> Callable[[Page], None]:
    """See that a page need not be scrolled sideways: `fits(page)`."""

    def looked(page: Page) -> None:
        assert page.evaluate(_TOO_WIDE) == []
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0

    return looked


@pytest.fixture
def axe(request: pytest.FixtureRequest) -> Callable[[Page], None]:
    """See that axe-core finds nothing serious on a page: `axe(page)`."""

    def looked(page: Page) -> None:
        found = Axe().run(page).response["violations"]
        request.config.stash[_LOOKED_AT].append(urlsplit(page.url).path)
        for one in found:
            request.config.stash[_FOUND][one["impact"], one["id"]] += len(one["nodes"])
        serious = [
            f"{one['id']} ({one['impact']}): {node['target']} {node['html'][:200]} {node.get('failureSummary', '')}"
            for one in found
            if one["impact"] in _SERIOUS
            for node in one["nodes"]
        ]
        assert serious == []

    return looked


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_FOUND], config.stash[_LOOKED_AT] = Counter(), []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not config.stash[_LOOKED_AT]:
        return
    found = config.stash[_FOUND]
    terminalreporter.section("accessibility")
    told = ", ".join(f"{rule} ({impact}, {count} places)" for (impact, rule), count in sorted(found.items()))
    terminalreporter.write_line(f"axe-core: {len(config.stash[_LOOKED_AT])} pages; {told or 'nothing found'}")
