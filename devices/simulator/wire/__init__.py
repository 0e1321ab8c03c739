"""What each device family really puts on the wire: topics, payloads, order, retained flags.

The payloads follow the samples that the families' profiles quote. Address keys are those of the profiles.
"""

from collections.abc import Mapping
from types import MappingProxyType

from devices.simulator.wire import industrial, native, objects, scalars, sparkplug
from devices.simulator.wire.family import Family

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {family.name: family for module in (native, scalars, objects, industrial, sparkplug) for family in module.FAMILIES}
)
"""Every family by its profile's name."""
