"""The methodologies: versioned data files, the rule that picks a factor, and what was confirmed in the primary text.

Each file of `mrv/methodologies/` is one version of one approved methodology. What was not read in the approved text
says so by its mark, and a project's registered factor always goes before a default.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from enum import StrEnum
from functools import cache
from pathlib import Path
from tomllib import loads
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from mrv.errors import CatalogueError
from mrv.formulas.counted import Monitored, Quantity
from mrv.result import Factor

DIRECTORY = Path(__file__).parent / "methodologies"
DIESEL_TCO2_PER_MWH = Decimal("0.533")
"""The most efficient diesel generator in the world (49 %): the ceiling of every mixed connection that was read."""

Connection = Literal["grid", "grid_and_captive", "captive"]
Fuel = Literal["diesel", "gas"]
Kind = Literal[
    "solar PV",
    "solar PV with battery",
    "hydro",
    "waste heat recovery",
    "waste to energy",
    "chiller",
    "air conditioning",
]
_Text = Annotated[str, StringConstraints(min_length=1)]


class Mark(StrEnum):
    """How a value is known."""

    VERBATIM = "V"
    """Read verbatim in the primary source or a stored copy of it."""
    SECONDARY = "S"
    """Read in a source that paraphrases the primary one."""
    DERIVED = "D"
    """Derived by arithmetic from published numbers."""
    UNCONFIRMED = "M"
    """Believed, not yet confirmed against the primary text."""


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Parameter(_Data):
    """A quantity of the methodology; without a value it is monitored."""

    name: _Text
    description: _Text
    unit: _Text
    value: Decimal | None = None
    mark: Mark
    source: _Text


class DefaultFactor(_Data):
    """A default of EF_RE for a connection case, for a fuel or for grids by name where the methodology tells them apart.

    Without a value it is a case that the methodology has, and whose value was not read.
    """

    connection: Connection
    fuel: Fuel | None = None
    grids: tuple[_Text, ...] = ()
    value: Annotated[Decimal, Field(ge=0, le=2)] | None = None
    unit: Literal["tCO2/MWh"]
    mark: Mark
    source: _Text


class Part(_Data):
    """A part of a worked example with a factor of its own: a category of days, a chiller."""

    name: _Text
    eg_mwh: Decimal | None = None
    ec_mwh: Decimal | None = None
    cop_project: Decimal | None = None
    cop_reference: Decimal | None = None
    ef_tco2_per_mwh: Decimal


class Example(_Data):
    """A worked example; the tests compute it, and `methodology check` does."""

    name: _Text
    connection: Connection = "grid"
    grid: str | None = None
    fuel: Fuel | None = None
    ef_tco2_per_mwh: Decimal | None = None
    """A registered factor, where the methodology's default is not used."""
    eg_mwh: Decimal | None = None
    quantities_mwh: Mapping[Quantity, Decimal] | None = None
    """What EG is counted from, instead of EG itself."""
    parts: tuple[Part, ...] = ()
    capacity_kw: Decimal | None = None
    hours: Decimal | None = None
    """With both, EG is held against what can be made."""
    re_tco2: Decimal | None = None
    pe_tco2: Decimal = Decimal(0)
    er_tco2: int | None = None
    refused: _Text | None = None
    """Words of the refusal, for an example that must be refused."""


class Methodology(_Data):
    """One version of an approved methodology."""

    id: _Text
    version: _Text
    title: _Text
    host_country: Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")]
    approved: date | None = None
    kind: Kind = "solar PV"
    formula: Literal["solar_pv", "generation", "cop_ratio", "not_read"]
    monitored: Monitored
    """What is counted; see `mrv.formulas.counted`."""
    scope: _Text | None = None
    """What of the methodology is carried here, where that is not all of it."""
    not_computed: _Text | None = None
    """Why no period is computed from a declaration; None where one is."""
    sources: tuple[_Text, ...]
    notes: tuple[_Text, ...] = ()
    parameters: Annotated[tuple[Parameter, ...], Field(alias="parameter")]
    factors: Annotated[tuple[DefaultFactor, ...], Field(alias="factor")] = ()
    examples: Annotated[tuple[Example, ...], Field(alias="example")] = ()

    @property
    def grids(self) -> tuple[str, ...]:
        """Names of the grids of the regional table; empty where one factor holds for the country."""
        return tuple(dict.fromkeys(name for factor in self.factors for name in factor.grids))

    def default(
        self, connection: Connection, grid: str | None = None, fuel: Fuel | None = None
    ) -> DefaultFactor | None:
        """Find the default for a case and, where there are several, a grid by name and a fuel; None where none is."""
        for factor in self.factors:
            named = not factor.grids or (grid or "").casefold() in {name.casefold() for name in factor.grids}
            if factor.connection == connection and named and factor.fuel in (None, fuel):
                return factor
        return None


@cache
def all_methodologies() -> Mapping[tuple[str, str], Methodology]:
    """Read every data file, by (id, version).

    Raises
    ------
    CatalogueError
        Two files declare the same version.
    pydantic.ValidationError
        A file is not of the catalogue's shape.
    """
    found: dict[tuple[str, str], Methodology] = {}
    for path in sorted(DIRECTORY.glob("*.toml")):
        methodology = Methodology.model_validate(loads(path.read_text(encoding="utf-8")))
        key = (methodology.id, methodology.version)
        if key in found:
            raise CatalogueError(f"{path.name} declares {methodology.id} {methodology.version} a second time")
        found[key] = methodology
    return MappingProxyType(found)


def find(methodology_id: str, version: str) -> Methodology:
    """Find a methodology version.

    Raises
    ------
    CatalogueError
        The catalogue has no such version; the message names those it has.
    """
    known = all_methodologies()
    found = known.get((methodology_id, version))
    if found is not None:
        return found
    versions = [other_version for other_id, other_version in known if other_id == methodology_id]
    if versions:
        raise CatalogueError(
            f"methodology {methodology_id} is known in version {', '.join(versions)}, not in {version}; "
            "correct `methodology_version` in the declaration"
        )
    ids = ", ".join(dict.fromkeys(other_id for other_id, _ in known))
    raise CatalogueError(
        f"methodology {methodology_id} is not in the catalogue, which has {ids}; correct `methodology`"
    )


def factor_for(
    methodology: Methodology,
    connection: Connection,
    region: str | None = None,
    registered: Factor | None = None,
    *,
    fuel: Fuel | None = None,
) -> Factor:
    """Pick EF_RE,i of a system: the project's registered factor, or the methodology's default for its case.

    Parameters
    ----------
    methodology
        The methodology version that the project applies.
    connection
        What the system displaces: the grid, grid and captive generation, or captive generation alone.
    region
        Name of the national or regional grid, where the methodology has a regional table.
    registered
        The factor fixed ex ante at registration, as declared [tCO2/MWh].
    fuel
        What the captive generator burns, where the methodology tells fuels apart.

    Returns
    -------
    Factor
        `confirmed` is True for a registered factor and for a default that was read verbatim.

    Raises
    ------
    CatalogueError
        There is no registered factor, and no default for that case or grid was read.
    """
    if registered is not None:
        return registered
    name = f"{methodology.id} {methodology.version}"
    remedy = "declare the system's registered `emission_factor`"
    default = methodology.default(connection, region, fuel)
    if default is not None and default.value is not None:
        source = f"{name}, default for {connection}: {default.source}"
        return Factor(default.value, source, default.mark is Mark.VERBATIM)
    of_case = [factor for factor in methodology.factors if factor.connection == connection]
    if default is None and any(factor.grids for factor in of_case):
        asked = "no `grid_region` is declared" if region is None else f"it has no grid {region!r}"
        raise CatalogueError(
            f"{name} has a factor for each grid and {asked}; {remedy}, or one of: {', '.join(methodology.grids)}"
        )
    fuels = [factor.fuel for factor in of_case if factor.fuel is not None]
    if default is None and fuels:
        raise CatalogueError(
            f"{name} tells captive fuels apart ({', '.join(fuels)}) and no `captive_fuel` is declared; {remedy}"
        )
    case = connection if default is None or default.fuel is None else f"{connection} ({default.fuel})"
    raise CatalogueError(f"no default factor of {name} for {case} was read in its text; {remedy}")
