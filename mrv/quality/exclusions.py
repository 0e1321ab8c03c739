"""Energy that cannot be, taken out of the credit: at night, or more than the sky allows.

Each rule looks at energies that the register rules credited and sets some of them to 0. So the credit never lies above
that of the register rules alone, which no fault raises above a clean series.

A bound has one step of the register as slack. A register that creeps by a step an interval would have as many of them
as there are intervals, so the days are held against the bound too, and at night there is no slack at all.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mrv.calendar import day_edges, local_dates
from mrv.quality.rules import EXCLUSION_CODES, QualityRule
from mrv.quality.sky import Sky
from mrv.register_rules import RegisterSpec, Rule
from mrv.registers import Intervals

Mask = NDArray[np.bool_]


def most_mwh(found: Intervals, sky: Sky, spec: RegisterSpec) -> NDArray[np.float64]:
    """The most energy of each interval under a clear sky [mWh], margin included; shape (n,)."""
    most: NDArray[np.float64] = sky.full_load_us(found.t0_us, found.t1_us) * float(spec.mwh_per_us)
    return most


def night_energy(found: Intervals, sky: Sky) -> Mask:
    """Mark the intervals that lie within a night and have energy.

    Parameters
    ----------
    found
        Intervals of a register that counts what solar modules make.
    sky
        The sky over its site.

    Returns
    -------
    NDArray of bool
        Shape (n,). An interval that reaches into twilight is not marked: the register may have counted there.
    """
    return sky.within_night(found.t0_us, found.t1_us) & (found.energy_mwh > 0)


def above_clear_sky(found: Intervals, most: NDArray[np.float64], spec: RegisterSpec) -> Mask:
    """Mark the intervals with more energy than a clear sky allows in their time, and a step of the register.

    One that the register rules found late is held against the bound together with the one before: part of its energy
    was made then.
    """
    energy = found.energy_mwh.astype(np.float64)
    above: Mask = energy > most + spec.resolution_mwh
    late = np.flatnonzero(found.rule == Rule.LATE.code)
    late = late[late > 0]
    together = energy[late] + energy[late - 1] > most[late] + most[late - 1] + spec.resolution_mwh
    above[late] &= together
    return above


def day_above_clear_sky(found: Intervals, most: NDArray[np.float64], spec: RegisterSpec, time_zone: str) -> Mask:
    """Mark the intervals of local days whose energies together are more than a clear sky allows, and two steps.

    An interval belongs to the day in which it ends, as in `mrv.energy`.
    """
    if len(found.energy_mwh) == 0:
        return np.zeros(0, dtype=np.bool_)
    ends = local_dates(found.t1_us[[0, -1]] - 1, time_zone)
    edges = day_edges(ends[0].item(), ends[1].item(), time_zone)
    day = np.searchsorted(edges, found.t1_us, side="left") - 1
    count = len(edges)
    energy = np.bincount(day, weights=found.energy_mwh.astype(np.float64), minlength=count)
    allowed = np.bincount(day, weights=most, minlength=count)
    above: Mask = (energy > allowed + 2 * spec.resolution_mwh)[day] & (found.energy_mwh > 0)
    return above


def exclude(found: Intervals, sky: Sky, spec: RegisterSpec, time_zone: str) -> tuple[Intervals, dict[QualityRule, int]]:
    """Take out of the credit what cannot be.

    Parameters
    ----------
    found
        Intervals of a register that counts what solar modules make; never one that is subtracted from the credit.
    sky
        The sky over its site, at least from its first to its last reading.
    spec
        The register.
    time_zone
        IANA name of the site's zone.

    Returns
    -------
    Intervals
        The same, with energy 0 and the rule's code where energy was taken out.
    dict
        What each rule took out [mWh].
    """
    most = most_mwh(found, sky, spec)
    energy, rule = found.energy_mwh.copy(), found.rule.copy()
    taken: dict[QualityRule, int] = {}
    judged = found
    for decided in EXCLUSION_CODES:
        if decided is QualityRule.NIGHT_ENERGY:
            marked = night_energy(judged, sky)
        elif decided is QualityRule.ABOVE_CLEAR_SKY:
            marked = above_clear_sky(judged, most, spec)
        else:
            marked = day_above_clear_sky(judged, most, spec, time_zone)
        taken[decided] = int(energy[marked].sum())
        energy[marked], rule[marked] = 0, EXCLUSION_CODES[decided]
        judged = replace(found, energy_mwh=energy.copy(), rule=rule.copy())
    return judged, taken
