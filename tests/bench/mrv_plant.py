"""A fleet of solar plants for (m): declared, and a year of one-minute readings put straight into the tables.

Power follows the sun over each site and clouds of its own day; registers count it in whole watt-hours. Now and then a
device is silent for hours, reads zero at dawn, or a register dips or leaps for a reading, as recorded ones do.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import psycopg
from numpy.typing import NDArray

from deploy.registry import apply
from devices.declaration_file import parse
from mrv.calendar import day_bounds, to_us
from mrv.quality.sky import sky_over

PROJECT = "BENCH"
ZONE = "Asia/Bangkok"
LAST = date(2025, 12, 31)
RATED_W = 100_000.0
DEVICES_A_SITE = 10
MINUTES = 1440
_MINUTE_US = 60_000_000
_LAG_US = 2_000_000
_EPOCH_2000_US = 946_684_800_000_000
_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)

_PROJECT = """
[project]
id = "{project}"
title = "A fleet for the bench"
host_country = "THA"
methodology = "TH_AM001"
methodology_version = "1.0"
crediting_period = {{ from = 2024-01-01, to = 2030-12-31 }}
participants = [{{ name = "A", country = "THA" }}, {{ name = "B", country = "JPN" }}]
"""
_SITE = """
[[site]]
id = "plant-{n}"
name = "Plant {n}"
time_zone = "{zone}"
latitude = {latitude}
longitude = 101.4

[[pv_system]]
id = "pv-{n}"
site = "plant-{n}"
capacity_kw = 1000
connection = "grid"
credited_by = ["*"]
"""
_DEVICE = """
[[device]]
id = "inv-{d}"
site = "plant-{n}"
pv_system = "pv-{n}"
kind = "inverter"
rated_power_w = 100_000
register = {{ point = "TotWhExp", bits = 64 }}
installed = 2024-01-01
"""


def _binary_row(*fields: tuple[str, str]) -> np.dtype:
    """A row of COPY BINARY without nulls: all rows are of one length, so numpy writes a table of them at once."""
    layout = [("fields", ">i2")]
    for name, kind in fields:
        layout += [(f"{name}_length", ">i4"), (name, kind)]
    return np.dtype(layout)


_READING = _binary_row(
    ("device", ">i4"), ("ts", ">i8"), ("received", ">i8"), ("message", ">i8"), ("element", ">i4"),
    ("register", ">f8"), ("power", ">f8"),
)  # fmt: skip


@dataclass(frozen=True)
class Fleet:
    """How many devices over how many days, which end with `LAST`."""

    devices: int
    days: int

    @property
    def first(self) -> date:
        return LAST - timedelta(days=self.days - 1)

    @property
    def sites(self) -> int:
        return -(-self.devices // DEVICES_A_SITE)

    @property
    def toml(self) -> str:
        parts = [_PROJECT.format(project=PROJECT)]
        for n in range(self.sites):
            parts.append(_SITE.format(n=n, zone=ZONE, latitude=13.0 + n))
            devices = range(min(DEVICES_A_SITE, self.devices - n * DEVICES_A_SITE))
            parts += [_DEVICE.format(n=n, d=d) for d in devices]
        return "\n".join(parts)


def declare(url: str, fleet: Fleet) -> list[int]:
    """Apply the declaration; return the devices' numbers, site by site."""
    with psycopg.connect(url, autocommit=True) as connection:
        apply(connection, [("bench.toml", parse(fleet.toml, Path("bench.toml")))])
        rows = connection.execute("select device_id from device order by site_id, id").fetchall()
    return [number for (number,) in rows]


class Weather:
    """What the devices read, day after day: the registers go on from where they were."""

    def __init__(self, numbers: list[int], seed: int = 5) -> None:
        self._numbers = np.array(numbers)
        self._random = np.random.default_rng(seed)
        self._register_wh = self._random.uniform(1e6, 9e6, len(numbers))

    def day(self, day: date) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """Instants (minutes,), registers and power (minutes, devices), and which readings there are."""
        start = to_us(day_bounds(day, ZONE)[0])
        t_us = start + np.arange(MINUTES, dtype=np.int64) * _MINUTE_US
        count, random = len(self._numbers), self._random
        power = np.empty((MINUTES, count))
        for site in range(-(-count // DEVICES_A_SITE)):
            sky = sky_over(13.0 + site, 101.4, start - 86_400_000_000, start + 2 * 86_400_000_000)
            sun = np.interp((t_us - start).astype(float), (sky.t_us - start).astype(float), sky.elevation_deg)
            hourly = random.beta(3, 1, 26) * 0.8 * RATED_W
            clouds = np.interp(np.arange(MINUTES), np.arange(26) * 60.0, hourly)
            curve = np.sin(np.radians(sun)).clip(0) * clouds
            columns = slice(site * DEVICES_A_SITE, min((site + 1) * DEVICES_A_SITE, count))
            noise = random.normal(1, 0.02, (MINUTES, columns.stop - columns.start)).clip(0.8, 1.1)
            power[:, columns] = np.round(curve[:, np.newaxis] * noise, 1)
        counted = self._register_wh + np.cumsum(power, axis=0) / 60
        self._register_wh = counted[-1]
        register = np.floor(counted)
        there = np.ones((MINUTES, count), dtype=bool)
        for device in range(count):
            chance = random.random(4)
            at = int(random.integers(0, MINUTES - 200))
            if chance[0] < 0.05:
                there[at : at + int(random.integers(5, 200)), device] = False
            if chance[1] < 0.10:
                register[350:353, device] = 0.0
            if chance[2] < 0.02:
                register[at, device] -= 5_000
            if chance[3] < 0.01:
                register[at, device] += 1_000_000
        return t_us, register, power, there

    def rows(self, day: date, received_us: int | None = None, *, every: int = 1, own_messages: bool = False) -> bytes:
        """A day as rows of COPY BINARY, in the order in which they come: all devices of a minute, then the next.

        `every` takes one minute of so many; with `own_messages` each device sends its own.
        """
        t_us, register, power, there = (values[::every] for values in self.day(day))
        table = np.zeros(register.shape, dtype=_READING)
        for name in _READING.names or ():
            if name.endswith("_length"):
                table[name] = _READING[name.removesuffix("_length")].itemsize
        table["fields"] = 7
        table["device"] = self._numbers
        table["ts"] = (t_us - _EPOCH_2000_US)[:, np.newaxis]
        table["received"] = table["ts"] + _LAG_US if received_us is None else received_us - _EPOCH_2000_US
        place = np.arange(len(self._numbers))
        sender = place if own_messages else place // DEVICES_A_SITE
        table["message"] = t_us[:, np.newaxis] // _MINUTE_US * 1000 + sender
        table["element"] = 0 if own_messages else place % DEVICES_A_SITE
        table["register"], table["power"] = register, power
        return table[there].tobytes()


_COPY = (
    "copy reading (device_id, ts, received_at, message_id, element, energy_exported_wh, power_w) "
    "from stdin with (format binary)"
)
# A gateway sends the readings of a site's devices of one minute in one message.
_MESSAGES = """
insert into message (received_at, message_id, arrived_at, topic, payload, sha256, qos, retained, redelivered, collector,
    site_id, outcome, readings)
select ts + interval '2 seconds', extract(epoch from ts)::bigint / 60 * 1000 + site, ts + interval '2 seconds',
    'bench', ''::bytea, sha256(''), 1, false, false, 'bench', 'plant-' || site, 'stored', %(readings)s
from generate_series(%(start)s::timestamptz, %(end)s::timestamptz - interval '1 minute', %(every)s::interval) ts,
    generate_series(0, %(sites)s - 1) site
"""


def fill(url: str, fleet: Fleet, weather: Weather) -> int:
    """Write the readings of all days, and their messages; return how many readings there are."""
    total = 0
    with psycopg.connect(url) as connection:
        for n in range(fleet.days):
            day = fleet.first + timedelta(days=n)
            total += add_day(connection, fleet, weather, day)
            if n % 10 == 9:
                connection.commit()
        connection.commit()
        connection.autocommit = True
        connection.execute("vacuum analyze reading")
        connection.execute("vacuum analyze message")
    return total


def add_day(
    connection: psycopg.Connection,
    fleet: Fleet,
    weather: Weather,
    day: date,
    received: datetime | None = None,
    *,
    every: int = 1,
) -> int:
    """Write one day, or one minute of so many of it; return how many readings."""
    rows = weather.rows(day, None if received is None else to_us(received.astimezone(UTC)), every=every)
    with connection.cursor() as cursor:
        with cursor.copy(_COPY) as copy:
            copy.write(_HEADER + rows + b"\xff\xff")
        start, end = day_bounds(day, ZONE)
        given = {"start": start, "end": end, "sites": fleet.sites, "readings": DEVICES_A_SITE}
        cursor.execute(_MESSAGES, {**given, "every": timedelta(minutes=every)})
    return len(rows) // _READING.itemsize


# Each device its own messages, as native gateways send them, with payloads that decode to the readings.
_OWN_MESSAGES = """
insert into message (received_at, message_id, arrived_at, topic, payload, sha256, qos, retained, redelivered, collector,
    site_id, outcome, readings)
select received_at, message_id, received_at, topic, payload, sha256(payload), 1, false, false, 'bench', site_id,
    'stored', 1
from (
    select r.received_at, r.message_id, d.site_id, 'jcm/v1/' || d.site_id || '/' || d.id || '/readings' as topic,
        convert_to(format('{"ts":"%%s","points":{"W":%%s,"TotWhExp":%%s}}',
            to_char(r.ts, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), r.power_w, r.energy_exported_wh), 'UTF8') as payload
    from reading r join device d using (device_id) where r.ts >= %(start)s and r.ts < %(end)s
) sent
"""


def add_day_of_messages(connection: psycopg.Connection, weather: Weather, day: date) -> int:
    """Write one day of minutes, each reading in a message of its own; return how many."""
    rows = weather.rows(day, own_messages=True)
    with connection.cursor() as cursor:
        with cursor.copy(_COPY) as copy:
            copy.write(_HEADER + rows + b"\xff\xff")
        start, end = day_bounds(day, ZONE)
        cursor.execute("set local timezone = 'UTC'")
        cursor.execute(_OWN_MESSAGES, {"start": start, "end": end})
    return len(rows) // _READING.itemsize
