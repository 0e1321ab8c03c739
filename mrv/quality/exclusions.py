"""Energy that cannot be, taken out of the credit: at night, more than the sky allows, or not shown by what follows.

Each rule looks at energies that the register rules credited and lowers some of them. So the credit never lies above
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
_SET_ASIDE = (Rule.DIP.code, Rule.SPIKE.code, Rule.UNRESOLVED.code, Rule.FROZEN.code)
# What comes after these is another level: registers before and after cannot be compared.
_NEW_LEVELS = (Rule.RESET.code, Rule.ROLLOVER.code, Rule.STEP_ABOVE_MAXIMUM.code)
# Over a rollover what was too much before is too little after.
_LOST_LEVELS = (Rule.RESET.code, Rule.STEP_ABOVE_MAXIMUM.code)


def most_mwh(found: Intervals, sky: Sky, spec: RegisterSpec) -> NDArray[np.float64]:
    """The most energy of each interval under a clear sky [mWh], margin included; shape (n,)."""
    most: NDArray[np.float64] = sky.full_load_us(found.t0_us, found.t1_us) * float(spec.mwh_per_us)
    return most


def night_energy(found: Intervals, register_mwh: NDArray[np.int64], sky: Sky) -> NDArray[np.int64]:
    """Tell how much of each interval's energy was counted within a night.

    Parameters
    ----------
    found
        Intervals of a register that counts what solar modules make.
    register_mwh
        Its readings as they were given to the register rules [mWh].
    sky
        The sky over its site.

    Returns
    -------
    NDArray of int64
        Energy [mWh], shape (n,), at most that of the interval. What lies between two readings of which one is in
        twilight is not of the night: the register may have counted there.

    Notes
    -----
    What was set aside as dips and spikes within an interval shows when the register rose: two jumps of 60 kWh at night,
    each more than the rating allows, made one interval of 20 hours that was not.
    """
    night = np.where(sky.within_night(found.t0_us, found.t1_us), found.energy_mwh, 0)
    within = np.searchsorted(found.t_us, found.dropped_t_us, side="right") - 1
    aside = np.isin(found.dropped_rule, _SET_ASIDE) & (within >= 0) & (within < len(night))
    for at in np.unique(within[aside & (found.energy_mwh[within.clip(0, len(night) - 1)] > 0)]).tolist():
        inside = np.flatnonzero(aside & (within == at))
        low, high = found.register_mwh[at : at + 2].tolist()
        register = np.clip(register_mwh[found.dropped_source[inside]], low, max(low, high))
        # Rises are summed without the falls between them: a spike by day must not hide a rise of the night after it.
        path = np.concatenate(([low], register, [high]))
        t_us = np.concatenate((found.t_us[[at]], found.dropped_t_us[inside], found.t_us[[at + 1]]))
        risen = np.diff(path)[sky.within_night(t_us[:-1], t_us[1:])].clip(0).sum()
        night[at] = min(int(found.energy_mwh[at]), int(risen))
    return night


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


def shown_later(found: Intervals, register_mwh: NDArray[np.int64], spec: RegisterSpec) -> NDArray[np.int64]:
    """Lower each energy to what the readings after it show of it.

    Parameters
    ----------
    found
        Intervals of a register.
    register_mwh
        Its readings as they were given to the register rules [mWh].
    spec
        The register.

    Returns
    -------
    NDArray of int64
        Energy of each interval [mWh], shape (n,), nowhere more than before.

    Notes
    -----
    A reading a little too high at dusk makes dips of all readings until the sun makes good for it next morning. Over
    both days nothing is wrong; but a period that ends at midnight would be credited the excess. So the readings that
    were set aside as dips count as evidence, where they fit what was there in the `confirm_for` before them; deeper
    ones, such as averages with zeros, contradict nothing. Before a reset or a jump nothing tells whether the last
    readings were too high, so as many of them as would confirm a level are not credited.
    """
    energy = found.energy_mwh.copy()
    for level in np.flatnonzero(np.isin(found.rule, _LOST_LEVELS)).tolist():
        energy[max(level - spec.confirm_samples, 0) : level] = 0
    dips = np.flatnonzero(found.dropped_rule == Rule.DIP.code)
    if len(dips) == 0 or len(energy) == 0:
        return energy
    lowest = found.register_mwh.copy()
    breaks = np.flatnonzero(np.isin(found.rule, _NEW_LEVELS)) + 1
    for dip in dips.tolist():
        t_us, register = int(found.dropped_t_us[dip]), int(register_mwh[found.dropped_source[dip]])
        end = int(np.searchsorted(found.t_us, t_us))
        start = int(np.searchsorted(found.t_us, t_us - spec.confirm_us))
        segment = int(np.searchsorted(breaks, end, side="left"))
        start = max(start, int(breaks[segment - 1]) if segment else 0)
        if start < end and found.register_mwh[start] <= register:
            lowest[start:end] = np.minimum(lowest[start:end], register)
    shown = np.maximum(lowest[1:] - found.register_mwh[:-1], 0)
    lowered = lowest[1:] < found.register_mwh[1:]
    energy[lowered] = np.minimum(energy[lowered], shown[lowered])
    return energy


def exclude(
    found: Intervals, register_mwh: NDArray[np.int64], sky: Sky | None, spec: RegisterSpec, time_zone: str
) -> tuple[Intervals, dict[QualityRule, int]]:
    """Take out of the credit what cannot be.

    Parameters
    ----------
    found
        Intervals of a register that counts towards the credit; never one that is subtracted from it.
    register_mwh
        Its readings as they were given to the register rules [mWh].
    sky
        The sky over its site, at least from its first to its last reading; None where it does not bound the register.
    spec
        The register.
    time_zone
        IANA name of the site's zone.

    Returns
    -------
    Intervals
        The same, with the rule's code where energy was taken out.
    dict
        What each rule took out [mWh].
    """
    energy, rule = found.energy_mwh.copy(), found.rule.copy()
    taken: dict[QualityRule, int] = {}

    def take(decided: QualityRule, left: NDArray[np.int64]) -> Intervals:
        marked = left < energy
        taken[decided] = int((energy - left).sum())
        energy[:], rule[marked] = left, EXCLUSION_CODES[decided]
        return replace(found, energy_mwh=energy.copy(), rule=rule.copy())

    judged = take(QualityRule.UNCONFIRMED_RISE, shown_later(found, register_mwh, spec))
    if sky is None:
        return judged, taken
    most = most_mwh(found, sky, spec)
    judged = take(QualityRule.NIGHT_ENERGY, energy - night_energy(judged, register_mwh, sky))
    judged = take(QualityRule.ABOVE_CLEAR_SKY, np.where(above_clear_sky(judged, most, spec), 0, energy))
    above = day_above_clear_sky(judged, most, spec, time_zone)
    judged = take(QualityRule.DAY_ABOVE_CLEAR_SKY, np.where(above, 0, energy))
    return judged, taken
