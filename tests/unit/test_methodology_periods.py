"""What methodologies count, through the computation of a period from registers that stand in memory."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.declaration_file import parse
from devices.errors import DeclarationError
from mrv.basis import Basis, Credited
from mrv.calendar import day_bounds, to_us
from mrv.computation import compute
from mrv.errors import CatalogueError, ImplausibleError, PeriodError
from mrv.inputs import Series
from mrv.register_rules import to_mwh
from mrv.result import PeriodResult

FIRST, LAST = date(2021, 3, 1), date(2021, 3, 14)  # Monday to the second Sunday
ZONE = "Asia/Bangkok"

HEAD = """
[project]
id = "P1"
title = "A test project"
host_country = "THA"
methodology = "{id}"
methodology_version = "{version}"
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
"""
FACTOR = 'emission_factor = { value = "0.5", unit = "tCO2/MWh", source = "PDD" }\n'
METER = """
[[device]]
id = "{name}"
site = "s"
kind = "meter"
rated_power_w = 200_000
register = {{ point = "TotWhExp", bits = 64 }}
installed = 2019-01-01
"""
IMPORT = (
    '[[pv_system.meter]]\ndevice = "{name}"\nquantity = "{quantity}"\nregister = {{ point = "TotWhImp", bits = 64 }}\n'
)
OWN = '[[pv_system.meter]]\ndevice = "{name}"\nquantity = "{quantity}"\n'


def declared(methodology, *more, version="1.0", meters=("m-1",)):
    text = HEAD.format(id=methodology, version=version) + "".join(more) + "".join(METER.format(name=m) for m in meters)
    return Basis.of(parse(text, "test.toml"))


def hourly(wh, *, start=1000.0, first=FIRST, last=LAST, zone=ZONE):
    begin, end = day_bounds(first, zone)[0], day_bounds(last, zone)[1]
    hours = int((end - begin) / timedelta(hours=1))
    return [(begin + timedelta(hours=n), start + n * wh) for n in range(hours + 1)]


def result(basis, registers, first=FIRST, last=LAST):
    """Compute a period; `registers` by device and point."""

    def read(credited: Credited, start: datetime, end: datetime) -> Series:
        rows = [
            (ts, wh)
            for ts, wh in registers.get((credited.device.id, credited.point), [])
            if ts >= credited.device.installed and (not credited.device.removed or ts < credited.device.removed.at)
        ]
        if not rows:
            return Series.empty()
        t_us = np.array([to_us(ts) for ts, _ in rows], dtype=np.int64)
        power = np.full(len(rows), np.nan)
        return Series(t_us, to_mwh(np.array([wh for _, wh in rows])), power, credited.opening, credited.closing)

    done = compute(basis, first, last, read, revision=0, received_until=None, code_version="1").result
    assert PeriodResult.from_json(json.loads(json.dumps(done.as_json()))) == done
    return done


def egs(done):
    return {system.id: system.eg_mwh for system in done.systems}


def test_consumed_and_sold_are_added_from_the_meters_named():
    basis = declared("VN_AM007", OWN.format(name="m-2", quantity="sold"), meters=("m-1", "m-2"))
    done = result(basis, {("m-1", "TotWhExp"): hourly(1000), ("m-2", "TotWhExp"): hourly(250)})
    assert egs(done) == {"pv-1": Decimal("0.420000")}  # 14 days × 24 h × 1.25 kWh
    assert {d.id: (d.quantity, d.energy_wh) for d in done.systems[0].devices} == {
        "m-1": ("generated", Decimal(336_000)),
        "m-2": ("sold", Decimal(84_000)),
    }
    assert done.systems[0].re_tco2 == Decimal("0.139860")
    assert any("0.333 tCO2/MWh, is a default not confirmed" in note for note in done.notes)


def test_a_sale_that_was_not_read_is_not_credited_and_is_named():
    basis = declared("VN_AM007", OWN.format(name="m-2", quantity="sold"), meters=("m-1", "m-2"))
    done = result(basis, {("m-1", "TotWhExp"): hourly(1000)})
    assert egs(done) == {"pv-1": Decimal("0.336000")}
    assert any(note.startswith("no reading on 14 days") and "s/m-2 (sold)" in note for note in done.notes)


def test_net_output_takes_the_auxiliary_consumption_from_the_import_register():
    basis = declared("MM_AM005", FACTOR, IMPORT.format(name="m-1", quantity="auxiliary"))
    done = result(basis, {("m-1", "TotWhExp"): hourly(1000), ("m-1", "TotWhImp"): hourly(100)})
    assert egs(done) == {"pv-1": Decimal("0.302400")}
    assert done.systems[0].re_tco2 == Decimal("0.151200")
    assert any("EG_i,p of MM_AM005 1.0 is not confirmed" in note for note in done.notes)
    assert any(note.startswith("scope of MM_AM005 1.0 here") for note in done.notes)


def test_a_silent_auxiliary_meter_never_raises_the_credit():
    basis = declared("MM_AM005", FACTOR, IMPORT.format(name="m-1", quantity="auxiliary"))
    exported = hourly(1000)
    stops = [(ts, wh) for ts, wh in hourly(100) if ts < day_bounds(date(2021, 3, 10), ZONE)[0] + timedelta(hours=5)]
    done = result(basis, {("m-1", "TotWhExp"): exported, ("m-1", "TotWhImp"): stops})
    # Nine days net; from the tenth on nothing is counted, and four hours of its auxiliary consumption still are.
    assert egs(done) == {"pv-1": Decimal("0.194000")}
    said = "the generation of pv-1 is not counted on 5 days (2021-03-10 to 2021-03-14): a register that is subtracted"
    assert any(note.startswith(said) for note in done.notes)


def test_an_hour_of_auxiliary_consumption_across_an_end_is_subtracted_on_both_sides():
    basis = declared("MM_AM005", FACTOR, IMPORT.format(name="m-1", quantity="auxiliary"))
    first, last = date(2020, 12, 30), date(2021, 1, 2)
    around = hourly(100, first=first - timedelta(days=1), last=last + timedelta(days=1))
    done = result(
        basis,
        {
            ("m-1", "TotWhExp"): hourly(1000, first=first, last=last),
            ("m-1", "TotWhImp"): [(ts + timedelta(minutes=30), wh) for ts, wh in around],
        },
        first,
        last,
    )
    # 48 hours made in each year, 49 hours of consumption that lie in it wholly or in part.
    assert [v.eg_mwh for v in done.vintages] == [Decimal("0.043100"), Decimal("0.043100")]


def test_an_inverter_s_gross_output_is_not_what_was_consumed():
    inverter = METER.replace('"meter"', '"inverter"').format(name="m-1")
    text = HEAD.format(id="VN_AM007", version="1.0") + inverter
    with pytest.raises(PeriodError, match="inverter m-1 counts the gross output; name the meters of the consumption"):
        Basis.of(parse(text, "t"))


@settings(max_examples=60, deadline=None)
@given(
    lost=st.sets(st.integers(0, 14 * 24), max_size=200),
    fell_at=st.none() | st.integers(0, 14 * 24),
    fell_to=st.sampled_from([0.0, 5.0, 950.0, 1800.0]),
    glitches=st.dictionaries(st.integers(0, 14 * 24), st.sampled_from([0.0, 7.0, 1e9]), max_size=3),
)
def test_no_fault_of_the_auxiliary_meter_raises_the_credit(lost, fell_at, fell_to, glitches):
    basis = declared("MM_AM005", FACTOR, IMPORT.format(name="m-1", quantity="auxiliary"))
    exported, imported = hourly(1000), hourly(100)
    clean = egs(result(basis, {("m-1", "TotWhExp"): exported, ("m-1", "TotWhImp"): imported}))["pv-1"]
    faulty = []
    for n, (ts, wh) in enumerate(imported):
        said = wh if fell_at is None or n < fell_at else min(wh, fell_to + (n - fell_at) * 100)
        # A fall that happens in a silence, and is passed again before it ends, leaves no trace in any register.
        if n not in lost or (fell_at is not None and n >= fell_at):
            faulty.append((ts, glitches.get(n, said)))
    found = egs(result(basis, {("m-1", "TotWhExp"): exported, ("m-1", "TotWhImp"): faulty}))["pv-1"]
    assert found <= clean


def test_an_auxiliary_meter_that_was_replaced_is_counted_across_its_place():
    swap = "2021-03-05T05:00:00Z"
    old = METER.format(name="aux").replace(
        "installed = 2019-01-01",
        f'installed = 2019-01-01\nreplaced_by = "aux-2"\nremoved = {{ at = {swap}, closing_register_wh = 10_900 }}\n',
    )
    new = METER.format(name="aux-2").replace("installed = 2019-01-01", f"installed = {swap}\nopening_register_wh = 70")
    basis = declared("MM_AM005", FACTOR, OWN.format(name="aux", quantity="auxiliary"), old, new)
    at = datetime(2021, 3, 5, 5, tzinfo=UTC)
    imported = hourly(100, start=100)
    registers = {
        ("m-1", "TotWhExp"): hourly(1000),
        ("aux", "TotWhExp"): [(ts, wh) for ts, wh in imported if ts < at],
        ("aux-2", "TotWhExp"): [(ts, 70 + (ts - at) / timedelta(hours=1) * 100) for ts, _ in imported if ts > at],
    }
    # 108 hours to the swap, 228 after it.
    assert egs(result(basis, registers)) == {"pv-1": Decimal("0.302400")}


def test_a_replacement_that_counts_in_its_other_register_stands_in_the_same_place():
    swap = "2021-03-05T05:00:00Z"
    old = METER.format(name="aux").replace(
        "installed = 2019-01-01",
        f'installed = 2019-01-01\nreplaced_by = "aux-2"\nremoved = {{ at = {swap}, closing_register_wh = 10_900 }}\n',
    )
    new = METER.format(name="aux-2").replace("installed = 2019-01-01", f"installed = {swap}\nopening_register_wh = 70")
    new = new.replace("TotWhExp", "TotWhImp")
    basis = declared("MM_AM005", FACTOR, OWN.format(name="aux", quantity="auxiliary"), old, new)
    at = datetime(2021, 3, 5, 5, tzinfo=UTC)
    imported = hourly(100, start=100)
    registers = {
        ("m-1", "TotWhExp"): hourly(1000),
        ("aux", "TotWhExp"): [(ts, wh) for ts, wh in imported if ts < at],
        ("aux-2", "TotWhImp"): [(ts, 70 + (ts - at) / timedelta(hours=1) * 100) for ts, _ in imported if ts > at],
    }
    assert egs(result(basis, registers)) == {"pv-1": Decimal("0.302400")}


def battery(**more):
    return declared(
        "ID_AM017",
        'grid_region = "Jamali"\n',
        IMPORT.format(name="bat", quantity="charged"),
        OWN.format(name="bat", quantity="discharged"),
        meters=("m-1", "bat"),
        **more,
    )


def test_a_battery_costs_what_it_keeps():
    done = result(
        battery(),
        {
            ("m-1", "TotWhExp"): hourly(1000),
            ("bat", "TotWhImp"): hourly(300),
            ("bat", "TotWhExp"): hourly(270),
        },
    )
    assert egs(done) == {"pv-1": Decimal("0.325920")}
    assert not done.systems[0].factor.confirmed
    assert {d.quantity for d in done.systems[0].devices} == {"generated", "charged", "discharged"}


def test_a_battery_never_adds_to_the_generation():
    done = result(
        battery(),
        {("m-1", "TotWhExp"): hourly(1000), ("bat", "TotWhImp"): hourly(1), ("bat", "TotWhExp"): hourly(900)},
    )
    assert egs(done) == {"pv-1": Decimal("0.336000")}


WEEK = """
[[pv_system.day_category]]
category = "open"
from = 2021-01-01
to = 2021-12-31
emission_factor = { value = "0.353", unit = "tCO2/MWh", source = "PDD" }

[[pv_system.day_category]]
category = "closed"
from = 2021-01-01
to = 2021-12-31
weekdays = ["sat", "sun"]
emission_factor = { value = "0", unit = "tCO2/MWh", source = "PDD" }

[[pv_system.day_category]]
category = "closed"
from = 2021-03-08
to = 2021-03-08
emission_factor = { value = "0", unit = "tCO2/MWh", source = "PDD" }
"""


def test_days_are_summed_by_their_category_and_the_last_entry_that_fits_holds():
    done = result(declared("KH_AM002", WEEK), {("m-1", "TotWhExp"): hourly(1000)})
    assert egs(done) == {"pv-1 (open)": Decimal("0.216000"), "pv-1 (closed)": Decimal("0.120000")}
    assert [(v.eg_mwh, v.re_tco2) for v in done.vintages] == [(Decimal("0.336000"), Decimal("0.076248"))]


def test_an_interval_from_one_category_into_another_is_credited_to_neither():
    shifted = [
        (ts + timedelta(minutes=30), wh) for ts, wh in hourly(1000, first=date(2021, 2, 28), last=date(2021, 3, 15))
    ]
    done = result(declared("KH_AM002", WEEK), {("m-1", "TotWhExp"): shifted})
    # open 1-5, closed 6-8, open 9-12, closed 13-14: each run loses the one interval that crosses into it.
    assert egs(done) == {"pv-1 (open)": Decimal("0.214000"), "pv-1 (closed)": Decimal("0.118000")}


def test_two_rows_never_have_one_name():
    entry = '[[pv_system.day_category]]\ncategory = "{}"\nfrom = 2021-01-01\nto = 2021-12-31\n'
    other = '[[pv_system]]\nid = "pv-1 (b)"\nsite = "s"\ncapacity_kw = 1\nconnection = "grid"\ncredited_by = ["m-2"]\n'
    with pytest.raises(PeriodError, match=r"two rows would be called pv-1 \(b\) \(c\)"):
        declared("KH_AM002", entry.format("b) (c"), other, entry.format("c"), meters=("m-1", "m-2"))


def test_a_day_without_a_category_is_refused():
    with pytest.raises(PeriodError, match=r"no category is declared for 2022-01-01, .*2022-01-05 and 5 more"):
        result(declared("KH_AM002", WEEK), {}, date(2021, 12, 30), date(2022, 1, 10))


def test_gas_captive_power_takes_the_factor_that_was_registered_and_no_other():
    gas = 'captive_fuel = "gas"\n'
    text = HEAD.replace('connection = "grid"', 'connection = "captive"')
    with pytest.raises(CatalogueError, match=r"no default factor of BD_AM002 1.0 for captive \(gas\) was read"):
        Basis.of(parse(text.format(id="BD_AM002", version="1.0") + gas + METER.format(name="m-1"), "t"))
    basis = Basis.of(parse(text.format(id="BD_AM002", version="1.0") + gas + FACTOR + METER.format(name="m-1"), "t"))
    assert result(basis, {("m-1", "TotWhExp"): hourly(1000)}).systems[0].re_tco2 == Decimal("0.168000")


def test_an_energy_that_the_capacity_cannot_make_is_refused():
    # The register's unit was declared wrongly: a count is taken for a kWh and is a Wh.
    text = HEAD.format(id="TH_AM001", version="1.0") + METER.format(name="m-1").replace("200_000", "200_000_000")
    basis = Basis.of(parse(text, "t"))
    with pytest.raises(
        ImplausibleError, match=r"EG of pv-1 in 2021: 33,600 MWh is more than 500 kW.*was it written in kWh"
    ):
        result(basis, {("m-1", "TotWhExp"): hourly(100_000_000)})


@pytest.mark.parametrize(
    ("methodology", "version", "more", "said"),
    [
        ("MM_AM005", "1.0", FACTOR, "MM_AM005 1.0 needs the register of what is auxiliary; add a"),
        ("ID_AM017", "1.0", FACTOR, "ID_AM017 1.0 needs the register of what is charged"),
        ("TH_AM001", "1.0", IMPORT.format(name="m-1", quantity="auxiliary"), "does not count what is auxiliary"),
        ("KH_AM002", "1.0", "", "KH_AM002 1.0 tells days by category"),
        ("TH_AM001", "1.0", WEEK, "TH_AM001 1.0 has no categories of days"),
        ("TH_AM005", "3.0", FACTOR, "is not computed from a declaration: a declaration has no place for the COPs"),
        ("MM_AM001", "1.0", FACTOR, "its project emissions were not read"),
        ("MV_AM002", "1.0", FACTOR, "what it counts was not read"),
    ],
)
def test_what_a_methodology_lacks_or_does_not_count_is_refused(methodology, version, more, said):
    with pytest.raises(PeriodError, match=said):
        declared(methodology, more, version=version)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (OWN.format(name="m-1", quantity="sold"), "TotWhExp counts already"),
        (OWN.format(name="m-9", quantity="sold"), 'there is no such device at site "s"'),
        (IMPORT.format(name="m-1", quantity="sold") * 2, "TotWhImp counts already"),
        (OWN.format(name="m-1", quantity="lent"), 'expected "sold", "auxiliary", "charged" or "discharged"'),
        (WEEK.replace('value = "0"', 'value = "0.1"', 1), "differs between its entries"),
        (WEEK.replace("to = 2021-03-08", "to = 2021-03-07"), "2021-03-07 is before 2021-03-08"),
        (WEEK.replace('"sat"', '"saturday"'), "weekdays"),
        ('captive_fuel = "coal"\n', '"diesel" or "gas"'),
    ],
)
def test_a_declaration_that_cannot_hold_is_refused(more, said):
    with pytest.raises(DeclarationError, match=said):
        declared("VN_AM007", more)


def test_every_version_that_was_not_read_says_so_in_its_result():
    notes = result(declared("TH_AM001", FACTOR, version="3.0"), {("m-1", "TotWhExp"): hourly(1000)}).notes
    assert [note.split(":")[0] for note in notes[:2]] == [
        "EG_i,p of TH_AM001 3.0 is not confirmed",
        "PE_p of TH_AM001 3.0 is not confirmed",
    ]


def test_a_project_without_any_of_this_keeps_its_texts_and_its_result():
    """What was frozen before there were further registers recomputes to the same byte."""
    basis = declared("TH_AM001")
    for key in ("meter", "day_category", "captive_fuel"):
        assert f'"{key}":' not in basis.declarations_text
    assert sorted(json.loads(basis.methodology_text)) == [
        "factors", "formula", "id", "monitored", "notes", "title", "version",
    ]  # fmt: skip
    done = result(basis, {("m-1", "TotWhExp"): hourly(1000)})
    assert "quantity" not in done.as_json()["systems"][0]["devices"][0]
