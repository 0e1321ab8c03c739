"""Declaration files: every mistake is named by file, key and what is expected, and nothing is guessed."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.declaration_file import load, parse
from devices.declarations import Calibration, EmissionFactor, ProjectDeclaration, canonical_json
from devices.errors import DeclarationError

PLANT = """
[project]
id = "P1"
title = "One"
host_country = "THA"
methodology = "TH_AM001"
methodology_version = "1.0"
crediting_period = { from = 2020-05-01, to = 2030-04-30 }
participants = [{ name = "Plant Co., Ltd.", country = "THA" }]

[[site]]
id = "s1"
name = "Site"
time_zone = "Asia/Bangkok"
latitude = 14.0

[[pv_system]]
id = "pv-1"
site = "s1"
capacity_kw = 1000
connection = "grid"
credited_by = ["m-1"]
emission_factor = { value = "0.319", unit = "tCO2/MWh", source = "PDD" }

[[device]]
id = "i-1"
site = "s1"
pv_system = "pv-1"
kind = "inverter"
rated_power_w = 100_000
register = { point = "TotWhExp", bits = 64 }
installed = 2020-01-01

[[device]]
id = "m-1"
site = "s1"
pv_system = "pv-1"
kind = "meter"
register = { point = "TotWhExp", bits = 32 }
accuracy_class = "0.5S"
maximum_permissible_error_percent = "0.5"
installed = 2020-01-01T06:00:00+07:00
[[device.calibration]]
performed = 2019-12-20
valid_until = 2021-12-20
error_percent = "0.1"
"""

METER_2 = """
[[device]]
id = "m-2"
site = "s1"
pv_system = "pv-1"
kind = "meter"
register = { point = "TotWhExp", bits = 32 }
installed = INSTALLED
"""

REMOVED = (
    'removed = { at = 2021-06-01T03:00:00Z, closing_register_wh = 998877 }\nreplaced_by = "m-2"\n[[device.calibration]]'
)


def problems(text: str) -> list[str]:
    with pytest.raises(DeclarationError) as caught:
        parse(text, "plant.toml")
    message = str(caught.value)
    assert message.startswith("plant.toml: ")
    assert "\n" not in message
    return caught.value.problems


def changed(old: str, new: str) -> str:
    assert old in PLANT
    return PLANT.replace(old, new, 1)


def test_a_declaration_says_what_the_file_says() -> None:
    declared = parse(PLANT, "plant.toml")
    assert declared.project.crediting_period.first_day == date(2020, 5, 1)
    assert declared.site("s1").latitude == 14
    [system] = declared.pv_systems
    assert system.emission_factor == EmissionFactor(value=Decimal("0.319"), unit="tCO2/MWh", source="PDD")
    meter = declared.device("s1", "m-1")
    assert meter.installed == datetime(2019, 12, 31, 23, tzinfo=UTC)
    assert meter.calibrations == (
        Calibration(performed=date(2019, 12, 20), valid_until=date(2021, 12, 20), error_percent=Decimal("0.1")),
    )


def test_a_day_is_the_midnight_of_the_site() -> None:
    assert parse(PLANT, "").device("s1", "i-1").installed == datetime(2019, 12, 31, 17, tzinfo=UTC)


def test_a_number_is_kept_as_it_was_written() -> None:
    [system] = parse(changed('"0.319"', "0.319"), "").pv_systems
    assert system.emission_factor is not None
    assert str(system.emission_factor.value) == "0.319"


@pytest.mark.parametrize("text", [PLANT, PLANT.replace("capacity_kw = 1000", "capacity_kw = 1e3")])
def test_the_canonical_text_reads_back_to_the_same(text: str) -> None:
    declared = parse(text, "")
    canonical = canonical_json(declared)
    assert ProjectDeclaration.model_validate_json(canonical) == declared
    assert canonical_json(ProjectDeclaration.model_validate_json(canonical)) == canonical
    assert canonical == json.dumps(json.loads(canonical), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert '"capacity_kw":"1000"' in canonical
    assert '"installed":"2019-12-31T17:00:00Z"' in canonical


def test_the_order_of_a_file_means_nothing() -> None:
    inverter = PLANT[PLANT.index('[[device]]\nid = "i-1"') : PLANT.index('[[device]]\nid = "m-1"')]
    assert canonical_json(parse(PLANT.replace(inverter, "") + inverter, "")) == canonical_json(parse(PLANT, ""))


@given(value=st.decimals(min_value=0, max_value=2, places=12))
def test_every_factor_survives_the_canonical_text(value: Decimal) -> None:
    declared = parse(changed('"0.319"', f'"{value:f}"'), "")
    read = ProjectDeclaration.model_validate_json(canonical_json(declared))
    assert read.pv_systems[0].emission_factor is not None
    assert f"{read.pv_systems[0].emission_factor.value:f}" == f"{value:f}"


BAD = [
    ("capacity_kw", "capasity_kw", 'pv_system "pv-1": capasity_kw: unknown key: did you mean "capacity_kw"?'),
    ("bits = 32", "bits = 32, foo = 1", 'device "m-1": register.foo: unknown key: expected point, bits, resolution_wh'),
    ("[project]", "[extra]\n[project]", "extra: unknown key"),
    ("[[site]]", "[[sites]]", 'sites: unknown key: did you mean "site"?'),
    ("[[site]]", "[site]", "site: expected [[site]] tables, not a table"),
    ('title = "One"', "", "project.title is missing: expected a text"),
    ('title = "One"', "title = 1", "project.title: expected a text, not 1"),
    ('title = "One"', 'title = "a\\nb"', "expected one line of text"),
    ('"THA"', '"Thailand"', 'project.host_country: expected an ISO 3166-1 alpha-3 country code such as "THA"'),
    ('"Asia/Bangkok"', '"Asia/Bankok"', 'site "s1": time_zone: there is no time zone "Asia/Bankok"'),
    ('"Asia/Bangkok"', '"asia/bangkok"', "did you mean Asia/Bangkok?"),
    ('"Asia/Bangkok"', '"localtime"', "there is no time zone"),
    ('"Asia/Bangkok"', "7", 'site "s1": time_zone: expected a time zone name'),
    ("latitude = 14.0", "latitude = 140", 'site "s1": latitude: expected degrees north, -90 to 90, not 140'),
    (', unit = "tCO2/MWh"', "", 'pv_system "pv-1": emission_factor.unit is missing: expected "tCO2/MWh"'),
    ("tCO2/MWh", "kgCO2/kWh", 'emission_factor.unit: the unit "kgCO2/kWh" is not accepted: expected "tCO2/MWh"'),
    ('"0.319"', '"319"', 'pv_system "pv-1": emission_factor.value: 319 tCO2/MWh cannot be: expected 0 to 2'),
    ('"0.319"', '"0,319"', "expected a number written as digits"),
    ('"0.319"', "true", "emission_factor.value: expected a number"),
    ('"0.319"', "nan", "expected a finite number"),
    ("capacity_kw = 1000", "capacity_kw = 0", "capacity_kw: expected a capacity in kW, more than 0, not 0"),
    ('"grid"', '"offgrid"', 'connection: expected "grid", "grid_and_captive" or "captive", not "offgrid"'),
    ('["m-1"]', '["m-9"]', 'credited_by: there is no device "m-9" at site "s1": expected "i-1", "m-1"'),
    ('["m-1"]', '["*", "m-1"]', '"*" stands alone'),
    ('["m-1"]', '["m-1", "m-1"]', '"m-1" stands 2 times'),
    ('["m-1"]', "[]", "credited_by: expected a list of device ids"),
    ('register = { point = "TotWhExp", bits = 32 }', "", 'device "m-1": register is missing'),
    ("bits = 32", "bits = 65", 'device "m-1": register.bits: expected the register\'s width in bits, 8 to 64, not 65'),
    ('"TotWhExp", bits = 32', '"W", bits = 32', '"W" is no lifetime register: expected TotWhExp or TotWhImp'),
    ('kind = "meter"', 'kind = "metre"', 'device "m-1": kind: expected "inverter", "meter"'),
    ('id = "m-1"', 'id = "i-1"', 'device "i-1": id: declared 2 times at site "s1": expected each id once'),
    ('id = "m-1"', "", "device[1].id is missing"),
    ('id = "s1"', 'id = "s/1"', "ids are parts of MQTT topics"),
    ('id = "s1"', 'id = "#"', "ids are parts of MQTT topics"),
    ('id = "s1"', 'id = "s\\u0000"', "ids are parts of MQTT topics"),
    ('id = "s1"', 'id = "$share"', "cannot be an id"),
    ('id = "s1"', 'id = ""', "cannot be an id"),
    ('site = "s1"', 'site = "s2"', 'pv_system "pv-1": site: there is no site "s2": expected "s1"'),
    ('pv_system = "pv-1"', 'pv_system = "pv-2"', 'device "i-1": pv_system: there is no pv_system "pv-2"'),
    ("to = 2030-04-30", "to = 2020-04-30", "project.crediting_period.to: 2020-04-30 is before 2020-05-01"),
    ("2020-01-01T06:00:00+07:00", "2020-01-01T06:00:00", 'device "m-1": installed: 2020-01-01T06:00:00 has no offset'),
    ("2020-01-01T06:00:00+07:00", '"2020-01-01"', 'device "m-1": installed: expected a date'),
    ("valid_until = 2021", "valid_until = 2018", 'device "m-1": calibration.valid_until: 2018-12-20 is before'),
    ('accuracy_class = "0.5S"', "opening_register_wh = 4294967296", "more than a register of 32 bits shows"),
    ('accuracy_class = "0.5S"', "removed = { at = 2019-01-01 }", 'device "m-1": removed.at:'),
    ('accuracy_class = "0.5S"', 'replaced_by = "i-1"', "removed is missing"),
    ('accuracy_class = "0.5S"', 'profile = "modbus"', 'there is no family "modbus": expected one of'),
    ("[project]", "[project", "this is not TOML: "),
]


@pytest.mark.parametrize(("old", "new", "said"), BAD)
def test_a_mistake_is_named(old: str, new: str, said: str) -> None:
    text = PLANT[::-1].replace(old[::-1], new[::-1], 1)[::-1] if 'device "m-1"' in said else changed(old, new)
    assert said in "; ".join(problems(text))


def test_every_mistake_is_named_at_once() -> None:
    text = changed('"Asia/Bangkok"', '"Mars/Base"').replace("bits = 32", "bits = 3").replace("to = 2030", "to = 2019")
    found = problems(text)
    assert len(found) == 3
    assert found == [
        'site "s1": time_zone: there is no time zone "Mars/Base": expected a name such as Asia/Bangkok',
        'device "m-1": register.bits: expected the register\'s width in bits, 8 to 64, not 3',
        "project.crediting_period.to: 2019-04-30 is before 2020-05-01: expected the last day of the period",
    ]


def test_a_misspelt_key_comes_before_the_one_that_is_missing() -> None:
    assert problems(changed("title =", "titel ="))[0].startswith("project.titel: unknown key")


def test_toml_errors_name_the_line() -> None:
    assert "(at line 3" in problems(changed('"P1"', '"P1" x'))[0]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"none\.toml: cannot be read: no such file"):
        load(tmp_path / "none.toml")


def test_a_device_counts_once() -> None:
    second = PLANT[PLANT.index("[[pv_system]]") : PLANT.index("[[device]]")].replace("pv-1", "pv-2")
    assert 'device "m-1" is credited to pv_system "pv-1" already' in problems(PLANT + second)[0]


def test_every_inverter_needs_an_inverter() -> None:
    text = changed('["m-1"]', '["*"]').replace('kind = "inverter"', 'kind = "weather"')
    assert '"*" finds no inverter of this system' in problems(text)[0]


def test_every_inverter_means_those_of_the_system() -> None:
    declared = parse(changed('["m-1"]', '["*"]'), "")
    assert [device.id for device in declared.credited_devices(declared.pv_systems[0])] == ["i-1"]


def replaced(installed: str) -> str:
    return PLANT.replace("[[device.calibration]]", REMOVED) + METER_2.replace("INSTALLED", installed)


def test_a_replacement_stands_in_the_credited_place() -> None:
    declared = parse(replaced("2021-06-01T03:00:00Z"), "")
    assert [device.id for device in declared.credited_devices(declared.pv_systems[0])] == ["m-1", "m-2"]


def test_a_replacement_of_the_same_day_begins_at_the_removal() -> None:
    assert parse(replaced("2021-06-01"), "").device("s1", "m-2").installed == datetime(2021, 6, 1, 3, tzinfo=UTC)
    assert parse(replaced("2021-06-02"), "").device("s1", "m-2").installed == datetime(2021, 6, 1, 17, tzinfo=UTC)


@pytest.mark.parametrize("installed", ["2021-06-01T02:59:59Z", "2021-05-31"])
def test_two_devices_are_never_in_one_place(installed: str) -> None:
    assert "expected no overlap" in problems(replaced(installed))[0]


def test_one_device_replaces_one() -> None:
    text = replaced("2021-06-01") + METER_2.replace("m-2", "m-3").replace(
        "INSTALLED", '2020-01-01\nremoved = { at = 2021-05-01 }\nreplaced_by = "m-2"'
    )
    assert problems(text) == [
        'device "m-3": replaced_by: "m-2" replaces "m-1" already: expected one device in one place'
    ]


def test_a_replacement_must_be_declared() -> None:
    assert '"m-2" is no other device of site "s1"' in problems(PLANT.replace("[[device.calibration]]", REMOVED))[0]


def test_the_contracts_example_is_accepted(recordings: Path) -> None:
    declared = load(recordings.parent / "contract" / "plant_1.toml")
    assert len(declared.devices) == 22
    assert len(declared.credited_devices(declared.pv_systems[0])) == 22
