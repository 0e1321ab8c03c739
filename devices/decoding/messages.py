"""From a foreign message to readings, or to the parts that readings are joined from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from devices.decoding.elements import Bound, Judged, Note, judge
from devices.decoding.frames import Frame
from devices.decoding.profile import Source
from devices.decoding.routes import Found, Route
from devices.decoding.shapes import Fields, ShapeError, elements, scalar_fields
from devices.decoding.times import has_own_time
from devices.native import Reason
from devices.reading import Reading, Rejection

DEVICE_UNKNOWN = "device_unknown"
_MICROSECOND = timedelta(microseconds=1)
# Said only of a message that gave nothing at all: of two kinds of message on one topic, each is the other's "other".
_IDLE = {Note.OTHER, Note.NO_FIELD}


@dataclass(slots=True)
class Parts:
    """What a message adds to frames."""

    judged: Judged
    parts: list[tuple[Route, str, str]] = field(default_factory=list)
    """Whose, under which name, and the value as text."""


def read(
    found: Found, payload: bytes, *, retained: bool, arrived_at: datetime, latest: datetime, limit_bytes: int
) -> Parts:
    """Judge a message of any family but Sparkplug.

    Parameters
    ----------
    found
        Where its topic leads.
    retained
        Whether the broker sent it because of the subscription, and not because it was just published.
    arrived_at, latest
        Aware; the collector's clock at arrival, and the latest time that a reading may carry.
    limit_bytes
        A longer payload is not looked into.
    """
    result = Parts(Judged())
    if len(payload) > limit_bytes:
        detail = f"{len(payload)} bytes; at most {limit_bytes} are decoded"
        result.judged.rejections.append(Rejection(Reason.PAYLOAD_TOO_LARGE, detail))
        return result
    whole: list[Rejection] = []
    for source, routes in _by_source(found.routes):
        try:
            _read(result, source, routes, payload, retained, arrived_at, latest)
        except ShapeError as error:
            whole.append(Rejection(error.reason, error.detail))
    judged = result.judged
    if whole and not judged.readings and not judged.rejections and not result.parts and not judged.notes:
        judged.rejections.append(whole[0])
    if judged.readings or judged.rejections or result.parts:
        judged.notes -= _IDLE
    if len(judged.readings) > 1:
        judged.readings = _merged(judged.readings)
    return result


def _merged(readings: Sequence[tuple[int, int, Reading]]) -> list[tuple[int, int, Reading]]:
    """Put together what one message says of one device and instant in several elements, one value each.

    Where two say the same point, they stay apart, and the store shows the contradiction.
    """
    merged: dict[tuple[int, datetime], tuple[int, int, Reading]] = {}
    apart: list[tuple[int, int, Reading]] = []
    for index, device_id, reading in readings:
        known = merged.get((device_id, reading.ts))
        if known is None:
            merged[device_id, reading.ts] = index, device_id, reading
            continue
        first = known[2]
        if first.values.keys() & reading.values.keys() or first.extra.keys() & reading.extra.keys():
            apart.append((index, device_id, reading))
            continue
        columns = tuple(
            other if one is None else one for one, other in zip(first.columns, reading.columns, strict=True)
        )
        whole = Reading(first.ts, columns, {**first.extra, **reading.extra}, None)
        merged[device_id, reading.ts] = known[0], device_id, whole
    return sorted([*merged.values(), *apart], key=lambda one: one[0])


def close(bound: Bound, source: Source, frame: Frame, *, latest: datetime) -> Judged:
    """Make a reading of a frame; its time is the family's own, or when it began."""
    fields: Fields = {part.name: part.text for part in frame.parts}
    return judge(bound, source, fields, index=0, arrived_at=frame.started_at, latest=latest)


def _by_source(routes: Sequence[Route]) -> Iterator[tuple[Source, list[Route]]]:
    grouped: dict[int, list[Route]] = {}
    for route in routes:
        grouped.setdefault(id(route.source), []).append(route)
    for group in grouped.values():
        yield group[0].source, group


def _read(
    result: Parts,
    source: Source,
    routes: list[Route],
    payload: bytes,
    retained: bool,
    arrived_at: datetime,
    latest: datetime,
) -> None:
    notes = result.judged.notes
    if source.shape == "ignored":
        notes.add(Note.OTHER)
        return
    if not payload and source.empty == "asleep":
        notes.add(Note.ASLEEP)
        return
    stale = retained and source.retained == "stale"
    if stale and source.time is not None and source.time.fold == "arrival":
        # When it came says nothing about which of two hours of the same name it is from.
        source = source.model_copy(update={"time": source.time.model_copy(update={"fold": "refuse"})})
    name = routes[0].name
    found = elements(source.shape, payload, name=name, path=source.elements)
    alone = len({_named(source, fields) for fields in found}) == 1
    for index, fields in enumerate(found):
        if any(_plain(fields.get(path)) not in values for path, values in source.where.items()):
            notes.add(Note.OTHER)
        elif stale and (source.join_s is not None or not has_own_time(fields, source.time)):
            notes.add(Note.RETAINED)
        elif source.join_s is not None:
            _add_parts(result, routes, fields)
        else:
            meant = _meant(source, routes, _named(source, fields), alone=alone)
            if not meant:
                result.judged.rejections.append(
                    Rejection(DEVICE_UNKNOWN, "the payload names a device that is not declared here", index)
                )
            for route in meant:
                # Elements without times of their own came in their order.
                at = arrived_at + index * _MICROSECOND
                result.judged.add(judge(route.bound, source, fields, index=index, arrived_at=at, latest=latest))


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _named(source: Source, fields: Fields) -> tuple[str, ...]:
    return tuple(_plain(fields[name]) for name in source.device.field if fields.get(name)) if source.device else ()


def _meant(source: Source, routes: list[Route], named: tuple[str, ...], *, alone: bool) -> list[Route]:
    """Choose by the name in the payload; without one in the address, the payload must speak of one device alone."""
    rule = source.device
    if rule is None:
        return routes
    any_is_meant = not named or (alone and not rule.needed)
    return [
        route
        for route in routes
        if (wanted := route.bound.address.get(rule.address)) in named or (wanted == "" and any_is_meant)
    ]


def _add_parts(result: Parts, routes: list[Route], fields: Fields) -> None:
    for name, text in scalar_fields(fields):
        meant = [
            route
            for route in routes
            if name in route.bound.names or (route.source.time is not None and name == route.source.time.field)
        ]
        result.parts += [(route, name, text) for route in meant]
        result.judged.notes.add(Note.PART if meant else Note.NO_FIELD)
