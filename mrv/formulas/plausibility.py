"""Whether an energy can be: no more than the capacity makes in the time, so that a kWh never stands for a MWh.

The case: the Monitoring Report Sheet published for ID009 gives EI_grid,p = 42,826,880 MWh/p, a year of one site.
"""

from decimal import ROUND_UP, Decimal

from mrv.errors import ImplausibleError

MARGIN = Decimal("1.2")
"""As the register rules believe a device: 1.2 × its rated power."""


def check(energy_mwh: Decimal, capacity_kw: Decimal, hours: Decimal, what: str) -> None:
    """Refuse an energy that the capacity cannot make, or take, in the time.

    Parameters
    ----------
    energy_mwh
        The energy as it was entered or computed [MWh].
    capacity_kw
        Rated power [kW].
    hours
        Length of the span [h].
    what
        What the energy is, for the message: "EG of pv-1 in 2021".

    Raises
    ------
    ImplausibleError
        It is more than 1.2 × capacity × hours; where a thousandth of it can be, the message asks for kWh.
    """
    most = capacity_kw * hours / 1000
    if energy_mwh <= most * MARGIN:
        return
    possible = most.quantize(Decimal(1), ROUND_UP)
    remedy = "correct the capacity or the energy"
    if energy_mwh / 1000 <= most * MARGIN:
        as_kwh = f"{energy_mwh / 1000:,f}"
        as_kwh = as_kwh.rstrip("0").rstrip(".") if "." in as_kwh else as_kwh
        remedy = f"as kWh it would be {as_kwh} MWh: was it written in kWh?"
    energy = f"{energy_mwh:,f}"
    energy = energy.rstrip("0").rstrip(".") if "." in energy else energy
    raise ImplausibleError(
        f"{what}: {energy} MWh is more than {capacity_kw:,f} kW can make in {hours:,f} hours ({possible:,} MWh); "
        f"{remedy}"
    )
