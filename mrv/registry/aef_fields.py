"""The 79 fields of the Agreed Electronic Format (Decision 4/CMA.6, annex II), in the order of its columns.

Labels, names and what is needed when: the format's second iteration and the common nomenclatures, read in a public
registry's transcription (S). Where the two disagree the common nomenclatures hold, as they do for the activity type,
which they require and do not place in the format: here it is optional.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from mrv.registry import nomenclature as names
from mrv.registry.tables import Cell

Row = Mapping[str, Cell]
"""A row by field name; a field that is not there is blank."""
Kind = Literal["text", "integer", "serial", "year", "date", "instant"]
"""A serial is a whole number, or the whole identifier of an ITMO."""

NOT_APPLICABLE = "NA"
SEPARATOR = "; "


@dataclass(frozen=True, slots=True)
class When:
    """A field applies only where another one of its row has one of these values."""

    field: str
    values: tuple[str, ...]

    def holds(self, row: Row) -> bool:
        """Whether it applies to a row."""
        return row.get(self.field) in self.values


@dataclass(frozen=True, slots=True)
class Field:
    """A column."""

    name: str
    """As in the common nomenclatures."""
    label: str
    """As printed in the format: the column's header."""
    kind: Kind = "text"
    needed: bool = False
    values: tuple[str, ...] = ()
    form: re.Pattern[str] | None = None
    example: str = ""
    many: bool = False
    """Several values, with semicolons between them (how they are separated was not read: M)."""
    platform: bool = False
    """Filled by the UNFCCC's platform: always blank here."""
    when: When | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the format."""

    number: int
    name: str
    fields: tuple[Field, ...]

    @property
    def title(self) -> str:
        """Its title, which is the sheet's name too."""
        return f"Table {self.number} {self.name}"


def _party(name: str, label: str, *, needed: bool = False, when: When | None = None) -> Field:
    return Field(name, label, needed=needed, form=names.PARTY, example="THA", when=when)


_NON_GHG = When("Metric", ("non-GHG",))
_OIMP = When("PurposeForAuthorization", tuple(purpose for purpose in names.PURPOSES if purpose != "NDC"))
_ACQUISITION = When("ActionType", ("Acquisition",))
_TRANSFER = When("ActionType", ("First transfer", "Transfer"))
_USE = When("ActionType", ("Use",))
_ENDS = When("ActionType", ("Use", "First transfer", "Cancellation", "Voluntary Cancellation"))

_APPROACH = Field(
    "CooperativeApproachID", "Cooperative approach ID", needed=True, form=names.COOPERATIVE_APPROACH, example="CA0001"
)
_AUTHORIZATION = Field(
    "AuthorizationID", "Authorization ID", needed=True, form=names.AUTHORIZATION, example="TH-2025-001"
)
_METRIC = Field("Metric", "Metric", needed=True, values=names.METRICS)
_GWP = Field("GWPValues", "Applicable GWP value(s)")
_NON_GHG_METRIC = Field("Non-GHGMetric", "Applicable non-GHG metric", when=_NON_GHG)
_MORE = Field("AdditionalExplanatoryInformation", "Additional explanatory information")
_VINTAGE = Field("Vintage", "Vintage", "year", needed=True)
_BLOCK = (
    _party("FirstTransferringPartyID", "First transferring participating Party ID", needed=True),
    Field("PartyITMORegistryID", "Party ITMO registry ID", needed=True, form=names.PARTY_REGISTRY, example="THA01"),
    Field("FirstID", "First ID", "serial", needed=True),
    Field("LastID", "Last ID", "serial", needed=True),
    Field("UnderlyingUnitRegistryID", "Underlying unit registry ID", values=names.UNIT_REGISTRIES),
    Field("UnderlyingUnitFirstUnitID", "First unit ID", "integer"),
    Field("UnderlyingUnitLastUnitID", "Last unit ID", "integer"),
    _METRIC,
    _GWP,
    _NON_GHG_METRIC,
    Field("QuantityCO2", "Quantity (t CO2 eq)", "integer", needed=True),
    Field("QuantityNon-GHG", "Quantity (in non-GHG metric)", when=_NON_GHG),
    Field("MitigationType", "Mitigation type", needed=True, values=names.MITIGATIONS),
    _VINTAGE,
)

SUBMISSION = Table(
    1,
    "Submission",
    (
        _party("ParticipatingParty", "Party", needed=True),
        Field("SubmissionVersion", "Version", needed=True, form=names.VERSION, example="1.0"),
        Field("ReportedYear", "Reported year", "year", needed=True),
        Field("DateOfSubmission", "Date of submission", "date", needed=True),
        Field("ReviewStatusOfInitialReport", "Review status of the initial report", platform=True),
        Field("ResultOfConsistencyCheck", "Result of the consistency check of this AEF submission", platform=True),
        Field("FirstYearOfNDCPeriod", "First year of the NDC implementation period", "year", needed=True),
        Field("LastYearOfNDCPeriod", "Last year of the NDC implementation period", "year", needed=True),
        Field(
            "ReferenceToTerReport",
            "Reference to the Article 6 technical expert review report of the initial report",
            platform=True,
        ),
    ),
)
AUTHORIZATIONS = Table(
    2,
    "Authorizations",
    (
        _AUTHORIZATION,
        Field("DateOfAuthorization", "Date of authorization", "date", needed=True),
        _APPROACH,
        Field("AuthorizationVersion", "Version of the authorization", "integer", needed=True),
        Field("AuthorizedQuantity", "Authorized quantity", "integer"),
        _METRIC,
        _GWP,
        _NON_GHG_METRIC,
        Field("Sectors", "Sector(s)", needed=True, values=names.SECTORS, many=True),
        Field("ActivityType", "Activity type(s)", values=names.ACTIVITY_TYPES, many=True),
        Field("PurposeForAuthorization", "Purposes for authorization", needed=True, values=names.PURPOSES),
        Field("AuthorizedPartyIDs", "Authorized Party(ies) ID", form=names.PARTY, example="JPN", many=True),
        Field("AuthorizedEntityIDs", "Authorized entity(ies) ID", many=True),
        Field("OIMPAuthorized", "OIMP authorized by the Party", when=_OIMP),
        Field("AuthorizedTimeframe", "Authorized timeframe", form=names.TIMEFRAME, example="2021 - 2030"),
        Field("AuthorizationT&Cs", "Authorization terms and conditions"),
        Field("AuthorizationDocumentation", "Authorization documentation", platform=True),
        Field(
            "FirstTransferDefnForOIMP", "First transfer definition for OIMP", values=names.FIRST_TRANSFERS, when=_OIMP
        ),
        _MORE,
    ),
)
ACTIONS = Table(
    3,
    "Actions",
    (
        Field("ActionDateTime", "Action date", "instant", needed=True),
        Field("ActionType", "Action type", needed=True, values=names.ACTIONS),
        Field("ActionSubtype", "Action subtype", values=names.SUBTYPES),
        _APPROACH,
        _AUTHORIZATION,
        *_BLOCK,
        _party("TransferringPartyID", "Transferring participating Party ID", when=_ACQUISITION),
        _party("AcquiringPartyID", "Acquiring participating Party ID", when=_TRANSFER),
        Field(
            "PurposeITMOUsedForOIMP",
            "Purpose for which the ITMO has been used towards or cancelled for OIMP",
            when=_ENDS,
        ),
        _party("Using/cancellingPartyID", "Using/cancelling participating Party ID", when=_ENDS),
        Field("Using/cancellingEntityID", "Using/cancelling authorized entity ID", when=_ENDS),
        Field(
            "YearITMOUsedTowardsNDC",
            "Calendar year for which the ITMOs are used towards the Party's NDC",
            "year",
            when=_USE,
        ),
        Field("ResultOfConsistencyChecks", "Result of the consistency checks", platform=True),
        _MORE,
    ),
)
HOLDINGS = Table(4, "Holdings", (_APPROACH, _AUTHORIZATION, *_BLOCK))
ENTITIES = Table(
    5,
    "Authorized entities",
    (
        Field("DateOfAuthorization", "Date of the authorization", "date", needed=True),
        Field("AuthorizedEntityName", "Name", needed=True),
        _party("AuthorizedEntityCountryOfIncorporation", "Country of incorporation", needed=True),
        Field("AuthorizedEntityID", "Identification number", needed=True),
        _APPROACH,
        Field("AuthorizedEntityConditions", "Conditions"),
        Field("AuthorizedEntityChangeConditions", "Change and revocation conditions"),
        _MORE,
    ),
)
TABLES = (SUBMISSION, AUTHORIZATIONS, ACTIONS, HOLDINGS, ENTITIES)
BY_TITLE: Mapping[str, Table] = MappingProxyType({table.title: table for table in TABLES})
