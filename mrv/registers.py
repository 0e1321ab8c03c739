"""Register algebra: from readings of a lifetime register to intervals of energy, each with the rule that decided it.

A register says how much energy there has been altogether, so missing readings cost nothing: what counts is the
difference. Real registers fall, read zero, jump and start again (measured: taking every rise as energy credits 55,000
times too much on a real plant, taking every fall as a reset 150,000 times). Every rule here keeps or lowers the
credit. Along retained readings the energies telescope: without a reset or a jump, their sum is last minus first.
"""

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from mrv.calendar import MICROSECOND, to_us
from mrv.errors import SeriesError
from mrv.register_chains import KEPT, Chains
from mrv.register_rules import LARGEST_MWH, MWH_PER_WH, DeclaredRegister, RegisterSpec, Rule

RULE_OF_CODE = {rule.code: rule for rule in Rule}
CREDITED_CODES = frozenset(rule.code for rule in Rule if rule.effect.value == "credits")
# The readings at the ends of declared installations are no row of the input.
DECLARED = -1
# float64 loses the last bits of a large step; suspects are decided again in whole numbers.
_SUSPICION = 1 - 1e-9


@dataclass(frozen=True, eq=False)
class Intervals:
    """The energy between neighbouring retained readings, and the readings that were set aside.

    Attributes
    ----------
    t_us, register_mwh
        Retained readings: instants [µs UTC] and registers [mWh], shape (n + 1,), or (0,) if there is none.
    source
        Their positions in the input, shape (n + 1,); `DECLARED` for a declared opening or closing register.
    energy_mwh, rule
        Credited energy [mWh] and rule code of each interval, shape (n,). They tile the time between the first and the
        last retained reading; an interval that is not credited has energy 0 and says why.
    dropped_t_us, dropped_source, dropped_rule
        Readings set aside: instant, position in the input, rule code; shape (m,), in order of input.
    """

    t_us: NDArray[np.int64]
    register_mwh: NDArray[np.int64]
    source: NDArray[np.int64]
    energy_mwh: NDArray[np.int64]
    rule: NDArray[np.uint8]
    dropped_t_us: NDArray[np.int64]
    dropped_source: NDArray[np.int64]
    dropped_rule: NDArray[np.uint8]

    @classmethod
    def none(cls) -> "Intervals":
        """No interval and no reading."""
        whole, code = np.empty(0, np.int64), np.empty(0, np.uint8)
        return cls(whole, whole, whole, whole, code, whole, whole, code)

    @property
    def seconds(self) -> float | None:
        """Median length [s]; None without an interval."""
        return float(np.median(np.diff(self.t_us))) / 1_000_000 if len(self.t_us) > 1 else None

    @property
    def t0_us(self) -> NDArray[np.int64]:
        """Start of each interval [µs UTC]."""
        return self.t_us[:-1]

    @property
    def t1_us(self) -> NDArray[np.int64]:
        """End of each interval [µs UTC]."""
        return self.t_us[1:]

    @property
    def total_mwh(self) -> int:
        """Credited energy of all intervals [mWh]."""
        return int(self.energy_mwh.sum())

    @property
    def total_wh(self) -> Decimal:
        """Credited energy of all intervals [Wh], exact."""
        return Decimal(self.total_mwh) / MWH_PER_WH

    def counts(self) -> dict[str, int]:
        """How often each rule decided, by rule id, zeros included: intervals and readings set aside together."""
        per_code = np.bincount(self.rule, minlength=32) + np.bincount(self.dropped_rule, minlength=32)
        opens = len(self.t_us) > 0 and int(self.source[0]) != DECLARED
        return {rule.id: int(opens) if rule is Rule.OPENING else int(per_code[rule.code]) for rule in Rule}


def intervals(
    t_us: NDArray[np.int64],
    register_mwh: NDArray[np.int64],
    spec: RegisterSpec,
    *,
    power_w: NDArray[np.float64] | None = None,
    opening: DeclaredRegister | None = None,
    closing: DeclaredRegister | None = None,
) -> Intervals:
    """Turn the readings of one register into intervals of energy.

    Parameters
    ----------
    t_us
        Instants [µs UTC], not decreasing, shape (n,). Of several readings of one instant the first stands.
    register_mwh
        Registers [mWh], shape (n,), as `to_mwh` makes them.
    spec
        What is known about the register.
    power_w
        Power at the same instants [W], NaN where unknown, shape (n,). With it a register that stands still is noticed,
        and a jump that makes good for it can be credited; without it neither.
    opening, closing
        Registers declared when the device was installed and removed. The energy joins at them; readings outside are
        set aside.

    Returns
    -------
    Intervals
        Every input reading is in it once, retained or set aside with a rule.

    Raises
    ------
    SeriesError
        If the arrays differ in shape or type, time runs backwards, or the closing lies before the opening.

    Notes
    -----
    A first reading that is too low, by less than the device could make until the second one, cannot be told from a
    true one: whoever computes a period gives readings from before it too (`confirm_for` of them is enough).
    """
    _check(t_us, register_mwh, power_w, opening, closing)
    verdict = _readable(t_us, register_mwh, spec, opening, closing)
    kept = np.flatnonzero(verdict == KEPT)
    t, r, source = t_us[kept], register_mwh[kept], kept.astype(np.int64)
    power = None if power_w is None else np.asarray(power_w, dtype=np.float64)[kept]
    for declared in (opening, closing):
        if declared is not None:
            at = 0 if declared is opening else len(t)
            t = np.insert(t, at, to_us(declared.at))
            r = np.insert(r, at, int(declared.register_wh * MWH_PER_WH))
            source = np.insert(source, at, DECLARED)
            power = None if power is None else np.insert(power, at, np.nan)

    chains = Chains(t, r, spec, power, closing_declared=closing is not None)
    suspects = _suspects(t, r, spec)
    if len(suspects):
        chains.run(suspects)
        retained = chains.verdict == KEPT
        aside = ~retained & (source != DECLARED)
        verdict[source[aside]] = chains.verdict[aside]
        positions = np.flatnonzero(retained)
        t, r, source = t[retained], r[retained], source[retained]
        power = None if power is None else power[retained]
        joins = {int(np.searchsorted(positions, point)): rule for point, rule in chains.joins.items()}
    else:
        joins = {}

    energy, rule = _rules(t, r, source, spec, power, joins)
    dropped = np.flatnonzero(verdict != KEPT)
    return Intervals(t, r, source, energy, rule, t_us[dropped], dropped.astype(np.int64), verdict[dropped])


def _check(
    t_us: NDArray[np.int64],
    register_mwh: NDArray[np.int64],
    power_w: NDArray[np.float64] | None,
    opening: DeclaredRegister | None,
    closing: DeclaredRegister | None,
) -> None:
    for name, array in (("t_us", t_us), ("register_mwh", register_mwh)):
        if array.dtype != np.int64 or array.ndim != 1:
            raise SeriesError(f"{name} is {array.dtype} of shape {array.shape}: give a one-dimensional int64 array")
    if len(t_us) != len(register_mwh):
        raise SeriesError(f"{len(t_us)} instants but {len(register_mwh)} registers: give one register per instant")
    if power_w is not None and power_w.shape != t_us.shape:
        raise SeriesError(f"{len(t_us)} instants but power of shape {power_w.shape}: give one power per instant")
    backwards = np.flatnonzero(t_us[1:] < t_us[:-1])
    if len(backwards):
        at = int(backwards[0]) + 1
        raise SeriesError(f"reading {at} lies before reading {at - 1} in time: sort the readings by time")
    if opening is not None and closing is not None and closing.at <= opening.at:
        raise SeriesError(
            f"the closing register of {closing.at.isoformat()} lies before the opening of "
            f"{opening.at.isoformat()}: correct the declaration"
        )
    for declared in (opening, closing):
        if declared is not None and not 0 <= declared.register_wh * MWH_PER_WH <= LARGEST_MWH:
            raise SeriesError(f"the declared register {declared.register_wh} Wh cannot be: give 0 to 9e12 Wh")


def _readable(
    t_us: NDArray[np.int64],
    register_mwh: NDArray[np.int64],
    spec: RegisterSpec,
    opening: DeclaredRegister | None,
    closing: DeclaredRegister | None,
) -> NDArray[np.uint8]:
    """Set aside what is no reading of this register, looking at each reading alone."""
    verdict: NDArray[np.uint8] = np.full(len(t_us), KEPT, dtype=np.uint8)
    largest = LARGEST_MWH if spec.width_mwh is None else spec.width_mwh - 1
    lowest = 0 if spec.zero_is_reading else 1
    if len(t_us) and (int(register_mwh.min()) < lowest or int(register_mwh.max()) > largest):
        verdict[(register_mwh < 0) | (register_mwh > largest)] = Rule.INVALID.code
        if not spec.zero_is_reading:
            verdict[register_mwh == 0] = Rule.ZERO.code
    if opening is not None:
        verdict[t_us <= to_us(opening.at)] = Rule.OUTSIDE.code
    if closing is not None:
        verdict[t_us >= to_us(closing.at)] = Rule.OUTSIDE.code
    if np.any(t_us[1:] == t_us[:-1]):
        kept = np.flatnonzero(verdict == KEPT)
        again = np.flatnonzero(t_us[kept][1:] == t_us[kept][:-1]) + 1
        verdict[kept[again]] = Rule.DUPLICATE.code
    return verdict


def _suspects(t: NDArray[np.int64], r: NDArray[np.int64], spec: RegisterSpec) -> NDArray[np.int64]:
    """Positions i where the step from i to i + 1 falls, or may exceed what the device can make."""
    step = np.diff(r)
    largest = np.diff(t) * (float(spec.mwh_per_us) * _SUSPICION)
    largest += spec.resolution_mwh * _SUSPICION
    return np.flatnonzero((step < 0) | (step > largest)).astype(np.int64)


def _rules(
    t: NDArray[np.int64],
    r: NDArray[np.int64],
    source: NDArray[np.int64],
    spec: RegisterSpec,
    power: NDArray[np.float64] | None,
    joins: dict[int, Rule],
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Energy and rule of each interval between retained readings."""
    energy = np.diff(r)
    rule = np.zeros(len(energy), dtype=np.uint8)
    if len(energy) == 0:
        return energy, rule
    rule[np.diff(t) > spec.gap_after // MICROSECOND] = Rule.GAP.code
    if power is not None:
        rule[_standstills(t, r, spec, power)] = Rule.FROZEN.code
    for end in (0, len(energy) - 1):
        if source[end if end == 0 else end + 1] == DECLARED:
            rule[end] = Rule.REPLACEMENT.code
    for point, decided in joins.items():
        at = point - 1
        rule[at] = decided.code
        if decided is Rule.ROLLOVER:
            energy[at] += spec.width_mwh or 0
        elif decided in (Rule.RESET, Rule.STEP_ABOVE_MAXIMUM):
            energy[at] = 0
    return energy, rule


def _standstills(
    t: NDArray[np.int64], r: NDArray[np.int64], spec: RegisterSpec, power: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Mask of intervals within runs of one register value, longer than `frozen_after`, while power was made.

    Power counts by the lower of its two ends. A run is only called frozen if that power makes two of the register's
    steps and a hundredth of the maximum over `frozen_after`: at night a register rightly stands still, while real
    inverters of 1.5 MW show a kilowatt or two for half an hour after dusk.
    """
    step = np.diff(r)
    elapsed = np.diff(t)
    seen = elapsed <= spec.gap_after // MICROSECOND
    clean = np.nan_to_num(power, nan=0.0, posinf=0.0, neginf=0.0).clip(0.0)
    made = np.minimum(clean[:-1], clean[1:]) * (elapsed * seen) * (MWH_PER_WH / 3_600_000_000)
    # Runs of step == 0: edges where the mask turns on and off.
    edges = np.diff(np.concatenate(([0], (step == 0).astype(np.int8), [0])))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    made_until = np.concatenate(([0.0], np.cumsum(made)))
    noticeable = max(2 * spec.resolution_mwh, spec.largest_step_mwh(spec.frozen_after // MICROSECOND) // 100)
    frozen = (t[ends] - t[starts] >= spec.frozen_after // MICROSECOND) & (
        made_until[ends] - made_until[starts] >= noticeable
    )
    mask = np.zeros(len(step) + 1, dtype=np.int64)
    np.add.at(mask, starts[frozen], 1)
    np.add.at(mask, ends[frozen], -1)
    return np.cumsum(mask[:-1]) > 0
