"""Masks over the power of a device: what a person would circle on its curve. They inform; no energy depends on them.

Power is evidence beside the register. Series are taken as they come: rising instants, no fixed interval, gaps where
readings are missing; NaN where a reading has no power is never marked.
"""

import warnings

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pvanalytics.features import clipping
from pvanalytics.quality import util

from mrv.quality.sky import Sky

_MINUTE_US = 60_000_000
LOWEST_SHARE = 0.01
STALE_FOR_US = 60 * _MINUTE_US
NEAR_RATING = 0.9
HAMPEL_WINDOW = 7
HAMPEL_DEVIATION = 10.0
SPIKE_SHARE = 0.3
SHIFT_MINUTES = 45.0
SHIFT_DAYS = 7
LEAST_MAKING = 4
COMPLETE_SHARE = 0.9
# scipy.stats.norm.ppf(3/4): the median absolute deviation of a normal distribution, as pvanalytics takes it.
_MAD_SCALE = 0.6744897501960817

Mask = NDArray[np.bool_]
Instants = NDArray[np.int64]
Values = NDArray[np.float64]


def interval_us(t_us: Instants) -> int:
    """The interval that a device reads at [µs]: the most frequent one, 0 without two readings."""
    steps = np.diff(t_us)
    steps = steps[steps > 0]
    if len(steps) == 0:
        return 0
    values, counts = np.unique(steps, return_counts=True)
    return int(values[counts.argmax()])


def limits(power_w: Values, rated_w: float) -> Mask:
    """Mark power above 1.2 × the rating or below minus a twentieth of it.

    Source: `pvanalytics.quality.util.check_limits`.
    """
    within = util.check_limits(pd.Series(power_w), lower_bound=-0.05 * rated_w, upper_bound=1.2 * rated_w,
                               inclusive_lower=True, inclusive_upper=True)  # fmt: skip
    marked: Mask = ~within.to_numpy(dtype=np.bool_) & ~np.isnan(power_w)
    return marked


def stale(t_us: Instants, power_w: Values, rated_w: float) -> Mask:
    """Mark power that stood at one value for an hour and at least 6 readings while the device was making some.

    Parameters
    ----------
    t_us, power_w
        Instants [µs UTC] and power [W], shape (n,).
    rated_w
        Rated power [W]; near it a constant power is the inverter's limit, below a hundredth of it, nothing.

    Returns
    -------
    NDArray of bool
        Each run but its first reading.

    Notes
    -----
    What `pvanalytics.quality.gaps.stale_values_round` marks, which shifts the series once for each reading of the hour:
    7 ms for a day of minutes, against 0.1 ms. The tests hold the two together.
    """
    step = interval_us(t_us)
    if step == 0:
        return np.zeros(len(t_us), dtype=np.bool_)
    window = max(6, STALE_FOR_US // step)
    if len(t_us) < window:
        return np.zeros(len(t_us), dtype=np.bool_)
    making = (power_w > LOWEST_SHARE * rated_w) & (power_w < NEAR_RATING * rated_w)
    marked: Mask = _unchanged(power_w, int(window)) & making
    return marked


def _unchanged(values: Values, window: int) -> Mask:
    """Mark the runs of so many equal values, rounded to three decimals, but for the first of each."""
    with np.errstate(invalid="ignore"):
        same = np.diff(np.round(values, 3)) == 0
    edges = np.diff(np.concatenate(([0], same.astype(np.int8), [0])))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    long = ends - starts >= window - 1
    marks = np.zeros(len(values) + 1, dtype=np.int64)
    marks[starts[long] + 1], marks[ends[long] + 1] = 1, -1
    marked: Mask = np.cumsum(marks)[:-1] > 0
    return marked


def hampel(values: Values, window: int, deviation: float, among: Mask | None = None) -> Mask:
    """Mark outliers by the Hampel identifier, as `pvanalytics.quality.outliers.hampel` does.

    Parameters
    ----------
    values
        Shape (n,).
    window
        Length of the window, odd.
    deviation
        How many deviations from the median of its window make an outlier.
    among
        Where outliers are asked for, shape (n,); None: everywhere.

    Notes
    -----
    Theirs calls Python for each window: 3 s for a month of minutes, against 20 ms. The tests hold the two together.
    Pearson et al., "Generalized Hampel Filters", EURASIP J. Adv. Signal Process. 2016, 87.
    """
    marked = np.zeros(len(values), dtype=np.bool_)
    if len(values) < window:
        return marked
    half = window // 2
    centre = np.arange(half, len(values) - half) if among is None else np.flatnonzero(among)
    centre = centre[(centre >= half) & (centre < len(values) - half)]
    windows = np.lib.stride_tricks.sliding_window_view(values, window)[centre - half]
    # Sorting is a third faster than a median, which partitions for each axis element; NaN sorts to the end.
    middle = np.sort(windows, axis=1)[:, half]
    spread = np.sort(np.abs(windows - middle[:, np.newaxis]), axis=1)[:, half] / _MAD_SCALE
    whole = ~np.isnan(windows).any(axis=1)
    marked[centre] = whole & (np.abs(values[centre] - middle) > deviation * spread)
    return marked


def spikes(power_w: Values, rated_w: float) -> Mask:
    """Mark single readings far from both neighbours, which agree with each other.

    A Hampel outlier (7 readings, 10 deviations) over 0.3 of the rating away from both neighbours, by three times what
    they differ between themselves: clouds move power by as much, though seldom out and back in one reading.
    """
    before, after = np.roll(power_w, 1), np.roll(power_w, -1)
    up, down = power_w - before, power_w - after
    away = np.minimum(np.abs(up), np.abs(down))
    # Few readings are far away, and only these need their window sorted: a tenth of the time.
    far = away > SPIKE_SHARE * rated_w
    alone = far & (np.sign(up) == np.sign(down)) & (away > 3 * np.abs(before - after))
    return hampel(power_w, HAMPEL_WINDOW, HAMPEL_DEVIATION, alone)


def clipped(t_us: Instants, power_w: Values, rated_w: float) -> Mask:
    """Mark flat tops above nine tenths of the rating.

    Source: `pvanalytics.features.clipping.geometric`, on the readings of the device's own interval.
    """
    step = interval_us(t_us)
    marked = np.zeros(len(t_us), dtype=np.bool_)
    near = power_w > NEAR_RATING * rated_w
    # Its rolling windows need the days side by side; where nothing comes near the rating nothing can be clipped.
    if step < _MINUTE_US or not near.any():
        return marked
    series = pd.Series(np.nan_to_num(power_w), index=pd.to_datetime(t_us, unit="us", utc=True))
    frequency = f"{max(1, round(step / _MINUTE_US))}min"
    with warnings.catch_warnings():
        # It reindexes by a keyword that pandas 3.1 deprecates; pandas 4 is not let in (pyproject.toml).
        warnings.simplefilter("ignore", DeprecationWarning)
        flat = clipping.geometric(series, freq=frequency)
    found: Mask = flat.to_numpy(dtype=np.bool_) & near
    return found


def at_night(t_us: Instants, power_w: Values, rated_w: float, sky: Sky) -> Mask:
    """Mark power above a hundredth of the rating while nothing can be made."""
    marked: Mask = (power_w > LOWEST_SHARE * rated_w) & sky.is_night(t_us)
    return marked


def completeness(t_us: Instants, edges_us: Instants) -> Values:
    """Share of the readings that the device's own interval asks for, day by day.

    Parameters
    ----------
    t_us
        Instants of the readings [µs UTC], shape (n,).
    edges_us
        Starts of the days and end of the last [µs UTC], shape (days + 1,).

    Returns
    -------
    NDArray of float64
        0 to 1, shape (days,). Several readings within one interval count once.

    Notes
    -----
    As `pvanalytics.quality.gaps.completeness_score`, for days of any zone and length; the tests hold the two together.
    """
    step = interval_us(t_us)
    lengths = np.diff(edges_us)
    shares = np.zeros(len(lengths))
    if step == 0:
        return shares
    day = np.searchsorted(edges_us, t_us, side="right") - 1
    inside = (day >= 0) & (day < len(lengths))
    day = day[inside]
    slot = (t_us[inside] - edges_us[day]) // step
    # Instants rise, so readings of one interval stand side by side.
    new = np.concatenate(([True], (np.diff(day) != 0) | (np.diff(slot) != 0)))[: len(day)]
    asked = np.maximum(lengths // step, 1)
    shares[:] = np.minimum(np.bincount(day[new], minlength=len(lengths)) / asked, 1.0)
    return shares


def shifted_days(t_us: Instants, power_w: Values, rated_w: float, edges_us: Instants, sky: Sky) -> Mask:
    """Mark the days around which production lies to one side of solar noon.

    Parameters
    ----------
    t_us, power_w, rated_w
        Instants [µs UTC], power [W], rated power [W].
    edges_us
        Starts of the days and end of the last [µs UTC], shape (days + 1,).
    sky
        The sky over the site.

    Returns
    -------
    NDArray of bool
        Shape (days,): the median over the week around of (middle of the readings over a hundredth of the rating − solar
        noon) is over 45 minutes. Days with readings missing for an hour are left out of it; 3 days must remain.

    Notes
    -----
    The middle is that on a circle of a day: under a clock of another zone production goes on over midnight.
    `pvanalytics.quality.time.shifts_ruptures` compares the same two times; it needs a package that is not installed.
    """
    days = len(edges_us) - 1
    offsets = np.full(days, np.nan)
    making = power_w > LOWEST_SHARE * rated_w
    for day, (start, end) in enumerate(zip(edges_us[:-1].tolist(), edges_us[1:].tolist(), strict=True)):
        lo, hi = np.searchsorted(t_us, [start, end]).tolist()
        pauses = np.diff(np.concatenate(([start], t_us[lo:hi], [end])))
        if end == start or np.count_nonzero(making[lo:hi]) < LEAST_MAKING or pauses.max() > STALE_FOR_US:
            continue
        first, last = np.searchsorted(sky.t_us, [start, end]).tolist()
        noon = int(sky.t_us[first + int(sky.elevation_deg[first:last].argmax())])
        angle = (t_us[lo:hi][making[lo:hi]] - noon) * (2 * np.pi / (end - start))
        middle = np.arctan2(np.sin(angle).sum(), np.cos(angle).sum())
        offsets[day] = middle / (2 * np.pi) * (end - start) / _MINUTE_US
    week = pd.Series(offsets).rolling(SHIFT_DAYS, center=True, min_periods=3).median()
    marked: Mask = (week.abs() > SHIFT_MINUTES).to_numpy(dtype=np.bool_)
    return marked
