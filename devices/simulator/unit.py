"""A simulated site and a simulated device."""

from dataclasses import dataclass
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from devices.simulator.noise import between, key

if TYPE_CHECKING:
    from devices.simulator.wire.family import Family


@dataclass(frozen=True, slots=True)
class SimulatedSite:
    """A place with its own clock and weather."""

    id: str
    name: str
    zone: ZoneInfo
    latitude: float
    longitude: float
    stream: int
    """The key of its weather."""


@dataclass(frozen=True, slots=True)
class SimulatedDevice:
    """A device of a family under the sun of its site, each with modules of its own."""

    id: str
    site: SimulatedSite
    number: int
    """Its place among the devices of the site, from 1."""
    family: "Family"
    rated_w: int
    opening_wh: int
    """What its register counted before the simulation."""
    stream: int
    """The key of everything that is its own."""
    direct: bool
    """Whether it publishes on its family's bare topics, where names must differ between sites as well."""

    @property
    def serial_number(self) -> str:
        """Twelve digits, as microinverters and gateways have them."""
        return f"{int(between(1.1e11, 9.9e11, self.stream, 6))}"

    @property
    def hexadecimal(self) -> str:
        """Six bytes, as of a network card."""
        return f"{key(self.stream, 'mac') >> 16:012x}"

    def name(self, word: str) -> str:
        """Name it so that no other device of its broker has the name."""
        return f"{word}-{self.site.id}-{self.number}" if self.direct else f"{word}-{self.number}"
