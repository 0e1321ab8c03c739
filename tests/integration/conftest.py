"""A declared project with readings in the database, for tests of what is computed from them."""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from deploy.registry import apply
from devices.declaration_file import parse
from mrv.calendar import day_bounds
from sql.connection import Role, connect

DEVICE_TOML = """
[[device]]
id = "{id}"
site = "{site}"
pv_system = "{system}"
kind = "inverter"
rated_power_w = 100_000
register = {{ point = "TotWhExp", bits = 64 }}
installed = 2019-01-01
"""

PROJECT_TOML = """
[project]
id = "{project}"
title = "A test plant"
host_country = "THA"
methodology = "TH_AM001"
methodology_version = "1.0"
crediting_period = {{ from = 2019-01-01, to = 2029-12-31 }}
participants = [{{ name = "A", country = "THA" }}, {{ name = "B", country = "JPN" }}]

[[site]]
id = "s-{project}"
name = "Site"
time_zone = "{zone}"

[[pv_system]]
id = "pv-1"
site = "s-{project}"
capacity_kw = 200
connection = "grid"
credited_by = ["*"]
"""


class Plant:
    """A project of one site with inverters, and plain SQL to give it readings."""

    def __init__(self, url: str, project: str = "P1", zone: str = "Asia/Bangkok", inverters: int = 1) -> None:
        self.url, self.project, self.zone = url, project, zone
        self.site = f"s-{project}"
        self.toml = PROJECT_TOML.format(project=project, zone=zone)
        for number in range(1, inverters + 1):
            self.toml += DEVICE_TOML.format(id=f"inv-{number}", site=self.site, system="pv-1")
        self.owner = connect(url, Role.OWNER)
        self.connection = connect(url, Role.MRV)

    def apply(self, toml: str) -> None:
        apply(self.owner, [("test.toml", parse(toml, Path("test.toml")))])

    def insert(
        self, rows: Iterable[tuple[datetime, float]], device: str = "inv-1", power_w: float | None = None
    ) -> int:
        """Insert readings that are not there yet, received now; return how many were new."""
        number = self.owner.execute(
            "select device_id from device where site_id = %s and id = %s", [self.site, device]
        ).fetchone()
        cursor = self.owner.cursor()
        cursor.executemany(
            "insert into reading (device_id, ts, received_at, message_id, element, energy_exported_wh, power_w) "
            "values (%s, %s, clock_timestamp(), 1, 0, %s, %s) on conflict do nothing",
            [(number[0], ts, wh, power_w) for ts, wh in rows],
        )
        return cursor.rowcount

    def days(self, first: date, last: date, *, start_wh: float = 1000.0, hourly_wh: float = 1000.0):
        """Hourly readings from the start of the first local day to the end of the last, both ends included."""
        begin, end = day_bounds(first, self.zone)[0], day_bounds(last, self.zone)[1]
        hours = int((end - begin) / timedelta(hours=1))
        return [(begin + timedelta(hours=n), start_wh + n * hourly_wh) for n in range(hours + 1)]

    def close(self) -> None:
        self.owner.close()
        self.connection.close()


@pytest.fixture
def plants(database: str) -> Iterator:
    """Make plants: `plants(project=…, zone=…, inverters=…)`."""
    made: list[Plant] = []

    def make(**given) -> Plant:
        made.append(Plant(database, **given))
        made[-1].apply(made[-1].toml)
        return made[-1]

    yield make
    for plant in made:
        plant.close()


@pytest.fixture
def plant(plants) -> Plant:
    """One plant in Thailand with one inverter and no reading."""
    return plants()


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def audit_events(connection: psycopg.Connection, action: str) -> list[dict]:
    return [
        row[0] for row in connection.execute("select detail from audit_event where action = %s order by id", [action])
    ]
