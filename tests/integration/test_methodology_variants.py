"""Further registers and categories of days on a real database: applied, frozen, recomputed, reported."""

from datetime import date, timedelta
from decimal import Decimal

import pytest

from deploy.registry import apply
from devices.declaration_file import parse
from mrv import periods, revisions
from mrv.calendar import day_bounds
from mrv.reports import FORMATS, render
from sql.connection import Role, connect

FIRST, LAST = date(2020, 12, 28), date(2021, 1, 10)
ZONE = "Asia/Yangon"  # half an hour off

TOML = """
[project]
id = "P1"
title = "A test project"
host_country = "MMR"
methodology = "{methodology}"
methodology_version = "1.0"
crediting_period = {{ from = 2019-01-01, to = 2029-12-31 }}

[[site]]
id = "s"
name = "Site"
time_zone = "Asia/Yangon"

[[pv_system]]
id = "pv-1"
site = "s"
capacity_kw = 200
connection = "grid"
credited_by = ["m-1"]
emission_factor = {{ value = "0.5", unit = "tCO2/MWh", source = "PDD" }}
{more}
[[device]]
id = "m-1"
site = "s"
kind = "meter"
register = {{ point = "TotWhExp", bits = 64 }}
installed = 2019-01-01
"""
AUXILIARY = """
[[pv_system.meter]]
device = "m-1"
quantity = "auxiliary"
register = { point = "TotWhImp", bits = 64 }
"""
WEEKEND = """
[[pv_system.day_category]]
category = "open"
from = 2020-01-01
to = 2021-12-31

[[pv_system.day_category]]
category = "closed"
from = 2020-01-01
to = 2021-12-31
weekdays = ["sat", "sun"]
emission_factor = { value = "0", unit = "tCO2/MWh", source = "PDD" }
"""


@pytest.fixture
def owner(database: str):
    with connect(database, Role.OWNER) as connection:
        yield connection


@pytest.fixture
def mrv(database: str):
    with connect(database, Role.MRV) as connection:
        yield connection


def declare(owner, methodology, more):
    (plan,) = apply(owner, [("p.toml", parse(TOML.format(methodology=methodology, more=more), "p.toml"))])
    return plan


def insert(owner, exported=1000.0, imported=100.0, until=None):
    begin, end = day_bounds(FIRST, ZONE)[0], day_bounds(LAST, ZONE)[1]
    (number,) = owner.execute("select device_id from device where id = 'm-1'").fetchone()
    rows = [
        (number, begin + timedelta(minutes=30 * n), 5000 + n * exported / 2, 70 + n * imported / 2)
        for n in range(int((end - begin) / timedelta(minutes=30)) + 1)
        if until is None or begin + timedelta(minutes=30 * n) <= until
    ]
    owner.cursor().executemany(
        "insert into reading (device_id, ts, received_at, message_id, element, energy_exported_wh, energy_imported_wh) "
        "values (%s, %s, clock_timestamp(), 1, 0, %s, %s) on conflict do nothing",
        rows,
    )


def test_net_output_is_frozen_with_both_registers_and_recomputes(owner, mrv):
    declare(owner, "MM_AM005", AUXILIARY)
    insert(owner, until=day_bounds(LAST, ZONE)[0])
    one = periods.freeze(mrv, "P1", FIRST, LAST, code_version="1").revision
    assert [v.eg_mwh for v in one.result.vintages] == [Decimal("0.086400"), Decimal("0.194400")]
    assert any("is not counted on 1 day (2021-01-10)" in note for note in one.result.notes)
    insert(owner)
    # The last day's readings after its first, counted once though they carry two registers.
    assert revisions.arrived_since(mrv, one) == 47
    two = periods.freeze(mrv, "P1", FIRST, LAST, code_version="2").revision
    assert two.number == 2
    assert [v.eg_mwh for v in two.result.vintages] == [Decimal("0.086400"), Decimal("0.216000")]
    assert [(d.id, d.quantity, d.energy_wh) for d in two.result.systems[0].devices] == [
        ("m-1", "generated", Decimal(336_000)),
        # 33,600 Wh and no more: no interval crosses an end of the period or of the year.
        ("m-1", "auxiliary", Decimal(33_600)),
    ]
    for revision in (one, two):
        again = periods.recompute(mrv, "P1", FIRST, LAST, revision.number)
        assert again.result_text == revision.result_text
    days = owner.execute("select sum(within_wh + carried_wh) from energy_day").fetchone()
    assert days == (Decimal(336_000),)
    owner.execute("update reading set energy_imported_wh = energy_imported_wh + 1 where ts = '2021-01-05T00:00Z'")
    with pytest.raises(periods.RecomputeError, match="inputs_digest"):
        periods.recompute(mrv, "P1", FIRST, LAST, 2)


def test_categories_of_days_are_rows_of_the_result_and_of_every_report(owner, mrv):
    declare(owner, "KH_AM002", WEEKEND)
    insert(owner)
    revision = periods.freeze(mrv, "P1", FIRST, LAST, code_version="1").revision
    assert {s.id: (s.eg_mwh, s.re_tco2) for s in revision.result.systems} == {
        "pv-1 (open)": (Decimal("0.240000"), Decimal("0.120000")),
        "pv-1 (closed)": (Decimal("0.096000"), Decimal("0.000000")),
    }
    stored = owner.execute("select pv_system_id, year, eg_mwh from emission_result order by 1, 2").fetchall()
    assert stored == [
        ("pv-1 (closed)", 2021, Decimal("0.096000")),
        ("pv-1 (open)", 2020, Decimal("0.096000")),
        ("pv-1 (open)", 2021, Decimal("0.144000")),
    ]
    assert periods.recompute(mrv, "P1", FIRST, LAST).result_text == revision.result_text
    declaration = revision.basis.declaration
    reports = {kind: render(revision.result, declaration, kind) for kind in FORMATS}
    assert all(len(report) > 1000 for report in reports.values())
    for kind in ("csv", "html", "json"):
        assert b"pv-1 (closed)" in reports[kind]


def test_applying_the_same_further_registers_again_changes_nothing(owner):
    assert declare(owner, "MM_AM005", AUXILIARY).changes
    assert not declare(owner, "MM_AM005", AUXILIARY).changes
    changed = declare(owner, "MM_AM005", AUXILIARY.replace("bits = 64", "bits = 32"))
    assert [change.name for change in changed.changes] == ["pv-1"]
