"""A system of meters that stands in memory, for tests of what meters and invoices make of its credit."""

import json
from datetime import date, datetime, timedelta

import numpy as np

from devices.declaration_file import parse
from mrv.basis import Basis, Credited
from mrv.calendar import day_bounds, to_us
from mrv.computation import Computation, compute
from mrv.inputs import Series
from mrv.quality.rules import CURRENT
from mrv.register_rules import to_mwh
from mrv.result import PeriodResult

FIRST, LAST = date(2021, 3, 1), date(2021, 3, 20)
ZONE = "Asia/Bangkok"
HEAD = """
[project]
id = "P1"
title = "A test project"
host_country = "IDN"
methodology = "{methodology}"
methodology_version = "1.0"
crediting_period = {{ from = 2019-01-01, to = 2029-12-31 }}

[[site]]
id = "s"
name = "Site"
time_zone = "Asia/Bangkok"

[[pv_system]]
id = "pv-1"
site = "s"
capacity_kw = 500
connection = "grid"
credited_by = ["m-1"]
emission_factor = {{ value = "0.5", unit = "tCO2/MWh", source = "PDD" }}
"""
BATTERY = """
[[pv_system.meter]]
device = "b-1"
quantity = "charged"
register = { point = "TotWhImp", bits = 64 }
[[pv_system.meter]]
device = "b-1"
quantity = "discharged"
"""
METER = """
[[device]]
id = "{id}"
site = "s"
kind = "{kind}"
rated_power_w = 200_000
register = {{ point = "TotWhExp", bits = 64 }}
serial_number = "S-{id}"
installed = 2019-01-01
{more}
"""


def calibration(performed, until, error=None, certificate="C-1"):
    more = "" if error is None else f'\nerror_percent = "{error}"'
    named = f'\nlaboratory = "Lab"\ncertificate = "{certificate}"' if certificate else ""
    return f"\n[[device.calibration]]\nperformed = {performed}\nvalid_until = {until}{more}{named}\n"


def mpe(percent):
    return f'maximum_permissible_error_percent = "{percent}"\n'


def meter(id="m-1", *more, kind="meter"):  # noqa: A002
    return METER.format(id=id, kind=kind, more="".join(more))


def declared(*parts, methodology="TH_AM001"):
    return Basis.of(parse(HEAD.format(methodology=methodology) + "".join(parts), "test.toml"))


def hourly(wh, *, start=1000.0, first=FIRST, last=LAST, minutes=0):
    begin, end = day_bounds(first, ZONE)[0], day_bounds(last, ZONE)[1]
    hours = int((end - begin) / timedelta(hours=1))
    return [(begin + timedelta(hours=n, minutes=minutes), start + n * wh) for n in range(hours + 1)]


def computed(basis, registers=None, first=FIRST, last=LAST, rules=CURRENT) -> Computation:
    """Compute a period; `registers` by device and point."""
    rows_of = {("m-1", "TotWhExp"): hourly(1000)} if registers is None else registers

    def read(credited: Credited, start: datetime, end: datetime) -> Series:
        rows = [
            (ts, wh)
            for ts, wh in rows_of.get((credited.device.id, credited.point), [])
            if ts >= credited.device.installed and (not credited.device.removed or ts < credited.device.removed.at)
        ]
        if not rows:
            return Series.empty()
        t_us = np.array([to_us(ts) for ts, _ in rows], dtype=np.int64)
        power = np.full(len(rows), np.nan)
        return Series(t_us, to_mwh(np.array([wh for _, wh in rows])), power, credited.opening, credited.closing)

    return compute(basis, first, last, read, revision=0, received_until=None, code_version="1", rules=rules)


def result(basis, registers=None, first=FIRST, last=LAST, rules=CURRENT) -> PeriodResult:
    """Compute a period; `registers` by device and point."""
    done = computed(basis, registers, first, last, rules).result
    assert PeriodResult.from_json(json.loads(json.dumps(done.as_json()))) == done
    return done


def eg_wh(done):
    return done.systems[0].eg_mwh * 1_000_000


def told(done):
    return {
        rule.removeprefix("meter.").removesuffix("@1"): n for rule, n in done.rules.items() if n and "meter." in rule
    }


VALID = calibration("2021-01-01", "2021-12-31", "0.1")
