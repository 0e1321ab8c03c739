"""Laws of the register algebra: what holds for every series, clean or not."""

from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mrv import registers
from mrv.register_rules import RegisterSpec, Rule
from mrv.registers import Intervals, intervals

MINUTE = 60_000_000
SPEC = RegisterSpec(Decimal(10_000))  # 10 kW, so 3,000 Wh in a quarter of an hour with the margin
BIG = 10**13  # mWh: no sum of steps below comes near it


@dataclass(frozen=True)
class Series:
    t: NDArray[np.int64]
    r: NDArray[np.int64]

    @property
    def total(self) -> int:
        return int(self.r[-1] - self.r[0])


@st.composite
def clean_series(draw: st.DrawFn, least: int = 2, longest_gap: int = 20_000) -> Series:
    """What a good meter shows of a true generation below the rated power: rising, in whole Wh, with gaps."""
    step = st.one_of(st.sampled_from([1, 5, 15, 15, 15, 60]), st.integers(1, longest_gap))
    steps = draw(st.lists(st.tuples(step, st.integers(0, 100)), min_size=least - 1, max_size=40))
    start = draw(st.one_of(st.integers(1, 5_000), st.integers(1, 10**9))) * 1000
    minutes = np.array([0, *(m for m, _ in steps)], dtype=np.int64)
    share = np.array([0, *(s for _, s in steps)], dtype=np.int64)
    true_mwh = np.cumsum(minutes * share * 10_000 * 1000 // 6000)
    t = 1_700_000_000_000_000 + np.cumsum(minutes) * MINUTE
    return Series(t, start + true_mwh // 1000 * 1000)


def compute(series: Series, spec: RegisterSpec = SPEC) -> Intervals:
    return intervals(series.t, series.r, spec)


def same(a: Intervals, b: Intervals) -> bool:
    return all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in ("t_us", "register_mwh", "energy_mwh", "rule")
    )


@given(clean_series())
def test_conservation_a_clean_series_credits_last_minus_first(series: Series) -> None:
    found = compute(series)
    assert found.total_mwh == series.total
    assert len(found.dropped_rule) == 0
    assert set(found.rule.tolist()) <= {Rule.NORMAL.code, Rule.GAP.code}


@given(clean_series(least=3), st.data())
def test_thinning_a_clean_series_keeps_last_minus_first(series: Series, data: st.DataObject) -> None:
    inner = data.draw(st.lists(st.booleans(), min_size=len(series.t) - 2, max_size=len(series.t) - 2))
    kept = np.array([True, *inner, True])
    assert compute(Series(series.t[kept], series.r[kept])).total_mwh == series.total


@given(clean_series(least=3), st.data())
def test_losing_the_ends_never_raises_the_credit(series: Series, data: st.DataObject) -> None:
    a = data.draw(st.integers(0, len(series.t) - 1))
    b = data.draw(st.integers(a, len(series.t) - 1))
    part = compute(Series(series.t[a : b + 1], series.r[a : b + 1]))
    assert part.total_mwh == series.r[b] - series.r[a] <= series.total


@given(clean_series(least=3), st.data())
def test_split_at_a_reading_both_parts_have_adds_up(series: Series, data: st.DataObject) -> None:
    at = data.draw(st.integers(1, len(series.t) - 2))
    before = compute(Series(series.t[: at + 1], series.r[: at + 1]))
    after = compute(Series(series.t[at:], series.r[at:]))
    whole = compute(series)
    assert np.array_equal(np.concatenate((before.energy_mwh, after.energy_mwh)), whole.energy_mwh)
    assert np.array_equal(np.concatenate((before.rule, after.rule)), whole.rule)


def test_a_rise_that_was_trusted_with_the_step_before_it_is_taken_back_the_same_way() -> None:
    """Found by the law below: after a gap, too little, then all of it and a rise of 1 mWh, then the good reading."""
    minutes = np.array([0, 1, 2, 17, 18, 19], dtype=np.int64) * 60_000_000
    found = compute(Series(minutes, np.array([2000, 2000, 2000, 23466, 425001, 425000], dtype=np.int64)))
    assert found.total_mwh == 423_000
    assert found.dropped_rule.tolist() == [Rule.SPIKE.code]


# Faults ----------------------------------------------------------------------------------------------------

KINDS = ("zero", "dip", "average", "spike", "sentinel", "negative", "freeze", "missing", "again")


@st.composite
def faulty_series(draw: st.DrawFn) -> tuple[Series, Series]:
    """A clean series of at most 17 days, and the same with faults; its first reading is good.

    No fault lasts long enough to be confirmed, and rises that could be true generation come only where the last reading
    is good and the level the same: with nothing after them they could not be told from true ones.
    """
    rises = draw(st.booleans())
    clean = draw(clean_series(least=6, longest_gap=600))
    n = len(clean.t)
    r = clean.r.copy()
    change = "none" if rises else draw(st.sampled_from(["none", "reset", "jump"]))
    at = draw(st.integers(1, n - 1))
    r[at:] += {"none": 0, "reset": -int(clean.r[at - 1]), "jump": BIG}[change]
    rows = {place: [int(r[place])] for place in range(n)}
    high = draw(st.integers(BIG * 2, BIG * 3))
    for place in draw(st.lists(st.integers(1, n - 1), unique=True, max_size=6)):
        if rises and place == n - 1:
            continue
        good = int(r[place])
        faults = {
            "zero": [0],
            "dip": [draw(st.integers(1, max(min(good, int(clean.r[place])), 1)))],
            "average": [good * draw(st.integers(1, 14)) // 15],
            "spike": [high],
            "sentinel": [2_147_483_647_000],
            "rise": [good + draw(st.integers(1, 3_000_000))],
            "negative": [-1_000_000_000],
            "freeze": [int(r[place - 1])],
            "missing": [],
            "again": [good, draw(st.integers(0, BIG))],
        }
        rows[place] = faults[draw(st.sampled_from([*KINDS, "rise"] if rises else KINDS))]
    t = [int(clean.t[place]) for place, registers in rows.items() for _ in registers]
    registers = [register for several in rows.values() for register in several]
    return clean, Series(np.array(t, dtype=np.int64), np.array(registers, dtype=np.int64))


@settings(max_examples=600)
@given(faulty_series())
def test_faults_never_raise_the_credit(pair: tuple[Series, Series]) -> None:
    clean, faulty = pair
    assert compute(faulty).total_mwh <= clean.total


@settings(max_examples=200)
@given(faulty_series(), st.sampled_from([1, 2, 5]), st.sampled_from([0, 2, 24]))
def test_every_reading_is_retained_or_set_aside_with_a_rule(
    pair: tuple[Series, Series], samples: int, hours: int
) -> None:
    _, faulty = pair
    found = compute(faulty, replace(SPEC, confirm_samples=samples, confirm_for=timedelta(hours=hours)))
    positions = np.concatenate((found.source, found.dropped_source))
    assert sorted(positions.tolist()) == list(range(len(faulty.t)))
    assert np.all(found.energy_mwh >= 0)
    assert len(found.rule) == len(found.energy_mwh) == len(found.t_us) - 1
    assert np.all(np.diff(found.t_us) > 0)
    assert np.array_equal(found.register_mwh, faulty.r[found.source])
    assert sum(found.counts().values()) == len(faulty.t)


@settings(max_examples=200)
@given(faulty_series())
def test_retained_readings_give_the_same_intervals_again(pair: tuple[Series, Series]) -> None:
    first = compute(pair[1])
    again = intervals(first.t_us, first.register_mwh, SPEC)
    assert same(first, again)


@settings(max_examples=300)
@given(faulty_series(), st.sampled_from([1, 3]), st.sampled_from([0, 2, 24]), st.sampled_from([0, 5, 400]))
def test_arrays_decide_as_the_chains_do_reading_by_reading(
    pair: tuple[Series, Series], samples: int, hours: int, jitter: int
) -> None:
    """Clean stretches never come to the chains; if they did, the chains would say the same."""
    spec = replace(SPEC, confirm_samples=samples, confirm_for=timedelta(hours=hours), micro_decrease_wh=Decimal(jitter))
    power = np.full(len(pair[1].t), 3_000.0)
    found = intervals(pair[1].t, pair[1].r, spec, power_w=power)
    with patch.object(registers, "_suspects", lambda t, *_: np.arange(max(len(t) - 1, 0), dtype=np.int64)):
        walked = intervals(pair[1].t, pair[1].r, spec, power_w=power)
    assert same(found, walked)
    assert np.array_equal(found.source, walked.source)
    assert np.array_equal(found.dropped_rule, walked.dropped_rule)


@given(faulty_series())
def test_the_same_input_gives_the_same_output(pair: tuple[Series, Series]) -> None:
    assert same(compute(pair[1]), compute(pair[1]))


@settings(max_examples=200)
@given(faulty_series())
def test_no_interval_credits_more_than_two_steps_could_make(pair: tuple[Series, Series]) -> None:
    found = compute(pair[1])
    for i in np.flatnonzero(found.energy_mwh).tolist():
        from_ = found.t_us[i - 1 if found.rule[i] == Rule.LATE.code else i]
        assert found.energy_mwh[i] <= SPEC.largest_step_mwh(int(found.t_us[i + 1] - from_))


@given(clean_series(least=6, longest_gap=600), st.data())
def test_passing_faults_cost_nothing_once_the_register_is_back(series: Series, data: st.DataObject) -> None:
    clean = Series(series.t, series.r + BIG)
    r = clean.r.copy()
    for place in data.draw(st.lists(st.integers(1, len(r) - 2), unique=True, max_size=2)):
        low, high = int(r[place]) * 14 // 15, 3 * BIG
        r[place] = data.draw(st.sampled_from([0, low, low // 2, high, -1_000_000_000, 2_147_483_647_000]))
    assert compute(Series(clean.t, r)).total_mwh == clean.total


@given(clean_series(least=8, longest_gap=600), st.integers(1, 6), st.integers(1, 500))
def test_a_rollover_credits_what_the_unwrapped_register_does(series: Series, at: int, low: int) -> None:
    spec = RegisterSpec.of_bits(32, Decimal(10_000))
    width = spec.width_mwh
    assert width is not None
    shifted = series.r - series.r[at] + width - low * 1000
    wraps = shifted >= width
    assume(wraps.any())
    first = int(np.argmax(wraps))
    # Confirmed by what follows, and not at the zero that is no reading.
    later = series.t[first:]
    assume(len(later) >= spec.confirm_samples and later[-1] - later[0] >= spec.confirm_us)
    wrapped = shifted % width
    assume(np.all(wrapped != 0))
    found = intervals(series.t, wrapped, spec)
    assert found.total_mwh == series.total
    assert found.counts()[Rule.ROLLOVER.id] == 1


@given(clean_series(least=3, longest_gap=60), st.integers(0, 10**6))
def test_power_evidence_never_credits_what_power_cannot_explain(series: Series, jump: int) -> None:
    r = np.full(len(series.t), series.r[0])
    r[-1] += jump * 1000
    power = np.full(len(series.t), 4_000.0)
    found = intervals(series.t, r, SPEC, power_w=power)
    elapsed = int(series.t[-1] - series.t[0])
    assert found.total_mwh <= SPEC.largest_step_mwh(elapsed)
    if found.counts()[Rule.CATCH_UP.id]:
        assert found.total_mwh <= 4_000 * 1000 * 1.2 * elapsed / 3.6e9 + 1000


@pytest.mark.parametrize("name", ["t_us", "register_mwh"])
@given(clean_series())
@example(Series(np.array([0, 1], dtype=np.int64), np.array([1, 2], dtype=np.int64)))
def test_input_is_left_as_it_was(name: str, series: Series) -> None:
    t, r = series.t.copy(), series.r.copy()
    compute(series)
    assert np.array_equal(t, series.t)
    assert np.array_equal(r, series.r)
