"""What a collector remembers between messages: readings that are being joined, and Sparkplug's births.

It stands in the database, written in the transaction of the messages that it came from, so that any collector can go
on where another ended. Each entry has a version: whoever writes on what is no longer the newest writes nothing, reads
again and judges again.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import msgspec

from devices.decoding.elements import Bound, Judged
from devices.decoding.frames import Frame, is_over
from devices.decoding.profile import Source
from devices.sparkplug.node import Node

State = Frame | Node | None
FRAME, SPARKPLUG = "frame", "sparkplug"
_TYPES: Mapping[str, msgspec.json.Decoder[Frame | None] | msgspec.json.Decoder[Node | None]] = {
    FRAME: msgspec.json.Decoder(Frame | None),
    SPARKPLUG: msgspec.json.Decoder(Node | None),
}


class Key(NamedTuple):
    """Which entry: a device and its kind of message, or an edge node."""

    kind: str
    name: str


class Entry(NamedTuple):
    """An entry as the database holds it."""

    version: int
    state: State


@dataclass(frozen=True, slots=True)
class Joined:
    """A reading that was joined from several messages, or why none could be made of them."""

    bound: Bound
    frame: Frame
    judged: Judged


class Command(NamedTuple):
    """What is to be published once the batch is committed."""

    topic: str
    payload: bytes


class Event(NamedTuple):
    """Something a Sparkplug node said of itself; `place` is its message's place in the batch."""

    place: int
    site: str
    subject: str
    event: str
    detail: str


@dataclass(slots=True)
class Aside:
    """What a batch writes beside its messages."""

    joined: list[Joined] = field(default_factory=list)
    states: dict[Key, State] = field(default_factory=dict)
    versions: dict[Key, int] = field(default_factory=dict)
    """Of the entries that `states` was made from; 0: there was none."""
    commands: list[Command] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.joined or self.states or self.events)

    def with_ids(self, message_ids: Sequence[int], received_at: datetime) -> "Aside":
        """Put the ids of the batch's messages where their places stand."""
        return Aside(
            [Joined(one.bound, one.frame.with_ids(message_ids, received_at), one.judged) for one in self.joined],
            {
                key: state.with_ids(message_ids, received_at) if isinstance(state, Frame) else state
                for key, state in self.states.items()
            },
            self.versions,
            self.commands,
            self.events,
        )


class Memory:
    """The entries as this collector last saw them."""

    def __init__(self) -> None:
        self._entries: dict[Key, Entry] = {}

    def replace(self, entries: Iterable[tuple[str, str, int, str]]) -> None:
        """Take the database's entries for the truth: kind, name, version and state as JSON."""
        self._entries = {
            Key(kind, name): Entry(version, _TYPES[kind].decode(state)) for kind, name, version, state in entries
        }

    def entry(self, key: Key) -> Entry:
        """Give an entry; one that there is not has version 0."""
        return self._entries.get(key, Entry(0, None))

    def settled(self, aside: Aside) -> None:
        """Take over what was committed."""
        for key, state in aside.states.items():
            self._entries[key] = Entry(aside.versions[key] + 1, state)

    def frames(self) -> Iterator[tuple[Key, Frame]]:
        """Give the frames that are open."""
        for key, entry in self._entries.items():
            if isinstance(entry.state, Frame):
                yield key, entry.state


def due(memory: Memory, owners: Mapping[Key, tuple[Bound, Source]], until: datetime) -> list[Key]:
    """List the open frames to which no message that is still to come can belong.

    Parameters
    ----------
    owners
        Whose frames they are; a frame whose device is declared otherwise by now is due at once.
    until
        Every message that arrived before this has been judged.
    """
    found = []
    for key, frame in memory.frames():
        owner = owners.get(key)
        if owner is None or is_over(frame, until, owner[1].join_s or 0):
            found.append(key)
    return found
