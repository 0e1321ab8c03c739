"""What must hold of the catalogue's data: rules that a wrong or an invented value would break."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from mrv.catalogue import DIESEL_TCO2_PER_MWH, DIRECTORY, Mark, Methodology
from mrv.errors import CatalogueError
from mrv.worked_examples import problem

_COUNTRY_OF = MappingProxyType(
    {
        "BD": "BGD", "CL": "CHL", "CR": "CRI", "ID": "IDN", "KE": "KEN", "KH": "KHM", "LA": "LAO", "MM": "MMR",
        "MN": "MNG", "MV": "MDV", "PH": "PHL", "PW": "PLW", "TH": "THA", "VN": "VNM",
    }
)  # fmt: skip
_UNREAD = "not yet confirmed"


def _file_name(m: Methodology) -> Iterator[str]:
    name = f"{m.id.lower()}_v{m.version}.toml"
    if not (DIRECTORY / name).is_file():
        yield f"is not in a file of its name, {name}"


def _country(m: Methodology) -> Iterator[str]:
    if _COUNTRY_OF.get(m.id[:2]) != m.host_country:
        yield f"names {m.host_country} as its host country"


def _mixed(m: Methodology) -> Iterator[str]:
    for factor in m.factors:
        grid = m.default("grid", factor.grids[0] if factor.grids else None)
        if factor.connection != "grid_and_captive" or factor.value is None:
            continue
        if grid is None or grid.value is None:
            yield f"has a mixed factor of {factor.value} and no grid factor beside it"
        elif factor.value != min(grid.value, DIESEL_TCO2_PER_MWH):
            yield f"has a mixed factor of {factor.value}, not the lower of {grid.value} and {DIESEL_TCO2_PER_MWH}"


def _marks(m: Methodology) -> Iterator[str]:
    for name, mark, source in [
        *((parameter.name, parameter.mark, parameter.source) for parameter in m.parameters),
        *((f"the factor for {factor.connection}", factor.mark, factor.source) for factor in m.factors),
    ]:
        if mark is Mark.VERBATIM and ("http" not in source or _UNREAD in source):
            yield f"marks {name} as read verbatim, and its source is {source!r}"


def _unread_values(m: Methodology) -> Iterator[str]:
    for factor in m.factors:
        if factor.value is None and (factor.mark is not Mark.UNCONFIRMED or "not read" not in factor.source):
            yield f"has no value for {factor.connection}, and does not say that it was not read"


def _one_factor(m: Methodology) -> Iterator[str]:
    cases = Counter((f.connection, f.fuel, grid.casefold()) for f in m.factors for grid in f.grids or ("",))
    for (connection, fuel, grid), count in cases.items():
        if count > 1:
            yield f"has {count} factors for {' '.join(filter(None, (connection, fuel, grid)))}"


def _examples(m: Methodology) -> Iterator[str]:
    if m.formula != "not_read" and not any(example.refused is None for example in m.examples):
        yield "has no worked example"
    if m.monitored in ("consumed_or_sold", "battery", "net_output") and not any(e.quantities_mwh for e in m.examples):
        yield "has no worked example of what it counts"


def _project_emissions(m: Methodology) -> Iterator[str]:
    stated = [parameter for parameter in m.parameters if parameter.name == "PE_p"]
    if m.not_computed is None and not any(parameter.value == 0 for parameter in stated):
        yield "is computed with PE_p = 0 and does not state it"


def _scope(m: Methodology) -> Iterator[str]:
    if m.not_computed is not None and m.scope is None:
        yield "is not computed and does not say what is carried of it"


RULES: Mapping[str, tuple[str, Callable[[Methodology], Iterator[str]]]] = MappingProxyType(
    {
        "file-name": ("a file is named after the version it declares", _file_name),
        "country": ("the host country is that of the id", _country),
        "mixed": ("a mixed connection gets the lower of the grid's factor and 0.533", _mixed),
        "marks": ("what is marked V names where it was read", _marks),
        "unread": ("a case without a value says that it was not read", _unread_values),
        "one-factor": ("each case has one factor", _one_factor),
        "examples": ("each version that is carried has a worked example of what it counts", _examples),
        "project-emissions": ("a version that is computed states its project emissions", _project_emissions),
        "scope": ("a version that is not computed says what is carried of it", _scope),
    }
)
"""By name: what holds, and what of a methodology breaks it."""


def check(catalogue: Mapping[tuple[str, str], Methodology]) -> tuple[int, int]:
    """Hold every version against the rules and compute its examples; return how many of each were.

    Raises
    ------
    CatalogueError
        The first that fails.
    """
    rules = examples = 0
    for m in catalogue.values():
        for name, (said, broken_by) in RULES.items():
            rules += 1
            for wrong in broken_by(m):
                raise CatalogueError(f"{m.id} {m.version} {wrong}; the rule {name}: {said}")
        for example in m.examples:
            examples += 1
            wrong_example = problem(m, example)
            if wrong_example is not None:
                raise CatalogueError(wrong_example)
    return rules, examples
