"""From received messages to what is written: pure, given the registry and the collector's clock at arrival.

Counting. A reading is an element of a payload: each ends as exactly one of stored, duplicate, conflict, quarantined.
A payload that is refused as a whole (its topic, its device, its bytes) holds no reading that could be counted: it
counts as one quarantined message and no reading. A message's own outcome is the worst of its readings'.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from devices import native, topics
from devices.decoding.elements import Bound, Judged
from devices.decoding.judging import TOPIC_UNKNOWN, Judge, frame_key
from devices.decoding.memory import Key, Memory
from devices.decoding.messages import DEVICE_UNKNOWN
from devices.decoding.profile import Source
from devices.decoding.routes import Found, Routes, foreign
from devices.native import Reason
from devices.reading import Reading, Rejection
from devices.topics import Topic
from ingest.inbox import Received

_OURS = topics.FILTER.removesuffix("/#")


class Outcome(StrEnum):
    """How a message or a reading ended; a message takes the first of these that one of its readings has."""

    QUARANTINED = "quarantined"
    CONFLICT = "conflict"
    STORED = "stored"
    DUPLICATE = "duplicate"


class Registry:
    """The declared sites and devices. Nothing is ever taken out: devices are retired, not deleted."""

    def __init__(self) -> None:
        self.sites: set[str] = set()
        self.devices: dict[Topic, int] = {}
        self._topics: dict[str, Topic | None] = {}
        self.routes = Routes()
        self.owners: dict[Key, tuple[Bound, Source]] = {}
        """Whose a frame is."""

    def learn_foreign(self, bounds: Iterable[Bound]) -> None:
        """Take over what is declared of foreign families, in the place of what was."""
        self.routes = Routes(bounds)
        self.owners = {
            frame_key(bound, source): (bound, source)
            for bound in self.routes.bounds.values()
            for source in bound.profile.sources
            if source.join_s is not None
        }

    def stateful(self, messages: Iterable[Received]) -> bool:
        """Say whether what one of the messages means depends on those before it."""
        if not self.routes.bounds:
            return False
        return any(
            found.stateful
            for message in messages
            if message.topic not in self._topics and (found := self.routes.find(message.topic)) is not None
        )

    def homeless(self, messages: Iterable[Received]) -> bool:
        """Say whether a message is of no device that was declared when last looked."""
        return any(
            topics.parse(message.topic) is None and self.routes.find(message.topic) is None
            for message in messages
            if message.topic not in self._topics
        )

    def unknown(self, messages: Iterable[Received]) -> list[Topic]:
        """Name what the messages carry that must be looked up before they can be judged."""
        found = set()
        for message in messages:
            topic = self.topic(message.topic)
            if topic is None:
                site = None if self.routes.find(message.topic) is not None else topics.site_of(message.topic)
                if site is not None and site not in self.sites:
                    found.add(Topic(site, ""))
            elif topic not in self.devices:
                found.add(topic)
        return sorted(found)

    def learn(self, sites: Iterable[str], devices: Iterable[tuple[Topic, int]]) -> None:
        """Add what was found declared."""
        self.sites.update(sites)
        self.devices.update(devices)

    def topic(self, text: str) -> Topic | None:
        """Read a topic, remembering the readable ones of known devices."""
        topic = self._topics.get(text)
        if topic is None:
            topic = topics.parse(text)
            # Topics that nobody declared are not remembered: they may be as many as a stranger likes.
            if topic in self.devices:
                self._topics[text] = topic
        return topic


@dataclass(slots=True)
class Planned:
    """One message and what is to be kept of it beside its bytes."""

    received: Received
    site_id: str | None
    """The declared site that the topic names."""
    device_id: int | None
    readings: list[tuple[int, Reading]] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    device_ids: list[int] | None = None
    """Whose each reading is, where the message carries more than one device."""
    note: str | None = None
    """Why something of it is no reading although nothing is wrong with it; see `devices.decoding.elements.Note`."""

    @property
    def elements(self) -> int:
        """How many readings the payload held, good and bad."""
        return len(self.readings) + (self.bad_elements if self.rejections else 0)

    @property
    def bad_elements(self) -> int:
        """How many elements of the payload are not readings."""
        return sum(rejection.element is not None for rejection in self.rejections)


@dataclass(slots=True)
class Account:
    """What was received of one site, and, counted apart, what became of it; one line of `ingest_account`."""

    messages_received: int = 0
    readings_received: int = 0
    messages: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    readings: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))

    def add(self, planned: Planned, outcomes: Sequence[Outcome]) -> Outcome:
        """Count a message whose good readings ended as `outcomes`, and say how the message ended."""
        self.messages_received += 1
        self.readings_received += planned.elements
        if planned.rejections:
            self.readings[Outcome.QUARANTINED] += planned.bad_elements
        for outcome in outcomes:
            self.readings[outcome] += 1
        if planned.rejections:
            ended = Outcome.QUARANTINED
        elif len(outcomes) == 1:
            ended = outcomes[0]
        else:
            # A message without a reading (one field of many, a birth) is kept as it came: that is all there is to do.
            ended = next((outcome for outcome in Outcome if outcome in outcomes), Outcome.STORED)
        self.messages[ended] += 1
        return ended

    def add_joined(self, outcome: Outcome) -> None:
        """Count a reading that was joined from messages which were counted as they came."""
        self.readings_received += 1
        self.readings[outcome] += 1


def plan(
    messages: Iterable[Received],
    registry: Registry,
    judge: Judge | None = None,
    *,
    future_tolerance: timedelta = timedelta(seconds=300),
    limit_bytes: int = 1_048_576,
) -> list[Planned]:
    """Judge messages; each becomes one `Planned` with a reading, a rejection or a note.

    Parameters
    ----------
    messages
        In the order received.
    registry
        Holds everything declared that the messages name.
    judge
        Judges what is foreign and collects what is to be written beside the messages; None: nothing is remembered.
    future_tolerance
        How far beyond its arrival by the collector's clock a reading's time may lie.
    limit_bytes
        Longer payloads are kept, but not decoded.
    """
    planned: list[Planned] = []
    arrived_at, latest, first = None, datetime.min.replace(tzinfo=UTC), 0
    judge = judge or Judge(Memory())
    for place, message in enumerate(messages):
        # Messages that were read from the socket together arrived together.
        if message.arrived_at != arrived_at:
            arrived_at, first = message.arrived_at, place
            latest = datetime.fromtimestamp(arrived_at, UTC) + future_tolerance
        found = None
        if registry.routes.bounds and registry.topic(message.topic) is None:
            found = registry.routes.find(message.topic)
        if found is None:
            planned.append(_plan_one(message, registry, latest, limit_bytes))
        else:
            planned.append(_plan_foreign(message, found, judge, place, place - first, latest, limit_bytes))
    return planned


def _plan_foreign(
    message: Received, found: Found, judge: Judge, place: int, ordinal: int, latest: datetime, limit_bytes: int
) -> Planned:
    # Of those that were read from the socket together, in their order.
    arrived_at = datetime.fromtimestamp(message.arrived_at, UTC) + timedelta(microseconds=ordinal)
    try:
        judged = judge.message(found, message, place, arrived_at=arrived_at, latest=latest, limit_bytes=limit_bytes)
    except Exception as error:  # noqa: BLE001 - as for the native decoder below
        judged = Judged(rejections=[Rejection(Reason.UNSTORABLE, f"the decoder failed by {type(error).__name__}")])
    return Planned(
        message,
        found.site,
        None,
        [(element, reading) for element, _, reading in judged.readings],
        judged.rejections,
        [device_id for _, device_id, _ in judged.readings],
        ",".join(sorted(judged.notes)) or None,
    )


def _plan_one(message: Received, registry: Registry, latest: datetime, limit_bytes: int) -> Planned:
    topic = registry.topic(message.topic)
    if topic is None:
        site = topics.site_of(message.topic)
        planned = Planned(message, site if site in registry.sites else None, None)
        if foreign(message.topic) is None and message.topic.startswith(_OURS):
            planned.rejections.append(Rejection(TOPIC_UNKNOWN, "the topic is not jcm/v1/<site>/<device>/readings"))
        else:
            detail = "no device of a foreign family is declared for this topic; `jcm-mrv device probe` shows which fits"
            planned.rejections.append(Rejection(DEVICE_UNKNOWN, detail))
        return planned
    device_id = registry.devices.get(topic)
    if device_id is None:
        site = topic.site if topic.site in registry.sites else None
        planned = Planned(message, site, None)
        what = "this device is not declared for its site" if site else "this site is not declared"
        planned.rejections.append(Rejection(DEVICE_UNKNOWN, f"{what}; `jcm-mrv apply` declares it"))
        return planned
    try:
        readings, rejections = native.decode(message.payload, latest=latest, limit_bytes=limit_bytes)
    except Exception as error:  # noqa: BLE001 - a fault of the decoder costs this message, never its neighbours
        readings, rejections = [], [Rejection(Reason.UNSTORABLE, f"the decoder failed by {type(error).__name__}")]
    return Planned(message, topic.site, device_id, readings, rejections)


def unstorable(planned: Planned, why: str) -> Planned:
    """Keep of a message nothing but its bytes, with the reason."""
    received = planned.received
    if "\0" in received.topic:
        received = received._replace(topic=received.topic.replace("\0", "\ufffd"))
    return Planned(received, planned.site_id, planned.device_id, [], [Rejection(Reason.UNSTORABLE, why)])
