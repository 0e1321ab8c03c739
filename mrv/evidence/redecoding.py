"""Decoding a bundle's messages again, to see that a reading follows from the message that it names.

Each reading is held against the declaration that was in force when it was stored, or the one before, which a collector
may not have read anew yet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from devices import native, topics
from devices.declarations import ProjectDeclaration
from devices.decoding.catalogue import parse
from devices.decoding.elements import Bound
from devices.decoding.frames import Frame, Part
from devices.decoding.judging import Judge
from devices.decoding.memory import Memory
from devices.decoding.messages import Parts, close, read
from devices.decoding.profile import Profile
from devices.decoding.routes import Found, Routes
from devices.errors import ProfileError
from devices.points import COLUMNS
from devices.reading import Reading
from devices.time_zones import time_zone
from devices.topics import Topic
from mrv.evidence.canonical import Message, instant, microseconds
from mrv.evidence.errors import BundleError
from mrv.evidence.rows import Used, UsedPart

_ANY_TIME = datetime(9999, 1, 1, tzinfo=UTC)
_ANY_SIZE = 1 << 40
_REPLAY = "quarantine-replay"
_READ_TOGETHER = 65_536
"""Messages that a collector read from the socket together arrived microseconds apart, in their order."""
_POWER = COLUMNS.index("power_w")


class Decoded(NamedTuple):
    """A reading that a message holds."""

    device: Topic
    element: int
    reading: Reading


@dataclass(frozen=True)
class _Held:
    """Which devices were declared from when on."""

    applied_us: int
    natives: frozenset[Topic]
    routes: Routes


@dataclass
class _Joined:
    """A message's part in joined readings, by device and field."""

    arrived_us: int
    texts: dict[tuple[Topic, str], str] = field(default_factory=dict)


class Decoder:
    """Decodes messages in the order they were received.

    Parameters
    ----------
    history
        The bundle's `history.json`.
    families
        Texts of the device families, by name.
    parts
        The messages that joined readings were made of.

    Raises
    ------
    BundleError
        A declaration or a family cannot be read.
    """

    def __init__(
        self, history: Sequence[Mapping[str, Any]], families: Mapping[str, str], parts: Sequence[UsedPart]
    ) -> None:
        self._ids: dict[Topic, int] = {}
        self._devices: dict[int, Topic] = {}
        try:
            profiles = {name: parse(text, f"{name}.toml") for name, text in families.items()}
            self._held = [self._hold(entry, profiles) for entry in history]
        except (ProfileError, ValueError, KeyError, TypeError) as error:
            raise BundleError(f"the declarations of the devices cannot be used: {error}") from None
        self._judge = Judge(Memory())
        self._parts: dict[tuple[Topic, int], list[UsedPart]] = {}
        self._part_messages: dict[tuple[int, int], _Joined] = {}
        for part in parts:
            self._parts.setdefault((Topic(part.site, part.device), part.ts_us), []).append(part)
            self._part_messages[part.message_us, part.message_id] = _Joined(0)

    def _hold(self, entry: Mapping[str, Any], profiles: Mapping[str, Profile]) -> _Held:
        declaration = ProjectDeclaration.model_validate(entry["declaration"], strict=False)
        natives, bounds = set(), []
        for device in declaration.devices:
            topic = Topic(device.site, device.id)
            number = self._ids.setdefault(topic, len(self._ids) + 1)
            self._devices[number] = topic
            natives.add(topic)
            profile = profiles.get(device.profile)
            if profile is None or device.profile == "native":
                continue
            zone = time_zone(device.time_zone or declaration.site(device.site).time_zone)
            address = profile.parameters(dict(device.address or {}))
            bounds.append(Bound(topic, number, profile, address, device.fields or {}, zone))
        return _Held(entry["applied_us"], frozenset(natives), Routes(bounds))

    def _in_force(self, at_us: int) -> list[_Held]:
        """Give what was declared at an instant, and before that; all, where none was declared yet."""
        known = [held for held in self._held if held.applied_us <= at_us]
        return known[:-3:-1] or self._held[::-1]

    def is_part(self, message: Message) -> bool:
        """Say whether a joined reading was made of a message, and keep what it said."""
        joined = self._part_messages.get((message.received_us, message.message_id))
        if joined is None:
            return False
        joined.arrived_us = message.arrived_us
        for held in reversed(self._in_force(message.received_us)):
            found = held.routes.find(message.topic)
            if found is not None:
                for route, name, text in self._read(found, message).parts:
                    joined.texts[route.bound.device, name] = text
        return True

    def fields(self, message: Message) -> list[tuple[Topic, str, str]]:
        """Give what a message holds of joined readings: device, field and text."""
        for held in self._in_force(message.received_us):
            found = held.routes.find(message.topic)
            if found is not None:
                return [(route.bound.device, name, text) for route, name, text in self._read(found, message).parts]
        return []

    @staticmethod
    def _read(found: Found, message: Message) -> Parts:
        return read(
            found,
            message.payload,
            retained=message.retained,
            arrived_at=instant(message.arrived_us),
            latest=_ANY_TIME,
            limit_bytes=_ANY_SIZE,
        )

    def decode(self, message: Message, at_us: int) -> list[list[Decoded]]:
        """Decode a message under each declaration that may have held when its readings were stored.

        A Sparkplug message is to be given once, in the order received: it is decoded with what was said before.
        """
        topic = topics.parse(message.topic)
        if topic is not None:
            if not any(topic in held.natives for held in self._in_force(at_us)):
                return []
            readings, _ = native.decode(message.payload, latest=_ANY_TIME, limit_bytes=_ANY_SIZE)
            return [[Decoded(topic, element, reading) for element, reading in readings]]
        return [self._foreign(held, message) for held in self._in_force(at_us)]

    def is_sparkplug(self, message: Message) -> bool:
        """Say whether what a message means hangs on those before it."""
        found = self._in_force(message.received_us)[0].routes.find(message.topic) if self._held else None
        return found is not None and any(route.source.shape == "sparkplug" for route in found.routes)

    def sparkplug(self, message: Message) -> list[list[Decoded]]:
        """Decode a Sparkplug message, once, in the order received."""
        found = self._in_force(message.received_us)[0].routes.find(message.topic)
        assert found is not None  # noqa: S101 - seen by is_sparkplug
        judge = Judge(Memory()) if message.collector == _REPLAY else self._judge
        judged = judge.message(
            found,
            message,
            0,
            arrived_at=instant(message.arrived_us),
            latest=_ANY_TIME,
            limit_bytes=_ANY_SIZE,
        )
        return [[Decoded(self._devices[number], element, one) for element, number, one in judged.readings]]

    def _foreign(self, held: _Held, message: Message) -> list[Decoded]:
        found = held.routes.find(message.topic)
        if found is None:
            return []
        judged = self._read(found, message).judged
        return [Decoded(self._devices[number], element, one) for element, number, one in judged.readings]

    @staticmethod
    def follows(message: Message, decoded: list[list[Decoded]], device: Topic, column: str, used: Used) -> str | None:
        """Hold a reading against what its message says; None when it follows, else what is there."""
        said = "no such reading"
        for one in (one for candidates in decoded for one in candidates):
            if one.device != device or one.element != used.element:
                continue
            reading = one.reading
            at_us = microseconds(reading.ts)
            # Without a time of its own: the arrival, and of those that were read together its place among them.
            if 0 < used.ts_us - at_us < _READ_TOGETHER and 0 <= at_us - message.arrived_us < _READ_TOGETHER:
                reading = msgspec.structs.replace(reading, ts=instant(used.ts_us))
            difference = _difference(reading, column, used)
            if difference is None:
                return None
            said = difference
        return said

    def is_joined(self, device: Topic, used: Used) -> bool:
        """Say whether a reading was joined from several messages."""
        return (device, used.ts_us) in self._parts

    def joins(self, device: Topic, column: str, used: Used) -> str | None:
        """Join a reading again from its parts; None when it follows from them, else what they say."""
        said = "no such reading"
        for parts in _frames(self._parts[device, used.ts_us]):
            if used.message_id not in {part.message_id for part in parts}:
                continue
            for held in self._in_force(used.received_us):
                number = self._ids.get(device, 0)
                bound = held.routes.bounds.get(number)
                found = None if bound is None else self._join(bound, device, parts, used)
                if found is not None:
                    difference = _difference(found, column, used)
                    if difference is None:
                        return None
                    said = difference
        return said

    def _join(self, bound: Bound, device: Topic, parts: Sequence[UsedPart], used: Used) -> Reading | None:
        said = [self._part_messages[part.message_us, part.message_id] for part in parts]
        if any((device, part.field) not in one.texts for part, one in zip(parts, said, strict=True)):
            return None
        held = tuple(
            Part(part.field, one.texts[device, part.field], part.message_id)
            for part, one in zip(parts, said, strict=True)
        )
        for source in bound.profile.sources:
            if source.join_s is None:
                continue
            for shift in {0, used.ts_us - said[0].arrived_us}:
                if 0 <= shift < _READ_TOGETHER:
                    frame = Frame(instant(said[0].arrived_us + shift), held)
                    for _, _, reading in close(bound, source, frame, latest=_ANY_TIME).readings:
                        if microseconds(reading.ts) == used.ts_us:
                            return reading
        return None


def _frames(parts: Sequence[UsedPart]) -> list[list[UsedPart]]:
    """Tell the frames of one instant apart as they were made: one ends when a field comes again."""
    frames: list[list[UsedPart]] = []
    for part in sorted(parts, key=lambda part: (part.message_us, part.message_id)):
        if not frames or any(part.field == one.field for one in frames[-1]):
            frames.append([])
        frames[-1].append(part)
    return frames


def _difference(reading: Reading, column: str, used: Used) -> str | None:
    register, power = reading.columns[COLUMNS.index(column)], reading.columns[_POWER]
    if microseconds(reading.ts) != used.ts_us:
        return f"its time is {reading.ts.isoformat()}"
    if register != used.register_wh:
        return f"the register is {register} Wh there"
    return None if power == used.power_w else f"the power is {power} W there"
