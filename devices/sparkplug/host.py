"""The state machine of a Sparkplug B host, one edge node at a time.

What is doubtful is never used: a metric that only its alias names counts only while the birth that gave the alias
holds. After a death, or an unreadable birth, such metrics are rejected until the next birth and a rebirth is asked for.
The raw message is evidence as any other and can be decoded again later.

Deaths: the NDEATH of an earlier session may arrive after the next NBIRTH, so one whose bdSeq is lower than the current
birth's is left alone. A higher one is taken: either the birth between was lost, or the client is pysparkplug (0.6.1),
which numbers the NDEATH of a graceful disconnect for its next session. bdSeq runs from 0 to 255, so "lower" is meant
round the clock. The price: mqtt-spb-wrapper (2.1.2) numbers its will one lower than its birth, so the host does not
notice when that client is cut off; only its silence tells.
"""

from datetime import datetime, timedelta

from msgspec.structs import replace

from devices.sparkplug.node import Definitions, Device, Event, Node, Occurrence, Rejection, Sample, Step
from devices.sparkplug.payload import Payload, SparkplugError, decode
from devices.sparkplug.samples import Sampler, bd_seq, defined
from devices.sparkplug.topics import Address, Kind

__all__ = ["REBIRTH_INTERVAL", "Definitions", "Device", "Event", "Node", "Occurrence", "Rejection", "Sample", "Step",
           "take"]  # fmt: skip

REBIRTH_INTERVAL = timedelta(seconds=30)
"""A rebirth is asked for at most so often: births are the largest messages there are."""

_SEQ_SPAN = 256
_COMMANDS = frozenset({Kind.NCMD, Kind.DCMD})
_BIRTHS = frozenset({Kind.NBIRTH, Kind.DBIRTH})
_UNKNOWN_DEVICE = Device()


def take(node: Node | None, address: Address, payload: bytes, *, arrived_at: datetime, redelivered: bool) -> Step:
    """Take one message of an edge node.

    Parameters
    ----------
    node
        What was kept after the message before; None for an edge node never heard of.
    address
        From the message's topic. Commands are a host's own words and change nothing.
    payload
        As received. Whatever it is, nothing is raised.
    arrived_at
        Aware. Decides when a rebirth may be asked for again, and stands in for a birth without a time.
    redelivered
        The broker says that it has sent this message before (MQTT's DUP): a number that was passed already is then a
        repetition, not a gap, and changes no state. When a message is decoded again long after (from quarantine),
        leave the new state and the rebirth of the step alone.

    Returns
    -------
    Step
        The new state, values by time, what could not be used and why, what happened, and whether a rebirth command is
        to be sent now.
    """
    before = node or Node()
    if address.kind in _COMMANDS:
        return Step(before)
    message = _Message(before, address, arrived_at, redelivered)
    try:
        decoded = decode(payload)
    except SparkplugError as error:
        message.unreadable(error)
    else:
        message.take(decoded)
    return message.step()


class _Message:
    """One message on its way through: the state as it changes, and what is to be said about it."""

    def __init__(self, node: Node, address: Address, arrived_at: datetime, redelivered: bool) -> None:
        self.node = node
        self.kind = address.kind
        self.device = address.device
        self.arrived_at = arrived_at
        self.redelivered = redelivered
        self.samples: tuple[Sample, ...] = ()
        self.rejections: list[Rejection] = []
        self.events: list[Event] = []
        self.rebirth = False

    def take(self, payload: Payload) -> None:
        match self.kind:
            case Kind.NBIRTH:
                self._node_birth(payload)
            case Kind.NDEATH:
                self._node_death(payload)
            case Kind.DBIRTH:
                self._device_birth(payload)
            case Kind.DDEATH:
                self._device_death(payload)
            case _:
                self._data(payload)

    def unreadable(self, error: SparkplugError) -> None:
        self.rejections.append(Rejection(error.reason, error.detail))
        if self.kind in {Kind.NBIRTH, Kind.NDEATH}:
            self._node_offline()
        elif self.kind in {Kind.DBIRTH, Kind.DDEATH}:
            self._device_offline()
        # Data need no word of their own: the next message shows the gap.
        self.rebirth = self.kind in _BIRTHS

    def step(self) -> Step:
        node = self.node
        wanted = node.rebirth_wanted or self.rebirth
        ask = wanted and self._may_ask(node.rebirth_asked_at)
        if ask:
            node = replace(node, rebirth_wanted=True, rebirth_asked_at=self.arrived_at)
        elif wanted != node.rebirth_wanted:
            node = replace(node, rebirth_wanted=wanted)
        return Step(node, self.samples, tuple(self.rejections), tuple(self.events), ask)

    def _may_ask(self, asked_at: datetime | None) -> bool:
        # A clock that was set back must not silence the request for as long as it was set back.
        return asked_at is None or not timedelta(0) <= self.arrived_at - asked_at < REBIRTH_INTERVAL

    def _node_birth(self, payload: Payload) -> None:
        number = bd_seq(payload)
        definitions, oddities = defined(payload)
        self._sample(payload, definitions, aliases=True)
        born_at = payload.timestamp or self.arrived_at
        if self.redelivered and (self.node.born_at, self.node.bd_seq) == (born_at, number):
            self._say(Occurrence.REPEATED)
            return
        self.events += oddities
        if number is None:
            self._say(Occurrence.BDSEQ_MISSING)
        if payload.seq is None:
            self._say(Occurrence.SEQ_MISSING)
        elif payload.seq != 0:
            self._say(Occurrence.NBIRTH_SEQ_NOT_ZERO, f"seq {payload.seq}")
        self._say(Occurrence.NODE_BORN)
        self.node = Node(
            online=True, seq=payload.seq, bd_seq=number, born_at=born_at, definitions=definitions,
            rebirth_asked_at=self.node.rebirth_asked_at, devices=_all_offline(self.node.devices),
        )  # fmt: skip

    def _device_birth(self, payload: Payload) -> None:
        repeated = self._follow(payload)
        if not self.node.online:
            self._say(Occurrence.DBIRTH_BEFORE_NBIRTH)
            self.rebirth = True
        definitions, oddities = defined(payload)
        self._sample(payload, definitions, aliases=True)
        if repeated and self.device in self.node.devices:
            return
        self.events += oddities
        self._say(Occurrence.DEVICE_BORN)
        self._set_device(Device(online=True, definitions=definitions))

    def _data(self, payload: Payload) -> None:
        self._follow(payload)
        device = self.node.devices.get(self.device, _UNKNOWN_DEVICE) if self.device is not None else None
        current = self.node.online if device is None else device.online
        if not (self.node.online and current):
            self._say(Occurrence.DATA_BEFORE_BIRTH)
            self.rebirth = True
        self._sample(payload, self.node.definitions if device is None else device.definitions, aliases=current)

    def _node_death(self, payload: Payload) -> None:
        number, born = bd_seq(payload), self.node.bd_seq
        if number is None:
            self._say(Occurrence.BDSEQ_MISSING)
        elif born is not None and self.node.online and number != born:
            if _is_earlier(number, born):
                self._say(Occurrence.NDEATH_STALE, f"bdSeq {number}, born with {born}")
                return
            self._say(Occurrence.NDEATH_AHEAD, f"bdSeq {number}, born with {born}")
        if self.node.online:
            self._say(Occurrence.NODE_DEAD)
        self._node_offline()

    def _device_death(self, payload: Payload) -> None:
        if self._follow(payload):
            return
        self._say(Occurrence.DEVICE_DEAD)
        self._device_offline()

    def _follow(self, payload: Payload) -> bool:
        """Compare `seq` with the one before; True when the message is a repetition that changes no state."""
        seq, last = payload.seq, self.node.seq
        if seq is None:
            self._say(Occurrence.SEQ_MISSING)
            return False
        if seq >= _SEQ_SPAN:
            self._say(Occurrence.SEQ_OUT_OF_RANGE, f"seq {seq}")
        if last is not None:
            ahead = (seq - last) % _SEQ_SPAN
            if self.redelivered and (ahead == 0 or ahead >= _SEQ_SPAN // 2):
                self._say(Occurrence.REPEATED)
                return True
            if ahead != 1:
                self._say(Occurrence.SEQ_GAP, f"seq {seq} after {last}")
                self.rebirth = True
        self.node = replace(self.node, seq=seq)
        return False

    def _sample(self, payload: Payload, definitions: Definitions, *, aliases: bool) -> None:
        sampler = Sampler(definitions, aliases=aliases, birth=self.kind in _BIRTHS)
        self.samples = sampler.samples(payload)
        self.rejections += sampler.rejections
        self.events += sampler.events
        # What a birth itself does not tell, the next one would not tell either.
        self.rebirth |= sampler.rebirth and self.kind not in _BIRTHS

    def _node_offline(self) -> None:
        if self.node.online or any(device.online for device in self.node.devices.values()):
            self.node = replace(self.node, online=False, devices=_all_offline(self.node.devices))
        # The next session's NBIRTH comes by itself.
        self.node = replace(self.node, rebirth_wanted=False)

    def _device_offline(self) -> None:
        device = self.node.devices.get(self.device or "")
        if device is not None and device.online:
            self._set_device(Device(online=False, definitions=device.definitions))

    def _set_device(self, device: Device) -> None:
        self.node = replace(self.node, devices=self.node.devices | {self.device or "": device})

    def _say(self, code: Occurrence, detail: str = "") -> None:
        self.events.append(Event(code, detail))


def _all_offline(devices: dict[str, Device]) -> dict[str, Device]:
    if not any(device.online for device in devices.values()):
        return devices
    return {name: Device(online=False, definitions=device.definitions) for name, device in devices.items()}


def _is_earlier(death: int, birth: int) -> bool:
    if max(death, birth) >= _SEQ_SPAN:
        return death < birth
    return (death - birth) % _SEQ_SPAN >= _SEQ_SPAN // 2
