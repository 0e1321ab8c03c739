"""Masks over power and receipts: each on what it is for, beside the library's own, and on data files of pvanalytics."""

from datetime import date
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from pvanalytics.quality import gaps, outliers

from mrv.calendar import day_edges
from mrv.quality import power, receipts
from mrv.quality.receipts import Deliveries
from mrv.quality.sky import Sky, sky_over

MINUTE = 60_000_000
HOUR = 60 * MINUTE
TZ, LATITUDE, LONGITUDE = "Asia/Bangkok", 13.9, 101.4
FIRST, LAST = date(2021, 3, 1), date(2021, 3, 10)
EDGES = day_edges(FIRST, LAST, TZ)
RATED_W = 50_000.0


def sunny(minutes: int = 5, late_us: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float64], Sky]:
    """Ten days of a plant under a clear sky."""
    t = np.arange(EDGES[0], EDGES[-1], minutes * MINUTE, dtype=np.int64)
    sky = sky_over(LATITUDE, LONGITUDE, int(t[0]), int(t[-1]))
    seen = (t - late_us - sky.t_us[0]).astype(float)
    elevation = np.interp(seen, (sky.t_us - sky.t_us[0]).astype(float), sky.elevation_deg)
    return t, 0.8 * RATED_W * np.maximum(np.sin(np.radians(elevation)), 0), sky


def data(name: str) -> pd.DataFrame:
    return pd.read_csv(str(files("pvanalytics") / "data" / name), index_col=0, parse_dates=True)


def micros(index: pd.DatetimeIndex) -> NDArray[np.int64]:
    return index.tz_convert("UTC").as_unit("us").asi8


def test_a_clear_day_is_marked_by_nothing() -> None:
    t, w, sky = sunny()
    marked = [
        power.limits(w, RATED_W), power.stale(t, w, RATED_W), power.spikes(w, RATED_W), power.clipped(t, w, RATED_W),
        power.at_night(t, w, RATED_W, sky), power.shifted_days(t, w, RATED_W, EDGES, sky),
    ]  # fmt: skip
    assert [int(mask.sum()) for mask in marked] == [0] * 6
    assert (power.completeness(t, EDGES) == 1).all()


def test_limits() -> None:
    w = np.array([0.0, -2_500, -2_501, 60_000, 60_001, np.nan])
    assert power.limits(w, RATED_W).tolist() == [False, False, True, False, True, False]


def test_an_hour_at_one_value_is_stale_and_a_night_is_not() -> None:
    t, w, _ = sunny()
    noon = int(w[:288].argmax())
    w[noon - 6 : noon + 12] = w[noon]
    mask = power.stale(t, w, RATED_W)
    assert np.flatnonzero(mask).tolist() == list(range(noon - 5, noon + 12))
    w[noon - 6 : noon + 12] = 0.95 * RATED_W  # the inverter's limit
    assert not power.stale(t, w, RATED_W).any()


def test_a_single_reading_out_and_back_is_a_spike_and_a_cloud_is_not() -> None:
    t, w, _ = sunny()
    noon = int(w[:288].argmax())
    clouded = w.copy()
    clouded[noon : noon + 3] *= 0.3
    assert not power.spikes(clouded, RATED_W).any()
    lifting = w.copy()
    lifting[[noon, noon + 1]] = [0.3 * w[noon], 0.75 * w[noon]]  # its neighbours do not agree
    assert power.hampel(lifting, 7, 10.0)[noon]
    assert not power.spikes(lifting, RATED_W).any()
    w[noon] = 0.2 * w[noon]
    w[noon + 288] *= 2
    assert np.flatnonzero(power.spikes(w, RATED_W)).tolist() == [noon, noon + 288]
    assert len(t) == len(w)


@pytest.mark.parametrize("window", [5, 7, 11])
def test_the_hampel_identifier_is_the_library_s(window: int) -> None:
    rng = np.random.default_rng(7)
    values = rng.normal(100, 5, 400)
    values[rng.integers(0, 400, 20)] *= 3
    values[[50, 51]] = np.nan
    theirs = outliers.hampel(pd.Series(values), window=window, max_deviation=3.0).to_numpy()
    ours = power.hampel(values, window, 3.0)
    assert np.array_equal(ours, theirs)
    assert ours.sum() >= 10


def test_stale_values_are_the_library_s() -> None:
    rng = np.random.default_rng(9)
    t = np.arange(400, dtype=np.int64) * 10 * MINUTE
    for _ in range(50):
        w = np.repeat(rng.uniform(0.02, 0.8, 400), rng.integers(1, 12, 400))[:400] * RATED_W
        w[rng.random(400) < 0.02] = np.nan
        theirs = gaps.stale_values_round(pd.Series(w), window=6).to_numpy()
        assert theirs.any()
        assert np.array_equal(power.stale(t, w, RATED_W), theirs)


def test_asked_of_some_readings_the_hampel_identifier_says_what_it_says_of_all() -> None:
    rng = np.random.default_rng(8)
    for length in range(40):
        values = rng.normal(100, 5, length)
        values[rng.random(length) < 0.1] *= 3
        values[rng.random(length) < 0.05] = np.nan
        among = rng.random(length) < 0.5
        everywhere = power.hampel(values, 7, 3.0)
        assert np.array_equal(power.hampel(values, 7, 3.0, among), everywhere & among)


def test_completeness_is_the_library_s() -> None:
    t, _, _ = sunny(15)
    kept = t[np.random.default_rng(3).random(len(t)) < 0.8]
    local = pd.to_datetime(kept + 7 * HOUR, unit="us")
    theirs = gaps.completeness_score(pd.Series(1.0, index=local), freq="15min", keep_index=False)
    assert power.completeness(kept, EDGES) == pytest.approx(theirs.to_numpy())


def test_a_day_of_23_hours_is_complete_with_23_hours_of_readings() -> None:
    edges = day_edges(date(2021, 3, 27), date(2021, 3, 29), "Europe/Berlin")
    t = np.arange(edges[0], edges[-1], 15 * MINUTE, dtype=np.int64)
    assert (power.completeness(t, edges) == 1).all()
    assert power.completeness(np.delete(t, slice(100, 146)), edges).round(2).tolist() == [1.0, 0.5, 1.0]
    assert power.completeness(t[:1], edges).tolist() == [0, 0, 0]


def test_production_at_night() -> None:
    t, w, sky = sunny()
    w[:3] = [0.02 * RATED_W, 0.009 * RATED_W, np.nan]
    assert np.flatnonzero(power.at_night(t, w, RATED_W, sky)).tolist() == [0]


@pytest.mark.parametrize(("minutes", "days"), [(0, 0), (30, 0), (60, 10), (-60, 10), (420, 10)])
def test_a_clock_of_another_zone_shifts_the_production(minutes: int, days: int) -> None:
    t, w, sky = sunny(5, late_us=minutes * MINUTE)
    assert power.shifted_days(t, w, RATED_W, EDGES, sky).sum() == days


def test_a_morning_that_is_missing_is_no_shift() -> None:
    t, w, sky = sunny(15)
    hour = (t + 7 * HOUR) % (24 * HOUR) // HOUR
    kept = (hour < 4) | (hour > 11)
    assert not power.shifted_days(t[kept], w[kept], RATED_W, EDGES, sky).any()


def test_stale_power_of_a_real_inverter() -> None:
    """NREL's inverter 2173, in whose file pvanalytics marks the stale stretches; its power is normalised."""
    rows = data("ac_power_inv_2173_stale_data.csv")
    t = micros(rows.index)
    w = rows["value_normalized"].to_numpy(dtype=np.float64)
    marked = power.stale(t, w, float(np.nanmax(w)))
    known = rows["stale_data_mask"].to_numpy(dtype=bool)
    assert marked.sum() > 0
    assert known[marked].mean() > 0.95


def test_outliers_of_a_real_inverter_are_not_taken_for_clouds() -> None:
    rows = data("ac_power_inv_7539_outliers.csv")
    w = rows["value_normalized"].to_numpy(dtype=np.float64)
    known = rows["outlier"].to_numpy(dtype=bool)
    marked = power.spikes(w, float(np.quantile(w[~known], 0.999)))
    assert marked.sum() > 0
    assert known[marked].mean() > 0.9


def test_clipping_of_a_real_inverter() -> None:
    rows = data("ac_power_inv_7539.csv")
    t = micros(rows.index)
    w = rows["value_normalized"].to_numpy(dtype=np.float64)
    rated = float(np.nanquantile(w, 0.999))
    marked = power.clipped(t, w, rated)
    assert 0.01 < marked.mean() < 0.5
    assert w[marked].min() > power.NEAR_RATING * rated


def test_minutes_of_a_real_plant_are_marked_seldom() -> None:
    """NREL's SERF East, four weeks and more of minutes."""
    rows = data("serf_east_1min_ac_power.csv").iloc[:, 0]
    t = micros(rows.index)
    w = rows.to_numpy(dtype=np.float64)
    rated = float(np.nanmax(w))
    assert power.interval_us(t) == MINUTE
    assert power.limits(w, rated).mean() < 0.001
    assert power.stale(t, w, rated).mean() < 0.001
    assert power.spikes(w, rated).mean() < 0.001


def test_fast_and_slow_clocks() -> None:
    t, _, _ = sunny(15)
    received = t + 3_000_000
    assert not receipts.clock_fast(t, received).any()
    assert not receipts.clock_slow_days(t, received, EDGES).any()
    received[4:6] = t[4] - 60_000_000, t[5] - 60_000_001
    received[96:192] += 11 * MINUTE  # a clock 11 minutes slow, for a day
    received[192:288] = t[288]  # a day without a link: all of it comes at once
    assert np.flatnonzero(receipts.clock_fast(t, received)).tolist() == [5]
    assert np.flatnonzero(receipts.clock_slow_days(t, received, EDGES)).tolist() == [1]


def test_quarantine_counts_by_its_share_of_a_day() -> None:
    t = EDGES[:2] + HOUR
    none = np.zeros(2, dtype=np.int64)
    found = Deliveries(t, np.array([1000, 1000]), none, none, none, np.array([10, 11]), none)
    assert np.flatnonzero(receipts.quarantined_days(found, EDGES)).tolist() == [1]


def test_no_readings_at_all() -> None:
    t, w = np.empty(0, dtype=np.int64), np.empty(0)
    assert power.stale(t, w, RATED_W).size == power.spikes(w, RATED_W).size == power.clipped(t, w, RATED_W).size == 0
    assert power.limits(w, RATED_W).size == 0
    assert power.completeness(t, EDGES).tolist() == [0.0] * 10
