"""What a profile file says: one family of devices, where its readings come in and what its fields mean.

A profile is data (`devices/profiles/*.toml`, and a folder of one's own); `catalogue` reads them. Paths of fields are
dotted: `ENERGY.Total`, `Data.8`. The fields of a scalar family are named by the rest of the topic: `0/yieldtotal`.
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict, model_validator

from devices import units
from devices.declarations import FieldMap, Literals, Names
from devices.declared_values import Exact, Positive, Text
from devices.errors import UnknownUnitError
from devices.points import EXTRA_POINTS, POINTS, Point
from devices.time_zones import time_zone

SHAPES = (
    "native", "scalar", "value", "json", "senml", "line-protocol", "thingsboard", "neuron", "siemens", "dsmr-telegram",
    "sparkplug", "ignored",
)  # fmt: skip
"""How a payload is laid out; see `devices.decoding.shapes`."""

SITE = "site"
"""In `zone`: the device's own time zone where one is declared, else the site's."""

_NAMED_FORMATS = ("unix-s", "unix-ms", "unix-us", "unix-ns", "unix", "rfc3339", "iso", "dsmr")


class Part(BaseModel):
    """A part of a profile: exactly these keys, each of exactly its type."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def _formats(value: object) -> object:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _known_zone(value: str) -> str:
    if value != SITE:
        time_zone(value)
    return value


def _known_format(value: str) -> str:
    if value not in _NAMED_FORMATS and "%" not in value:
        raise ValueError(f'"{value}" is no format: expected {", ".join(_NAMED_FORMATS)} or one with % as in strptime')
    return value


class AddressKey(Part):
    """One thing that a declaration says so that the device is found."""

    about: Text
    """What it is, for whoever declares a device."""
    default: str | None = None
    """What holds when the declaration leaves it out; None: it must be given. Empty: the level is not there."""


class Time(Part):
    """Where a reading's time comes from."""

    field: str
    """A field of the payload, `@time` where the shape has a time of its own."""
    format: Annotated[
        tuple[Annotated[str, AfterValidator(_known_format)], ...], BeforeValidator(_formats), Strict(strict=False)
    ]
    """Tried in order. `unix` tells s, ms, µs, ns apart by size; `iso` may lack an offset; `dsmr` ends with W or S."""
    zone: Annotated[str, AfterValidator(_known_zone)] = SITE
    """Of times without an offset: `site` or a time zone's name."""
    fold: Literal["arrival", "earlier", "later", "refuse"] = "arrival"
    """Which of two an hour is that a clock shows twice; `arrival`: the later one that is not after the arrival."""
    missing: Literal["arrival", "refuse"] = "refuse"
    """What a payload without a time means, or with 0, which clocks show that were never set."""
    oldest_s: int = 366 * 86400
    """A time further before the arrival than this is the fault of a clock."""


class Named(Part):
    """Where the payload names the device; it chooses among those declared for the very topic, and no others."""

    field: Names
    """Fields of the payload, one of which must equal it."""
    address: str
    """The key of `[address]` that it must equal; where that is empty, the one device that a payload names is meant."""
    needed: bool = False
    """Whether a payload that names a device is refused where the declaration names none."""


class Quality(Part):
    """Which readings the device itself calls good."""

    field: str
    """A field of the payload."""
    good: Literals
    """What it says when the values are good."""


class Source(Part):
    """One kind of message of the family."""

    topic: str
    """With `{key}` of the address, `+`, and `{field}` for the rest of the topic, or for one level within."""
    shape: Literal[SHAPES]  # type: ignore[valid-type]
    """How its payload is laid out."""
    elements: str = ""
    """The path of the list of elements, where a payload holds several."""
    device: Named | None = None
    """Where the payload names the device."""
    where: dict[str, Literals] = Field(default_factory=dict)
    """What must stand in a payload for it to be one of these (or one of a list); others are kept without a reading."""
    quality: Quality | None = None
    """Where the device says that its values are good."""
    time: Time | None = None
    """None: the time of arrival."""
    join_s: Annotated[float, Field(gt=0, le=3600)] | None = None
    """One field a message: those that come within this time of the first make one reading."""
    retained: Literal["stale", "reading"] = "stale"
    """What a message is that the broker had kept: without a time of its own nobody knows how old it is."""
    empty: Literal["refused", "asleep"] = "refused"
    """What a payload of no bytes means."""
    asleep: Names = ()
    """When all of these fields are 0, the device has just woken and means none of its values."""
    missing: Literals = ()
    """Values that mean no reading, in whatever field."""
    decimal_comma: bool = False
    """Whether numbers have a comma where others have a point."""

    @property
    def stateful(self) -> bool:
        """Whether what a message means depends on those before it."""
        return self.join_s is not None or self.shape == "sparkplug"


class RegisterDefaults(Part):
    """What the family's lifetime register is, unless the declaration says otherwise."""

    point: Literal["TotWhExp", "TotWhImp"] = "TotWhExp"
    """The point that counts the generation."""
    bits: Annotated[int, Field(ge=8, le=64)]
    """How wide the register is, in bits."""
    resolution_wh: Positive
    """What a count is worth."""
    micro_decrease_wh: Annotated[Exact, Field(ge=0)] = Decimal(0)
    """A drop up to this is the register's own rounding."""


class Trap(Part):
    """Something that devices of this family do, and a careless reader falls for; every one has a vector."""

    id: Text
    """A short name, which vectors say."""
    what: Text
    """What happens."""
    source: Text
    """Where it is told of."""


class Message(Part):
    """A message of a vector."""

    topic: str
    """The family's own."""
    payload: str | None = None
    """As text."""
    payload_hex: str | None = None
    """As hexadecimal digits, where it is no text."""
    retained: bool = False
    """Whether the broker had kept it."""
    after_s: float = 0.0
    """How long after the one before it arrived."""

    @property
    def data(self) -> bytes:
        """The payload's bytes."""
        return bytes.fromhex(self.payload_hex) if self.payload_hex is not None else (self.payload or "").encode()


class Expected(Part):
    """A reading that a vector gives."""

    ts: datetime
    """Its time."""
    points: dict[str, float | int] = Field(default_factory=dict)
    """All its values, in the units of the points."""


class Vector(Part):
    """Messages as they were really seen, and what they must become."""

    about: Text
    """What it shows."""
    source: Text
    """Where the sample is from: a repository and file, an issue, a page."""
    verbatim: bool = True
    """False: made from a description, because no sample is at hand."""
    trap: str | None = None
    """The `id` of the trap that it is for."""
    address: dict[str, str] = Field(default_factory=dict)
    """As in a declaration."""
    fields: dict[str, FieldMap] = Field(default_factory=dict)
    """As in a declaration."""
    time_zone: str = "UTC"
    """Of the site."""
    arrived_at: datetime
    """When the first message came."""
    messages: tuple[Message, ...]
    """In their order."""
    readings: tuple[Expected, ...] = ()
    """What they must become, in order."""
    rejections: tuple[str, ...] = ()
    """Reason codes, in order."""
    notes: tuple[str, ...] = ()
    """Why something is no reading, sorted, each once."""

    model_config = ConfigDict(strict=False, extra="forbid", frozen=True)


class MappedField(FieldMap):
    """A field of the payload and the point that it is."""

    point: str = Field(description="a point")


class Profile(Part):
    """One family."""

    name: str
    """The file's name, without `.toml`."""
    title: Text
    """What a user calls the family."""
    about: str
    """What a user must know to connect it."""
    support: Literal["live", "samples", "documentation"]
    """`live`: tried with a real client or device; `samples`: against real messages; `documentation`: from a text."""
    references: tuple[str, ...]
    """Where all this was read."""
    address: dict[str, AddressKey]
    """What a declaration says so that the device is found."""
    sources: tuple[Source, ...] = Field(alias="source")
    """Its kinds of messages."""
    fields: tuple[MappedField, ...] = Field(default=(), alias="field")
    """What its fields mean, where every device of the family has the same."""
    register_defaults: RegisterDefaults | None = Field(default=None, alias="register")
    """Its lifetime register."""
    traps: tuple[Trap, ...] = Field(default=(), alias="trap")
    """What one can fall for."""
    vectors: tuple[Vector, ...] = Field(default=(), alias="vector")
    """Messages and what they must become; all are tested."""

    model_config = ConfigDict(strict=False, extra="forbid", frozen=True, validate_by_alias=True)

    @model_validator(mode="after")
    def _fits(self) -> "Profile":
        for source in self.sources:
            for key in placeholders(source.topic):
                if key != "field" and key not in self.address:
                    raise ValueError(f"source {source.topic}: {{{key}}} is no key of [address]")
            if "{field}" in source.topic and source.topic.split("/").count("{field}") != 1:
                raise ValueError(f"source {source.topic}: {{field}} must be one level")
            if source.shape in {"scalar", "value"} and "{field}" not in source.topic:
                raise ValueError(f"source {source.topic}: the topic of a {source.shape} must have {{field}}")
            if source.device is not None and source.device.address not in self.address:
                raise ValueError(f"source {source.topic}: device.address {source.device.address} is not in [address]")
        for field in self.fields:
            check_field(field.point, field)
        known = {trap.id for trap in self.traps}
        for vector in self.vectors:
            if vector.trap is not None and vector.trap not in known:
                raise ValueError(f"vector {vector.about}: there is no [[trap]] {vector.trap}")
        return self

    def parameters(self, given: dict[str, str]) -> dict[str, str]:
        """Fill an address up with the defaults.

        Raises
        ------
        ValueError
            A key is missing or unknown; the message names it.
        """
        unknown = sorted(given.keys() - self.address.keys())
        if unknown:
            raise ValueError(f"{unknown[0]}: unknown key: expected {', '.join(self.address) or 'no key'}")
        filled = {key: given.get(key, spec.default) for key, spec in self.address.items()}
        for key, value in filled.items():
            if value is None:
                raise ValueError(f"{key} is missing: expected {self.address[key].about}")
            if any(sign in value for sign in "+#\0"):
                raise ValueError(f"{key}: {value!r} may not contain + or #: it is a part of a topic")
        return {key: value for key, value in filled.items() if value is not None}


def placeholders(topic: str) -> list[str]:
    """List the `{keys}` of a topic."""
    return [piece.partition("}")[0] for piece in topic.split("{")[1:]]


def point_of(name: str) -> Point:
    """Find a point with or without a column of its own.

    Raises
    ------
    ValueError
        There is none.
    """
    found = POINTS.get(name) or EXTRA_POINTS.get(name)
    if found is None:
        raise ValueError(f'there is no point "{name}": expected one of {", ".join([*POINTS, *EXTRA_POINTS])}')
    return found


def check_field(name: str, field: FieldMap) -> None:
    """Hold a field against its point.

    Raises
    ------
    ValueError
        The point, its unit or its kind is wrong.
    """
    point = point_of(name)
    try:
        units.converter(point, field.unit)
    except UnknownUnitError as error:
        raise ValueError(f"{name}: unit: {error}") from None
    if not field.names and not field.total_of:
        raise ValueError(f"{name}: names is missing: expected the field of the payload")
    kind = kind_of(point)
    if field.kind is not None and field.kind != kind:
        raise ValueError(f'{name}: kind "{field.kind}" does not fit: what is put there is {kind}')


def kind_of(point: Point) -> str:
    """Say what a point counts: only a lifetime register can be credited, so nothing else may be put into one."""
    if point.register:
        return "lifetime"
    return {"DayWh": "daily", "IntervalWh": "interval"}.get(point.name, "instant")


def zone_of(time: Time, own: ZoneInfo) -> ZoneInfo:
    """Find the zone of times without an offset."""
    return own if time.zone == SITE else time_zone(time.zone)
