"""EG_i,p: what a methodology counts of the registers of system i.

Each way is conservative by its shape: what is subtracted is never subtracted less than once, and what a battery gives
back never makes more of the generation than was generated.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal, get_args

from mrv.errors import FormulaError

Monitored = Literal[
    "gross_output", "consumed_or_sold", "day_category", "battery", "net_output", "project_consumption", "not_read"
]
Quantity = Literal["generated", "sold", "auxiliary", "charged", "discharged"]

NEEDED: Mapping[str, frozenset[Quantity]] = {
    "gross_output": frozenset({"generated"}),
    "consumed_or_sold": frozenset({"generated"}),
    "day_category": frozenset({"generated"}),
    "battery": frozenset({"generated", "charged", "discharged"}),
    "net_output": frozenset({"generated", "auxiliary"}),
}
"""Quantities without which EG cannot be told, by what the methodology monitors."""
ALLOWED: Mapping[str, frozenset[Quantity]] = {**NEEDED, "consumed_or_sold": frozenset({"generated", "sold"})}
SUBTRACTED: frozenset[Quantity] = frozenset({"auxiliary", "charged"})
"""Quantities that lower EG: where their register is in doubt, the generation beside it is not counted."""

_NAMES: Mapping[Quantity, str] = {
    "generated": "the generation",
    "sold": "what was sold",
    "auxiliary": "the auxiliary consumption",
    "charged": "what the battery was charged with",
    "discharged": "what the battery gave back",
}
assert set(_NAMES) == set(get_args(Quantity))  # noqa: S101 - each quantity has a name


def counted(monitored: str, quantities: Mapping[Quantity, Decimal]) -> Decimal:
    """Compute EG of one system from its quantities, in their unit.

    Parameters
    ----------
    monitored
        What the methodology counts: `gross_output` and `day_category`, the generation; `consumed_or_sold`, what was
        consumed (given as `generated`) and what was sold; `battery`, the generation less what the battery kept;
        `net_output`, the generation less the auxiliary consumption.
    quantities
        Energies of the same span, all in one unit, none negative.

    Raises
    ------
    FormulaError
        A quantity is missing, negative, or not one of those that the methodology counts.
    """
    if monitored not in NEEDED:
        raise FormulaError(f"{monitored} is not counted from registers of energy")
    for name, value in quantities.items():
        if name not in ALLOWED[monitored]:
            raise FormulaError(f"{_NAMES[name]} is given, and {monitored} does not count it")
        if value < 0:
            raise FormulaError(f"{_NAMES[name]} is {value}, below zero: give 0 or more")
    for name in sorted(NEEDED[monitored] - set(quantities)):
        raise FormulaError(f"{_NAMES[name]} is missing, and {monitored} needs it")
    generated = quantities["generated"]
    if monitored == "consumed_or_sold":
        return generated + quantities.get("sold", Decimal(0))
    if monitored == "battery":
        return max(Decimal(0), generated - max(Decimal(0), quantities["charged"] - quantities["discharged"]))
    if monitored == "net_output":
        return max(Decimal(0), generated - quantities["auxiliary"])
    return generated
