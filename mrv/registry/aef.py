"""The five tables of the Agreed Electronic Format: made from a hand-over file, written, read back and checked.

What the format asks and nobody declared stays blank; what does not apply is NA; what the UNFCCC's platform fills is
blank. Serial numbers are written as whole numbers, as the common nomenclatures have them (S).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time

from mrv.errors import RegistryError
from mrv.registry.aef_fields import (
    ACTIONS,
    AUTHORIZATIONS,
    BY_TITLE,
    ENTITIES,
    HOLDINGS,
    NOT_APPLICABLE,
    SEPARATOR,
    SUBMISSION,
    TABLES,
    Field,
    Row,
    Table,
)
from mrv.registry.aef_rules import Report, problems, wrong_identifier
from mrv.registry.handover import Action, Authorization, Block, Entity, Handover, Holding, serial_of
from mrv.registry.nomenclature import OF_KIND
from mrv.registry.tables import Cell, Sheet, as_csv, as_xlsx, from_csv, from_xlsx, read_day, read_instant, written

_NUMBERS = {
    table.title: frozenset(field.label for field in table.fields if field.kind in {"integer", "serial", "year"})
    for table in TABLES
}
_MOST_NAMED = 5
_MOST_DIGITS = 30


def build(handover: Handover, projects: Sequence[str], year: int, kinds: Mapping[str, str]) -> Report:
    """Make the tables of a reported year.

    Parameters
    ----------
    handover
        What was decided; its sums were checked when it was read.
    projects
        Whose actions and holdings are reported; authorizations and entities are all reported.
    year
        The reported year: of its actions, whatever their vintage, and of the holdings on its 31 December.
    kinds
        The kind of methodology of each project, from which sector and activity type are taken where none is declared.

    Raises
    ------
    RegistryError
        Something that is needed was not declared, or the tables do not hold together.
    """
    given = handover.submission
    if given is None:
        raise RegistryError("there is no [submission] table: say which Party reports, its version and its NDC period")
    for project in projects:
        handover.of_project(project)
    submission: Row = {
        "ParticipatingParty": given.party,
        "SubmissionVersion": given.version,
        "ReportedYear": year,
        "DateOfSubmission": given.submitted,
        "FirstYearOfNDCPeriod": given.ndc_first_year,
        "LastYearOfNDCPeriod": given.ndc_last_year,
    }
    blocks = {block.id: block for block in handover.blocks if block.project in projects}
    approaches = {one.id: one.cooperative_approach for one in handover.authorizations}
    actions = [
        _action(entry, blocks[entry.block], approaches)
        for entry in handover.actions
        if entry.block in blocks and entry.at.year == year
    ]
    holdings = [
        _of_block(entry, blocks[entry.block], approaches)
        for entry in handover.holdings
        if entry.block in blocks and entry.year == year
    ]
    report: Report = {
        SUBMISSION.number: (submission,),
        AUTHORIZATIONS.number: tuple(_authorization(one, handover, kinds) for one in handover.authorizations),
        ACTIONS.number: tuple(_complete(ACTIONS, row) for row in actions),
        HOLDINGS.number: tuple(_complete(HOLDINGS, row) for row in holdings),
        ENTITIES.number: tuple(_entity(one) for one in handover.entities),
    }
    refuse(problems(report))
    return report


def refuse(found: Sequence[str]) -> None:
    """Raise RegistryError with what was found, the first few of it, unless it is nothing."""
    if found:
        more = f"; and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
        raise RegistryError("; ".join(found[:_MOST_NAMED]) + more)


def _authorization(one: Authorization, handover: Handover, kinds: Mapping[str, str]) -> Row:
    used_by = {block.project for block in handover.blocks if block.authorization == one.id}
    known = [OF_KIND[kinds[project]] for project in sorted(used_by) if kinds.get(project, "") in OF_KIND]
    return _complete(
        AUTHORIZATIONS,
        {
            "AuthorizationID": one.id,
            "DateOfAuthorization": one.authorized,
            "CooperativeApproachID": one.cooperative_approach,
            "AuthorizationVersion": one.version,
            "AuthorizedQuantity": one.quantity,
            "Metric": "GHG",
            "GWPValues": NOT_APPLICABLE,
            "Sectors": _joined(one.sectors or [sector for sector, _ in known]),
            "ActivityType": _joined(one.activity_types or [activity for _, activity in known]),
            "PurposeForAuthorization": one.purposes,
            "AuthorizedPartyIDs": _joined(one.parties),
            "AuthorizedEntityIDs": _joined(one.entities),
            "OIMPAuthorized": one.oimp,
            "AuthorizedTimeframe": one.timeframe,
            "AuthorizationT&Cs": one.terms,
            "FirstTransferDefnForOIMP": one.first_transfer,
            "AdditionalExplanatoryInformation": one.information,
        },
    )


def _entity(one: Entity) -> Row:
    return {
        "DateOfAuthorization": one.authorized,
        "AuthorizedEntityName": one.name,
        "AuthorizedEntityCountryOfIncorporation": one.country,
        "AuthorizedEntityID": one.number,
        "CooperativeApproachID": one.cooperative_approach,
        "AuthorizedEntityConditions": one.conditions,
        "AuthorizedEntityChangeConditions": one.change_conditions,
        "AdditionalExplanatoryInformation": one.information,
    }


def _of_block(entry: Action | Holding, block: Block, approaches: Mapping[str, str]) -> dict[str, Cell]:
    begin, end = serial_of(block.first_id), serial_of(block.last_id)
    first, last = serial_of(entry.first_id) or begin, serial_of(entry.last_id) or end
    assert begin is not None and first is not None and last is not None  # noqa: S101, PT018 - `read` has seen to it
    unit, after = block.first_unit, block.last_unit
    for identifier in (block.first_id, block.last_id, entry.first_id, entry.last_id):
        _agrees(identifier, block, approaches)
    return {
        "CooperativeApproachID": approaches.get(block.authorization or ""),
        "AuthorizationID": block.authorization,
        "FirstTransferringPartyID": block.first_transferring_party,
        "PartyITMORegistryID": block.registry,
        "FirstID": first,
        "LastID": last,
        "UnderlyingUnitRegistryID": block.unit_registry or NOT_APPLICABLE,
        # The units lie in the block as its ITMOs do, one for one.
        "UnderlyingUnitFirstUnitID": NOT_APPLICABLE if unit is None or after is None else unit + first - begin,
        "UnderlyingUnitLastUnitID": NOT_APPLICABLE if unit is None or after is None else unit + last - begin,
        "Metric": "GHG",
        "GWPValues": block.gwp or NOT_APPLICABLE,
        "QuantityCO2": last - first + 1,
        "MitigationType": "Emission reductions",
        "Vintage": block.vintage,
    }


def _agrees(identifier: int | str | None, block: Block, approaches: Mapping[str, str]) -> None:
    """Hold a whole identifier against its block, before only its serial number is written."""
    row: Row = {
        "CooperativeApproachID": approaches.get(block.authorization or ""),
        "FirstTransferringPartyID": block.first_transferring_party,
        "Vintage": block.vintage,
    }
    if isinstance(identifier, str):
        wrong = wrong_identifier(identifier, row)
        if wrong:
            raise RegistryError(f"block {block.id}: {wrong}")


def _action(entry: Action, block: Block, approaches: Mapping[str, str]) -> dict[str, Cell]:
    return {
        "ActionDateTime": entry.at,
        "ActionType": entry.type,
        "ActionSubtype": entry.subtype,
        **_of_block(entry, block, approaches),
        "TransferringPartyID": entry.transferring_party,
        "AcquiringPartyID": entry.acquiring_party,
        "PurposeITMOUsedForOIMP": entry.purpose,
        "Using/cancellingPartyID": entry.using_party,
        "Using/cancellingEntityID": entry.using_entity,
        "YearITMOUsedTowardsNDC": entry.used_for_year,
        "AdditionalExplanatoryInformation": entry.information,
    }


def _complete(table: Table, row: Row) -> Row:
    """Write NA where a field does not apply to the row and nothing was declared."""
    inapplicable = {
        field.name: NOT_APPLICABLE
        for field in table.fields
        if field.when is not None and not field.when.holds(row) and row.get(field.name) is None
    }
    return {**row, **inapplicable}


def _joined(values: Sequence[str]) -> str | None:
    return SEPARATOR.join(dict.fromkeys(values)) or None


def sheets_of(report: Report) -> list[Sheet]:
    """Write the tables as sheets, the empty ones too: no action is a statement."""
    return [
        Sheet(
            table.title,
            tuple(field.label for field in table.fields),
            tuple(
                tuple(written(row.get(field.name)) for field in table.fields) for row in report.get(table.number, ())
            ),
        )
        for table in TABLES
    ]


def write(report: Report, *, as_workbook: bool) -> bytes:
    """Write the tables as a workbook or as one CSV file: the same bytes for the same report."""
    sheets = sheets_of(report)
    if not as_workbook:
        return as_csv(sheets)
    submitted = read_day(sheets[0].rows[0][3]) if sheets[0].rows else None
    created = datetime.combine(submitted, time(), UTC) if submitted else datetime(2021, 1, 1, tzinfo=UTC)
    return as_xlsx(sheets, _NUMBERS, created=created)


def read(content: bytes, *, as_workbook: bool) -> Report:
    """Read the tables of a file, typed as the format has them; a cell that cannot be typed stays text.

    Raises
    ------
    RegistryError
        The file is none of these tables, or its columns are not the format's.
    """
    sheets = from_xlsx(content) if as_workbook else from_csv(content)
    found: dict[int, tuple[Row, ...]] = {}
    for sheet in sheets:
        table = BY_TITLE.get(sheet.title)
        if table is None:
            expected = ", ".join(BY_TITLE)
            raise RegistryError(f"has a table {sheet.title!r}; those of Article 6.2 are {expected}")
        if table.number in found:
            raise RegistryError(f"has {table.title} twice")
        _check_header(table, sheet)
        found[table.number] = tuple(
            {field.name: _typed(field, cell) for field, cell in zip(table.fields, row, strict=True) if cell}
            for row in sheet.rows
        )
    missing = [table.title for table in TABLES if table.number not in found]
    if missing:
        raise RegistryError(f"lacks {', '.join(missing)}: a table without rows has its header all the same")
    return found


def _check_header(table: Table, sheet: Sheet) -> None:
    labels = [field.label for field in table.fields]
    for position, (expected, label) in enumerate(zip(labels, sheet.header, strict=False), start=1):
        if expected != label:
            raise RegistryError(f"{table.title}, column {position} is {label!r}: expected {expected!r}")
    if len(sheet.header) != len(labels):
        raise RegistryError(f"{table.title} has {len(sheet.header)} columns: expected {len(labels)}")


def _typed(field: Field, cell: str) -> Cell:
    if cell == NOT_APPLICABLE:
        return cell
    match field.kind:
        case "integer" | "serial" | "year":
            return int(cell) if cell.isascii() and cell.isdigit() and len(cell) <= _MOST_DIGITS else cell
        case "date":
            return read_day(cell) or cell
        case "instant":
            return read_instant(cell) or cell
    return cell
