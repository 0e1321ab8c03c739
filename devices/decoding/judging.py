"""Messages of foreign families: judged with what is remembered, and what is to be remembered from them."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Protocol

from devices.decoding.elements import Bound, Judged
from devices.decoding.frames import Frame, Part, add
from devices.decoding.memory import FRAME, SPARKPLUG, Aside, Command, Event, Joined, Key, Memory, State, due
from devices.decoding.messages import Parts, close, read
from devices.decoding.profile import Source
from devices.decoding.routes import Found
from devices.decoding.sparkplug_samples import judge_step
from devices.reading import Rejection
from devices.sparkplug import host
from devices.sparkplug import topics as sparkplug_topics
from devices.sparkplug.messages import rebirth_command
from devices.sparkplug.node import Node
from devices.sparkplug.topics import Address

Owners = Mapping[Key, tuple[Bound, Source]]

TOPIC_AMBIGUOUS = "topic_ambiguous"
TOPIC_UNKNOWN = "topic_unknown"


class Message(Protocol):
    """A message as the broker handed it over."""

    @property
    def topic(self) -> str:
        """Whole."""

    @property
    def payload(self) -> bytes:
        """As received."""

    @property
    def retained(self) -> bool:
        """Sent because of the subscription, not because it was just published."""

    @property
    def redelivered(self) -> bool:
        """The broker's DUP."""


def frame_key(bound: Bound, source: Source) -> Key:
    """Name the frame of a device's kind of message."""
    return Key(FRAME, f"{bound.device_id} {source.topic}")


class Judge:
    """Judges foreign messages of a batch, in their order.

    Parameters
    ----------
    memory
        What the database holds; it is not changed.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.aside = Aside()

    def _state(self, key: Key) -> State:
        return self.aside.states[key] if key in self.aside.states else self._memory.entry(key).state

    def _remember(self, key: Key, state: State) -> None:
        self.aside.states[key] = state
        self.aside.versions[key] = self._memory.entry(key).version

    def message(
        self,
        found: Found,
        message: Message,
        place: int,
        *,
        arrived_at: datetime,
        latest: datetime,
        limit_bytes: int = 1_048_576,
    ) -> Judged:
        """Judge one message.

        Parameters
        ----------
        place
            Its place in the batch.
        arrived_at
            Aware; no two messages of a collector have the same.
        latest
            The latest time that a reading may carry.
        """
        if found.site is None:
            detail = "devices of more than one site are declared for this topic; publish below jcm/v1/<site>/via/"
            return Judged(rejections=[Rejection(TOPIC_AMBIGUOUS, detail)])
        if any(route.source.shape == "sparkplug" for route in found.routes):
            return self._sparkplug(found, found.site, message, place, arrived_at, latest)
        result = read(
            found,
            message.payload,
            retained=message.retained,
            arrived_at=arrived_at,
            latest=latest,
            limit_bytes=limit_bytes,
        )
        self._join(result, place, arrived_at, latest, again=message.redelivered)
        return result.judged

    def _join(self, result: Parts, place: int, arrived_at: datetime, latest: datetime, *, again: bool) -> None:
        for route, name, text in result.parts:
            key = frame_key(route.bound, route.source)
            state = self._state(key)
            was = state if isinstance(state, Frame) else None
            # What stands in the frame was committed before its PUBACK was lost: it is no next value of its field.
            if again and was is not None and any((one.name, one.text) == (name, text) for one in was.parts):
                continue
            part = Part(name, text, -1 - place)
            ended, frame = add(was, part, arrived_at, route.source.join_s or 0)
            if ended is not None:
                self._close(route.bound, route.source, ended, latest)
            self._remember(key, frame)

    def _close(self, bound: Bound, source: Source, frame: Frame, latest: datetime) -> None:
        self.aside.joined.append(Joined(bound, frame, close(bound, source, frame, latest=latest)))

    def close_due(self, owners: Owners, until: datetime, future_tolerance: timedelta) -> None:
        """Close the frames that nothing can be added to any more, see `devices.decoding.memory.due`."""
        for key in due(self._memory, owners, until):
            self._close_one(key, owners, future_tolerance)

    def close_all(self, owners: Owners, future_tolerance: timedelta) -> None:
        """Close every frame that this batch has left open."""
        for key in [key for key, state in self.aside.states.items() if isinstance(state, Frame)]:
            self._close_one(key, owners, future_tolerance)

    def _close_one(self, key: Key, owners: Owners, future_tolerance: timedelta) -> None:
        frame = self._state(key)
        if isinstance(frame, Frame) and key in owners:
            self._close(*owners[key], frame, frame.started_at + future_tolerance)
        self._remember(key, None)

    def _sparkplug(
        self, found: Found, site: str, message: Message, place: int, arrived_at: datetime, latest: datetime
    ) -> Judged:
        address = sparkplug_topics.parse(found.topic)
        if not isinstance(address, Address):
            return Judged(rejections=[Rejection(TOPIC_UNKNOWN, "the topic is none of an edge node or device")])
        # Bridged and direct are two ways from two brokers: the same edge node would have two rows of numbers.
        prefix = message.topic.removesuffix(found.topic)
        key = Key(SPARKPLUG, f"{prefix}{address.group}/{address.edge}")
        before = self._state(key)
        node = before if isinstance(before, Node) else None
        step = host.take(
            node, address, message.payload, arrived_at=arrived_at, redelivered=message.redelivered
        )  # fmt: skip
        if step.node != (node or Node()):
            self._remember(key, step.node)
        if step.rebirth:
            topic = f"{prefix}{sparkplug_topics.ncmd(address.group, address.edge)}"
            self.aside.commands.append(Command(topic, rebirth_command(arrived_at)))
        subject = "/".join(filter(None, (address.group, address.edge, address.device)))
        self.aside.events += [Event(place, site, subject, str(one.code), one.detail) for one in step.events]
        return judge_step(step, address, found.routes, arrived_at=arrived_at, latest=latest, retained=message.retained)
