"""The hand-over file: what governments, verifier and registry decided about a project's tonnes, in their own words.

Nothing in it is computed here; `mrv.registry.handover_file` reads it and checks what can be checked.
"""

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Literal

from pydantic import Field, PlainValidator, Strict, StringConstraints

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


def _itmo_id(value: object) -> int | str:
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise ValueError(f"expected {_ID}, not {value!r}")


ItmoId = Annotated[int | str, PlainValidator(_itmo_id)]


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
    verified: Annotated[tuple[Verified, ...], Many] = Field(
        default=(), description="a list such as [{ vintage = 2021, tco2 = 2017 }]"
    )
    parts: Annotated[tuple[Part, ...], Many] = Field(
        default=(), alias="part", description="[[notification.part]] tables"
    )

    @property
    def from_database(self) -> bool:
        """Whether it leaves its tonnes to what was notified in the database."""
        return not self.verified and not self.parts

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
    first_id: ItmoId | None = Field(default=None, description=_ID)
    last_id: ItmoId | None = Field(default=None, description=_ID)
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
    first_id: ItmoId | None = Field(default=None, description=_ID)
    last_id: ItmoId | None = Field(default=None, description=_ID)
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
    first_id: ItmoId | None = Field(default=None, description=_ID)
    last_id: ItmoId | None = Field(default=None, description=_ID)


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
    notifications: Annotated[tuple[Notification, ...], Many] = Field(
        default=(), alias="notification", description="[[notification]] tables"
    )
    blocks: Annotated[tuple[Block, ...], Many] = Field(default=(), alias="block", description="[[block]] tables")
    actions: Annotated[tuple[Action, ...], Many] = Field(default=(), alias="action", description="[[action]] tables")
    holdings: Annotated[tuple[Holding, ...], Many] = Field(
        default=(), alias="holding", description="[[holding]] tables"
    )
    cad_trust: CadTrust | None = Field(default=None, description="a [cad_trust] table")

    def only(self, chosen: Sequence[Notification]) -> "Handover":
        """Keep these notifications, and of the rest what belongs to them."""
        years = {(one.project, year) for one in chosen for year in range(one.first_day.year, one.last_day.year + 1)}
        blocks = tuple(block for block in self.blocks if (block.project, block.vintage) in years)
        kept = {block.id for block in blocks}
        # An authorization of other projects is theirs to report; one that no block has yet is everybody's.
        others = {block.authorization for block in self.blocks} - {block.authorization for block in blocks}
        return self.model_copy(
            update={
                "authorizations": tuple(one for one in self.authorizations if one.id not in others),
                "notifications": tuple(chosen),
                "blocks": blocks,
                "actions": tuple(one for one in self.actions if one.block in kept),
                "holdings": tuple(one for one in self.holdings if one.block in kept),
            }
        )

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
