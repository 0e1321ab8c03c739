"""From an element of a payload to a reading of one device: units, sentinels, and what zero means."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from zoneinfo import ZoneInfo

from devices import units
from devices.declarations import FieldMap
from devices.decoding.profile import Profile, Source, point_of
from devices.decoding.shapes import BAD, REPEATED, UNIT, Fields, Raw
from devices.decoding.times import TimeError, time_of
from devices.errors import UnknownUnitError
from devices.native import Reason
from devices.points import POINTS, REGISTER_LIMIT_WH, Point
from devices.reading import Reading, Rejection, in_columns
from devices.topics import Topic

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
# What the sources of docs/devices.md write where they have no value.
_NOTHING = frozenset({"", "nan", "-nan", "inf", "-inf", "null", "none", "--", "-", "n/a", "unknown", "unavailable"})


class Note(StrEnum):
    """Why a message, or a field of it, is no reading although nothing is wrong with it; the codes are stable."""

    PART = "part"
    RETAINED = "retained"
    ASLEEP = "asleep"
    QUALITY = "quality"
    OTHER = "other"
    NO_FIELD = "no_field"
    ZERO = "zero"
    MISSING = "missing"
    NEGATIVE = "negative"
    OUT_OF_RANGE = "out_of_range"
    NOT_A_NUMBER = "not_a_number"
    UNIT = "unit"
    BIRTH = "birth"
    DEATH = "death"


NOTES: Mapping[Note, str] = {
    Note.PART: "one field of a reading; it is joined with those that come with it",
    Note.RETAINED: "the broker had kept it, and it has no time of its own: nobody knows how old it is",
    Note.ASLEEP: "the device said that it sleeps or has just woken",
    Note.QUALITY: "the device itself marks the values as not good",
    Note.OTHER: "a kind of message that holds no readings",
    Note.NO_FIELD: "no field of it is mapped to a point",
    Note.ZERO: "0 that means nothing: of a lifetime register, or of a field by the profile",
    Note.MISSING: "the family's sign for a missing value",
    Note.NEGATIVE: "a lifetime register is never negative",
    Note.OUT_OF_RANGE: "beyond what the register, or the field by the profile, can be",
    Note.NOT_A_NUMBER: "what stands there is no number, or the name stands there twice with two values",
    Note.UNIT: "the payload says another unit than the declaration, or one that the point has not",
    Note.BIRTH: "a Sparkplug birth: what the node or device will speak of",
    Note.DEATH: "a Sparkplug death: the node or device is offline",
}


@dataclass(frozen=True)
class Bound:
    """A declared device with its profile, and everything that the declaration says."""

    device: Topic
    device_id: int
    profile: Profile
    address: Mapping[str, str]
    own_fields: Mapping[str, FieldMap]
    zone: ZoneInfo

    @cached_property
    def fields(self) -> tuple[tuple[str, FieldMap], ...]:
        """What to look for: a point that the declaration maps is read as it says, and not as the profile does."""
        own = tuple(self.own_fields.items())
        family = tuple((one.point, one) for one in self.profile.fields if one.point not in self.own_fields)
        return tuple((name, self._addressed(one)) for name, one in own + family)

    @cached_property
    def names(self) -> frozenset[str]:
        """Every field of a payload that means something."""
        return frozenset(name for _, one in self.fields for name in (*one.names, *one.total_of))

    def _addressed(self, one: FieldMap) -> FieldMap:
        """Put the address into the names of fields that have a place for it, such as `Inverters.{inverter}.E_Total`."""
        if not any("{" in name for name in (*one.names, *one.total_of)):
            return one
        names, total_of = (
            tuple(self._filled(name) for name in listed) for listed in (one.names, one.total_of)
        )  # fmt: skip
        return one.model_copy(update={"names": names, "total_of": total_of})

    def _filled(self, name: str) -> str:
        for key, value in self.address.items():
            name = name.replace(f"{{{key}}}", value)
        return name


@dataclass(slots=True)
class Judged:
    """What became of a message or of a part of it."""

    readings: list[tuple[int, int, Reading]] = field(default_factory=list)
    """Element, `device_id`, reading."""
    rejections: list[Rejection] = field(default_factory=list)
    notes: set[str] = field(default_factory=set)
    """A code of `Note`, with `:` and the point where it is about one."""

    def add(self, other: "Judged") -> None:
        """Take in what became of another part."""
        self.readings += other.readings
        self.rejections += other.rejections
        self.notes |= other.notes


def judge(
    bound: Bound, source: Source, fields: Fields, *, index: int, arrived_at: datetime, latest: datetime
) -> Judged:
    """Make a reading of an element, or say why there is none.

    Parameters
    ----------
    bound
        The device that the element is of.
    fields
        The element.
    index
        Its place in the payload.
    arrived_at, latest
        Aware; the time of what has none of its own, and the latest that a time may be.
    """
    judged = Judged()
    if source.quality is not None and _as_text(fields.get(source.quality.field)) not in source.quality.good:
        judged.notes.add(Note.QUALITY)
        return judged
    if source.asleep and all(_is_zero(fields.get(name), source) for name in source.asleep):
        judged.notes.add(Note.ASLEEP)
        return judged
    values, seen, unreadable = _values(bound.fields, fields, source, judged.notes)
    if not values:
        if unreadable:
            judged.rejections.append(
                Rejection(Reason.VALUE_NOT_A_NUMBER, f"{', '.join(sorted(unreadable))}: not a number", index)
            )
        elif not seen:
            judged.notes.add(Note.NO_FIELD)
        return judged
    try:
        time = time_of(fields, source.time, arrived_at=arrived_at, latest=latest, own_zone=bound.zone)
    except TimeError as error:
        judged.rejections.append(Rejection(error.reason, error.detail, index))
        return judged
    extra: dict[str, float | str | bool] = {name: value for name, value in values.items() if name not in POINTS}
    columns = in_columns({name: value for name, value in values.items() if name in POINTS})
    judged.readings.append((index, bound.device_id, Reading(time, columns, extra, None)))
    return judged


def _values(
    wanted: Sequence[tuple[str, FieldMap]], fields: Fields, source: Source, notes: set[str]
) -> tuple[dict[str, float], bool, set[str]]:
    values: dict[str, float] = {}
    seen = False
    unreadable: set[str] = set()
    for name, one in wanted:
        if name in values:
            continue
        found = _found(one, fields)
        if found is None:
            continue
        seen = True
        value = _value(name, one, found, source)
        if isinstance(value, Note):
            notes.add(f"{value}:{name}")
            if value is Note.NOT_A_NUMBER:
                unreadable.add(name)
        else:
            values[name] = value
    return values, seen, unreadable


def _found(one: FieldMap, fields: Fields) -> list[tuple[Raw, Raw]] | None:
    """Find what is to be added up, which mostly is one value, each with its unit; None when it is not all there."""
    if one.total_of:
        if not all(name in fields for name in one.total_of):
            return None
        return [(fields[name], fields.get(f"{name}{UNIT}")) for name in one.total_of]
    for name in one.names:
        if name in fields:
            value, unit = fields[name], fields.get(f"{name}{UNIT}")
            if not isinstance(value, list) or one.of_list == "refuse" or not value:
                return [(value, unit)]
            return [(item, unit) for item in (value if one.of_list == "sum" else value[:1])]
    return None


def _value(name: str, one: FieldMap, found: Sequence[tuple[Raw, Raw]], source: Source) -> float | Note:
    point = point_of(name)
    # Adding to 0 also makes 0 of the −0 of a negative factor, which is the same number in other bytes.
    value = Decimal(0)
    for raw, said in found:
        number = _number(raw, one, source)
        if isinstance(number, Note):
            return number
        if number == 0 and one.zero == "missing":
            return Note.ZERO
        try:
            value += units.converter(point, _unit(point, one, said))(number * one.factor)
        except UnknownUnitError:
            return Note.UNIT
    if value == 0 and point.register and one.zero is None:
        return Note.ZERO
    if point.register and value < 0:
        return Note.NEGATIVE
    if point.register and value > REGISTER_LIMIT_WH:
        return Note.OUT_OF_RANGE
    if one.between is not None and not one.between[0] <= value <= one.between[1]:
        return Note.OUT_OF_RANGE
    return float(value)


def _unit(point: Point, one: FieldMap, said: Raw) -> str | None:
    """Choose the declared unit, or the one that the payload says; UnknownUnitError when the two are not the same."""
    if not said:
        return one.unit
    by_payload = units.converter(point, str(said))
    if one.unit is not None and by_payload(Decimal(1)) != units.converter(point, one.unit)(Decimal(1)):
        raise UnknownUnitError(f"{said} is not {one.unit}")
    return str(said)


def _number(raw: Raw, one: FieldMap, source: Source) -> Decimal | Note:
    text = _as_text(raw)
    if isinstance(raw, list) or text == REPEATED or isinstance(raw, bool):
        return Note.NOT_A_NUMBER
    if text == BAD:
        return Note.QUALITY
    if text.casefold() in _NOTHING or text in one.missing or text in source.missing:
        return Note.MISSING
    number = _decimal(text, source)
    if number is None:
        return Note.NOT_A_NUMBER
    if any(_decimal(missing, source) == number for missing in (*one.missing, *source.missing)):
        return Note.MISSING
    # Beyond float64, whatever the unit.
    return number if abs(number) < Decimal(10) ** 30 else Note.OUT_OF_RANGE


def _decimal(text: str, source: Source) -> Decimal | None:
    if source.decimal_comma:
        text = text.replace(",", ".", 1)
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def _is_zero(raw: Raw, source: Source) -> bool:
    number = _decimal(_as_text(raw), source)
    return number is not None and number == 0


def _as_text(raw: Raw) -> str:
    if isinstance(raw, bool):
        return str(raw).lower()
    return "" if raw is None else str(raw).strip()
