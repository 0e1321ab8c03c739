"""The topics of Sparkplug B: `spBv1.0/<group>/<kind>/<edge>[/<device>]` and `spBv1.0/STATE/<host>`."""

from enum import StrEnum
from typing import NamedTuple

NAMESPACE = "spBv1.0"
FILTER = f"{NAMESPACE}/#"
"""Everything of Sparkplug B, commands and hosts' states with it."""


class Kind(StrEnum):
    """What a message is, in the specification's words."""

    NBIRTH = "NBIRTH"
    NDEATH = "NDEATH"
    DBIRTH = "DBIRTH"
    DDEATH = "DDEATH"
    NDATA = "NDATA"
    DDATA = "DDATA"
    NCMD = "NCMD"
    DCMD = "DCMD"
    STATE = "STATE"


_OF_NODES = frozenset({Kind.NBIRTH, Kind.NDEATH, Kind.NDATA, Kind.NCMD})
_OF_DEVICES = frozenset({Kind.DBIRTH, Kind.DDEATH, Kind.DDATA, Kind.DCMD})
_KINDS = {str(kind): kind for kind in Kind}


class Address(NamedTuple):
    """Whose message it is; an edge node is known by group and edge together."""

    group: str
    kind: Kind
    edge: str
    device: str | None = None
    """None where the message is about the edge node itself."""


class HostState(NamedTuple):
    """The topic on which a host application says whether it is there."""

    host: str

    @property
    def kind(self) -> Kind:
        """Always STATE."""
        return Kind.STATE


def parse(topic: str) -> Address | HostState | None:
    """Find whose message a topic carries; None when it is no topic of Sparkplug B 3.0."""
    parts = topic.split("/")
    if parts[0] != NAMESPACE or not all(parts):
        return None
    if len(parts) == 3 and parts[1] == Kind.STATE:
        return HostState(parts[2])
    kind = _KINDS.get(parts[2]) if len(parts) > 3 else None
    if len(parts) == 4 and kind in _OF_NODES:
        return Address(parts[1], kind, parts[3])
    if len(parts) == 5 and kind in _OF_DEVICES:
        return Address(parts[1], kind, parts[3], parts[4])
    return None


def ncmd(group: str, edge: str) -> str:
    """Give the topic on which an edge node takes commands.

    Raises
    ------
    ValueError
        An id is empty or has a sign that means something in a topic (`/ + #`, U+0000).
    """
    return f"{NAMESPACE}/{_checked(group)}/{Kind.NCMD}/{_checked(edge)}"


def state(host: str) -> str:
    """Give the topic of a host application's state.

    Raises
    ------
    ValueError
        As `ncmd`.
    """
    return f"{NAMESPACE}/{Kind.STATE}/{_checked(host)}"


def _checked(name: str) -> str:
    if not name or any(sign in name for sign in "/+#\0"):
        raise ValueError(f"{name!r} cannot stand in a topic: it must not be empty or have / + # in it")
    return name
