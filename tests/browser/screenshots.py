"""The pictures of the README, taken from the running product: `make screenshots`.

The payload is one of the demo's real measurements; the plants of the report and of the fleet are made up by
`jcm-mrv simulate`, and their titles say so.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

import psycopg
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from deploy.access import accounts, tokens
from deploy.access.principal import AccountRole, Scope
from deploy.alerts.config import parse as parse_alerts
from deploy.alerts.service import Alerting
from deploy.local import LocalServers, default_directory
from deploy.registry import apply
from devices.declaration_file import parse
from mrv import periods
from sql.connection import Role, connect
from tests.browser import chromium
from tests.browser.product import REPORT, Product, running
from tests.databases import Databases
from tests.integration.received import receive

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
_WIDTH = 1200
# Of the few colours of a page none is missed among so many, and the file has a third of the size.
_COLOURS = 96
_YEAR = date(2025, 1, 1), date(2025, 12, 31)
_MINUTES = 60
_ALERTS = "[rules.site_silent]\nfor_s = 0\nnever_after_s = 1\n[rules.schedule_missed]\noff = true\n"
_COUNT = """
insert into ingest_account (site_id, collector, first_received_at, last_received_at, messages_received, messages_stored,
    readings_received, readings_stored)
select site_id, 'c1', min(received_at), max(received_at), count(*), count(*), count(*), count(*)
from message where site_id like 'sim%' group by site_id
"""


def main() -> None:
    """Take them all."""
    if chromium.find() is None and (why := chromium.install()):
        sys.exit(why)
    home = default_directory()
    servers = LocalServers(home / "test", packages=home / "packages")
    servers.start()
    databases = Databases(servers.environment()["JCM_MRV_DATABASE_URL"])
    url = databases.new(migrated=True)
    IMAGES.mkdir(exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as folder, running(url, Path(folder)) as product:
            token = _fill(url, Path(folder))
            with sync_playwright() as playwright:
                arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
                browser = playwright.chromium.launch(executable_path=str(chromium.find()), args=arguments)
                _report(browser, product, token)
                _payload(browser, product)
                _fleet(browser, product, token)
                browser.close()
    finally:
        databases.drop(url)
        databases.close()


def _report(browser: Browser, product: Product, token: str) -> None:
    page = _signed_in(browser, product, token)
    page.goto(f"{product.url}/projects/SIM4/{_YEAR[0]}/{_YEAR[1]}/r1")
    top = page.locator("h1").bounding_box()
    end = page.locator("#energy ~ *").first.bounding_box()
    assert top is not None and end is not None  # noqa: PT018
    _take(page, "report", top["y"] - 4, end["y"] + end["height"] + 12)


def _payload(browser: Browser, product: Product) -> None:
    page = _signed_in(browser, product, product.tokens["verifier"])
    page.goto(f"{product.url}{REPORT}/demo-golden/meter-rsf-ii/2022-01-04")
    page.locator("#readings ~ div").get_by_role("link", name="10:00:00").click()
    top = page.locator("#payload").bounding_box()
    end = page.locator("table.proof").bounding_box()
    assert top is not None and end is not None  # noqa: PT018
    _take(page, "payload", top["y"] - 12, end["y"] + end["height"] + 12)


def _fleet(browser: Browser, product: Product, token: str) -> None:
    page = _signed_in(browser, product, token)
    page.goto(f"{product.url}/sites")
    end = page.locator("ul.sites").bounding_box()
    assert end is not None
    _take(page, "fleet", 0, end["y"] + end["height"] + 12)


def _signed_in(browser: Browser, product: Product, token: str) -> Page:
    context = browser.new_context(viewport={"width": _WIDTH, "height": 900}, locale="en-GB", color_scheme="light")
    context.request.post(f"{product.url}/sign-in", form={"token": token}, max_redirects=0)
    return context.new_page()


def _take(page: Page, name: str, top: float, end: float) -> None:
    path = IMAGES / f"{name}.png"
    clip = {"x": 0, "y": max(0, top), "width": _WIDTH, "height": end - max(0, top)}
    page.screenshot(path=path, full_page=True, clip=clip)  # type: ignore[arg-type]
    with Image.open(path) as taken:
        few = taken.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    print(f"{path.relative_to(IMAGES.parents[1])}: {path.stat().st_size:,} bytes")


def _fill(url: str, folder: Path) -> str:
    """Write a year of two sites and the last hour of eight; return the token of somebody who sees them."""
    now = datetime.now(UTC)
    with connect(url, Role.OWNER) as owner, connect(url, Role.MRV) as mrv:
        year = _simulated(owner, folder, 4, "--sites", "2", "--from", str(_YEAR[0]), "--days", "366", "--step", "1800")
        _receive(owner, year, 100_000, timedelta(days=1))
        periods.freeze(mrv, "SIM4", *_YEAR, code_version=version("jcm-mrv"))
        for seed, sites, first_id in ((4, "2", 500_000), (7, "6", 600_000)):
            yesterday = str(now.date() - timedelta(days=1))
            lately = _simulated(
                owner, folder, seed, "--sites", sites, "--from", yesterday, "--days", "3", "--step", "60"
            )
            begin = now - timedelta(minutes=_MINUTES)
            _receive(
                owner, _troubled([one for one in lately if begin < one[0] <= now], now), first_id, timedelta(minutes=1)
            )
        owner.execute(_COUNT)
    alerting = Alerting(lambda: connect(url, Role.MRV), parse_alerts(_ALERTS, Path("alerts.toml")))
    alerting.evaluate()
    with connect(url, Role.SERVICE) as connection:
        accounts.add(connection, "watch", "O. Watch", "MRV service")
        for project in ("SIM4", "SIM7"):
            accounts.grant(connection, "watch", AccountRole.OPERATOR, project)
        return tokens.issue(connection, "watch", "pictures", (Scope.READ, Scope.OPERATE), timedelta(hours=1)).token


Sample = tuple[datetime, str, bytes]


def _simulated(owner: psycopg.Connection, folder: Path, seed: int, *options: str) -> list[Sample]:
    """Declare made-up sites and return what they say, by the time of the reading."""
    declarations = folder / f"sim{seed}.toml"
    arguments = ["simulate", "--seed", str(seed), "--devices", "2", "--dry-run", "--declarations", str(declarations)]
    said = subprocess.run(
        [sys.executable, "-m", "deploy.cli", *arguments, *options], capture_output=True, check=True
    ).stdout
    apply(owner, [(declarations.name, parse(declarations.read_text(), declarations))])
    lines = (line.split(b"\t", 1) for line in said.splitlines())
    return sorted((datetime.fromisoformat(json.loads(text)["ts"]), topic.decode(), text) for topic, text in lines)


def _troubled(samples: list[Sample], now: datetime) -> Iterator[Sample]:
    """Let one site fall silent, and one device of another."""
    for one in samples:
        at, topic, _ = one
        fell_silent = "sim7-0002/" in topic and at > now - timedelta(minutes=40)
        if not fell_silent and "sim7-0004/inverter-2" not in topic:
            yield one


def _receive(
    owner: psycopg.Connection, samples: "Iterator[Sample] | list[Sample]", first_id: int, batch: timedelta
) -> None:
    """Write what was measured as if it had been received a few seconds later, a batch at a time."""
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    for number, (_, some) in enumerate(groupby(samples, key=lambda one: (one[0] - begin) // batch)):
        messages = list(some)
        receive(
            owner,
            [one[1:] for one in messages],
            messages[-1][0] + timedelta(seconds=2),
            first_id=first_id + number * 1000,
        )


if __name__ == "__main__":
    main()
