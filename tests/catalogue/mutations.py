"""Changed payloads of any family: every number and text of it, one at a time, whatever the payload's layout."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from devices.decoding import vectors
from devices.decoding.profile import Profile, Vector
from devices.decoding.shapes import crc16
from devices.decoding.vectors import Outcome, Said
from devices.sparkplug.sparkplug_b_pb2 import Payload

REGISTERS = ("TotWhExp", "TotWhImp")
# A name, which stays as it is; a text; a number.
_TOKEN = re.compile(
    r'(?P<name>"(?:[^"\\]|\\.)*"\s*:)|"(?:[^"\\]|\\.)*"|(?<![\w.])[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w.])|\d+[iu]\b'
)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
NOTHINGS = ("0", "0.0", "-0", "-1", "null", "nan", "NaN", "--", "", '"0"', '"nan"', '"--"', '""')
"""What stands in a payload for no value, as text in place of a number."""


@dataclass(frozen=True)
class Place:
    """A number or text of one message of a vector."""

    message: int
    start: int
    end: int


def messages_of(vector: Vector, *, later: timedelta = timedelta(0)) -> list[Said]:
    """The messages of a vector, as they would have come `later`."""
    at = vector.arrived_at + later
    found = []
    for message in vector.messages:
        at += timedelta(seconds=message.after_s)
        found.append(Said(message.topic, message.data, message.retained, at))
    return found


def decode(profile: Profile, vector: Vector, messages: Sequence[Said]) -> Outcome:
    return vectors.decode([vectors.bound_to(profile, vector)], messages)


def registers(outcome: Outcome) -> list[tuple[datetime, str, float]]:
    return [
        (reading.ts, name, reading.values[name])
        for reading in outcome.readings
        for name in REGISTERS
        if name in reading.values
    ]


def is_sparkplug(profile: Profile) -> bool:
    return any(source.shape == "sparkplug" for source in profile.sources)


def places(profile: Profile, messages: Sequence[Said]) -> Iterator[Place]:
    """Every number and text; in Sparkplug's frames every metric."""
    for index, message in enumerate(messages):
        if is_sparkplug(profile):
            for metric in range(len(Payload.FromString(message.payload).metrics)):
                yield Place(index, metric, metric)
        else:
            for token in _TOKEN.finditer(message.payload.decode()):
                if token["name"] is not None:
                    continue
                yield Place(index, token.start(), token.end())


def changed(profile: Profile, messages: Sequence[Said], place: Place, text: str) -> list[Said]:
    """Put a text in the place of what stands there."""
    message = messages[place.message]
    payload = _metric(message.payload, place, text) if is_sparkplug(profile) else _text(message.payload, place, text)
    return [*messages[: place.message], message._replace(payload=payload), *messages[place.message + 1 :]]


def higher(profile: Profile, messages: Sequence[Said], place: Place) -> list[Said]:
    """Put a 1 in front of the number there; nothing when there is none."""
    message = messages[place.message]
    if is_sparkplug(profile):
        return changed(profile, messages, place, "higher")
    standing = message.payload.decode()[place.start : place.end]
    if not _NUMBER.search(standing):
        return []
    return changed(profile, messages, place, _NUMBER.sub(lambda found: f"1{found[0]}", standing, count=1))


def energies(profile: Profile, vector: Vector) -> Iterator[tuple[Place, dict[str, float]]]:
    """The places that registers are read from, where a higher number gives another one, with the most it then is."""
    messages = messages_of(vector)
    before = registers(decode(profile, vector, messages))
    for place in places(profile, messages):
        after = registers(decode(profile, vector, higher(profile, messages, place)))
        if {value for _, _, value in after} - {value for _, _, value in before}:
            most: dict[str, float] = {}
            for _, name, value in before + after:
                most[name] = max(value, most.get(name, 0.0))
            yield place, most


def sentinels(profile: Profile, vector: Vector) -> list[str]:
    """What the family itself writes where a register has no value."""
    own = [field for field in profile.fields if field.point in REGISTERS]
    own += [field for name, field in vector.fields.items() if name in REGISTERS]
    return sorted(
        {text for field in own for text in field.missing}
        | {text for source in profile.sources for text in source.missing}
    )


def _text(payload: bytes, place: Place, text: str) -> bytes:
    whole = payload.decode()
    whole = whole[: place.start] + text + whole[place.end :]
    end = whole.rfind("!")
    if whole.startswith("/") and end >= 0 and len(whole) - end > 2:
        whole = f"{whole[: end + 1]}{crc16(whole[: end + 1].encode()):04X}\n"
    return whole.encode()


def _metric(payload: bytes, place: Place, text: str) -> bytes:
    parsed = Payload.FromString(payload)
    metric = parsed.metrics[place.start]
    field = metric.WhichOneof("value")
    if text == "null":
        if field:
            metric.ClearField(field)
        metric.is_null = True
    elif field in {"int_value", "long_value"}:
        ones = 2**32 - 1 if field == "int_value" else 2**64 - 1
        value = getattr(metric, field)
        setattr(metric, field, min(value + 10**6, ones) if text == "higher" else ones if text == "-1" else 0)
    elif field == "double_value":
        metric.double_value = metric.double_value + 1e6 if text == "higher" else float("nan") if "nan" in text else 0.0
    return parsed.SerializeToString()
