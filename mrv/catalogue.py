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
from mrv.result import Factor

DIRECTORY = Path(__file__).parent / "methodologies"
DIESEL_TCO2_PER_MWH = Decimal("0.533")
"""The most efficient diesel generator in the world (49 %): the ceiling of every mixed connection that was read."""

Connection = Literal["grid", "grid_and_captive", "captive"]
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
    """A default of EF_RE for a connection case, and for grids by name where the methodology has a regional table."""

    connection: Connection
    grids: tuple[_Text, ...] = ()
    value: Annotated[Decimal, Field(ge=0, le=2)]
    unit: Literal["tCO2/MWh"]
    mark: Mark
    source: _Text


class Example(_Data):
    """A worked example; the tests compute it."""

    name: _Text
    connection: Connection
    grid: str | None = None
    eg_mwh: Decimal
    re_tco2: Decimal
    er_tco2: int


class Methodology(_Data):
    """One version of an approved methodology."""

    id: _Text
    version: _Text
    title: _Text
    host_country: Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")]
    approved: date | None = None
    formula: Literal["solar_pv"]
    monitored: Literal["gross_output", "consumed_or_sold", "day_category"]
    """What EG counts: the AC output, the part of it that was consumed or sold, or the output by category of day."""
    sources: tuple[_Text, ...]
    notes: tuple[_Text, ...] = ()
    parameters: Annotated[tuple[Parameter, ...], Field(alias="parameter")]
    factors: Annotated[tuple[DefaultFactor, ...], Field(alias="factor")] = ()
    examples: Annotated[tuple[Example, ...], Field(alias="example")] = ()

    @property
    def grids(self) -> tuple[str, ...]:
        """Names of the grids of the regional table; empty where one factor holds for the country."""
        return tuple(dict.fromkeys(name for factor in self.factors for name in factor.grids))

    def default(self, connection: Connection, grid: str | None = None) -> DefaultFactor | None:
        """Find the default for a case and, in a regional table, a grid by name; None where none was read."""
        for factor in self.factors:
            named = not factor.grids or (grid or "").casefold() in {name.casefold() for name in factor.grids}
            if factor.connection == connection and named:
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
    methodology: Methodology, connection: Connection, region: str | None = None, registered: Factor | None = None
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
    default = methodology.default(connection, region)
    if default is not None:
        source = f"{name}, default for {connection}: {default.source}"
        return Factor(default.value, source, default.mark is Mark.VERBATIM)
    if any(factor.connection == connection for factor in methodology.factors):
        asked = "no `grid_region` is declared" if region is None else f"it has no grid {region!r}"
        raise CatalogueError(
            f"{name} has a factor for each grid and {asked}; {remedy}, or one of: {', '.join(methodology.grids)}"
        )
    raise CatalogueError(f"no default factor of {name} for {connection} was read in its text; {remedy}")
