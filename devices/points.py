"""The points of a reading: SunSpec's names, SI units, and the column each is stored in."""

from dataclasses import dataclass
from types import MappingProxyType

# A float64 holds every whole milliwatt-hour up to here; no register in the field comes near (9 TWh).
REGISTER_LIMIT_WH = 2**53 / 1000


@dataclass(frozen=True, slots=True)
class Point:
    """One measured quantity."""

    name: str
    """SunSpec's name, as payloads and declarations use it."""
    unit: str
    """The SI unit of the stored value."""
    column: str
    """The column of `reading`."""
    register: bool = False
    """A lifetime counter, never negative, that a credit may be computed from."""


_ALL = (
    Point("TotWhExp", "Wh", "energy_exported_wh", register=True),
    Point("TotWhImp", "Wh", "energy_imported_wh", register=True),
    Point("W", "W", "power_w"),
    Point("VA", "VA", "apparent_power_va"),
    Point("VAr", "var", "reactive_power_var"),
    Point("PF", "1", "power_factor"),
    Point("A", "A", "current_a"),
    Point("PhVphA", "V", "voltage_a_v"),
    Point("PhVphB", "V", "voltage_b_v"),
    Point("PhVphC", "V", "voltage_c_v"),
    Point("Hz", "Hz", "frequency_hz"),
    Point("DCW", "W", "dc_power_w"),
    Point("DCV", "V", "dc_voltage_v"),
    Point("DCA", "A", "dc_current_a"),
    Point("TmpCab", "°C", "cabinet_temperature_c"),
    Point("TmpAmb", "°C", "ambient_temperature_c"),
    Point("TmpBOM", "°C", "module_temperature_c"),
    Point("GHI", "W/m²", "irradiance_global_w_m2"),
    Point("POAI", "W/m²", "irradiance_plane_w_m2"),
    Point("St", "1", "state"),
)

POINTS = MappingProxyType({point.name: point for point in _ALL})
"""Every point with a column of its own, by SunSpec name; any other point of a payload is kept in `extra`."""

EXTRA_POINTS = MappingProxyType(
    {
        point.name: point
        for point in (
            # Reset at midnight or at dawn, by device and firmware: to compare with, never to credit.
            Point("DayWh", "Wh", "extra"),
            # Since the last message: lost with it.
            Point("IntervalWh", "Wh", "extra"),
        )
    }
)
"""Energies that profiles keep in `extra`, because no credit may be computed from them."""

COLUMNS = tuple(point.column for point in _ALL)
"""The value columns of `reading`, in the table's order."""
