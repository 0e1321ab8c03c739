"""Units and issuances for CAD Trust: its field names, ids that stay, numbers that agree."""

import csv
import io
import json
from datetime import date
from uuid import NAMESPACE_URL, UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrv.errors import RegistryError
from mrv.registry.cad_trust import ISSUANCE_FIELDS, UNIT_FIELDS, as_json, build, stable_id, write_csv
from mrv.registry.tables import from_csv
from tests.unit.registry_example import handover

PERIOD = (date(2021, 1, 1), date(2021, 12, 31))


def records(*changes):
    return build(handover(*changes), "TH014", *PERIOD)


def test_the_example_is_one_issuance_and_one_unit_of_1009():
    (issuance,), (unit,) = records().issuances, records().units
    assert tuple(issuance) == ISSUANCE_FIELDS
    assert tuple(unit) == UNIT_FIELDS
    assert (issuance["startDate"], issuance["endDate"]) == ("2021-01-01", "2021-12-31")
    assert (issuance["verificationReportDate"], issuance["verificationBody"]) == (
        "2025-08-01",
        "Example Certification Body",
    )
    assert unit["issuanceId"] == issuance["id"]
    assert (unit["unitBlockStart"], unit["unitBlockEnd"], unit["unitCount"]) == ("5001", "6009", 1009)
    assert (unit["vintageYear"], unit["unitType"], unit["unitStatus"]) == (2021, "Reduction - technical", "Held")
    assert unit["countryJurisdictionOfOwner"] == "Japan"
    assert unit["correspondingAdjustmentDeclaration"] == "Committed"
    # What was not declared is null, and not made up.
    assert issuance["verificationApproach"] is None


def test_ids_are_the_documented_ones_and_will_stay():
    namespace = uuid5(NAMESPACE_URL, "urn:jcm-mrv:cad-trust:1")
    (issuance,), (unit,) = records().issuances, records().units
    assert issuance["id"] == str(uuid5(namespace, '["issuance","TH014",2021,"2021-01-01","2021-12-31"]'))
    assert unit["warehouseUnitId"] == str(
        uuid5(namespace, '["unit","TH014",2021,"JPN","Government of Japan",5001,6009]')
    )
    # A number that was once handed over: it may never change.
    assert issuance["id"] == "168a5462-c96e-535e-9fa7-986402c06be3"
    assert UUID(str(issuance["id"])).version == 5


@given(names=st.lists(st.lists(st.one_of(st.text(), st.integers())), min_size=2, max_size=5, unique_by=json.dumps))
def test_different_names_have_different_ids(names):
    assert len({stable_id(*name) for name in names}) == len(names)


def test_json_and_csv_say_the_same():
    made = records(('holder = "Government of Japan"', 'holder = "=Government"'))
    content = json.loads(as_json(made))
    issuances, units = from_csv(write_csv(made))
    for sheet, entries in ((issuances, content["issuances"]), (units, content["units"])):
        assert [dict(zip(sheet.header, row, strict=True)) for row in sheet.rows] == [
            {name: "" if value is None else str(value) for name, value in entry.items()} for entry in entries
        ]
    lines = list(csv.reader(io.StringIO(write_csv(made).decode("utf-8-sig"), newline="")))
    assert lines[-1][2] == "'=Government"
    assert as_json(made) == as_json(records(('holder = "Government of Japan"', 'holder = "=Government"')))


def test_a_period_of_three_years_has_an_issuance_for_each_with_its_own_days():
    whole = handover(
        ("from = 2021-01-01", "from = 2020-09-28"),
        ("to = 2021-12-31", "to = 2022-03-31"),
        ("verified = [", "verified = [{ vintage = 2020, tco2 = 0 }, { vintage = 2022, tco2 = 0 }, "),
    )
    made = build(whole, "TH014", date(2020, 9, 28), date(2022, 3, 31))
    assert [(one["startDate"], one["endDate"]) for one in made.issuances] == [
        ("2020-09-28", "2020-12-31"), ("2021-01-01", "2021-12-31"), ("2022-01-01", "2022-03-31"),
    ]  # fmt: skip
    assert len({one["id"] for one in made.issuances}) == 3
    assert [unit["issuanceId"] for unit in made.units] == [made.issuances[1]["id"]]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('JPN = "Japan", ', "", "cad_trust.countries has no name for JPN, the side of block jpn-2021"),
        ('status = "Held"\n', "", "block jpn-2021: status None is none of: Held, Retired"),
        ('status = "Held"', 'status = "held"', "status 'held' is none of"),
        ("from = 2021-01-01", "from = 2021-01-02", "no .* of TH014 2021-01-01 to 2021-12-31; there is 2021-01-02"),
    ],
)
def test_what_cad_trust_asks_and_nobody_said_is_refused(before, after, said):
    with pytest.raises(RegistryError, match=said):
        records((before, after))


def test_without_its_table_it_is_refused():
    with pytest.raises(RegistryError, match=r"there is no \[cad_trust\] table"):
        build(handover().model_copy(update={"cad_trust": None}), "TH014", *PERIOD)
