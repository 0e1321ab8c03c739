"""Running a profile's vectors: messages through decoding and joining, as a collector does it, without its database."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from devices import native
from devices.decoding.elements import Bound, Judged
from devices.decoding.judging import Judge, frame_key
from devices.decoding.memory import Memory
from devices.decoding.profile import Profile, Vector
from devices.decoding.routes import Routes
from devices.reading import Reading
from devices.time_zones import time_zone
from devices.topics import Topic

_TOLERANCE = timedelta(seconds=300)


@dataclass(slots=True)
class Outcome:
    """What messages became."""

    readings: list[Reading] = field(default_factory=list)
    origins: list[tuple[int, ...]] = field(default_factory=list)
    """The places of the messages that each reading was made of."""
    rejections: list[str] = field(default_factory=list)
    notes: set[str] = field(default_factory=set)

    def take(self, judged: Judged, *places: int) -> None:
        """Add what became of messages."""
        self.readings += [reading for _, _, reading in judged.readings]
        self.origins += [places] * len(judged.readings)
        self.rejections += [str(one.reason) for one in judged.rejections]
        self.notes |= {str(note) for note in judged.notes}


def bound_to(profile: Profile, vector: Vector) -> Bound:
    """Make the device that a vector's messages are of."""
    return Bound(
        Topic("site", "device"),
        1,
        profile,
        profile.parameters(vector.address),
        vector.fields,
        time_zone(vector.time_zone),
    )


def run(profile: Profile, vector: Vector) -> Outcome:
    """Decode the messages of a vector, and close what is open at the end."""
    at = vector.arrived_at
    messages: list[Said] = []
    for message in vector.messages:
        at += timedelta(seconds=message.after_s)
        messages.append(Said(message.topic, message.data, message.retained, at))
    return decode([bound_to(profile, vector)], messages)


class Said(NamedTuple):
    """A message."""

    topic: str
    payload: bytes
    retained: bool
    at: datetime
    redelivered: bool = False


def decode(bounds: Sequence[Bound], messages: Iterable[Said]) -> Outcome:
    """Decode messages of declared devices, and close what is open at the end."""
    routes = Routes(bounds)
    owners = {
        frame_key(bound, source): (bound, source)
        for bound in bounds
        for source in bound.profile.sources
        if source.join_s is not None
    }
    outcome = Outcome()
    judge = Judge(Memory())
    taken = 0
    for place, message in enumerate(messages):
        latest = message.at + _TOLERANCE
        found = routes.find(message.topic)
        if found is None:
            _native(outcome, bounds, message.payload, latest, place)
            continue
        outcome.take(judge.message(found, message, place, arrived_at=message.at, latest=latest), place)
        taken = _take_joined(outcome, judge, taken)
    judge.close_all(owners, _TOLERANCE)
    _take_joined(outcome, judge, taken)
    return outcome


def _take_joined(outcome: Outcome, judge: Judge, taken: int) -> int:
    for joined in judge.aside.joined[taken:]:
        outcome.take(joined.judged, *(-1 - part.message for part in joined.frame.parts))
    return len(judge.aside.joined)


def _native(outcome: Outcome, bounds: Sequence[Bound], payload: bytes, latest: datetime, place: int) -> None:
    if not any(source.shape == "native" for bound in bounds for source in bound.profile.sources):
        outcome.rejections.append("topic_unknown")
        return
    readings, rejections = native.decode(payload, latest=latest)
    outcome.readings += [reading for _, reading in readings]
    outcome.origins += [(place,)] * len(readings)
    outcome.rejections += [str(one.reason) for one in rejections]
