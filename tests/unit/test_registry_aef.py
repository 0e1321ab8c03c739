"""The five tables of Article 6.2: columns in order, controlled values, identifiers, and what must hold between rows."""

import io
import re
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrv.errors import RegistryError
from mrv.registry import handover_file, nomenclature
from mrv.registry.aef import build, read, sheets_of, write
from mrv.registry.aef_fields import TABLES
from mrv.registry.aef_rules import problems
from mrv.registry.itmo import Itmo
from mrv.registry.tables import as_csv
from tests.unit.registry_example import handover, report

ACTIONS_IN_ORDER = [
    "Action date", "Action type", "Action subtype", "Cooperative approach ID", "Authorization ID",
    "First transferring participating Party ID", "Party ITMO registry ID", "First ID", "Last ID",
    "Underlying unit registry ID", "First unit ID", "Last unit ID", "Metric", "Applicable GWP value(s)",
    "Applicable non-GHG metric", "Quantity (t CO2 eq)", "Quantity (in non-GHG metric)", "Mitigation type", "Vintage",
    "Transferring participating Party ID", "Acquiring participating Party ID",
    "Purpose for which the ITMO has been used towards or cancelled for OIMP",
    "Using/cancelling participating Party ID", "Using/cancelling authorized entity ID",
    "Calendar year for which the ITMOs are used towards the Party's NDC", "Result of the consistency checks",
    "Additional explanatory information",
]  # fmt: skip


def with_row(number, row=0, **values):
    """The example's report with values of one row changed; None takes a value away."""
    tables = report()
    rows = [dict(one) for one in tables[number]]
    rows[row] = {name: value for name, value in (rows[row] | values).items() if value is not None}
    return {**tables, number: tuple(rows)}


def test_the_tables_have_9_19_27_16_and_8_columns_in_the_formats_order():
    assert [len(table.fields) for table in TABLES] == [9, 19, 27, 16, 8]
    assert [field.label for field in TABLES[2].fields] == ACTIONS_IN_ORDER
    assert [field.label for field in TABLES[3].fields] == ACTIONS_IN_ORDER[3:19]
    for table in TABLES:
        assert len({field.name for field in table.fields}) == len({field.label for field in table.fields})
        assert len({field.name for field in table.fields}) == len(table.fields)


def test_five_fields_are_the_platforms():
    platform = [(table.number, field.label) for table in TABLES for field in table.fields if field.platform]
    assert [number for number, _ in platform] == [1, 1, 1, 2, 3]


def test_controlled_values_are_spelt_as_the_source_spells_them():
    assert "C02 usage" in nomenclature.ACTIVITY_TYPES
    assert {"JCM", "T-VER"} <= set(nomenclature.UNIT_REGISTRIES)
    assert "Other" not in (*nomenclature.ACTIVITY_TYPES, *nomenclature.SECTORS)
    lengths = [len(values) for values in (
        nomenclature.SECTORS, nomenclature.PURPOSES, nomenclature.ACTIONS, nomenclature.SUBTYPES,
        nomenclature.UNIT_REGISTRIES, nomenclature.MITIGATIONS, nomenclature.ACTIVITY_TYPES,
    )]  # fmt: skip
    assert lengths == [9, 7, 7, 10, 12, 3, 27]


def test_the_example_is_japans_acquisition_and_holding_of_1009_itmos():
    made = report()
    assert problems(made) == []
    (action,), (holding,), (authorization,) = made[3], made[4], made[2]
    assert action["ActionDateTime"] == datetime(2025, 11, 11, 3, tzinfo=UTC)
    for row in (action, holding):
        assert (row["FirstID"], row["LastID"], row["QuantityCO2"], row["Vintage"]) == (1, 1009, 1009, 2021)
        assert (row["UnderlyingUnitFirstUnitID"], row["UnderlyingUnitLastUnitID"]) == (5001, 6009)
    assert (authorization["Sectors"], authorization["ActivityType"]) == ("Energy generation", "Solar")
    # What does not apply to an acquisition is NA; what was not declared is blank.
    assert action["TransferringPartyID"] == "THA"
    assert [action[name] for name in ("AcquiringPartyID", "YearITMOUsedTowardsNDC", "QuantityNon-GHG")] == ["NA"] * 3
    assert action["AdditionalExplanatoryInformation"] is None
    assert authorization["FirstTransferDefnForOIMP"] == "NA"


@pytest.mark.parametrize("as_workbook", [True, False])
def test_what_is_written_is_read_back_typed(as_workbook):
    made = report()
    again = read(write(made, as_workbook=as_workbook), as_workbook=as_workbook)
    assert problems(again) == []
    for number, rows in made.items():
        assert list(again[number]) == [{k: v for k, v in row.items() if v is not None} for row in rows]
    assert write(again, as_workbook=as_workbook) == write(made, as_workbook=as_workbook)


printable = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp"))
names = st.text(printable, min_size=1, max_size=30).filter(
    lambda text: text.isprintable() and text.strip() and text.strip() != "NA"
)


@settings(max_examples=30, deadline=None)
@given(
    name=st.tuples(st.sampled_from(["", "=", "+", "-", "@", "'=", "'"]), names).map("".join),
    first=st.integers(1, 10**12), quantity=st.integers(1, 10**6), day=st.dates(date(2026, 1, 1), date(2030, 1, 1)),
)  # fmt: skip
def test_any_names_and_numbers_come_back_from_both_kinds_of_file(name, first, quantity, day):
    block = {"FirstID": first, "LastID": first + quantity - 1, "QuantityCO2": quantity}
    block |= {"UnderlyingUnitFirstUnitID": "NA", "UnderlyingUnitLastUnitID": "NA"}
    made = with_row(3, **block)
    made[4] = with_row(4, **block)[4]
    made[5] = with_row(5, AuthorizedEntityName=name)[5]
    made[1] = with_row(1, DateOfSubmission=day)[1]
    assert problems(made) == []
    for as_workbook in (True, False):
        again = read(write(made, as_workbook=as_workbook), as_workbook=as_workbook)
        assert again[5][0]["AuthorizedEntityName"] == name
        assert again[1][0]["DateOfSubmission"] == day
        assert {field: again[3][0][field] for field in block} == block
        assert problems(again) == []


def test_the_workbook_has_a_sheet_for_each_table_and_no_formula():
    book = openpyxl.load_workbook(io.BytesIO(write(report(), as_workbook=True)))
    assert book.sheetnames == [
        "Table 1 Submission", "Table 2 Authorizations", "Table 3 Actions", "Table 4 Holdings",
        "Table 5 Authorized entities",
    ]  # fmt: skip
    assert all(cell.data_type != "f" for sheet in book for row in sheet.iter_rows() for cell in row)
    header, row = book["Table 3 Actions"].iter_rows(min_row=2, values_only=True)
    assert list(header) == ACTIONS_IN_ORDER
    assert (row[0], row[7], row[8], row[15]) == ("2025-11-11T03:00:00.000Z", 1, 1009, 1009)


def test_tables_without_rows_have_their_header_all_the_same():
    made = report(("year = 2025", "year = 2026"), ("2025-11-11T12", "2026-01-01T12"), ("2026-04-10", "2026-04-11"))
    assert [len(sheet.rows) for sheet in sheets_of(made)] == [1, 1, 0, 0, 1]
    assert read(write(made, as_workbook=False), as_workbook=False)[3] == ()


@pytest.mark.parametrize(
    ("number", "values", "said"),
    [
        (1, {"ParticipatingParty": "Japan"}, "Table 1 Submission, row 1, Party: 'Japan' is not of the form of THA"),
        (1, {"SubmissionVersion": "0.1"}, "Version: '0.1' is not of the form of 1.0"),
        (1, {"DateOfSubmission": date(2025, 12, 31)}, "Date of submission: 31/12/2025 lies before the end of 2025"),
        (1, {"ReviewStatusOfInitialReport": "x"}, "is filled by the UNFCCC's platform: leave it blank"),
        (1, {"FirstYearOfNDCPeriod": 2031}, "the NDC period 2031 to 2030 begins after its end"),
        (2, {"CooperativeApproachID": "CA01"}, "Cooperative approach ID: 'CA01' is not of the form of CA0001"),
        (2, {"AuthorizationID": "TH/1"}, "Authorization ID: 'TH/1' is not of the form"),
        (2, {"Sectors": "Energy"}, "Sector(s): 'Energy' is none of: Agriculture"),
        (2, {"ActivityType": "CO2 usage"}, "Activity type(s): 'CO2 usage' is none of"),
        (2, {"PurposeForAuthorization": "NDC, OIMP"}, "Purposes for authorization: 'NDC, OIMP' is none of: NDC, OIMP"),
        (2, {"AuthorizedPartyIDs": "JPN; Thailand"}, "'Thailand' is not of the form of JPN"),
        (2, {"AuthorizedTimeframe": "2021-2030"}, "'2021-2030' is not of the form of 2021 - 2030"),
        (2, {"OIMPAuthorized": "CORSIA"}, "applies only where PurposeForAuthorization is OIMP"),
        (2, {"AuthorizationVersion": 0}, "Version of the authorization: '0' is no whole number above 0"),
        (3, {"ActionType": "Issuance"}, "Action type: 'Issuance' is none of: Authorization, First transfer"),
        (3, {"Metric": None}, "Table 3 Actions, row 1, Metric: is missing"),
        (3, {"Metric": "NA"}, "Metric: NA stands where a value is needed"),
        (3, {"UnderlyingUnitRegistryID": "TVER"}, "Underlying unit registry ID: 'TVER' is none of: VCS"),
        (3, {"ActionType": "Transfer", "ActionSubtype": "Issuance", "TransferringPartyID": "NA"}, "none of Transfer"),
        (3, {"AcquiringPartyID": "JPN"}, "applies only where ActionType is First transfer, Transfer: write NA"),
        (3, {"ActionDateTime": "11/11/2025"}, "Action date: '11/11/2025' is no instant in UTC"),
        (3, {"ActionDateTime": datetime(2026, 1, 1, tzinfo=UTC)}, "lies outside the reported year 2025"),
        (3, {"Vintage": 2020}, "Vintage: 2020 lies outside the NDC period 2021 to 2030"),
        (3, {"Vintage": 2026}, "Vintage: 2026 lies after the action"),
        (4, {"Vintage": 2031}, "Table 4 Holdings, row 1, Vintage: 2031 lies outside the NDC period 2021 to 2030"),
        (3, {"Vintage": 21}, "Vintage: '21' is no year"),
        (3, {"QuantityCO2": 1008}, "ITMOs 1 to 1009 has 1,009, and the quantity is 1,008 t"),
        (3, {"UnderlyingUnitLastUnitID": 6010}, "units 5001 to 6010 has 1,010, and the quantity is 1,009 t"),
        (3, {"UnderlyingUnitLastUnitID": None}, "the block of units has one end"),
        (3, {"FirstID": 2000}, "the block of ITMOs 2000 to 1009 begins after its end"),
        (3, {"FirstID": "one"}, "First ID: 'one' is no whole number above 0, and no ITMO identifier"),
        (3, {"FirstID": "CA0001-THA1-THA-1-2021"}, "is no ITMO identifier: expected cooperative approach"),
        (3, {"FirstID": "CA0001-THA01-THA-0-2021"}, "is no ITMO identifier"),
        (3, {"FirstID": "CA0002-THA01-THA-1-2021"}, "says CA0002, and CooperativeApproachID of the row is CA0001"),
        (3, {"FirstID": "CA0001-THA01-KHM-1-2021"}, "says KHM, and FirstTransferringPartyID of the row is THA"),
        (3, {"FirstID": "CA0001-THA01-THA-1-2022"}, "says 2022, and Vintage of the row is 2021"),
        (3, {"AuthorizationID": "TH-9"}, "Authorization ID: TH-9 is not in Table 2 Authorizations"),
        (3, {"CooperativeApproachID": "CA0002"}, "TH-2025-001 is not of CA0002"),
        (3, {"ActionType": "Cancellation", "TransferringPartyID": "NA", "Using/cancellingEntityID": "9"},
         "'9' is not in Table 5"),
        (3, {"ActionType": "Use", "TransferringPartyID": "NA"}, "are held, and 1 to 1009 had the action Use"),
        (4, {"MitigationType": "Removals"}, "Mitigation type: Removals, and Table 3 Actions, row 1 says Emission red"),
        (4, {"PartyITMORegistryID": "JPN1"}, "Party ITMO registry ID: 'JPN1' is not of the form of THA01"),
        (5, {"AuthorizedEntityCountryOfIncorporation": "JP"}, "Country of incorporation: 'JP' is not of the form"),
        (5, {"DateOfAuthorization": "2025-10-30"}, "Date of the authorization: '2025-10-30' is no day: expected dd/mm"),
    ],
)  # fmt: skip
def test_one_line_says_what_is_wrong_and_where(number, values, said):
    found = problems(with_row(number, **values))
    assert any(said in line for line in found), found
    assert all("\n" not in line for line in found)


@pytest.mark.parametrize(("number", "said"), [(3, "are first transferred, as are"), (4, "are held, as are")])
def test_a_block_is_first_transferred_once_and_held_once(number, said):
    tables = report()
    row = dict(tables[number][0])
    if number == 3:
        row |= {"ActionType": "First transfer", "TransferringPartyID": "NA", "AcquiringPartyID": "JPN"}
        row |= {"PurposeITMOUsedForOIMP": "NA"}
    other = row | {"FirstID": 1009, "LastID": 1010, "QuantityCO2": 2}
    other |= {"UnderlyingUnitFirstUnitID": "NA", "UnderlyingUnitLastUnitID": "NA"}
    assert any(said in line for line in problems({**tables, number: (row, other)}))
    # Another vintage has serial numbers of its own.
    assert problems({**tables, number: (row, other | {"Vintage": 2022}), 4 if number == 3 else 3: ()}) == []


def test_a_part_of_a_block_has_the_same_part_of_its_units():
    made = report(("year = 2025", 'year = 2025\nfirst_id = 10\nlast_id = "CA0001-THA01-THA-20-2021"'))
    row = made[4][0]
    assert (row["FirstID"], row["LastID"], row["QuantityCO2"]) == (10, 20, 11)
    assert (row["UnderlyingUnitFirstUnitID"], row["UnderlyingUnitLastUnitID"]) == (5010, 5020)


def test_an_action_is_of_the_year_that_it_has_in_utc():
    assert len(report(("2025-11-11T12:00:00+09:00", "2026-01-01T08:59:59+09:00"))[3]) == 1
    assert len(report(("2025-11-11T12:00:00+09:00", "2026-01-01T09:00:00+09:00"))[3]) == 0


def test_holdings_are_those_of_the_reported_years_31_december():
    assert [len(report(("year = 2025", f"year = {year}"))[4]) for year in (2024, 2025, 2026)] == [0, 1, 0]


def test_a_submission_has_one_row_and_an_authorization_each_version_once():
    tables = report()
    assert problems({**tables, 1: tables[1] * 2}) == ["Table 1 Submission has 2 rows: a submission has one"]
    assert problems({**tables, 1: ()}) == ["Table 1 Submission has 0 rows: a submission has one"]
    assert problems({**tables, 2: tables[2] * 2}) == [
        "Table 2 Authorizations, row 2: version 1 of TH-2025-001 is there already"
    ]
    assert problems({**tables, 2: (tables[2][0], {**tables[2][0], "AuthorizationVersion": 2})}) == []


def test_whole_identifiers_stand_for_their_serial_numbers():
    tables = with_row(3, FirstID="CA0001-THA01-THA-1-2021", LastID="CA0001-THA01-THA-1,009-2021")
    assert problems(tables) == []


@given(serial=st.integers(1, 10**9), commas=st.booleans())
def test_an_identifier_is_read_and_written(serial, commas):
    text = f"CA0001-THA01-THA-{serial:,}-2021" if commas else f"CA0001-THA01-THA-{serial}-2021"
    itmo = Itmo.parse(text)
    assert itmo == Itmo("CA0001", "THA01", "THA", serial, 2021)
    assert Itmo.parse(str(itmo)) == itmo


@pytest.mark.parametrize(
    "text",
    ["", "CA0001", "CA001-THA01-THA-1-2021", "CA0001-THA01-THA-01-2021", "CA0001-THA01-THA-1-21",
     "ca0001-THA01-THA-1-2021", "CA0001-THA01-THA-1-2021 ", "CA0001-THA01-THA-1,00-2021", "CA0001-THA01-THA-١-2021"],
)  # fmt: skip
def test_what_is_no_identifier_is_refused(text):
    with pytest.raises(RegistryError, match="is no ITMO identifier"):
        Itmo.parse(text)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("Table 3 Actions", "Table 6 Others", "has a table 'Table 6 Others'"),
        ("Table 4 Holdings", "Table 3 Actions", "has Table 3 Actions twice"),
        ("Action subtype", "Subtype", "Table 3 Actions, column 3 is 'Subtype': expected 'Action subtype'"),
        (",Vintage,Transferring", ",Transferring", "Table 3 Actions, column 19 is 'Transferring participating"),
    ],
)
def test_columns_that_are_not_the_formats_are_refused(before, after, said):
    content = write(report(("year = 2025", "year = 2024")), as_workbook=False)
    changed = content.replace(before.encode(), after.encode(), 1)
    assert changed != content
    with pytest.raises(RegistryError, match=said):
        read(changed, as_workbook=False)


def test_a_column_too_many_or_too_few_at_the_end_is_refused():
    lines = write(report(), as_workbook=False).decode("utf-8-sig").split("\r\n")
    at = lines.index("Table 4 Holdings")
    for header, said in (
        (f"{lines[at + 1]},More", "has 17 columns"),
        (lines[at + 1].removesuffix(",Vintage"), "15 col"),
    ):
        changed = "\r\n".join([*lines[: at + 1], header, "", *lines[at + 4 :]])
        with pytest.raises(RegistryError, match=said):
            read(changed.encode(), as_workbook=False)


CELLS = st.one_of(st.text(max_size=12), st.integers(0, 10**40).map(str), st.sampled_from([
    "", "NA", "9" * 5000, "CA0001-THA01-THA-1-2021", "Use", "First transfer", "non-GHG", "GHG", "31/02/2025", "46000",
    "2025-11-11T03:00:00.000Z", "TH-2025-001", "2021", "1", "1009", "JPN", "Issuance",
]))  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 26), CELLS), min_size=1, max_size=6))
def test_whatever_a_cell_says_it_is_told_on_lines(changes):
    tables = sheets_of(report())
    for table, column, cell in changes:
        (row,) = tables[table].rows
        at = column % len(row)
        tables[table] = replace(tables[table], rows=((*row[:at], cell, *row[at + 1 :]),))
    assert all(line.isprintable() for line in problems(read(as_csv(tables), as_workbook=False)))


def test_a_missing_table_is_named():
    content = write(report(), as_workbook=False)
    with pytest.raises(RegistryError, match="lacks Table 5 Authorized entities"):
        read(content[: content.index(b"Table 5")], as_workbook=False)


def test_a_kind_without_a_sector_must_declare_one():
    with pytest.raises(RegistryError, match=r"Sector\(s\): is missing"):
        build(handover(), ["TH014"], 2025, {"TH014": "chiller"})
    declared = handover(('purposes = "NDC"', 'purposes = "NDC"\nsectors = ["Industrial processes"]'))
    assert build(declared, ["TH014"], 2025, {"TH014": "chiller"})[2][0]["Sectors"] == "Industrial processes"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('registry = "JPN01"\n', "", "Party ITMO registry ID: is missing"),
        ('first_id = "CA0001', 'first_id = "CA0003', "block jpn-2021: CA0003-THA01-THA-1-2021 says CA0003"),
        ('type = "Acquisition"', 'type = "Issuance"', "Action type: 'Issuance' is none of"),
    ],
)
def test_what_cannot_be_handed_over_is_refused(before, after, said):
    with pytest.raises(RegistryError, match=said):
        report((before, after))


def test_a_project_without_a_notification_is_named():
    with pytest.raises(RegistryError, match=r"no \[\[notification\]\] of P9; there is one of TH014"):
        build(handover(), ["P9"], 2025, {})


def test_the_documented_hand_over_file_holds_together():
    page = (Path(__file__).resolve().parents[2] / "docs" / "registry.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    made = build(handover_file.read(example, "docs/registry.md"), ["TH014"], 2025, {"TH014": "solar PV"})
    assert [len(made[table.number]) for table in TABLES] == [1, 1, 1, 1, 1]
