"""The solar PV formula of the JCM: ER_p = RE_p − PE_p, RE_p = Σ_i EG_i,p × EF_RE,i, PE_p = 0.

Every rounding goes down and happens once, where it is named here: EG_i,p to whole watt-hours, RE_i,p to a gram of CO2,
ER_p to whole tonnes per calendar year. Sources: TH_AM001, MN_AM003 and their sisters; whole tonnes per vintage follow
the published issuances.
"""

from collections.abc import Iterable
from datetime import date
from decimal import ROUND_DOWN, ROUND_FLOOR, Context, Decimal

from mrv.result import SystemYear, Vintage

PE_TCO2 = Decimal(0)
"""Project emissions [tCO2/p]: zero in every solar PV methodology that was read."""

_SIX_PLACES = Decimal("0.000001")
_EXACT = Context(prec=60)
"""More digits than any product here has, so that the rounding named is the only one."""


def eg_mwh(energy_wh: Decimal) -> Decimal:
    """Credited energy as EG_i,p.

    Parameters
    ----------
    energy_wh
        Energy of a system in a calendar year of the period [Wh], not negative.

    Returns
    -------
    Decimal
        MWh, rounded down to 6 places.
    """
    return _EXACT.scaleb(energy_wh, -6).quantize(_SIX_PLACES, ROUND_DOWN, _EXACT)


def re_tco2(eg: Decimal, ef_tco2_per_mwh: Decimal) -> Decimal:
    """Reference emissions of a system in a calendar year: EG_i,p × EF_RE,i [tCO2], rounded down to 6 places."""
    return _EXACT.multiply(eg, ef_tco2_per_mwh).quantize(_SIX_PLACES, ROUND_DOWN, _EXACT)


def er_tco2(re: Decimal, pe: Decimal = PE_TCO2) -> int:
    """Emission reductions of a calendar year: RE − PE, rounded down to whole tonnes, never below zero."""
    return max(0, int(_EXACT.subtract(re, pe).to_integral_value(ROUND_FLOOR)))


def system_year(year: int, energy_wh: Decimal, ef_tco2_per_mwh: Decimal) -> SystemYear:
    """Compute system i in a calendar year from its credited energy [Wh] and its factor [tCO2/MWh]."""
    eg = eg_mwh(energy_wh)
    return SystemYear(year, eg, re_tco2(eg, ef_tco2_per_mwh))


def vintage(first_day: date, last_day: date, systems: Iterable[SystemYear]) -> Vintage:
    """Sum the systems' year into a vintage.

    Parameters
    ----------
    first_day, last_day
        The days of the period that lie in that year, both included.
    systems
        Each system's share of the year.
    """
    years = list(systems)
    eg = sum((system.eg_mwh for system in years), Decimal("0.000000"))
    re = sum((system.re_tco2 for system in years), Decimal("0.000000"))
    return Vintage(first_day.year, first_day, last_day, eg, re, PE_TCO2, er_tco2(re))
