"""The most that the sky allows: a bound on what a rated power can make in a time, from the place alone.

Neither tilt nor orientation, neither haze nor altitude is declared, so the bound is that of a module which always faces
the sun, under the cleanest air that the Solis model knows. It says nothing about what a plant should make.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pvlib import clearsky, pvsystem, solarposition

STEP_US = 300_000_000
_DAY = 86_400_000_000 // STEP_US
NIGHT_BELOW_DEG = -6.0
"""Civil twilight. Real inverters of 1.5 MW show a kilowatt or two for half an hour after sunset (plant 1)."""
_SLACK_STEPS = 3  # a quarter of an hour: a logger's averaging window, a clock that is minutes off
_TWILIGHT_W_M2 = 20.0
_GROUND_ALBEDO = 0.25
_DC_PER_AC = 1.5  # more modules than the inverter can take are usual, 1.5 is much
_COLDEST_CELL_C = 0.0
_PER_KELVIN = -0.004


@dataclass(frozen=True, eq=False)
class Sky:
    """The sky over a place on a grid of 5 minutes.

    Attributes
    ----------
    t_us
        Instants [µs UTC], shape (n,).
    elevation_deg
        True elevation of the sun's centre [°], shape (n,).
    share
        The most of its rated power that a device can make, 0 to 1, shape (n,), the highest within a quarter of an hour.
    share_until_us
        Integral of `share` from the first instant on [µs], shape (n,).
    """

    t_us: NDArray[np.int64]
    elevation_deg: NDArray[np.float64]
    share: NDArray[np.float64]
    share_until_us: NDArray[np.float64]

    def full_load_us(self, t0_us: NDArray[np.int64], t1_us: NDArray[np.int64]) -> NDArray[np.float64]:
        """Time at rated power that makes the most energy possible from t0 to t1 [µs], shape (n,)."""
        grid = self._offset(self.t_us)
        before, after = (np.interp(self._offset(t_us), grid, self.share_until_us) for t_us in (t0_us, t1_us))
        most: NDArray[np.float64] = np.maximum(after - before, 0.0)
        return most

    def is_night(self, t_us: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Mask of the instants at which nothing can be made."""
        at = np.clip((t_us - self.t_us[0]) // STEP_US, 0, len(self.t_us) - 2)
        night: NDArray[np.bool_] = (self.share[at] == 0) & (self.share[at + 1] == 0)
        return night

    def within_night(self, t0_us: NDArray[np.int64], t1_us: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Mask of the spans in which nothing can be made from end to end."""
        # Subtracting two long sums leaves a fraction of a microsecond where there is nothing.
        return self.is_night(t0_us) & self.is_night(t1_us) & (self.full_load_us(t0_us, t1_us) < 1.0)

    def _offset(self, t_us: NDArray[np.int64]) -> NDArray[np.float64]:
        offset: NDArray[np.float64] = (t_us - self.t_us[0]).astype(np.float64)
        return offset


def sky_over(latitude: float, longitude: float, first_us: int, last_us: int) -> Sky:
    """Compute the sky from one instant to another.

    Parameters
    ----------
    latitude, longitude
        Of the site [°, north and east positive].
    first_us, last_us
        The instants that must lie within [µs UTC].

    Returns
    -------
    Sky
        Kept for the next device of the site.

    Notes
    -----
    Clear sky: Ineichen, "A broadband simplified version of the Solis clear sky model" (2008), by
    `pvlib.clearsky.simplified_solis` with no aerosol and 0.2 cm of water, the clearest that it is valid for. DC power
    by `pvlib.pvsystem.pvwatts_dc` with cells at 0 °C and 1.5 times the rated power in modules; the inverter ends at its
    rating. Brighter edges of clouds are left to the margin of the register's specification.
    """
    grid = (first_us // STEP_US - 1, -(-last_us // STEP_US) + 1)
    # Whole months, so that the devices of a site share one sky although their readings begin minutes apart. A page
    # that shows one day has no use for a month, which takes 26 ms instead of 3.
    block = 30 * _DAY
    if grid[1] - grid[0] <= 2 * _DAY:
        block, grid = _DAY, (grid[0] - _SLACK_STEPS, grid[1] + _SLACK_STEPS)
    return _sky(latitude, longitude, grid[0] // block * block, -(-grid[1] // block) * block)


@lru_cache(maxsize=16)
def _sky(latitude: float, longitude: float, first: int, last: int) -> Sky:
    t_us = np.arange(first, last + 1, dtype=np.int64) * STEP_US
    index = pd.DatetimeIndex(pd.to_datetime(t_us, unit="us", utc=True))
    position = solarposition.get_solarposition(index, latitude, longitude, method="nrel_numpy")
    elevation = position["elevation"].to_numpy(dtype=np.float64)
    clear = clearsky.simplified_solis(position["apparent_elevation"].to_numpy(), aod700=0.0, precipitable_water=0.2)
    plane = clear["dni"] + clear["dhi"] + _GROUND_ALBEDO * clear["ghi"]
    plane = np.nan_to_num(np.asarray(plane, dtype=np.float64)) + _TWILIGHT_W_M2
    plane[elevation < NIGHT_BELOW_DEG] = 0.0
    share = np.minimum(pvsystem.pvwatts_dc(plane, _COLDEST_CELL_C, _DC_PER_AC, _PER_KELVIN), 1.0)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(share, _SLACK_STEPS, mode="edge"), 2 * _SLACK_STEPS + 1)
    share = around.max(axis=1)
    # Between two grid points the higher one holds.
    until = np.concatenate(([0.0], np.cumsum(np.maximum(share[:-1], share[1:]) * STEP_US)))
    return Sky(t_us, elevation, share, until)
