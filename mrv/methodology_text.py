"""A methodology in words: its formula in the field's notation, the rule that picks the factor, what is unconfirmed."""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from mrv.catalogue import DefaultFactor, Example, Mark, Methodology
from mrv.errors import CatalogueError, FormulaError, ImplausibleError
from mrv.worked_examples import compute

MARKS: Mapping[Mark, str] = MappingProxyType(
    {
        Mark.VERBATIM: "read verbatim in the primary source or a stored copy of it",
        Mark.SECONDARY: "read in a source that paraphrases the primary one",
        Mark.DERIVED: "derived by arithmetic from published numbers",
        Mark.UNCONFIRMED: "believed, not confirmed in the primary text",
    }
)
_EG: Mapping[str, str] = MappingProxyType(
    {
        "gross_output": "EG_i,p = AC output of system i in the period p",
        "consumed_or_sold": "EG_i,p = electricity of system i consumed + electricity of system i sold",
        "day_category": "EG_i,d = AC output of system i on the days of category d",
        "battery": "EG_i,p = generated − max(0, charged − discharged)",
        "net_output": "EG_i,p = max(0, generated − auxiliary consumption)",
    }
)
_ROUNDING = "EG down to whole Wh, RE down to 6 places, ER down to whole tonnes for each calendar year"


def formula(m: Methodology) -> list[str]:
    """Write the formula, a line for each quantity; empty where it was not read."""
    if m.formula == "not_read":
        return []
    if m.formula == "cop_ratio":
        return [
            "RE_p = Σ_i EC_PJ,i,p × (COP_PJ,i ÷ COP_RE,i) × EF_elec",
            "PE_p = Σ_i EC_PJ,i,p × EF_elec",
            "ER_p = RE_p − PE_p",
            "rounding: RE down and PE up to 6 places, ER down to whole tonnes for each calendar year",
        ]
    by_day = m.monitored == "day_category"
    re = "RE_p = Σ_i Σ_d (EG_i,d × EF_RE,i,d)" if by_day else "RE_p = Σ_i (EG_i,p × EF_RE,i)"
    pe = next((parameter.value for parameter in m.parameters if parameter.name == "PE_p"), None)
    er = "ER_p = RE_p − PE_p"
    return [re, _EG[m.monitored], f"PE_p = {pe}" if pe is not None else "PE_p: not read", er, f"rounding: {_ROUNDING}"]


def rule(m: Methodology) -> str:
    """Say which factor a system gets."""
    if m.formula == "cop_ratio":
        return "grid alone: the grid's; captive alone: option a, b or c; grid and captive: the lower (not confirmed)"
    first = "the factor that the project registered"
    if m.monitored == "day_category":
        first += " for the category of the day, else for the system"
    if not any(factor.value is not None for factor in m.factors):
        return f"{first}; no default was read, so a system without one is refused"
    by = ["`connection` (grid, grid_and_captive, captive)"]
    by += ["`grid_region`"] if m.grids else []
    by += ["`captive_fuel`"] if any(factor.fuel for factor in m.factors) else []
    return f"{first}; else the default by {' and '.join(by)}; a case without a default is refused"


def marks(m: Methodology) -> str:
    """Say in a few letters how EG, PE and the factors are known."""
    found = {parameter.name: parameter.mark.value for parameter in m.parameters}
    counts = {name.partition("_")[0]: mark for name, mark in found.items() if name[:2] in ("EG", "EC", "PE")}
    valued = sorted({factor.mark.value for factor in m.factors if factor.value is not None})
    factors = f"EF {'/'.join(valued)}" if valued else "EF not read"
    return ", ".join([*(f"{name} {mark}" for name, mark in counts.items()), factors])


def unconfirmed(m: Methodology) -> list[str]:
    """List what was not read in the primary text."""
    said = [] if m.scope is None else [f"carried here: {m.scope}"]
    said += [] if m.not_computed is None else [f"not computed from a declaration: {m.not_computed}"]
    said += [f"{p.name} ({p.mark}): {p.description}" for p in m.parameters if p.mark is not Mark.VERBATIM]
    valued = [factor for factor in m.factors if factor.value is not None and factor.mark is not Mark.VERBATIM]
    said += [f"EF_RE,i for {case(f)}, {f.value} tCO2/MWh ({f.mark}): {f.source}" for f in valued]
    said += [f"EF_RE,i for {case(factor)}: {factor.source}" for factor in m.factors if factor.value is None]
    if not m.factors and m.formula != "cop_ratio":
        said.append("EF_RE,i: no default was read; a project declares its registered factor")
    return said


def case(factor: DefaultFactor) -> str:
    """Name the case of a factor."""
    return ", ".join(filter(None, (factor.connection, factor.fuel, "/".join(factor.grids))))


def example(m: Methodology, one: Example) -> dict[str, Any]:
    """Write a worked example with what it comes to, computed now."""
    given = one.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    try:
        outcome = compute(m, one)
    except (CatalogueError, FormulaError, ImplausibleError) as error:
        return {"given": given, "refusal": str(error)}
    found = {
        "eg_mwh": None if outcome.eg_mwh is None else _number(outcome.eg_mwh),
        "re_tco2": _number(outcome.re_tco2),
        "pe_tco2": _number(outcome.pe_tco2),
        "er_tco2": outcome.er_tco2 if m.not_computed is None or m.formula == "cop_ratio" else None,
    }
    return {"given": given, "computed": {name: value for name, value in found.items() if value is not None}}


def as_json(m: Methodology) -> dict[str, Any]:
    """Write a methodology for scripts; exact numbers are strings."""
    return {
        "id": m.id,
        "version": m.version,
        "title": m.title,
        "kind": m.kind,
        "host_country": m.host_country,
        "approved": None if m.approved is None else m.approved.isoformat(),
        "computed": m.not_computed is None,
        "marks": marks(m),
        "formula": formula(m),
        "rule": rule(m),
        "parameters": [parameter.model_dump(mode="json") for parameter in m.parameters],
        "factors": [factor.model_dump(mode="json", exclude_none=True) for factor in m.factors],
        "examples": [example(m, one) for one in m.examples],
        "unconfirmed": unconfirmed(m),
        "notes": list(m.notes),
        "sources": list(m.sources),
    }


def _number(value: Decimal) -> str:
    return f"{value:f}"
