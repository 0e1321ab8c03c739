"""What devices measure: power after clouds, heat and clipping, and the registers that count it.

Energy is the integral of the straight lines between a device's samples, in whole milliwatt-hours: what is summed is
exact, so a register is right to its last count after any number of samples, however they were grouped.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pvlib import inverter, pvsystem, temperature

from devices.simulator import sun
from devices.simulator.noise import Floats, Ints, between, smooth
from devices.simulator.sample import Sample
from devices.simulator.unit import SimulatedDevice

# A window of samples in memory; half a day at most, so that no window meets two midnights.
_CELLS = 50_000
_LONGEST_S = sun.DAY_S // 2
_EFFICIENCY = 0.965
_GAMMA = -0.0035  # 1/K, crystalline silicon
_WIND_M_S = 2.0
# Below this share of its rating an inverter is asleep.
_STARTUP = 0.004
_COUNTS = 2**62


class Window(NamedTuple):
    """Samples of all devices at some ticks; every array has shape (ticks, devices)."""

    columns: tuple[NDArray[np.generic], ...]
    """One for each field of `Sample`, in its order; the last ones, which faults set, are left out."""
    inside: NDArray[np.bool_]
    """Whether the tick lies in the days that are simulated at the device's site."""


class Physics:
    """All devices, going through time window by window.

    Parameters
    ----------
    devices
        The devices.
    first_day, days
        The days that are simulated, at each site its own.
    step_s
        Time between two samples of a device.
    """

    def __init__(self, devices: Sequence[SimulatedDevice], first_day: date, days: int, step_s: int) -> None:
        self.step_s = step_s
        self._days = days
        sites = list({device.site.id: device.site for device in devices}.values())
        place = {site.id: index for index, site in enumerate(sites)}
        self._site_of = np.array([place[device.site.id] for device in devices], dtype=np.int64)
        self._places = sun.places(
            np.array([site.latitude for site in sites], dtype=np.float64),
            np.array([site.longitude for site in sites], dtype=np.float64),
            np.array([site.stream for site in sites], dtype=np.uint64),
        )
        self._midnights = np.array(
            [[_midnight(first_day + timedelta(days=day), site.zone) for day in range(days + 1)] for site in sites]
        )[self._site_of]
        self._streams = np.array([device.stream for device in devices], dtype=np.uint64)[:, np.newaxis]
        self._rated = _column([device.rated_w for device in devices])
        self._dc_ratio = _column([between(1.05, 1.35, device.stream, 3) for device in devices])
        self._soiling = _column([between(0.93, 1.0, device.stream, 4) for device in devices])
        self.phase_s = np.array([int(between(0, min(step_s, 60), device.stream, 5)) for device in devices])
        self._resolution = np.array([[round(device.family.resolution_wh * 1000)] for device in devices])
        self._modulus = np.array(
            [[min(2**device.family.bits, _COUNTS // round(device.family.resolution_wh * 1000))] for device in devices]
        )
        self._total = np.array([device.opening_wh * 1000 for device in devices], dtype=np.int64)
        self._since_midnight_of = self._total.copy()
        self._day = np.full(len(devices), -1)
        self._power = np.zeros(len(devices))
        self.truth_mwh = np.zeros((len(devices), days), dtype=np.int64)
        """What each device generated on each day."""
        self.first_tick = int(self._midnights[:, 0].min()) // step_s * step_s
        self.ticks = -(-(int(self._midnights[:, -1].max()) - self.first_tick) // step_s)
        self.window_ticks = max(1, min(_CELLS // len(devices), _LONGEST_S // step_s))

    def window(self, first: int, count: int) -> Window:
        """Go on by `count` ticks from tick number `first`, which must be where the last window ended."""
        seconds = self.first_tick + np.arange(first, first + count) * self.step_s
        at = seconds + self.phase_s[:, np.newaxis]
        day = self._days_of(at)
        inside = (day >= 0) & (day < self._days)
        sky = sun.sky(self._places, seconds)
        poa, air = sky.poa_w_m2[self._site_of], sky.air_c[self._site_of]
        cell = temperature.faiman(poa, air, _WIND_M_S)
        dc_rated = self._rated * self._dc_ratio * self._soiling
        dc = np.maximum(pvsystem.pvwatts_dc(poa, cell, dc_rated, _GAMMA), 0.0)
        # pvlib's function divides by the DC power, and gives 0 W for 0 W.
        with np.errstate(divide="ignore", invalid="ignore"):
            ac = inverter.pvwatts(dc, self._rated / _EFFICIENCY, _EFFICIENCY)
        power = np.where((ac > self._rated * _STARTUP) & inside, np.round(ac, 1), 0.0)
        producing = power > 0
        total = self._count(power, day, inside)
        since_midnight = self._since_midnight(total, day)
        shown = total // self._resolution % self._modulus * self._resolution
        volts = 226.0 + 8.0 * smooth(self._streams, seconds, 900) + 4.0 * producing * sky_share(poa)
        dc_volts = np.where(producing, 620.0 - 1.6 * (cell - 25.0) + 10.0 * smooth(self._streams, seconds, 120), 0.0)
        dc = np.where(producing, np.minimum(dc, power / _EFFICIENCY * 1.02), 0.0)
        columns = (
            at,
            at,
            day,
            at - np.take_along_axis(self._midnights, np.clip(day, 0, self._days), axis=1),
            power,
            shown,
            since_midnight // self._resolution * self._resolution,
            np.round(volts, 1),
            np.round(power / (3 * volts), 3),
            np.round(49.95 + 0.1 * smooth(self._streams + np.uint64(1), seconds, 60), 2),
            np.round(dc, 1),
            np.round(dc_volts, 1),
            np.round(np.divide(dc, dc_volts, out=np.zeros_like(dc), where=producing), 2),
            np.round(air + 25.0 * power / self._rated, 1),
            np.round(air, 1),
            np.round(poa, 1),
        )
        self._day = np.maximum(day[:, -1], self._day)
        self._power = power[:, -1]
        return Window(tuple(column.T for column in columns), inside.T)

    def _days_of(self, at: Ints) -> Ints:
        """Number the local days of times that lie at most one midnight after the last ones."""
        rows = np.arange(len(self._day))
        following = self._midnights[rows, np.minimum(self._day + 1, self._days)]
        passed = (at >= following[:, np.newaxis]) & (self._day[:, np.newaxis] < self._days)
        days: Ints = self._day[:, np.newaxis] + passed
        return days

    def _count(self, power: Floats, day: Ints, inside: NDArray[np.bool_]) -> Ints:
        before = np.concatenate([self._power[:, np.newaxis], power[:, :-1]], axis=1)
        # 1 W for 1 s is 1/3.6 mWh.
        added = np.rint((before + power) * (self.step_s / 7.2)).astype(np.int64) * inside
        rows = np.broadcast_to(np.arange(len(day))[:, np.newaxis], day.shape)
        np.add.at(self.truth_mwh, (rows[inside], day[inside]), added[inside])
        total = self._total[:, np.newaxis] + np.cumsum(added, axis=1)
        self._total = total[:, -1]
        return total

    def _since_midnight(self, total: Ints, day: Ints) -> Ints:
        """Count from the first sample after midnight on, when no array is lit anywhere that people live."""
        new = day > self._day[:, np.newaxis]
        first = np.argmax(new, axis=1)
        at_midnight = np.where(new.any(axis=1), total[np.arange(len(first)), first], self._since_midnight_of)
        counted = total - np.where(new, at_midnight[:, np.newaxis], self._since_midnight_of[:, np.newaxis])
        self._since_midnight_of = at_midnight
        return counted


def sky_share(poa: Floats) -> Floats:
    """Give irradiance as a share of full sun: by it a feeder's voltage rises."""
    return poa / 1000.0


def row_of(values: tuple[object, ...]) -> Sample:
    """Make a sample from the columns' values at one tick and device."""
    return Sample._make((*values, False, False, False))


def _column(values: Sequence[float]) -> Floats:
    return np.array(values, dtype=np.float64)[:, np.newaxis]


def _midnight(day: date, zone: object) -> int:
    """Find when a local day begins; where clocks skip midnight, it begins as they are set."""
    moment = datetime(day.year, day.month, day.day, tzinfo=zone)  # type: ignore[arg-type]
    return int(moment.astimezone(UTC).timestamp())
