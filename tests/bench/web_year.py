"""A year of fifty devices behind the pages: seeded once, frozen and sealed for real, and each trace of it timed.

    python -m tests.bench.web_year seed [--devices 50] [--days 365] [--every 5]
    python -m tests.bench.web_year measure URL [--rounds 40]

`seed` prints the database's URL; its server stays up (in `bench-web` beside the tests' own), so that pages can be timed
on it too. The last month of the year is in minutes, each reading in a message of its own with a payload that decodes to
it; the other months have one minute of `--every` and one message a site. `measure` prints one JSON line a function.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import psycopg

from deploy.local import LocalServers, default_directory
from mrv import periods
from mrv.calendar import day_bounds
from mrv.evidence.keys import make_key
from mrv.evidence.sealing import seal_due
from mrv.tracing.around import calibrations, conflicts, flags, late
from mrv.tracing.device_days import device_day
from mrv.tracing.energy import days, months, overview
from mrv.tracing.frozen import RevisionKey
from mrv.tracing.inclusion import inclusion
from mrv.tracing.messages import payload, reading
from sql.connection import Role, acting, connect
from sql.migrator import migrate
from tests.bench import mrv_plant
from tests.bench.figures import say
from tests.bench.mrv_plant import LAST, PROJECT, ZONE, Fleet, Weather

NAME = "web_year"
DRILLED = LAST.replace(day=1)
"""First day of the month in minutes."""
_CONFLICTS = """
insert into reading_conflict (device_id, ts, received_at, message_id, element, stored, offered)
select device_id, ts, received_at + interval '1 second', message_id + 500, 0,
    jsonb_build_object('energy_exported_wh', energy_exported_wh),
    jsonb_build_object('energy_exported_wh', energy_exported_wh + 1)
from reading where ts >= %s and extract(minute from ts) = 0 and extract(hour from ts) = 5
"""


def seed(devices: int = 50, number_of_days: int = 365, every: int = 5) -> str:
    """Make the database anew; return its URL."""
    home = default_directory()
    servers = LocalServers(home / "bench-web", packages=home / "packages")
    servers.start()
    admin = servers.environment()["JCM_MRV_DATABASE_URL"]
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"drop database if exists {NAME} with (force)")
        connection.execute(f"create database {NAME} template template0")
    url = urlsplit(admin)._replace(path=f"/{NAME}").geturl()
    migrate(url, code_version="bench")
    fleet = Fleet(devices, number_of_days)
    weather = Weather(mrv_plant.declare(url, fleet))
    with psycopg.connect(url) as connection:
        # A declaration is applied before the readings come; here they lie in the past.
        connection.execute("alter table declaration disable trigger append_only")
        connection.execute("update declaration set applied_at = '2024-01-01T00:00:00Z'")
        connection.execute("alter table declaration enable trigger append_only")
        connection.commit()
        total = 0
        for n in range(fleet.days):
            day = fleet.first + timedelta(days=n)
            if day >= DRILLED:
                total += mrv_plant.add_day_of_messages(connection, weather, day)
            else:
                total += mrv_plant.add_day(connection, fleet, weather, day, every=every)
            connection.commit()
            if n % 30 == 29:
                say(f"{day}: {total:,} readings")
        connection.execute(_CONFLICTS, [day_bounds(DRILLED, ZONE)[0]])
        connection.commit()
        connection.autocommit = True
        connection.execute("vacuum analyze")
    say("freezing")
    with connect(url, Role.MRV) as connection:
        begun = time.monotonic()
        periods.freeze(connection, PROJECT, fleet.first, LAST, code_version="bench")
        say(f"frozen in {time.monotonic() - begun:.0f} s; sealing")
        begun = time.monotonic()
        with TemporaryDirectory() as folder:
            seal_due(connection, make_key(Path(folder) / "key.pem"), code_version="bench")
        say(f"sealed in {time.monotonic() - begun:.0f} s")
    with psycopg.connect(url) as connection:
        # Behind the cut-off: what a late device still sends of the period.
        connection.execute(
            "insert into reading (device_id, ts, received_at, message_id, element, energy_exported_wh, power_w)"
            " select device_id, ts + interval '30 seconds', clock_timestamp(), 1, 0, energy_exported_wh, power_w"
            " from reading where ts >= %s and ts < %s and extract(minute from ts) = 7",
            [datetime(LAST.year, LAST.month, 10, tzinfo=UTC), datetime(LAST.year, LAST.month, 12, tzinfo=UTC)],
        )
        connection.commit()
        connection.autocommit = True
        connection.execute("vacuum analyze")
    return url


def key_of(url: str) -> RevisionKey:
    """The revision that was frozen."""
    with psycopg.connect(url) as connection:
        row = connection.execute("select first_day, last_day from period").fetchone()
    assert row is not None
    return RevisionKey(PROJECT, *row)


def measure(url: str, rounds: int, *, scoped: bool) -> Iterator[dict[str, Any]]:
    """Time each function, with other arguments each time, in the role of a verifier or of a reader."""
    key, random_ = key_of(url), random.Random(7)
    with _connected(url, scoped=scoped) as connection:
        drilled = [DRILLED + timedelta(days=n) for n in range(28)]
        devices = [
            (site, device)
            for site, device in connection.execute("select site_id, id from device order by site_id, id").fetchall()
        ]
        sent = []
        for day in drilled[1:6]:
            start = day_bounds(day, ZONE)[0] + timedelta(hours=random_.randrange(20))
            sent += connection.execute(
                "select received_at, message_id from message where received_at >= %s and received_at < %s limit 40",
                [start, start + timedelta(minutes=2)],
            ).fetchall()

        def any_device() -> tuple[str, str]:
            return random_.choice(devices)

        def any_day() -> date:
            return random_.choice(drilled)

        def any_reading() -> Any:
            instant = day_bounds(any_day(), ZONE)[0] + timedelta(minutes=12 * 60 + random_.randrange(60))
            try:
                return reading(connection, *any_device(), instant)
            except Exception:  # noqa: BLE001 - a silent device; the look-up took as long
                return None

        asked: dict[str, Callable[[], Any]] = {
            "overview": lambda: overview(connection, PROJECT),
            "months": lambda: months(connection, key),
            "days": lambda: days(connection, key, DRILLED - timedelta(days=30 * random_.randrange(11))),
            "days of a device": lambda: days(connection, key, None, device=any_device()),
            "device_day": lambda: device_day(connection, key, *any_device(), any_day()),
            "reading": any_reading,
            "payload": lambda: payload(connection, *random_.choice(sent), families={}),
            "inclusion": lambda: inclusion(connection, *random_.choice(sent)),
            "late": lambda: late(connection, key),
            "conflicts": lambda: conflicts(connection, key),
            "flags": lambda: flags(connection, key),
            "calibrations": lambda: calibrations(connection, key),
        }
        for name, ask in asked.items():
            first = _timed(ask)
            took = sorted(_timed(ask) for _ in range(rounds))
            yield {
                "function": name,
                "role": "scoped verifier" if scoped else "reader",
                "first_ms": round(first, 1),
                "min_ms": round(took[0], 1),
                "p50_ms": round(statistics.median(took), 1),
                "p95_ms": round(took[int(len(took) * 0.95)], 1),
            }


@contextmanager
def _connected(url: str, *, scoped: bool) -> Iterator[psycopg.Connection]:
    if not scoped:
        with connect(url, Role.READER) as connection:
            yield connection
        return
    with (
        connect(url, Role.OWNER) as connection,
        acting(connection, Role.VERIFIER, frozenset({PROJECT}), read_only=True),
    ):
        yield connection


def _timed(ask: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    ask()
    return (time.perf_counter() - begun) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    seeding = commands.add_parser("seed")
    seeding.add_argument("--devices", type=int, default=50)
    seeding.add_argument("--days", type=int, default=365)
    seeding.add_argument("--every", type=int, default=5)
    measuring = commands.add_parser("measure")
    measuring.add_argument("url")
    measuring.add_argument("--rounds", type=int, default=40)
    given = parser.parse_args()
    if given.command == "seed":
        print(seed(given.devices, given.days, given.every))
        return
    for scoped in (False, True):
        for line in measure(given.url, given.rounds, scoped=scoped):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
