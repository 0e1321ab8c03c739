"""How long pages and API calls take on a year of fifty devices, as a client on this machine and as a browser sees it.

    python -m tests.bench.web_pages URL [--rounds 30]

`URL` is what `python -m tests.bench.web_year seed` printed. One JSON line a page or call: the first answer, the median
and the 95th percentile of the rest, each of another device, day or message; `first_paint_ms` is Chromium's own figure.
Aims: pages under 300 ms, the way down to a payload under 200 ms.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx
import psycopg

from deploy.access import accounts
from deploy.access.principal import AccountRole
from mrv.calendar import day_bounds
from sql.connection import Role, connect
from tests.bench.mrv_plant import PROJECT, ZONE
from tests.bench.web_year import DRILLED, key_of
from tests.browser import chromium
from tests.website import Website, serving

PAGE_MS, DRILL_MS = 300.0, 200.0
_FIRST_PAINT = """() => new Promise(done =>
    new PerformanceObserver(list => done(list.getEntries()[0].startTime)).observe({type: "paint", buffered: true}))"""


def addresses(url: str) -> dict[str, tuple[float, Callable[[], str]]]:
    """By name: the aim [ms], and what makes an address of it, another each time."""
    key, chance = key_of(url), random.Random(7)
    period = f"{key.first_day}/{key.last_day}"
    pages, api = f"/projects/{PROJECT}/{period}/r1", f"/api/v1/projects/{PROJECT}/periods/{period}/revisions/1"
    with psycopg.connect(url) as connection:
        devices = connection.execute("select site_id, id from device order by 1, 2").fetchall()
        begun = day_bounds(DRILLED + timedelta(days=3), ZONE)[0] + timedelta(hours=6)
        sent = connection.execute(
            "select received_at, message_id from message where received_at >= %s and received_at < %s limit 200",
            [begun, begun + timedelta(minutes=5)],
        ).fetchall()

    def device() -> str:
        return "/".join(chance.choice(devices))

    def day() -> str:
        return (DRILLED + timedelta(days=chance.randrange(28))).isoformat()

    def message() -> str:
        received_at, number = chance.choice(sent)
        return f"{received_at.isoformat()}/{number}"

    month = f"{DRILLED:%Y-%m}"
    return {
        "page: projects": (PAGE_MS, lambda: "/projects"),
        "page: report": (PAGE_MS, lambda: pages),
        "page: month": (PAGE_MS, lambda: f"{pages}/{month}"),
        "page: device-day": (PAGE_MS, lambda: f"{pages}/{device()}/{day()}"),
        "page: sites": (PAGE_MS, lambda: "/sites"),
        "page: site": (PAGE_MS, lambda: f"/sites/{chance.choice(devices)[0]}"),
        "page: quarantine": (PAGE_MS, lambda: "/quarantine"),
        "page: alerts": (PAGE_MS, lambda: "/alerts"),
        "api: project": (DRILL_MS, lambda: f"/api/v1/projects/{PROJECT}"),
        "api: report": (DRILL_MS, lambda: api),
        "api: months": (DRILL_MS, lambda: f"{api}/months"),
        "api: days of a month": (DRILL_MS, lambda: f"{api}/days?month={month}"),
        "api: device-day": (DRILL_MS, lambda: f"{api}/devices/{device()}/days/{day()}"),
        "api: message": (DRILL_MS, lambda: f"{api}/messages/{message()}"),
        "api: proof": (DRILL_MS, lambda: f"{api}/messages/{message()}/proof"),
        "api: flags": (DRILL_MS, lambda: f"{api}/flags"),
        "api: sites": (DRILL_MS, lambda: "/api/v1/sites"),
    }


def measure(url: str, rounds: int) -> Iterator[dict[str, Any]]:
    """Time every page and call, then let a browser paint the pages."""
    with serving(url) as site:
        _account(site)
        with site.browser("bench") as client:
            for name, (aim, address) in addresses(url).items():
                first = _timed(client, address())
                took = sorted(_timed(client, address()) for _ in range(rounds))
                p95 = took[int(len(took) * 0.95)]
                yield {
                    "what": name,
                    "first_ms": round(first, 1),
                    "p50_ms": round(statistics.median(took), 1),
                    "p95_ms": round(p95, 1),
                    "aim_ms": aim,
                    "met": p95 < aim,
                }
        yield from _painted(site, url)


def _account(site: Website) -> None:
    with connect(site.database, Role.OWNER) as connection:
        known = {account.name for account in accounts.list_accounts(connection)}
    name = f"bench-{len(known)}"
    site.tokens["bench"] = site.account(name, AccountRole.VERIFIER, PROJECT)
    with connect(site.database, Role.OWNER) as connection:
        accounts.grant(connection, name, AccountRole.OPERATOR, None)


def _timed(client: httpx.Client, address: str) -> float:
    begun = time.perf_counter()
    answer = client.get(address)
    took = (time.perf_counter() - begun) * 1000
    if answer.status_code != httpx.codes.OK:
        raise SystemExit(f"{address}: {answer.status_code} {answer.text[:300]}")
    return took


def _painted(site: Website, url: str) -> Iterator[dict[str, Any]]:
    from playwright.sync_api import sync_playwright

    found = chromium.find()
    if found is None:
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        page.goto(f"{site.url}/sign-in")
        page.fill("input[name=token]", site.tokens["bench"])
        page.click("main button")
        page.wait_for_load_state()
        for name, (aim, address) in addresses(url).items():
            if not name.startswith("page"):
                continue
            painted = []
            for _ in range(5):
                page.goto(site.url + address())
                painted.append(page.evaluate(_FIRST_PAINT))
            yield {"what": name, "first_paint_ms": round(statistics.median(painted), 1), "aim_ms": aim,
                   "met": statistics.median(painted) < aim}  # fmt: skip
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args()
    for line in measure(given.url, given.rounds):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
