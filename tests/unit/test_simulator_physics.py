"""The simulator's sun and registers: exact, by the site's own days, and the same however time is cut."""

import itertools
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pvlib.solarposition import get_solarposition

from devices.simulator import sun
from devices.simulator.device import Physics, row_of
from devices.simulator.fleet import fleet
from devices.simulator.noise import chance, key, smooth, uniform
from devices.simulator.sample import Sample

DAY = date(2026, 9, 5)  # In Santiago the day has 24 hours, the next one begins at 01:00 and has 23.


def run(physics: Physics, ticks: int | None = None) -> list[list[Sample]]:
    """The samples of each device, by windows of so many ticks."""
    found: list[list[Sample]] = [[] for _ in physics.phase_s]
    size = physics.window_ticks if ticks is None else ticks
    for first in range(0, physics.ticks, size):
        window = physics.window(first, min(size, physics.ticks - first))
        for tick, inside in enumerate(window.inside):
            rows = zip(*(column[tick].tolist() for column in window.columns), strict=True)
            for samples, row, there in zip(found, rows, inside, strict=True):
                if there:
                    samples.append(row_of(row))
    return found


@given(st.integers(0, 2**64 - 1), st.lists(st.integers(0, 2**40), min_size=1, max_size=20))
def test_one_number_is_that_of_an_array(stream, index):
    drawn = uniform(np.array([[stream]], dtype=np.uint64), np.array(index))
    assert drawn[0].tolist() == [chance(stream, one) for one in index]
    assert all(0 <= one < 1 for one in drawn[0])


def test_numbers_are_spread_evenly():
    drawn = uniform(np.array([[key(1, "a")], [key(1, "b")]], dtype=np.uint64), np.arange(20_000))
    counts = [np.histogram(one, bins=10, range=(0, 1))[0] for one in drawn]
    assert np.all(np.abs(np.array(counts) - 2000) < 200)
    assert abs(np.corrcoef(drawn)[0, 1]) < 0.03


def test_what_wanders_does_not_jump():
    drawn = smooth(np.array([[7]], dtype=np.uint64), np.arange(10_000), 100)[0]
    assert np.abs(np.diff(drawn)).max() < 0.016  # 1.5 times the way, at its steepest


def test_the_sun_stands_highest_at_solar_noon_and_is_down_at_midnight():
    where = sun.places(np.array([13.75, -33.45]), np.array([100.5, -70.67]), np.array([1, 2], dtype=np.uint64))
    seconds = int(datetime(2026, 3, 20, tzinfo=UTC).timestamp()) + np.arange(0, 86_400, 60)
    found = sun.sky(where, seconds)
    for row, longitude in zip(found.clear_poa_w_m2, (100.5, -70.67), strict=True):
        noon_s = (43_200 - longitude * 240 + 7.5 * 60) % 86_400  # the equation of time is −7.5 min that day
        assert abs(int(np.argmax(row)) * 60 - noon_s) <= 600
        assert 900 < row.max() < 1150
        assert row[int((noon_s + 43_200) % 86_400) // 60] == 0
    assert np.all(found.poa_w_m2 >= 0)
    assert np.all((found.air_c > -20) & (found.air_c < 50))


def test_it_is_light_while_the_sun_is_up():
    """Held against pvlib's full algorithm; ours leaves refraction and some minutes of arc out."""
    seconds = int(datetime(2026, 6, 21, tzinfo=UTC).timestamp()) + np.arange(0, 86_400, 120)
    for latitude, longitude in ((47.92, 106.92), (13.75, 100.5), (-33.45, -70.67)):
        where = sun.places(np.array([latitude]), np.array([longitude]), np.array([1], dtype=np.uint64))
        (found,) = sun.sky(where, seconds).clear_poa_w_m2
        zenith = get_solarposition(pd.to_datetime(seconds, unit="s", utc=True), latitude, longitude)[
            "zenith"
        ].to_numpy()
        assert np.all(found[zenith > 88.7] == 0)
        assert np.all(found[zenith < 87.3] > 0)


def test_days_are_clear_broken_or_overcast():
    where = sun.places(np.array([13.75]), np.array([100.5]), np.array([key(3)], dtype=np.uint64))
    seconds = int(datetime(2026, 3, 1, 17, tzinfo=UTC).timestamp()) + np.arange(0, 200 * 86_400, 300)
    found = sun.sky(where, seconds)
    share = (found.poa_w_m2.reshape(200, -1).sum(axis=1)) / found.clear_poa_w_m2.reshape(200, -1).sum(axis=1)
    assert 0.35 < np.mean(share > 0.93) < 0.65
    assert 0.1 < np.mean(share < 0.45) < 0.3


@pytest.fixture(scope="module")
def days() -> tuple[tuple, Physics, list[list[Sample]]]:
    devices = fleet(seed=5, sites=16, devices=3, families=["native", "growatt-grott", "shelly-gen2"])
    physics = Physics(devices, DAY, 2, 600)
    return devices, physics, run(physics)


def test_a_register_never_falls_and_counts_what_was_generated(days):
    devices, physics, samples = days
    for device, found, truth in zip(devices, samples, physics.truth_mwh, strict=True):
        totals = [one.total_mwh for one in found]
        assert totals == sorted(totals)
        count = round(device.family.resolution_wh * 1000)
        assert all(total % count == 0 for total in totals)
        assert device.opening_wh * 1000 - count < totals[0] <= device.opening_wh * 1000
        assert abs(totals[-1] - totals[0] - truth.sum()) < count
        assert truth.min() > 0


def test_energy_is_the_integral_of_power(days):
    _, physics, samples = days
    for found, truth in zip(samples, physics.truth_mwh, strict=True):
        watts = [one.w for one in found]
        integral = sum((a + b) / 2 * 600 / 3.6 for a, b in itertools.pairwise(watts))
        assert truth.sum() == pytest.approx(integral, abs=len(watts))


def test_days_are_the_sites_own(days):
    devices, physics, samples = days
    for device, found, truth in zip(devices, samples, physics.truth_mwh, strict=True):
        for one in found:
            local = datetime.fromtimestamp(one.at, device.site.zone)
            assert local.date() == DAY + timedelta(days=one.day)
            midnight = datetime.combine(local.date(), datetime.min.time(), device.site.zone)
            assert one.second == one.at - int(midnight.timestamp())
        for number in (0, 1):
            of_day = [one for one in found if one.day == number]
            count = round(device.family.resolution_wh * 1000)
            assert of_day[0].today_mwh == 0
            assert abs(of_day[-1].today_mwh - truth[number]) <= count
    santiago = next(found for device, found in zip(devices, samples, strict=True) if "Santiago" in device.site.name)
    assert [sum(one.day == number for one in santiago) for number in (0, 1)] == [144, 138]


def test_power_is_clipped_at_the_rating(days):
    devices, _, samples = days
    for device, found in zip(devices, samples, strict=True):
        assert all(0 <= one.w <= device.rated_w for one in found)
        assert all(one.w == 0 and one.dcw == 0 for one in found if one.second < 3 * 3600 or one.second > 22 * 3600)
        assert all(one.dcw > one.w for one in found if one.w > 0)
    assert any(one.w == device.rated_w for device, found in zip(devices, samples, strict=True) for one in found)


@pytest.mark.parametrize("ticks", [1, 7, 50])
def test_how_time_is_cut_changes_nothing(ticks):
    devices = fleet(seed=5, sites=4, devices=2, families=["native", "deye"])
    whole, cut = Physics(devices, DAY, 1, 900), Physics(devices, DAY, 1, 900)
    assert run(whole) == run(cut, ticks)
    assert whole.truth_mwh.tolist() == cut.truth_mwh.tolist()


def test_another_number_of_sites_changes_no_site():
    few = fleet(seed=5, sites=1, devices=2, families=["native"])
    many = fleet(seed=5, sites=3, devices=2, families=["native"])
    assert run(Physics(few, DAY, 1, 900)) == run(Physics(many, DAY, 1, 900))[:2]


def test_a_register_wraps_at_its_width(monkeypatch):
    from dataclasses import replace

    (device,) = fleet(seed=5, sites=1, devices=1, families=["native"])
    opening = 2**20 - 1000
    narrow = replace(device, family=replace(device.family, bits=20), opening_wh=opening)
    physics = Physics([narrow], DAY, 1, 300)
    totals = [one.total_mwh for one in run(physics)[0]]
    assert max(totals) < 2**20 * 1000
    falls = [(a, b) for a, b in itertools.pairwise(totals) if b < a]
    assert len(falls) == 1
    assert abs(totals[-1] + 2**20 * 1000 - totals[0] - int(physics.truth_mwh.sum())) < 1000


def test_fleets_follow_from_the_seed():
    assert fleet(seed=1, sites=2, devices=3, families=["native"]) == fleet(
        seed=1, sites=2, devices=3, families=["native"]
    )
    one, other = (fleet(seed=seed, sites=1, devices=1, families=["native"])[0] for seed in (1, 2))
    assert (one.rated_w, one.opening_wh, one.serial_number) != (other.rated_w, other.opening_wh, other.serial_number)


def test_families_take_turns_and_registers_are_never_zero():
    made = fleet(seed=1, sites=2, devices=3, families=["native", "deye"])
    assert [device.family.name for device in made] == ["native", "deye"] * 3
    assert all(Decimal(device.opening_wh) > device.family.resolution_wh for device in made)


def test_an_unknown_family_is_named():
    with pytest.raises(ValueError, match='there is no family "x": expected all or one of native, opendtu'):
        fleet(seed=1, sites=1, devices=1, families=["x"])


def test_a_large_fleet_is_held_in_memory_a_few_samples_at_a_time():
    many = fleet(seed=1, sites=1000, devices=10, families=["native"])
    physics = Physics(many, DAY, 1, 300)
    assert physics.window_ticks * len(many) <= 50_000
    assert sum(column.nbytes for column in physics.window(0, physics.window_ticks).columns) < 10_000_000
