"""Chillers and air conditioners by their COP.

RE_p = Σ_i EC_PJ,i,p × (COP_PJ,i ÷ COP_RE,i) × EF_elec; PE_p = Σ_i EC_PJ,i,p × EF_elec; ER_p = RE_p − PE_p.

Sources: the summaries of TH_AM005 and ID_AM004 (power consumption of the project chiller, ratio of the COPs, factor of
the electricity consumed). Their parameter names were not read. Reference emissions are rounded down, project emissions
up, each to 6 places; ER goes down to whole tonnes per calendar year.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_UP, Context, Decimal

from mrv.errors import FormulaError

_SIX_PLACES = Decimal("0.000001")
_EXACT = Context(prec=60)


@dataclass(frozen=True, slots=True)
class Chiller:
    """Chiller i in a calendar year of the period."""

    ec_mwh: Decimal
    """EC_PJ,i,p: electricity that the project chiller consumed [MWh/p]."""
    cop_project: Decimal
    """COP_PJ,i of the project chiller."""
    cop_reference: Decimal
    """COP_RE,i of the reference chiller."""
    ef_tco2_per_mwh: Decimal
    """EF_elec of the electricity it consumed."""

    def __post_init__(self) -> None:
        if self.ec_mwh < 0 or self.ef_tco2_per_mwh < 0:
            raise FormulaError(f"EC_PJ {self.ec_mwh} MWh and EF {self.ef_tco2_per_mwh} tCO2/MWh: give 0 or more")
        if self.cop_reference <= 0 or self.cop_project <= 0:
            raise FormulaError(f"COP {self.cop_project} and {self.cop_reference}: give numbers above 0")
        # A COP of more than 15 is above Carnot for chilled water at 7 °C and cooling water at 25 °C: another unit.
        if max(self.cop_project, self.cop_reference) > 15:
            raise FormulaError(
                f"a COP of {max(self.cop_project, self.cop_reference)} cannot be: is it an EER in BTU/Wh?"
            )

    @property
    def re_tco2(self) -> Decimal:
        """Reference emissions [tCO2], rounded down to 6 places."""
        used = _EXACT.multiply(_EXACT.multiply(self.ec_mwh, self.ef_tco2_per_mwh), self.cop_project)
        return _EXACT.divide(used, self.cop_reference).quantize(_SIX_PLACES, ROUND_DOWN, _EXACT)

    @property
    def pe_tco2(self) -> Decimal:
        """Project emissions [tCO2], rounded up to 6 places."""
        return _EXACT.multiply(self.ec_mwh, self.ef_tco2_per_mwh).quantize(_SIX_PLACES, ROUND_UP, _EXACT)


def totals(chillers: Iterable[Chiller]) -> tuple[Decimal, Decimal]:
    """Sum RE_p and PE_p over the chillers of a calendar year [tCO2]."""
    listed = list(chillers)
    zero = Decimal("0.000000")
    return sum((one.re_tco2 for one in listed), zero), sum((one.pe_tco2 for one in listed), zero)
