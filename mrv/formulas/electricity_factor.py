"""The factor of consumed electricity in the efficiency methodologies; the rule was not read in a primary text (M).

Grid alone: the grid's factor, fixed at validation. Captive alone: option a, 0.8 tCO2/MWh of a small diesel set; option
b, from the generator's efficiency; option c, from the fuel that was burned. Grid and captive: the lower of the two.
"""

from decimal import ROUND_DOWN, Context, Decimal

from mrv.errors import FormulaError

OPTION_A_TCO2_PER_MWH = Decimal("0.8")
"""Captive default of the efficiency methodologies (M): CDM AMS-I.F's small diesel set; solar PV has 0.533."""

_EXACT = Context(prec=60)
_SIX_PLACES = Decimal("0.000001")


def option_b(efficiency_percent: Decimal, ef_fuel_tco2_per_gj: Decimal) -> Decimal:
    """Factor from the generator's efficiency η: 3.6 × (100 ÷ η) × EF_fuel [tCO2/MWh], rounded down to 6 places."""
    if not 0 < efficiency_percent <= 100:
        raise FormulaError(f"an efficiency of {efficiency_percent} % cannot be: give more than 0, and 100 or less")
    heat = _EXACT.divide(Decimal(360), efficiency_percent)
    return _EXACT.multiply(heat, ef_fuel_tco2_per_gj).quantize(_SIX_PLACES, ROUND_DOWN, _EXACT)


def option_c(fuel: Decimal, ncv_gj: Decimal, ef_fuel_tco2_per_gj: Decimal, generated_mwh: Decimal) -> Decimal:
    """Factor from the fuel burned: FC × NCV × EF_fuel ÷ EG [tCO2/MWh], rounded down to 6 places.

    Parameters
    ----------
    fuel, ncv_gj
        Fuel burned, in any unit, and its net calorific value [GJ per that unit].
    ef_fuel_tco2_per_gj
        Emission factor of the fuel.
    generated_mwh
        Electricity that was generated from it, more than 0.
    """
    if generated_mwh <= 0:
        raise FormulaError(f"{generated_mwh} MWh were generated: without generation there is no factor")
    emitted = _EXACT.multiply(_EXACT.multiply(fuel, ncv_gj), ef_fuel_tco2_per_gj)
    return _EXACT.divide(emitted, generated_mwh).quantize(_SIX_PLACES, ROUND_DOWN, _EXACT)


def of_consumption(grid: Decimal | None, captive: Decimal | None) -> Decimal:
    """Pick EF of the electricity consumed [tCO2/MWh]: the one there is, or the lower of the two.

    For a chiller the lower factor is the conservative one: its project consumes less than its reference.
    """
    known = [factor for factor in (grid, captive) if factor is not None]
    if not known:
        raise FormulaError("neither a grid's nor a captive factor is given: give the one that was registered")
    return min(known)
