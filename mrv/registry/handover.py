"""The hand-over file: what governments, verifier and registry decided about a project's tonnes, in their own words.

Nothing in it is computed here. What can be checked is: the parts of each notification sum to what was verified, for
each vintage; a block of units is no longer than the part it was issued for; what is acted on lies in its block.
"""

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, Strict, StringConstraints, ValidationError

from devices.declaration_file import problem
from devices.declarations import Declared
from devices.declared_values import Country, Identifier, Instant, Text
from mrv.errors import RegistryError
from mrv.registry.itmo import Itmo

_DAY = "a day such as 2025-10-30"
_COUNTRY = 'an ISO 3166-1 alpha-3 code such as "THA"'
_TEXT = "one line of text"
_YEAR = "a calendar year such as 2021"
_TONNES = "whole tonnes, 0 or more"
_ID = 'a serial number such as 1, or a whole identifier such as "CA0001-THA01-THA-1-2021"'
_UNIT = "a serial number such as 1"

Year = Annotated[int, Field(ge=1990, le=2100)]
Tonnes = Annotated[int, Field(ge=0)]
Serial = Annotated[int, Field(ge=1)]
Version = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]*\.[0-9]+$")]
Many = Strict(strict=False)


class Submission(Declared):
    """The Party that reports, and its submission."""

    party: Country = Field(description=_COUNTRY)
    version: Version = Field(description='"1.0", the first version of a year')
    submitted: date = Field(description=_DAY)
    ndc_first_year: Year = Field(description=_YEAR)
    ndc_last_year: Year = Field(description=_YEAR)


class Authorization(Declared):
    """An authorization by the reporting Party or by a partner."""

    id: Text = Field(description=_TEXT)
    authorized: date = Field(description=_DAY)
    cooperative_approach: Text = Field(description='an id such as "CA0001"')
    version: Serial = Field(description="a whole number such as 1")
    quantity: Tonnes | None = Field(default=None, description=_TONNES)
    sectors: Annotated[tuple[Text, ...], Many] = Field(default=(), description="a list of sectors")
    activity_types: Annotated[tuple[Text, ...], Many] = Field(default=(), description="a list of activity types")
    purposes: Text = Field(description='"NDC", "OIMP", "IMP", "OP" or "NDC and …"')
    parties: Annotated[tuple[Country, ...], Many] = Field(default=(), description='a list such as ["JPN"]')
    entities: Annotated[tuple[Text, ...], Many] = Field(default=(), description="a list of ids")
    oimp: Text | None = Field(default=None, description=_TEXT)
    timeframe: Text | None = Field(default=None, description='such as "2021 - 2030"')
    terms: Text | None = Field(default=None, description=_TEXT)
    first_transfer: Text | None = Field(
        default=None, description='"Authorisation", "Issuance" or "Use or Cancellation"'
    )
    information: Text | None = Field(default=None, description=_TEXT)


class Entity(Declared):
    """An authorized entity."""

    authorized: date = Field(description=_DAY)
    name: Text = Field(description=_TEXT)
    country: Country = Field(description=_COUNTRY)
    number: Text = Field(description="the entity's identification number, as text")
    cooperative_approach: Text = Field(description='an id such as "CA0001"')
    conditions: Text | None = Field(default=None, description=_TEXT)
    change_conditions: Text | None = Field(default=None, description=_TEXT)
    information: Text | None = Field(default=None, description=_TEXT)


class Verified(Declared):
    """What was verified of a calendar year."""

    vintage: Year = Field(description=_YEAR)
    tco2: Tonnes = Field(description=_TONNES)


class Part(Declared):
    """Tonnes of a vintage that were notified to a holder of a side."""

    vintage: Year = Field(description=_YEAR)
    side: Country = Field(description=_COUNTRY)
    holder: Text = Field(description='a name such as "Government of Japan"')
    tco2: Tonnes = Field(description=_TONNES)


class Notification(Declared):
    """A decision on the tonnes of a monitoring period."""

    project: Identifier = Field(description="the id of a project")
    first_day: date = Field(alias="from", description=_DAY)
    last_day: date = Field(alias="to", description=_DAY)
    revision: Serial = Field(description="the number of the frozen revision that was verified")
    decided: date = Field(description=_DAY)
    verification_report: Text = Field(description="the id of the verification report")
    verification_body: Text = Field(description="the name of the third-party entity")
    verification_approach: Text | None = Field(default=None, description=_TEXT)
    verified_on: date = Field(description=_DAY)
    verified: Annotated[tuple[Verified, ...], Many, Field(min_length=1)] = Field(
        description="a list such as [{ vintage = 2021, tco2 = 2017 }]"
    )
    parts: Annotated[tuple[Part, ...], Many, Field(min_length=1)] = Field(
        alias="part", description="[[notification.part]] tables"
    )

    @property
    def label(self) -> str:
        """Name it in a message."""
        return f"{self.project} {self.first_day} to {self.last_day}"


class Block(Declared):
    """Units that were issued in a registry for a part, as one block."""

    id: Identifier = Field(description="a name of your own for the block")
    project: Identifier = Field(description="the id of a project")
    vintage: Year = Field(description=_YEAR)
    side: Country = Field(description=_COUNTRY)
    holder: Text = Field(description="the holder of a part")
    unit_registry: Text | None = Field(default=None, description='the underlying registry, such as "JCM"')
    first_unit: Serial | None = Field(default=None, description=_UNIT)
    last_unit: Serial | None = Field(default=None, description=_UNIT)
    authorization: Text | None = Field(default=None, description="the id of an [[authorization]]")
    registry: Text | None = Field(default=None, description='the Party\'s ITMO registry, such as "JPN01"')
    first_transferring_party: Country | None = Field(default=None, description=_COUNTRY)
    first_id: Serial | Text | None = Field(default=None, description=_ID)
    last_id: Serial | Text | None = Field(default=None, description=_ID)
    gwp: Text | None = Field(default=None, description=_TEXT)
    status: Text | None = Field(default=None, description='CAD Trust\'s status of the unit, such as "Held"')

    @property
    def sizes(self) -> list[int]:
        """How many ITMOs and units the block has, where it has both ends."""
        ends = [(serial_of(self.first_id), serial_of(self.last_id)), (self.first_unit, self.last_unit)]
        return [last - first + 1 for first, last in ends if first is not None and last is not None]


class Action(Declared):
    """What was done with a block, or a part of it."""

    block: Text = Field(description="the id of a [[block]]")
    at: Instant = Field(description="an instant with its offset, such as 2025-11-11T12:00:00+09:00")
    type: Text = Field(description='an action type such as "First transfer"')
    subtype: Text | None = Field(default=None, description="an action subtype")
    first_id: Serial | Text | None = Field(default=None, description=_ID)
    last_id: Serial | Text | None = Field(default=None, description=_ID)
    transferring_party: Country | None = Field(default=None, description=_COUNTRY)
    acquiring_party: Country | None = Field(default=None, description=_COUNTRY)
    purpose: Text | None = Field(default=None, description=_TEXT)
    using_party: Country | None = Field(default=None, description=_COUNTRY)
    using_entity: Text | None = Field(default=None, description="the number of an [[entity]]")
    used_for_year: Year | None = Field(default=None, description=_YEAR)
    information: Text | None = Field(default=None, description=_TEXT)


class Holding(Declared):
    """A block, or a part of it, that was held on 31 December."""

    block: Text = Field(description="the id of a [[block]]")
    year: Year = Field(description="the year on whose 31 December it was held")
    first_id: Serial | Text | None = Field(default=None, description=_ID)
    last_id: Serial | Text | None = Field(default=None, description=_ID)


class CadTrust(Declared):
    """What CAD Trust asks besides."""

    unit_registry_link: Text = Field(description="the address of the registry")
    countries: dict[str, str] = Field(description='{ JPN = "Japan", THA = "Thailand" }, as in CAD Trust\'s picklist')
    declaration: Literal["Committed", "Not Required", "Unknown"] = Field(
        description='"Committed", "Not Required" or "Unknown": the corresponding adjustment'
    )
    adjustment: Literal["Not Applicable", "Not Started", "Pending", "Completed"] = Field(
        description='"Not Applicable", "Not Started", "Pending" or "Completed"'
    )


class Handover(Declared):
    """A hand-over file."""

    submission: Submission | None = Field(default=None, description="a [submission] table")
    authorizations: Annotated[tuple[Authorization, ...], Many] = Field(
        default=(), alias="authorization", description="[[authorization]] tables"
    )
    entities: Annotated[tuple[Entity, ...], Many] = Field(default=(), alias="entity", description="[[entity]] tables")
    notifications: Annotated[tuple[Notification, ...], Many, Field(min_length=1)] = Field(
        alias="notification", description="[[notification]] tables"
    )
    blocks: Annotated[tuple[Block, ...], Many] = Field(default=(), alias="block", description="[[block]] tables")
    actions: Annotated[tuple[Action, ...], Many] = Field(default=(), alias="action", description="[[action]] tables")
    holdings: Annotated[tuple[Holding, ...], Many] = Field(
        default=(), alias="holding", description="[[holding]] tables"
    )
    cad_trust: CadTrust | None = Field(default=None, description="a [cad_trust] table")

    def block(self, name: str) -> Block:
        """Find a block by its id; `read` has seen that it is there."""
        return next(block for block in self.blocks if block.id == name)

    def of_project(self, project: str) -> tuple[Notification, ...]:
        """Find the notifications of a project.

        Raises
        ------
        RegistryError
            There is none.
        """
        found = tuple(one for one in self.notifications if one.project == project)
        if not found:
            have = ", ".join(dict.fromkeys(one.project for one in self.notifications))
            raise RegistryError(f"there is no [[notification]] of {project}; there is one of {have}")
        return found


def serial_of(value: int | str | None) -> int | None:
    """Take the serial number of a serial number or of a whole identifier.

    Raises
    ------
    RegistryError
        It is neither.
    """
    return Itmo.parse(value).serial if isinstance(value, str) else value


def read(text: str, name: str) -> Handover:
    """Read a hand-over file, and check what it says against itself.

    Parameters
    ----------
    text
        TOML.
    name
        The file's name, for messages.

    Raises
    ------
    RegistryError
        It says what cannot be; one line a problem.
    """
    try:
        content = tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, ArithmeticError) as error:
        raise RegistryError(f"{name}: this is not TOML: {error}") from None
    try:
        handover = Handover.model_validate(content)
    except ValidationError as error:
        said = [problem(dict(one), Handover, "") or "expected an instant" for one in error.errors(include_url=False)]
        raise RegistryError("; ".join(f"{name}: {line}" for line in dict.fromkeys(said))) from None
    try:
        wrong = list(contradictions(handover))
    except RegistryError as error:
        wrong = [str(error)]
    if wrong:
        raise RegistryError("; ".join(f"{name}: {line}" for line in wrong))
    return handover


def contradictions(handover: Handover) -> Iterator[str]:
    """Say what does not hold together, one line each, with the numbers."""
    spans = sorted((one.project, one.first_day, one.last_day) for one in handover.notifications)
    for (project, _, before), (other, after, _) in pairwise(spans):
        if project == other and after <= before:
            yield f"two notifications of {project} share days: {after} to {before}"
    for notification in handover.notifications:
        yield from sums(notification)
    for name, count in Counter(block.id for block in handover.blocks).items():
        if count > 1:
            yield f"block {name} is there {count} times"
    yield from _issued(handover)
    yield from _inside(handover)


def _inside(handover: Handover) -> Iterator[str]:
    known = {block.id: block for block in handover.blocks}
    acted: list[tuple[str, Action | Holding]] = [
        (f"action {number}", entry) for number, entry in enumerate(handover.actions, start=1)
    ]
    held: list[tuple[str, Action | Holding]] = [
        (f"holding {number}", entry) for number, entry in enumerate(handover.holdings, start=1)
    ]
    for what, entry in [*acted, *held]:
        block = known.get(entry.block)
        if block is None:
            yield f"{what}: there is no block {entry.block}"
            continue
        begin, end = serial_of(block.first_id), serial_of(block.last_id)
        if begin is None or end is None:
            yield f"{what}: block {block.id} has no first_id and last_id"
            continue
        first, last = serial_of(entry.first_id) or begin, serial_of(entry.last_id) or end
        if not begin <= first <= last <= end:
            yield f"{what}: {first} to {last} lies outside block {block.id}, {begin} to {end}"


def sums(notification: Notification) -> Iterator[str]:
    """Check that the parts of a notification sum to what was verified, for each vintage and in whole tonnes."""
    label = notification.label
    if notification.first_day > notification.last_day:
        yield f"{label}: the first day lies after the last"
        return
    years = range(notification.first_day.year, notification.last_day.year + 1)
    verified = {one.vintage: one.tco2 for one in notification.verified}
    if len(verified) < len(notification.verified):
        yield f"{label}: a vintage was verified twice"
    for part, count in Counter((one.vintage, one.side, one.holder) for one in notification.parts).items():
        if count > 1:
            yield f"{label}, vintage {part[0]}: {part[2]} ({part[1]}) has {count} parts; give one"
    for year in sorted({*years, *verified, *(part.vintage for part in notification.parts)}):
        if year not in years:
            yield f"{label}: {year} is no calendar year of the period"
        elif year not in verified:
            yield f"{label}: what was verified of {year} is missing"
        else:
            yield from _sum(notification, year, verified[year])


def _sum(notification: Notification, year: int, verified: int) -> Iterator[str]:
    parts = [part for part in notification.parts if part.vintage == year]
    total = sum(part.tco2 for part in parts)
    if total != verified:
        each = ", ".join(f"{part.side} {part.holder} {part.tco2:,}" for part in parts) or "no part"
        yield (
            f"{notification.label}, vintage {year}: the parts sum to {total:,} tCO2 ({each}), "
            f"and {verified:,} tCO2 were verified: {total - verified:+,}"
        )


def _issued(handover: Handover) -> Iterator[str]:
    notified: Counter[tuple[str, int, str, str]] = Counter()
    for one in handover.notifications:
        for part in one.parts:
            notified[one.project, part.vintage, part.side, part.holder] += part.tco2
    issued: Counter[tuple[str, int, str, str]] = Counter()
    for block in handover.blocks:
        key = (block.project, block.vintage, block.side, block.holder)
        what = f"block {block.id}"
        if key not in notified:
            yield f"{what}: no part of {block.project}, vintage {block.vintage}, is of {block.holder} ({block.side})"
        if len(set(block.sizes)) > 1:
            yield f"{what} has {block.sizes[0]:,} ITMOs and {block.sizes[1]:,} units"
        if not block.sizes:
            yield f"{what} has neither first_id and last_id nor first_unit and last_unit"
        elif min(block.sizes) < 1:
            yield f"{what} begins after its end"
        else:
            issued[key] += block.sizes[0]
    for key, count in issued.items():
        project, vintage, side, holder = key
        if key in notified and count > notified[key]:
            yield (
                f"{project}, vintage {vintage}: the blocks of {holder} ({side}) have {count:,} units, "
                f"and {notified[key]:,} tCO2 were notified: {count - notified[key]:+,}"
            )


def against_computed(notification: Notification, computed: Mapping[int, int]) -> list[str]:
    """Hold what was verified against the frozen revision's whole tonnes by vintage; what is less is a note.

    Raises
    ------
    RegistryError
        More was verified than computed.
    """
    notes = []
    for one in notification.verified:
        have = computed.get(one.vintage, 0)
        said = f"{notification.label}, vintage {one.vintage}: {one.tco2:,} tCO2 were verified"
        which = f"revision {notification.revision} has {have:,}"
        if one.tco2 > have:
            raise RegistryError(f"{said}, and {which}: {one.tco2 - have:+,}")
        if one.tco2 < have:
            notes.append(f"{said}; {which}: {one.tco2 - have:+,}")
    return notes
