"""Which readings of a register belong together where neighbouring ones do not.

The readings that agree with each other form chains. The *trusted* chain is what has been credited so far; a reading
that fits no chain opens a *candidate*. The next reading joins the chain it fits. Where it fits several, the one that
credits least wins: joining the trusted chain credits up from its last register, joining a candidate only from the
candidate's first, so the highest of those registers wins. When the trusted chain goes on, the candidates were dips or
spikes. When a candidate is confirmed (`confirm_samples` readings over `confirm_for`, none of them fitting what was
trusted), it is either what remained after a false rise, which is then taken back, or the register rolled over, was
reset, or jumped.

Only the neighbourhood of an impossible step comes here; `mrv.registers` handles all the rest with arrays.
"""

from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

from mrv.calendar import MICROSECOND
from mrv.register_rules import RegisterSpec, Rule

KEPT = 255
# A tenth level at once is noise: the candidate with fewest readings gives way, so that a reading costs no more looks.
_MOST_CANDIDATES = 9


class Chains:
    """The trusted chain of a series and the candidates beside it.

    Parameters
    ----------
    t_us
        Instants [µs], strictly increasing, shape (n,).
    register_mwh
        Registers [mWh], within the register's width, shape (n,).
    spec
        The register.
    power_w
        Power at the same instants [W], NaN where unknown; None if there is none. Only evidence for `catch_up`.
    closing_declared
        Whether the last point is a declared closing register, which needs no confirmation.

    Attributes
    ----------
    verdict
        uint8, shape (n,): `KEPT`, or the code of the rule that set the point aside.
    joins
        For a retained point, the rule of the interval that ends at it, where that is not a normal step.
    """

    def __init__(
        self,
        t_us: NDArray[np.int64],
        register_mwh: NDArray[np.int64],
        spec: RegisterSpec,
        power_w: NDArray[np.float64] | None = None,
        *,
        closing_declared: bool = False,
    ) -> None:
        self.verdict: NDArray[np.uint8] = np.full(len(t_us), KEPT, dtype=np.uint8)
        self.joins: dict[int, Rule] = {}
        self._t_us = t_us
        self._register_mwh = register_mwh
        self._spec = spec
        self._power_w = power_w
        self._closing = len(t_us) - 1 if closing_declared else -1
        self._last = 0
        self._previous = -1  # trusted point before the last one of the same segment, or -1
        self._segment = 0  # first point after the last break: nothing is taken back beyond it
        self._candidates: list[list[int]] = []
        self._gap_us = spec.gap_after // MICROSECOND
        self._rollover_us = spec.rollover_within // MICROSECOND
        self._step_mwh = spec.mwh_per_us.as_integer_ratio()
        self._resolution_mwh = spec.resolution_mwh
        self._micro_decrease_mwh = spec.micro_decrease_mwh

    def run(self, suspects: NDArray[np.int64]) -> None:
        """Settle every point near an impossible step.

        Parameters
        ----------
        suspects
            Positions i, increasing, where the step from i to i + 1 may be impossible. A possible one among them is
            harmless; one that is missing would go unseen.
        """
        count = len(self._t_us)
        for suspect in suspects.tolist():
            if suspect < self._last:
                continue
            if suspect > self._last:
                self._previous, self._last = suspect - 1, suspect
            for point in range(suspect + 1, count):
                self._settle(point)
                if self._last == point and not self._candidates:
                    break
            else:
                break
        self._end()

    # One reading -----------------------------------------------------------------------------------------------------

    def _t(self, point: int) -> int:
        return int(self._t_us[point])

    def _r(self, point: int) -> int:
        return int(self._register_mwh[point])

    def _largest_step(self, elapsed_us: int) -> int:
        numerator, denominator = self._step_mwh
        return elapsed_us * numerator // denominator + self._resolution_mwh

    def _follows(self, point: int, before: int) -> bool:
        step = self._r(point) - self._r(before)
        return 0 <= step <= self._largest_step(self._t(point) - self._t(before))

    def _jitters(self, point: int, before: int) -> bool:
        return 0 < self._r(before) - self._r(point) <= self._micro_decrease_mwh

    def _settle(self, point: int) -> None:
        place = self._place(point)
        if place is None:
            if not self._candidates and self._catches_up(point):
                return
            if len(self._candidates) == _MOST_CANDIDATES:
                weakest = min(self._candidates, key=len)
                self._candidates.remove(weakest)
                self._set_aside(weakest, Rule.UNRESOLVED)
            self._candidates.append([point])
            place = len(self._candidates)
        else:
            self._drop_transients(self._candidates[place:], point)
            del self._candidates[place:]
            tail = self._last if place == 0 else self._candidates[place - 1][-1]
            if self._r(point) < self._r(tail):
                self._set_aside([point], Rule.MICRO_DECREASE)
                return
            if not self._follows(point, tail):
                self.joins[point] = Rule.LATE
            if place == 0:
                self._previous, self._last = self._last, point
                return
            self._candidates[place - 1].append(point)
        if self._is_confirmed(self._candidates[place - 1]):
            self._commit(place - 1)

    def _place(self, point: int) -> int | None:
        """0 for the trusted chain, n for the n-th candidate, None where the reading fits nothing."""
        best, highest = None, -1
        ends = [(self._last, self._last), *((chain[-1], chain[0]) for chain in self._candidates)]
        for place, (tail, credited_from) in enumerate(ends):
            fits = self._follows(point, tail) or self._jitters(point, tail) or self._is_late(point, place)
            if fits and self._r(credited_from) > highest:
                best, highest = place, self._r(credited_from)
        return best

    def _is_late(self, point: int, place: int) -> bool:
        """Whether a step is possible only together with the one before it.

        A logger that stamps averages with the start of their window gives, after a window with few samples in it,
        511 kWh in a quarter of an hour of a 1.5 MW inverter, right after a quarter with too little (measured on five
        of 28 inverters, all in the minute a gap begins). The two together must be possible, and seen within a gap's
        length.
        """
        if place == 0:
            before, tail = self._previous, self._last
        else:
            before, tail = [-1, *self._candidates[place - 1][-2:]][-2:]
        if before < 0 or self._r(point) <= self._r(tail):
            return False
        return self._t(point) - self._t(before) <= self._gap_us and self._follows(point, before)

    def _is_confirmed(self, chain: list[int]) -> bool:
        if chain[-1] == self._closing:
            return len(chain) > 1
        span_us = self._t(chain[-1]) - self._t(chain[0])
        return len(chain) >= self._spec.confirm_samples and span_us >= self._spec.confirm_us

    # A new level -----------------------------------------------------------------------------------------------------

    def _commit(self, index: int) -> None:
        chain = self._candidates.pop(index)
        first = chain[0]
        falls = self._r(first) < self._r(self._last)
        if not (falls and self._take_back(chain)):
            if not falls:
                rule = Rule.STEP_ABOVE_MAXIMUM
            elif self._rolls_over(first):
                rule = Rule.ROLLOVER
            else:
                rule = Rule.RESET
            self.joins[first] = rule
            self._segment = first
            self._previous, self._last = [-1, *chain[-2:]][-2:]
        self._drop_transients(self._candidates, first)
        self._candidates = []

    def _rolls_over(self, point: int) -> bool:
        width = self._spec.width_mwh
        elapsed_us = self._t(point) - self._t(self._last)
        if width is None or elapsed_us > self._rollover_us:
            return False
        return self._r(point) + width - self._r(self._last) <= self._largest_step(elapsed_us)

    def _take_back(self, chain: list[int]) -> bool:
        """Join the chain to an earlier trusted point, if what lies between them was a passing rise.

        Both readings of the same numbers, a rise that passed or a reset, are possible; without the rise the credit is
        lower by (last trusted − first of the chain). Only a rise too short to have been confirmed is taken back.
        """
        tail = self._tail(chain[0])
        registers = [self._r(point) for point in tail]
        for skipped, point in enumerate(chain):
            at = bisect_right(registers, self._r(point)) - 1
            if at < 0 or not (self._follows(point, tail[at]) or self._is_late_after(point, tail[at])):
                continue
            rise = tail[at + 1 :]
            self._set_aside(rise, Rule.SPIKE)
            self.joins.pop(point, None)
            self._set_aside(chain[:skipped], Rule.DIP)
            self._previous, self._last = [tail[at], *chain[skipped:][-2:]][-2:]
            return True
        return False

    def _is_late_after(self, point: int, tail: int) -> bool:
        """Whether a step from a trusted point is possible together with the one before it, as `_is_late` has it.

        A rise that was trusted that way must be taken back that way, or it stays: 23,466, 425,001, 425,000 mWh after a
        gap credited 1 mWh too much.
        """
        for before in range(tail - 1, self._segment - 1, -1):
            if self.verdict[before] == KEPT:
                near = self._t(point) - self._t(before) <= self._gap_us
                return near and self._r(point) > self._r(tail) and self._follows(point, before)
        return False

    def _tail(self, before: int) -> list[int]:
        """Trusted points that could be a passing rise, oldest first, after the one on which it would stand."""
        tail: list[int] = []
        for point in range(self._last, self._segment - 1, -1):
            if self.verdict[point] != KEPT:
                continue
            tail.append(point)
            recent = self._t(before) - self._t(point) <= self._spec.confirm_us
            if not recent and len(tail) >= self._spec.confirm_samples:
                break
        return tail[::-1]

    # A register that stood still -------------------------------------------------------------------------------------

    def _catches_up(self, point: int) -> bool:
        """Credit a jump after a standstill, as far as the power measured meanwhile explains it."""
        if self._power_w is None or self._r(point) < self._r(self._last):
            return False
        run: list[int] = []
        for before in range(self._last, self._segment - 1, -1):
            if self.verdict[before] != KEPT:
                continue
            if self._r(before) != self._r(self._last):
                break
            run.append(before)
        start = run[-1]
        if not self._follows(point, start):
            return False
        made = self._energy_by_power_mwh(start, point) + self._spec.resolution_mwh
        if self._r(point) - self._r(start) > made:
            return False
        self._set_aside(run[:-1], Rule.FROZEN)
        self.joins[point] = Rule.CATCH_UP
        self._previous, self._last = start, point
        return True

    def _energy_by_power_mwh(self, start: int, end: int) -> int:
        """Most energy that the measured power allows between two points [mWh]; across gaps and NaN, none."""
        if self._power_w is None:
            return 0
        power_w = np.nan_to_num(self._power_w[start : end + 1], nan=0.0, posinf=0.0, neginf=0.0)
        elapsed_us = np.diff(self._t_us[start : end + 1])
        seen = elapsed_us <= self._gap_us
        watt_us = np.maximum(power_w[:-1], power_w[1:]) * elapsed_us * seen
        return int(float(watt_us.sum()) * float(self._spec.margin) * 1000 / 3_600_000_000)

    # Setting aside ---------------------------------------------------------------------------------------------------

    def _set_aside(self, points: list[int], rule: Rule) -> None:
        for point in points:
            self.verdict[point] = rule.code

    def _drop_transients(self, chains: list[list[int]], survivor: int) -> None:
        for chain in chains:
            for point in chain:
                lower = self._r(point) < self._r(survivor)
                self.verdict[point] = (Rule.DIP if lower else Rule.SPIKE).code

    def _end(self) -> None:
        """Settle what the end of the data left open: nothing is credited that is not confirmed.

        If an unconfirmed level would take back a rise, it does: the credit is lower for it.
        """
        falling = [c for c in self._candidates if self._r(c[-1]) < self._r(self._last)]
        for chain in sorted(falling, key=lambda c: self._r(c[-1])):
            if self._take_back(chain):
                self._candidates.remove(chain)
                break
        for chain in self._candidates:
            self._set_aside(chain, Rule.UNRESOLVED)
        self._candidates = []
        self.joins = {point: rule for point, rule in self.joins.items() if self.verdict[point] == KEPT}
