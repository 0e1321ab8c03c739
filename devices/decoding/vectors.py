"""Running a profile's vectors: messages through decoding and joining, as a collector does it, without its database."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from devices import native
from devices.decoding.elements import Bound, Judged
from devices.decoding.frames import Frame, Part, add
from devices.decoding.messages import close, read
from devices.decoding.profile import Profile, Source, Vector
from devices.decoding.routes import Routes
from devices.reading import Reading
from devices.time_zones import time_zone
from devices.topics import Topic

_TOLERANCE = timedelta(seconds=300)
_LIMIT_BYTES = 1_048_576


@dataclass(slots=True)
class Outcome:
    """What messages became."""

    readings: list[Reading] = field(default_factory=list)
    rejections: list[str] = field(default_factory=list)
    notes: set[str] = field(default_factory=set)

    def take(self, judged: Judged) -> None:
        """Add what became of a message."""
        self.readings += [reading for _, _, reading in judged.readings]
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
    messages: list[tuple[str, bytes, bool, datetime]] = []
    for message in vector.messages:
        at += timedelta(seconds=message.after_s)
        messages.append((message.topic, message.data, message.retained, at))
    return decode([bound_to(profile, vector)], messages)


def decode(bounds: Sequence[Bound], messages: Iterable[tuple[str, bytes, bool, datetime]]) -> Outcome:
    """Decode messages (topic, payload, retained, arrival) of declared devices, and close what is open at the end."""
    routes = Routes(bounds)
    outcome = Outcome()
    frames: dict[tuple[int, int], tuple[Bound, Source, Frame]] = {}
    latest = datetime.max.replace(tzinfo=UTC)
    for topic, payload, retained, at in messages:
        latest = at + _TOLERANCE
        found = routes.find(topic)
        if found is None:
            _native(outcome, bounds, payload, latest)
            continue
        result = read(found, payload, retained=retained, arrived_at=at, latest=latest, limit_bytes=_LIMIT_BYTES)
        outcome.take(result.judged)
        for route, name, text in result.parts:
            bound, source = route.bound, route.source
            assert source.join_s is not None  # noqa: S101
            key = bound.device_id, bound.profile.sources.index(source)
            open_frame = frames[key][2] if key in frames else None
            ended, frame = add(open_frame, Part(name, text, 0), at, source.join_s)
            if ended is not None:
                outcome.take(close(bound, source, ended, latest=latest))
            frames[key] = bound, source, frame
    for bound, source, frame in frames.values():
        outcome.take(close(bound, source, frame, latest=latest))
    return outcome


def _native(outcome: Outcome, bounds: Sequence[Bound], payload: bytes, latest: datetime) -> None:
    if not any(source.shape == "native" for bound in bounds for source in bound.profile.sources):
        outcome.rejections.append("topic_unknown")
        return
    readings, rejections = native.decode(payload, latest=latest)
    outcome.readings += [reading for _, reading in readings]
    outcome.rejections += [str(one.reason) for one in rejections]
