"""The sun and the sky over many places at once: irradiance in the plane of the modules, and air temperature.

Solar position after Spencer (1971) and clear sky after Ineichen, both by pvlib; clouds are a clear-sky index that a
seed decides. Good enough to look like a plant, not to plan one: refraction and the horizon are left out.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pvlib import atmosphere, clearsky, irradiance, solarposition

from devices.simulator.noise import Floats, Ints, smooth, uniform

DAY_S = 86_400
_TURBIDITY = 3.5  # Linke's, of a hazy humid place, which most host countries are
_ALBEDO = 0.2


class Places(NamedTuple):
    """Places and how their modules stand; every array is a column, shape (places, 1)."""

    latitude: Floats
    longitude: Floats
    tilt: Floats
    azimuth: Floats
    """Degrees east of north."""
    streams: NDArray[np.uint64]
    """What decides each place's weather."""


class Sky(NamedTuple):
    """What falls on the modules; shape (places, times)."""

    poa_w_m2: Floats
    clear_poa_w_m2: Floats
    air_c: Floats


def places(latitude: Floats, longitude: Floats, streams: NDArray[np.uint64]) -> Places:
    """Stand modules at places (1-d arrays), tilted as far as the latitude and towards the equator."""
    lat = latitude[:, np.newaxis]
    tilt = np.clip(np.abs(lat), 5.0, 35.0)
    return Places(lat, longitude[:, np.newaxis], tilt, np.where(lat >= 0, 180.0, 0.0), streams[:, np.newaxis])


def sky(where: Places, seconds: Ints) -> Sky:
    """Compute irradiance and air temperature.

    Parameters
    ----------
    where
        The places.
    seconds
        Times since 1970 UTC, shape (times,) or (places, times).
    """
    zenith, azimuth, day = _position(where, seconds)
    # At night pvlib divides by the cosine of a sun below the horizon, and gives 0 W/m² in the end.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        airmass = atmosphere.get_absolute_airmass(atmosphere.get_relative_airmass(zenith))
        extra = irradiance.get_extra_radiation(day)
        clear = clearsky.ineichen(zenith, airmass, _TURBIDITY, dni_extra=extra)
        clear_ghi, clear_dni = clear["ghi"], clear["dni"]
        index = clear_sky_index(where.streams, seconds + (where.longitude * 240.0).astype(np.int64))
        clear_poa = _in_plane(where, zenith, azimuth, clear_ghi, clear_dni)
        # A thin cloud takes the beam first: none of it is left below an index of 0.25.
        ghi = clear_ghi * index
        dni = clear_dni * np.clip((index - 0.25) / 0.75, 0.0, 1.1) ** 1.5
        poa = _in_plane(where, zenith, azimuth, ghi, dni)
    return Sky(poa, clear_poa, _air(where, seconds, index))


def clear_sky_index(streams: NDArray[np.uint64], solar_seconds: Ints) -> Floats:
    """Give the share of the clear sky's light that passes the clouds.

    A day (local mean solar time) is clear, broken or overcast, in 5, 3 and 2 of 10. Under broken clouds the sun is
    covered and uncovered within minutes, and brighter than a clear sky beside a cloud.
    """
    kind = uniform(streams, solar_seconds // DAY_S)
    other, third = streams + np.uint64(1), streams + np.uint64(2)
    slow, quick = smooth(other, solar_seconds, 3600), smooth(third, solar_seconds, 240)
    cover = 1.0 / (1.0 + np.exp(-18.0 * (0.6 * quick + 0.4 * slow - 0.5)))
    clear = 0.97 + 0.05 * slow
    broken = 1.08 - (0.62 + 0.15 * slow) * cover
    overcast = 0.12 + 0.22 * slow + 0.04 * quick
    return np.where(kind < 0.5, clear, np.where(kind < 0.8, broken, overcast))


def _position(where: Places, seconds: Ints) -> tuple[Floats, Floats, Ints]:
    """Give zenith and azimuth in degrees, and the day of the year."""
    days = seconds // DAY_S
    since = days.astype("datetime64[D]")
    day = (since - since.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64) + 1
    minutes = (seconds - days * DAY_S) / 60.0 + solarposition.equation_of_time_spencer71(day)
    declination = solarposition.declination_spencer71(day)
    hour_angle = np.radians(minutes / 4.0 + where.longitude - 180.0)
    latitude = np.radians(where.latitude)
    zenith = solarposition.solar_zenith_analytical(latitude, hour_angle, declination)
    azimuth = solarposition.solar_azimuth_analytical(latitude, hour_angle, declination, zenith)
    return np.degrees(zenith), np.degrees(azimuth), day


def _in_plane(where: Places, zenith: Floats, azimuth: Floats, ghi: Floats, dni: Floats) -> Floats:
    dhi = np.maximum(ghi - dni * np.maximum(np.cos(np.radians(zenith)), 0.0), 0.0)
    total = irradiance.get_total_irradiance(
        where.tilt, where.azimuth, zenith, azimuth, dni, ghi, dhi, albedo=_ALBEDO, model="isotropic"
    )["poa_global"]
    # The last two degrees are behind trees, hills and houses.
    lit: Floats = np.where(zenith < 88.0, np.nan_to_num(total), 0.0)
    return lit


def _air(where: Places, seconds: Ints, index: Floats) -> Floats:
    solar = (seconds + (where.longitude * 240.0).astype(np.int64)) % DAY_S
    mean = 30.0 - 0.4 * np.abs(where.latitude) + 4.0 * smooth(where.streams + np.uint64(3), seconds, 5 * DAY_S)
    warmest_s = 15 * 3600
    air: Floats = mean + (2.0 + 3.0 * index) * np.cos((solar - warmest_s) / DAY_S * 2 * np.pi)
    return air
