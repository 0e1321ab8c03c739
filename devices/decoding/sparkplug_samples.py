"""From what a Sparkplug node said to readings of the devices that are declared behind it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from devices.decoding.elements import Judged, Note, judge
from devices.decoding.messages import DEVICE_UNKNOWN
from devices.decoding.routes import Route
from devices.decoding.shapes import Fields, Raw
from devices.native import EARLIEST, Reason
from devices.reading import Rejection
from devices.sparkplug.node import Step
from devices.sparkplug.payload import Value
from devices.sparkplug.topics import Address, Kind

_MICROSECOND = timedelta(microseconds=1)
_BIRTHS = frozenset({Kind.NBIRTH, Kind.DBIRTH})
_DEATHS = frozenset({Kind.NDEATH, Kind.DDEATH})
# Numbers of a birth or of the node itself that no declaration can be about.
_OWN = ("bdSeq", "Node Control/", "Device Control/")


def judge_step(
    step: Step,
    address: Address,
    routes: Sequence[Route],
    *,
    arrived_at: datetime,
    latest: datetime,
    retained: bool = False,
) -> Judged:
    """Make readings of the samples of a message; each instant of it is an element.

    Parameters
    ----------
    step
        What the message came to.
    address
        Whose it is.
    routes
        The declared devices of the edge node; `address.device` of the declaration chooses, empty: the node itself.
    arrived_at, latest
        Aware; the time of a sample that has none, and the latest that a time may be.
    retained
        Whether the broker had kept the message, which Sparkplug does not want; its values need a time of their own.
    """
    judged = Judged()
    judged.rejections += [Rejection(one.reason, one.detail) for one in step.rejections]
    if address.kind in _BIRTHS:
        judged.notes.add(Note.BIRTH)
    elif address.kind in _DEATHS:
        judged.notes.add(Note.DEATH)
    elif address.kind in {Kind.NCMD, Kind.DCMD}:
        judged.notes.add(Note.OTHER)
    meant = {
        route.bound.device_id: route
        for route in routes
        if route.bound.address.get("device", "") == (address.device or "")
    }
    index = 0
    for sample in step.samples:
        fields: Fields = {name: _raw(value) for name, value in sample.values.items() if not name.startswith(_OWN)}
        if not fields:
            continue
        if retained and sample.time is None:
            judged.notes.add(Note.RETAINED)
            continue
        at = sample.time or arrived_at + index * _MICROSECOND
        if not meant:
            # A node's own metrics are about the gateway; only a device is something that one declares.
            if address.device is not None:
                judged.rejections.append(
                    Rejection(DEVICE_UNKNOWN, "no device of this edge node is declared under that name", index)
                )
            else:
                judged.notes.add(Note.NO_FIELD)
        elif not EARLIEST <= at <= latest:
            reason = Reason.TIME_IN_FUTURE if at > latest else Reason.TIME_ABSURD
            judged.rejections.append(Rejection(reason, f"a metric is of {at:%Y-%m-%d %H:%M:%S} UTC", index))
        else:
            for route in meant.values():
                judged.add(
                    judge(route.bound, route.source, fields, index=index, arrived_at=at, latest=latest)
                )  # fmt: skip
        index += 1
    if judged.readings or judged.rejections:
        judged.notes.discard(Note.NO_FIELD)
    return judged


def _raw(value: Value) -> Raw:
    if isinstance(value, float):
        return Decimal(repr(value))
    return value if isinstance(value, (int, str, bool)) else None
