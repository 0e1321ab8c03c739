"""What must hold in a row of the Article 6.2 tables, and between rows; each problem is one line.

Rows are held against the field list. Between rows: an authorization that is referred to is there; a block's quantity is
its length, one tonne an ITMO and a unit (D); vintages lie in the NDC period, actions in the reported year; holdings do
not overlap and were not used; what overlaps agrees on what never changes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise

from mrv.errors import RegistryError
from mrv.registry import nomenclature as names
from mrv.registry.aef_fields import (
    ACTIONS,
    AUTHORIZATIONS,
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
from mrv.registry.itmo import Itmo
from mrv.registry.tables import Cell, written

Report = Mapping[int, Sequence[Row]]
"""Rows by the number of their table."""

_CONSUMED = ("Use", "Cancellation", "Voluntary Cancellation")
_NEVER_CHANGE = ("Metric", "MitigationType")


def problems(report: Report) -> list[str]:
    """List what is wrong; nothing where the tables hold together."""
    found = [line for table in TABLES for line in _of_table(table, report.get(table.number, ()))]
    # What lies between rows is told of rows that can be read.
    return found or [*_submission(report), *_references(report), *_ranges(report)]


def where(table: Table, row: int, field: str = "") -> str:
    """Name a row, counted from 1 below the header, and one of its fields."""
    label = next((one.label for one in table.fields if one.name == field), "")
    return f"{table.title}, row {row}" + (f", {label}" if label else "")


def _of_table(table: Table, rows: Sequence[Row]) -> Iterator[str]:
    for number, row in enumerate(rows, start=1):
        for field in table.fields:
            wrong = _wrong(field, row.get(field.name), row)
            if wrong:
                yield f"{where(table, number, field.name)}: {wrong}"
        if table is ACTIONS:
            kind, subtype = str(row.get("ActionType")), row.get("ActionSubtype")
            allowed = names.SUBTYPES_OF.get(kind)
            if allowed and subtype in names.SUBTYPES and subtype not in allowed:
                yield f"{where(table, number, 'ActionSubtype')}: {subtype!r} is none of {kind}: {_listed(allowed)}"
        if table in (ACTIONS, HOLDINGS):
            yield from (f"{where(table, number)}: {line}" for line in _block(row))


def _wrong(field: Field, value: Cell, row: Row) -> str | None:
    if field.platform:
        return None if value is None else "is filled by the UNFCCC's platform: leave it blank"
    if value is None:
        return "is missing" if field.needed else None
    if value == NOT_APPLICABLE:
        return f"{NOT_APPLICABLE} stands where a value is needed" if field.needed else None
    if field.when is not None and not field.when.holds(row):
        return f"applies only where {field.when.field} is {_listed(field.when.values)}: write {NOT_APPLICABLE}"
    return _wrong_kind(field, value, row) or _wrong_text(field, value)


def _wrong_kind(field: Field, value: Cell, row: Row) -> str | None:
    shown = repr(written(value))
    match field.kind:
        case "serial" if isinstance(value, str):
            return wrong_identifier(value, row)
        case "integer" | "serial":
            return None if isinstance(value, int) and value > 0 else f"{shown} is no whole number above 0"
        case "year":
            return None if isinstance(value, int) and 1990 <= value <= 2100 else f"{shown} is no year"
        case "date":
            plain = isinstance(value, date) and not isinstance(value, datetime)
            return None if plain else f"{shown} is no day: expected dd/mm/yyyy"
        case "instant":
            if isinstance(value, datetime):
                return None
            return f"{shown} is no instant in UTC: expected one such as 2025-11-11T03:00:00.000Z"
    return None if isinstance(value, str) else f"{shown} is no text"


def wrong_identifier(value: str, row: Row) -> str | None:
    """Say what a whole identifier has that its row does not; None where it agrees."""
    try:
        itmo = Itmo.parse(value)
    except RegistryError as error:
        return str(error) if "-" in value else f"{value!r} is no whole number above 0, and no ITMO identifier"
    # The identifier's registry may be another than the one in which an action was tracked, so it is not compared.
    for said, name in (
        (itmo.cooperative_approach, "CooperativeApproachID"),
        (itmo.first_transferring_party, "FirstTransferringPartyID"),
        (itmo.vintage, "Vintage"),
    ):
        if said != row.get(name):
            return f"{value} says {said}, and {name} of the row is {written(row.get(name))}"
    return None


def _wrong_text(field: Field, value: Cell) -> str | None:
    if not isinstance(value, str) or field.kind != "text":
        return None
    for one in value.split(SEPARATOR) if field.many else [value]:
        if field.values and one not in field.values:
            return f"{one!r} is none of: {_listed(field.values)}"
        if field.form is not None and field.form.fullmatch(one) is None:
            return f"{one!r} is not of the form of {field.example}"
    return None


def serial(value: Cell) -> int | None:
    """Take the serial number of a cell that is one, or a whole identifier; None for anything else."""
    if isinstance(value, str):
        try:
            return Itmo.parse(value).serial
        except RegistryError:
            return None
    return value if isinstance(value, int) else None


def _block(row: Row) -> Iterator[str]:
    quantity = row.get("QuantityCO2")
    ghg = row.get("Metric") == "GHG"
    for what, first_name, last_name in (
        ("ITMOs", "FirstID", "LastID"),
        ("units", "UnderlyingUnitFirstUnitID", "UnderlyingUnitLastUnitID"),
    ):
        first, last = serial(row.get(first_name)), serial(row.get(last_name))
        if first is None and last is None:
            continue
        if first is None or last is None:
            yield f"the block of {what} has one end: give the first and the last ID"
        elif first > last:
            yield f"the block of {what} {first} to {last} begins after its end"
        elif ghg and isinstance(quantity, int) and last - first + 1 != quantity:
            yield f"the block of {what} {first} to {last} has {last - first + 1:,}, and the quantity is {quantity:,} t"


def _submission(report: Report) -> Iterator[str]:
    rows = report.get(SUBMISSION.number, ())
    if len(rows) != 1:
        yield f"{SUBMISSION.title} has {len(rows)} rows: a submission has one"
        return
    year, begin, end = (
        _year(rows[0], name) for name in ("ReportedYear", "FirstYearOfNDCPeriod", "LastYearOfNDCPeriod")
    )
    submitted = rows[0].get("DateOfSubmission")
    if begin > end:
        yield f"{SUBMISSION.title}: the NDC period {begin} to {end} begins after its end"
    if isinstance(submitted, date) and submitted.year <= year:
        yield f"{where(SUBMISSION, 1, 'DateOfSubmission')}: {written(submitted)} lies before the end of {year}"
    for number, row in enumerate(report.get(ACTIONS.number, ()), start=1):
        at = row.get("ActionDateTime")
        if isinstance(at, datetime) and at.year != year:
            yield f"{where(ACTIONS, number, 'ActionDateTime')}: {written(at)} lies outside the reported year {year}"
        if isinstance(at, datetime) and _year(row, "Vintage") > at.year:
            yield f"{where(ACTIONS, number, 'Vintage')}: {row.get('Vintage')} lies after the action, {written(at)}"
    for table in (ACTIONS, HOLDINGS):
        for number, row in enumerate(report.get(table.number, ()), start=1):
            vintage = _year(row, "Vintage")
            if not begin <= vintage <= end:
                yield f"{where(table, number, 'Vintage')}: {vintage} lies outside the NDC period {begin} to {end}"


def _year(row: Row, name: str) -> int:
    value = row.get(name)
    return value if isinstance(value, int) else 0


def _references(report: Report) -> Iterator[str]:
    approaches: dict[Cell, set[Cell]] = {}
    seen: set[tuple[Cell, Cell]] = set()
    for number, row in enumerate(report.get(AUTHORIZATIONS.number, ()), start=1):
        key = (row.get("AuthorizationID"), row.get("AuthorizationVersion"))
        if key in seen:
            yield f"{where(AUTHORIZATIONS, number)}: version {key[1]} of {key[0]} is there already"
        seen.add(key)
        approaches.setdefault(key[0], set()).add(row.get("CooperativeApproachID"))
    entities = {row.get("AuthorizedEntityID") for row in report.get(ENTITIES.number, ())}
    for table in (ACTIONS, HOLDINGS):
        for number, row in enumerate(report.get(table.number, ()), start=1):
            authorization, approach = row.get("AuthorizationID"), row.get("CooperativeApproachID")
            if authorization not in approaches:
                yield f"{where(table, number, 'AuthorizationID')}: {authorization} is not in {AUTHORIZATIONS.title}"
            elif approach not in approaches[authorization]:
                yield f"{where(table, number, 'CooperativeApproachID')}: {authorization} is not of {approach}"
            entity = row.get("Using/cancellingEntityID")
            if entity not in {None, NOT_APPLICABLE} and entity not in entities:
                yield f"{where(table, number, 'Using/cancellingEntityID')}: {entity!r} is not in {ENTITIES.title}"


@dataclass(frozen=True, slots=True, order=True)
class _Range:
    """A block of ITMOs: what its identifiers have before and after the serial number, and the serial numbers."""

    space: tuple[str, ...]
    first: int
    last: int
    table: int
    number: int

    def shares(self, other: "_Range") -> bool:
        return self.space == other.space and self.first <= other.last and other.first <= self.last

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"


def _ranges(report: Report) -> Iterator[str]:
    actions, held = _blocks(ACTIONS, report), _blocks(HOLDINGS, report)
    of_action = {block.number: report[ACTIONS.number][block.number - 1] for block in actions}
    for kinds, said in ((("First transfer",), "first transferred"), (_CONSUMED, "used or cancelled")):
        once = [block for block in actions if of_action[block.number].get("ActionType") in kinds]
        yield from _twice(ACTIONS, once, said)
    yield from _twice(HOLDINGS, held, "held")
    for block in held:
        row = report[HOLDINGS.number][block.number - 1]
        for action in (one for one in actions if one.shares(block)):
            acted = of_action[action.number]
            if acted.get("ActionType") in _CONSUMED:
                yield (
                    f"{where(HOLDINGS, block.number)}: ITMOs {block} are held, and {action} had the action "
                    f"{acted['ActionType']} ({where(ACTIONS, action.number)})"
                )
            for name in _NEVER_CHANGE:
                if row.get(name) != acted.get(name):
                    yield (
                        f"{where(HOLDINGS, block.number, name)}: {written(row.get(name))}, and "
                        f"{where(ACTIONS, action.number)} says {written(acted.get(name))}"
                    )


def _blocks(table: Table, report: Report) -> list[_Range]:
    found = []
    for number, row in enumerate(report.get(table.number, ()), start=1):
        first, last = serial(row.get("FirstID")), serial(row.get("LastID"))
        space = ("CooperativeApproachID", "PartyITMORegistryID", "FirstTransferringPartyID", "Vintage")
        if first is not None and last is not None:
            key = tuple(written(row.get(name)) for name in space)
            found.append(_Range(key, first, last, table.number, number))
    return sorted(found)


def _twice(table: Table, blocks: Sequence[_Range], said: str) -> Iterator[str]:
    # Sorted by their first ITMO: where two overlap at all, two neighbours do.
    for one, other in pairwise(sorted(blocks)):
        if one.shares(other):
            yield f"{where(table, other.number)}: ITMOs {other} are {said}, as are {one} ({where(table, one.number)})"


def _listed(values: Sequence[str]) -> str:
    return ", ".join(values)
