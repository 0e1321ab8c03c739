"""The quality rules as a computation asks for them: on one declared register, and on meters against inverters."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from devices.declarations import Device, ProjectDeclaration, PvSystem
from mrv.basis import Credited, registers_of
from mrv.catalogue import find
from mrv.energy import EnergyDay
from mrv.errors import CatalogueError
from mrv.formulas.counted import SUBTRACTED as COUNTED_AGAINST
from mrv.inputs import Series
from mrv.quality.judge import Place, Verdict, judge
from mrv.register_rules import MWH_PER_WH
from mrv.registers import Intervals

# Undeclared: a meter of class 1, and inverters as their data sheets give them.
_METER_ERROR_PERCENT = Decimal(1)
_INVERTER_ERROR_PERCENT = Decimal(3)
_COVERED = Decimal("0.9")
_DAYS_NAMED = 5
_CLASS = re.compile(r"\d+(?:\.\d+)?")


def is_solar(methodology: str, version: str) -> bool:
    """Return whether what a methodology credits is made by solar modules alone, so that the sky bounds it.

    A battery gives energy back at night, and water runs at night.
    """
    try:
        return find(methodology, version).kind == "solar PV"
    except CatalogueError:
        return False


def hold(credited: Credited, series: Series, found: Intervals, first: date, last: date, *, solar: bool) -> Verdict:
    """Hold a register against the quality rules.

    Energy is only ever taken out of what counts as generation: of a register that is subtracted, it would raise the
    credit.
    """
    site = credited.site
    place = Place(
        spec=credited.spec,
        time_zone=site.time_zone,
        latitude=None if site.latitude is None else float(site.latitude),
        longitude=None if site.longitude is None else float(site.longitude),
        solar=solar and credited.meter is None,
        counts=credited.quantity not in COUNTED_AGAINST,
    )
    return judge(
        found,
        place,
        first,
        last,
        t_us=series.t_us,
        register_mwh=series.register_mwh,
        # A meter's power is the sum of what its registers count: it says nothing about one that counts beside another.
        power_w=series.power_or_none if credited.meter is None else None,
        received=series.receipts,
    )


def told(days: Sequence[EnergyDay], verdict: Verdict) -> list[EnergyDay]:
    """Add to the days of a register what the quality rules tell of them."""
    return [replace(day, rules={**day.rules, **verdict.by_day.get(day.day, {})}) for day in days]


def behind_meters(declaration: ProjectDeclaration, credited: Sequence[Credited]) -> list[Credited]:
    """List the inverters of systems that meters alone are credited for; they check, and are not credited."""
    kinds: dict[str, set[str]] = {}
    for entry in credited:
        kinds.setdefault(entry.system.id, set()).add(entry.device.kind)
    found = [
        entry
        for entry in registers_of(declaration)
        if entry.device.kind == "inverter" and kinds.get(entry.system.id) == {"meter"}
    ]
    return sorted(found, key=lambda entry: (entry.system.id, entry.label))


def permissible_error_percent(device: Device) -> Decimal:
    """Return how far a device may be wrong [%]: as declared, or its class; else 1 for a meter and 3 for an inverter."""
    if device.maximum_permissible_error_percent is not None:
        return device.maximum_permissible_error_percent
    named = _CLASS.search(device.accuracy_class or "")
    if named is not None:
        return Decimal(named.group())
    return _METER_ERROR_PERCENT if device.kind == "meter" else _INVERTER_ERROR_PERCENT


@dataclass(frozen=True, slots=True)
class Against:
    """Meters held against the inverters behind them, over the days on which all of them were read."""

    compared: int
    """Days."""
    above: tuple[date, ...]
    """Days on which the meters counted more than the inverters, beyond what both may be wrong."""
    excess_wh: Decimal
    """By how much over all days compared; 0 or below where it is not beyond that."""

    def notes(self, system: PvSystem) -> list[str]:
        """Say what stands against the credit of a system."""
        if not self.above and self.excess_wh <= 0:
            return []
        named = ", ".join(day.isoformat() for day in self.above[:_DAYS_NAMED])
        more = f" and {len(self.above) - _DAYS_NAMED} more" if len(self.above) > _DAYS_NAMED else ""
        over = f" ({named}{more})" if named else ""
        excess = f", in sum by {self.excess_wh:,.0f} Wh" if self.excess_wh > 0 else ""
        said = (
            f"CHECK {system.id}: its meters counted more than all of its inverters on {len(self.above)} of "
            f"{self.compared} days compared{over}{excess}, beyond what both may be wrong; nothing was taken out of the "
            "credit for it, explain it before this is submitted"
        )
        return [said]


def meters_against_inverters(
    meters: Mapping[str, Sequence[EnergyDay]], inverters: Mapping[str, Sequence[EnergyDay]], devices: Sequence[Device]
) -> Against | None:
    """Hold the credited meters of a system against the inverters behind them.

    Parameters
    ----------
    meters, inverters
        Days of each, by label; the same days.
    devices
        All of them, for how far they may be wrong: the worst meter and the worst inverter count.

    Returns
    -------
    Against or None
        None where there is nothing on one side.

    Notes
    -----
    A meter behind them cannot count more than inverters make: inverter·(1 + e_m)/(1 − e_i) is the most it can show.
    Days on which a device was read for less than nine tenths of the time are not compared, nor energy carried into a
    day: a bridged gap would put it on different days.
    """
    if not meters or not inverters:
        return None
    errors = {
        kind: max((permissible_error_percent(device) for device in devices if device.kind == kind), default=Decimal(0))
        for kind in ("meter", "inverter")
    }
    most = (100 + errors["meter"]) / (100 - min(errors["inverter"], Decimal(99)))
    sides = [_complete_days(side) for side in (meters, inverters)]
    days = sorted(set(sides[0]) & set(sides[1]))
    beyond = {day: Decimal(sides[0][day]) - sides[1][day] * most for day in days}
    # A whole watt-hour: registers are read a moment apart.
    above = tuple(day for day, mwh in beyond.items() if mwh > MWH_PER_WH)
    return Against(len(days), above, sum(beyond.values(), Decimal(0)) / MWH_PER_WH)


def _complete_days(devices: Mapping[str, Sequence[EnergyDay]]) -> dict[date, int]:
    """Sum the energy of the days [mWh] on which every device was read."""
    total: dict[date, int] = {}
    incomplete: set[date] = set()
    for days in devices.values():
        for day in days:
            total[day.day] = total.get(day.day, 0) + day.within_mwh
            if day.coverage < _COVERED:
                incomplete.add(day.day)
    return {day: mwh for day, mwh in total.items() if day not in incomplete}
