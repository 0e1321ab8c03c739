"""Who is simulated: sites in the JCM's partner countries, and the devices at each."""

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from devices.simulator.noise import between, key
from devices.simulator.unit import SimulatedDevice, SimulatedSite
from devices.simulator.wire import FAMILIES

# Cities of partner countries of the Joint Crediting Mechanism; Santiago and Chisinau set their clocks in summer.
_PLACES = (
    ("Bangkok", "Asia/Bangkok", 13.75, 100.50),
    ("Ulaanbaatar", "Asia/Ulaanbaatar", 47.92, 106.92),
    ("Dhaka", "Asia/Dhaka", 23.81, 90.41),
    ("Santiago", "America/Santiago", -33.45, -70.67),
    ("Nairobi", "Africa/Nairobi", -1.29, 36.82),
    ("Ho Chi Minh City", "Asia/Ho_Chi_Minh", 10.82, 106.63),
    ("Jakarta", "Asia/Jakarta", -6.21, 106.85),
    ("Yangon", "Asia/Yangon", 16.84, 96.17),
    ("Dakar", "Africa/Dakar", 14.72, -17.47),
    ("Riyadh", "Asia/Riyadh", 24.71, 46.68),
    ("Manila", "Asia/Manila", 14.60, 120.98),
    ("Tbilisi", "Asia/Tbilisi", 41.72, 44.79),
    ("Colombo", "Asia/Colombo", 6.93, 79.86),
    ("Mexico City", "America/Mexico_City", 19.43, -99.13),
    ("Chisinau", "Europe/Chisinau", 47.01, 28.86),
    ("Port Moresby", "Pacific/Port_Moresby", -9.44, 147.18),
)


def fleet(
    *, seed: int, sites: int, devices: int, families: Sequence[str], direct: bool = False
) -> tuple[SimulatedDevice, ...]:
    """Make `sites` sites with `devices` devices each; the families take turns.

    Raises
    ------
    ValueError
        There is no family of that name; the message lists those there are.
    """
    for name in families:
        if name not in FAMILIES:
            raise ValueError(f'there is no family "{name}": expected all or one of {", ".join(FAMILIES)}')
    made = []
    for index in range(sites):
        site = _site(seed, index)
        for number in range(1, devices + 1):
            family = FAMILIES[families[(index * devices + number - 1) % len(families)]]
            stream = key(seed, "device", index, number)
            smallest, largest = family.rated_w
            rated = round(between(smallest, largest, stream, 1) / smallest) * smallest
            made.append(
                SimulatedDevice(
                    id=f"{family.kind}-{number}",
                    site=site,
                    number=number,
                    family=family,
                    rated_w=rated,
                    # Some months to some years of sun; never 0, which is no reading.
                    opening_wh=int(rated * between(300, 6000, stream, 2)),
                    stream=stream,
                    direct=direct,
                )
            )
    return tuple(made)


def _site(seed: int, index: int) -> SimulatedSite:
    city, zone, latitude, longitude = _PLACES[index % len(_PLACES)]
    stream = key(seed, "site", index)
    return SimulatedSite(
        id=f"sim{seed}-{index + 1:04}",
        name=f"Simulated site {index + 1} near {city}",
        zone=ZoneInfo(zone),
        latitude=round(latitude + between(-0.4, 0.4, stream, 1), 4),
        longitude=round(longitude + between(-0.4, 0.4, stream, 2), 4),
        stream=stream,
    )
