"""The worked examples of the catalogue, computed by the formulas that periods are computed by."""

from dataclasses import dataclass
from decimal import Decimal

from mrv import solar_pv
from mrv.catalogue import Example, Methodology, Part, factor_for
from mrv.errors import CatalogueError, FormulaError, ImplausibleError, MrvError
from mrv.formulas import cop_ratio
from mrv.formulas.counted import counted
from mrv.formulas.plausibility import check as check_plausible
from mrv.result import Factor

_WH = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an example comes to."""

    eg_mwh: Decimal | None
    """None where the formula has no EG, or parts with a factor each."""
    re_tco2: Decimal
    pe_tco2: Decimal
    er_tco2: int


def compute(methodology: Methodology, example: Example) -> Outcome:
    """Compute an example.

    Raises
    ------
    CatalogueError, FormulaError, ImplausibleError
        It is refused: no factor, a quantity that is not counted, an energy that cannot be.
    """
    if methodology.formula == "cop_ratio" and example.parts:
        re, pe = cop_ratio.totals(_chiller(part) for part in example.parts)
        return Outcome(None, re, pe, solar_pv.er_tco2(re, pe))
    if example.parts:
        re = sum((solar_pv.re_tco2(_eg(part.eg_mwh), part.ef_tco2_per_mwh) for part in example.parts), Decimal(0))
        return Outcome(None, re, example.pe_tco2, solar_pv.er_tco2(re, example.pe_tco2))
    eg = _eg(example.eg_mwh) if example.quantities_mwh is None else _eg(_counted(methodology, example))
    if example.capacity_kw is not None and example.hours is not None:
        check_plausible(eg, example.capacity_kw, example.hours, "EG_i,p")
    own = example.ef_tco2_per_mwh
    registered = None if own is None else Factor(own, "the example's own", confirmed=True)
    factor = factor_for(methodology, example.connection, example.grid, registered, fuel=example.fuel)
    re = solar_pv.re_tco2(eg, factor.value)
    return Outcome(eg, re, example.pe_tco2, solar_pv.er_tco2(re, example.pe_tco2))


def problem(methodology: Methodology, example: Example) -> str | None:
    """Say in which way an example does not come to what it says; None where it does."""
    where = f"{methodology.id} {methodology.version}, example {example.name!r}"
    try:
        outcome = compute(methodology, example)
    except (CatalogueError, FormulaError, ImplausibleError) as error:
        return _refused(where, example, error)
    if example.refused is not None:
        return f"{where} must be refused ({example.refused}), and came to {outcome.er_tco2} tCO2"
    for name, said, found in (
        ("EG_p", example.eg_mwh, outcome.eg_mwh),
        ("RE_p", example.re_tco2, outcome.re_tco2),
        ("PE_p", example.pe_tco2, outcome.pe_tco2),
        ("ER_p", example.er_tco2, outcome.er_tco2),
    ):
        if said is not None and said != found:
            return f"{where}: {name} is {found}, the example says {said}"
    return None


def _refused(where: str, example: Example, error: MrvError) -> str | None:
    if example.refused is None:
        return f"{where} is refused: {error}"
    return None if example.refused in str(error) else f"{where}: the refusal does not say {example.refused!r}: {error}"


def _counted(methodology: Methodology, example: Example) -> Decimal:
    return counted(methodology.monitored, example.quantities_mwh or {})


def _eg(mwh: Decimal | None) -> Decimal:
    if mwh is None:
        raise FormulaError("the example has neither EG nor quantities: give one of them")
    return solar_pv.eg_mwh(mwh * _WH)


def _chiller(part: Part) -> cop_ratio.Chiller:
    if part.ec_mwh is None or part.cop_project is None or part.cop_reference is None:
        raise FormulaError(f"{part.name} lacks EC or a COP: give ec_mwh, cop_project and cop_reference")
    return cop_ratio.Chiller(part.ec_mwh, part.cop_project, part.cop_reference, part.ef_tco2_per_mwh)
