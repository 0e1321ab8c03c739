"""The issuances that Mongolia's registry publishes for solar power, from registers to frozen periods.

The metered MWh were never published: each row's energy is the middle of what gives its published tonnes, spread over
the days by a sun of Mongolia's latitude. `pytest -s` prints the table. Source: the official issuance table,
https://www.jcm.go.jp/jc/mn-projects-issues (copy of June 2026); capacities from the projects' titles.
"""

import math
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cached_property

import pytest

from deploy.registry import apply
from devices.declaration_file import parse
from mrv import periods
from mrv.calendar import day_bounds
from sql.connection import Role, connect

EF = Decimal("0.797")
ZONE = "Asia/Ulaanbaatar"


@dataclass(frozen=True)
class Row:
    project: str
    capacity_kw: int
    first: date
    last: date
    mongolia: int
    japan: int
    implied: str
    """MWh that the sum implies where yearly rounding is left out."""

    @property
    def tonnes(self) -> int:
        return self.mongolia + self.japan

    @cached_property
    def hours(self) -> list[datetime]:
        start, end = day_bounds(self.first, ZONE)[0], day_bounds(self.last, ZONE)[1]
        return [start + timedelta(hours=n) for n in range(int((end - start) / timedelta(hours=1)) + 1)]

    @cached_property
    def cumulated(self) -> list[int]:
        """Sunlight up to each hour, in whole units."""
        total, found = 0, []
        for hour in self.hours:
            found.append(total)
            total += round(1000 * sun(hour))
        return found

    def registers(self, energy_wh: int) -> list[int]:
        return [1_000_000 + energy_wh * part // self.cumulated[-1] for part in self.cumulated]

    def years(self, energy_wh: int) -> dict[int, int]:
        """Wh by calendar year, told from the register at each turn of the year."""
        at = dict(zip(self.hours, self.registers(energy_wh), strict=True))
        found = {}
        for year in range(self.first.year, self.last.year + 1):
            begin = day_bounds(max(self.first, date(year, 1, 1)), ZONE)[0]
            end = day_bounds(min(self.last, date(year, 12, 31)), ZONE)[1]
            found[year] = at[end] - at[begin]
        return found

    def floors(self, energy_wh: int) -> int:
        return sum(int(Decimal(wh) * EF / 1_000_000) for wh in self.years(energy_wh).values())

    @cached_property
    def energies_wh(self) -> tuple[int, int]:
        """The least energy that gives the published tonnes, and the least that gives more, to 10 kWh."""
        return self._least(self.tonnes), self._least(self.tonnes + 1)

    def _least(self, tonnes: int) -> int:
        low, high = int(tonnes / EF), int((tonnes + 10) / EF)
        low, high = low * 100, high * 100
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.floors(middle * 10_000) >= tonnes else (middle, high)
        return high * 10_000


def sun(hour: datetime) -> float:
    """Clear-sky sunlight of an hour at 47.9° N, 106.9° E; zero at night."""
    day = hour.timetuple().tm_yday + hour.hour / 24
    tilt = math.radians(-23.44) * math.cos(2 * math.pi * (day + 10) / 365.25)
    angle = math.radians((hour.hour + 0.5 + 106.9 / 15 - 12) * 15)
    north = math.radians(47.9)
    return max(0.0, math.sin(north) * math.sin(tilt) + math.cos(north) * math.cos(tilt) * math.cos(angle))


ROWS = (
    Row("MN003", 12_700, date(2017, 8, 26), date(2018, 5, 31), 1_776, 7_104, "11,141.8 - 11,143.0"),
    Row("MN003", 12_700, date(2018, 6, 1), date(2020, 12, 31), 7_084, 28_335, "44,440.4 - 44,441.7"),
    Row("MN004", 10_000, date(2017, 1, 1), date(2017, 7, 31), 1_789, 7_158, "11,225.8 - 11,227.1"),
    Row("MN004", 10_000, date(2017, 8, 1), date(2020, 12, 31), 8_963, 35_854, "56,232"),
    Row("MN006", 15_000, date(2019, 7, 6), date(2020, 12, 31), 6_063, 24_249, "38,033"),
)
# Their methodologies meter no electricity generated: MN_AM001 (transmission lines), MN_AM002 (heat-only boilers).
NOT_SOLAR = (
    ("MN005", "2 Dec 17 - 31 Dec 18", 1, "transmission line, MN_AM001"),
    ("MN002", "15 Sep 15 - 2 May 16", 107, "heat-only boilers, MN_AM002"),
    ("MN002", "15 Sep 18 - 31 Dec 20", 322, "heat-only boilers, MN_AM002"),
    ("MN001", "20 Sep 15 - 15 May 16", 50, "heat-only boilers, MN_AM002"),
    ("MN001", "15 Sep 18 - 31 Dec 20", 139, "heat-only boilers, MN_AM002"),
)

TOML = """
[project]
id = "{project}"
title = "Solar power in Mongolia"
host_country = "MNG"
methodology = "MN_AM003"
methodology_version = "2.0"
crediting_period = {{ from = 2017-01-01, to = 2030-12-31 }}

[[site]]
id = "s-{project}"
name = "Site"
time_zone = "Asia/Ulaanbaatar"

[[pv_system]]
id = "pv-1"
site = "s-{project}"
capacity_kw = {capacity}
connection = "grid"
credited_by = ["m-{project}"]

[[device]]
id = "m-{project}"
site = "s-{project}"
kind = "meter"
register = {{ point = "TotWhExp", bits = 64 }}
installed = 2016-01-01
"""


def test_the_published_tonnes_of_mongolia_come_out(database: str) -> None:
    lines = []
    with connect(database, Role.OWNER) as owner, connect(database, Role.MRV) as mrv:
        start_wh: dict[str, int] = {}
        for row in ROWS:
            if row.project not in start_wh:
                apply(
                    owner, [("mn.toml", parse(TOML.format(project=row.project, capacity=row.capacity_kw), "mn.toml"))]
                )
                start_wh[row.project] = 0
            least, more = row.energies_wh
            energy_wh = (least + more) // 2
            insert(owner, row, start_wh[row.project], energy_wh)
            start_wh[row.project] += energy_wh

            frozen = periods.freeze(mrv, row.project, row.first, row.last, code_version="1").revision
            result = frozen.result
            assert result.er_tco2 == row.tonnes
            assert {v.year: int(v.eg_mwh * 1_000_000) for v in result.vintages} == row.years(energy_wh)
            assert [v.er_tco2 for v in result.vintages] == [int(v.eg_mwh * EF) for v in result.vintages]
            assert result.systems[0].factor.confirmed
            assert not any("confirmed" in note or "not counted" in note for note in result.notes)
            assert periods.recompute(mrv, row.project, row.first, row.last).result_text == frozen.result_text
            by_year = ", ".join(f"{v.year}: {v.er_tco2:,}" for v in result.vintages)
            span = f"{least / 1e6:,.2f} - {more / 1e6:,.2f}"
            cells = (row.project, f"{row.first} - {row.last}", f"{row.tonnes:,}", f"{result.er_tco2:,}", by_year, span)
            lines.append(f"| {' | '.join([*cells, row.implied])} |")
        assert {project: sum(row.tonnes for row in ROWS if row.project == project) for project in start_wh} == {
            "MN003": 44_299, "MN004": 53_764, "MN006": 30_312,
        }  # fmt: skip
    print("\n| ref | period | published tCO2 | ours | by year | MWh that give it | MWh without yearly rounding |")
    print("\n".join(["| --- | --- | --- | --- | --- | --- | --- |", *lines]))
    for project, when, tonnes, why in NOT_SOLAR:
        print(f"| {project} | {when} | {tonnes} | not computed: {why} | | | |")


def test_one_floor_for_the_whole_period_would_give_more() -> None:
    """What the per-year floor costs: up to a tonne for each year but one."""
    row = ROWS[3]
    more = row.energies_wh[1]
    whole = int(Decimal(sum(row.years(more).values())) * EF / 1_000_000)
    assert whole > row.tonnes + 1


def insert(owner, row: Row, start_wh: int, energy_wh: int) -> None:
    (number,) = owner.execute("select device_id from device where id = %s", [f"m-{row.project}"]).fetchone()
    # What the period before counted last is this one's first reading.
    known = owner.execute("select count(*) from reading where device_id = %s", [number]).fetchone()[0]
    with (
        owner.cursor() as cursor,
        cursor.copy(
            "copy reading (device_id, ts, received_at, message_id, element, energy_exported_wh) from stdin"
        ) as to,
    ):
        rows = list(zip(row.hours, row.registers(energy_wh), strict=True))
        for ts, wh in rows[1:] if known else rows:
            to.write_row((number, ts, ts, 1, 0, float(start_wh + wh)))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.project} {row.first}")
def test_the_energy_that_a_row_implies_is_what_its_capacity_makes(row: Row) -> None:
    a_year = row.energies_wh[0] / 1000 / row.capacity_kw / ((row.last - row.first).days + 1) * 365
    assert 1000 < a_year < 2000, "kWh/kW a year"
