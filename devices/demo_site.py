"""The demo's site: real measurements, published as the site's gateway would have.

The `pvanalytics` wheel (MIT licence) carries measurements of two arrays on NREL's campus in Golden, Colorado, of the
same five days: `nrel_RSF_II.csv` (AC power of the RSF II array and of its inverter 2, irradiance, temperatures) and
`serf_west_15min.csv` (a roof array of 6 kW), both every 15 minutes from 2 to 6 January 2022. Times and powers are
published as they were recorded; on the last day there is light and no power: snow lies on the arrays. The files carry
no energy register: the simulated gateway here integrates the power into one, as a meter would, and that is the only
thing that is not measured.

The clock of `serf_west_15min.csv` is local standard time, which in January is America/Denver's time. That of
`nrel_RSF_II.csv` is two hours ahead of it: its irradiance and powers begin at 09:45 and end at 18:15 on days on which
the sun is up from 07:20 to 16:45, and their middle, 14:00, is two hours after the site's solar noon. It is read as
America/New_York's time, which is where the light is real.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib import resources
from math import floor
from zoneinfo import ZoneInfo

from devices.topics import readings

PROJECT = "DEMO"
SITE = "demo-golden"
THIRD_PARTY_ENTITY = "Demonstration Certification Body"
PARTICIPANT = "Demonstration Plant Co., Ltd."
STEP = timedelta(minutes=15)
"""The recordings' interval."""

FIRST_DAY, LAST_DAY = date(2022, 1, 2), date(2022, 1, 6)

# A meter that was in use before it was connected; a register of zero would be no reading.
_OPENING_WH = 1_000_000.0
# The day with the most energy of the five: the live mode follows it.
_LIVE_DAY = date(2022, 1, 4)

_ZONE = ZoneInfo("America/Denver")
_RSF_II = "nrel_RSF_II.csv"
_SERF_WEST = "serf_west_15min.csv"
_CLOCKS = {_RSF_II: ZoneInfo("America/New_York"), _SERF_WEST: _ZONE}


@dataclass(frozen=True, slots=True)
class _Channel:
    """A column of a recording as a point of a device."""

    point: str
    column: str
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class _Source:
    """A device, its recording and, where it has one, the column that its register integrates."""

    device: str
    file: str
    channels: tuple[_Channel, ...]
    register: bool = True


_SOURCES = (
    _Source("meter-rsf-ii", _RSF_II, (_Channel("W", "ac_power_kw_1137", 1000.0),)),
    _Source(
        "inverter-2",
        _RSF_II,
        (
            _Channel("W", "inv2_ac_power_w__1047"),
            _Channel("DCW", "inv2_dc_power__1135"),
            _Channel("DCV", "inv2_dc_voltage__1048"),
            _Channel("DCA", "inv2_dc_current__1049"),
            _Channel("TmpCab", "inv2_temp__1050"),
        ),
    ),
    _Source(
        "inverter-west",
        _SERF_WEST,
        (
            _Channel("W", "ac_power__773"),
            _Channel("DCW", "dc_power__772"),
            _Channel("PhVphA", "ac_volts__778"),
            _Channel("TmpCab", "inveter_temp__784"),
        ),
    ),
    _Source(
        "weather",
        _RSF_II,
        (
            _Channel("POAI", "poa_irradiance__1055"),
            _Channel("TmpAmb", "ambient_temp__1053"),
            _Channel("TmpBOM", "module_temp__1056"),
        ),
        register=False,
    ),
)

Points = Mapping[str, float]


@dataclass(slots=True)
class Register:
    """A lifetime register that a gateway integrates from power; it never falls."""

    energy_wh: float = _OPENING_WH
    _last: tuple[datetime, float] | None = field(default=None, repr=False)

    def count(self, ts: datetime, power_w: float | None) -> int:
        """Add the energy since the last sample and return the register in whole Wh.

        Two samples at most one step apart are joined by a straight line. Over a longer gap, or without a power, nothing
        is counted; what is drawn from the grid at night is not counted either.
        """
        if power_w is None:
            self._last = None
        else:
            power_w = max(power_w, 0.0)
            if self._last is not None and timedelta(0) < ts - self._last[0] <= STEP:
                hours = (ts - self._last[0]) / timedelta(hours=1)
                self.energy_wh += (self._last[1] + power_w) / 2 * hours
            self._last = (ts, power_w)
        return floor(self.energy_wh)


def declaration() -> str:
    """Give the text of the demo's declaration file."""
    return resources.files("devices").joinpath("demo_site.toml").read_text(encoding="utf-8")


def period() -> tuple[date, date]:
    """Give the first and the last day of the recording, days of the site."""
    return FIRST_DAY, LAST_DAY


def payloads() -> Iterator[tuple[str, bytes]]:
    """Give topic and payload of every recorded reading, in the order of time."""
    registers = {source.device: Register() for source in _SOURCES}
    samples = sorted(
        ((ts, index, points) for index, source in enumerate(_SOURCES) for ts, points in _recorded(source)),
        key=lambda sample: sample[:2],
    )
    for ts, index, points in samples:
        yield _message(_SOURCES[index], ts, points, registers)


class LiveSite:
    """The site at the present clock: the recorded 4 January again and again, at the same time of day.

    What it publishes is a simulation, and lies far outside the recorded period.

    Parameters
    ----------
    registers
        Where each device's register stands [Wh]; a device that is not named begins with what `payloads` ends with.
    """

    def __init__(self, registers: Mapping[str, float] | None = None) -> None:
        given = {} if registers is None else registers
        self._registers = {
            source.device: Register(given.get(source.device, 0.0) or _closing_wh(source)) for source in _SOURCES
        }

    def payloads(self, now: datetime) -> list[tuple[str, bytes]]:
        """Give one reading of each device at `now` (aware); the register counts what was made since the last call."""
        now = now.astimezone(UTC).replace(microsecond=now.microsecond // 1000 * 1000)
        clock = now.astimezone(_ZONE)
        into_day = timedelta(hours=clock.hour, minutes=clock.minute, seconds=clock.second)
        return [_message(source, now, _at(source, into_day), self._registers) for source in _SOURCES]


def _message(source: _Source, ts: datetime, points: Points, registers: Mapping[str, Register]) -> tuple[str, bytes]:
    shown: dict[str, float] = dict(points)
    if source.register:
        shown["TotWhExp"] = registers[source.device].count(ts, points.get("W"))
    stamp = ts.isoformat().replace("+00:00", "Z")
    return readings(SITE, source.device), json.dumps({"ts": stamp, "points": shown}, separators=(",", ":")).encode()


def _at(source: _Source, into_day: timedelta) -> Points:
    """Interpolate the live day's points between its two nearest samples."""
    day = [points for ts, points in _recorded(source) if ts.astimezone(_ZONE).date() == _LIVE_DAY]
    place = into_day / STEP
    first = min(floor(place), len(day) - 1)
    before, after = day[first], day[min(first + 1, len(day) - 1)]
    share = place - floor(place)
    return {name: round(value + (after[name] - value) * share, 3) for name, value in before.items() if name in after}


def _closing_wh(source: _Source) -> float:
    register = Register()
    for ts, points in _recorded(source):
        register.count(ts, points.get("W"))
    return register.energy_wh


@cache
def _recorded(source: _Source) -> Sequence[tuple[datetime, Points]]:
    """Read a device's samples: times in UTC, SI units, no value where none was measured."""
    text = resources.files("pvanalytics").joinpath("data", source.file).read_text(encoding="utf-8-sig")
    header, *rows = csv.reader(text.splitlines())
    places = [(channel, header.index(channel.column)) for channel in source.channels]
    samples = []
    for row in rows:
        points = {channel.point: round(float(row[place]) * channel.scale, 6) for channel, place in places if row[place]}
        if points:
            samples.append((_time(row[0]).replace(tzinfo=_CLOCKS[source.file]).astimezone(UTC), points))
    return samples


def _time(text: str) -> datetime:
    if "/" in text:
        return datetime.strptime(text, "%m/%d/%Y %H:%M")  # noqa: DTZ007 - local time, placed by the caller
    return datetime.fromisoformat(text)
