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
from devices.native import Reason
from devices.reading import Reading, Rejection
from devices.topics import Topic
from ingest.inbox import Received

TOPIC_UNKNOWN = "topic_unknown"
DEVICE_UNKNOWN = "device_unknown"


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

    def unknown(self, messages: Iterable[Received]) -> list[Topic]:
        """Name what the messages carry that must be looked up before they can be judged."""
        found = set()
        for message in messages:
            topic = self.topic(message.topic)
            if topic is None:
                site = topics.site_of(message.topic)
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
            ended = next(outcome for outcome in Outcome if outcome in outcomes)
        self.messages[ended] += 1
        return ended


def plan(
    messages: Iterable[Received],
    registry: Registry,
    *,
    future_tolerance: timedelta = timedelta(seconds=300),
    limit_bytes: int = 1_048_576,
) -> list[Planned]:
    """Judge messages; each becomes one `Planned` with at least one reading or rejection.

    Parameters
    ----------
    messages
        In the order received.
    registry
        Holds everything declared that the messages name.
    future_tolerance
        How far beyond its arrival by the collector's clock a reading's time may lie.
    limit_bytes
        Longer payloads are kept, but not decoded.
    """
    planned = []
    arrived_at, latest = None, datetime.min.replace(tzinfo=UTC)
    for message in messages:
        # Messages that were read from the socket together arrived together.
        if message.arrived_at != arrived_at:
            arrived_at = message.arrived_at
            latest = datetime.fromtimestamp(arrived_at, UTC) + future_tolerance
        planned.append(_plan_one(message, registry, latest, limit_bytes))
    return planned


def _plan_one(message: Received, registry: Registry, latest: datetime, limit_bytes: int) -> Planned:
    topic = registry.topic(message.topic)
    if topic is None:
        site = topics.site_of(message.topic)
        planned = Planned(message, site if site in registry.sites else None, None)
        planned.rejections.append(Rejection(TOPIC_UNKNOWN, "the topic is not jcm/v1/<site>/<device>/readings"))
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
