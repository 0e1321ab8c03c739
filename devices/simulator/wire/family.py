"""What a family's wire format is to the simulator, and what its module helps itself with."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from devices.simulator.sample import Sample
from devices.simulator.unit import SimulatedDevice


class Part(NamedTuple):
    """One message of a sample, on the family's own topic."""

    topic: str
    payload: bytes
    retain: bool = False


Encode = Callable[[Sample], list[Part]]
"""Turns a sample into the messages that a device would send for it, in their order; may remember earlier ones."""


@dataclass(frozen=True, slots=True)
class Wire:
    """A device's connection: how a declaration finds it, and how it speaks."""

    address: Mapping[str, str]
    encode: Encode


@dataclass(frozen=True, slots=True)
class Family:
    """A device family as it looks on the wire."""

    name: str
    connect: Callable[[SimulatedDevice], Wire]
    kind: Literal["inverter", "meter"] = "inverter"
    rated_w: tuple[int, int] = (5_000, 60_000)
    resolution_wh: Decimal = Decimal(1)
    bits: int = 32
    point: Literal["TotWhExp", "TotWhImp"] = "TotWhExp"
    """Where the register that counts the generation is read as."""
    timestamps: bool = True
    """Whether a payload has the device's own time, so that what was kept during an outage can be sent later."""
    calendar: bool = False
    """Whether that time is a date that firmware puts together, which can be of the wrong century."""
    scalar: bool = False
    """Whether a sample is several messages of one field each."""
    retains: bool = False
    sentinel: bool = True
    """Whether the family has a sign for a value that could not be read."""
    jitters: bool = False
    """Whether its register is a rounded float that may fall by a count."""
    fields: Mapping[str, Mapping[str, str]] | None = None
    """What a declaration says of the payload's names, where the family leaves them, and the register, to the user;
    nothing where they are points' names already."""
    own_topic: bool = False
    """Whether it publishes on the product's own topics, and never below `via`."""


def as_json(content: Any) -> bytes:
    """Write JSON as C firmware and Go do, without spaces."""
    return json.dumps(content, separators=(",", ":")).encode()


def as_spaced_json(content: Any) -> bytes:
    """Write JSON as Python's `json.dumps` does by default."""
    return json.dumps(content).encode()


def local(clock: int, zone: ZoneInfo) -> datetime:
    """Give the local time that a device's clock shows."""
    return datetime.fromtimestamp(clock, zone)


def utc(clock: int) -> datetime:
    """Give the time of a clock that shows UTC."""
    return datetime.fromtimestamp(clock, UTC)


def kwh(mwh: int) -> float:
    """Turn milliwatt-hours into kWh: the nearest float, whose shortest text is exact."""
    return mwh / 1_000_000


def wh(mwh: int) -> float | int:
    """Turn milliwatt-hours into Wh, a whole number where it is one."""
    return mwh // 1000 if mwh % 1000 == 0 else mwh / 1000
