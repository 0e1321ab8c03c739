"""What a host remembers of one edge node, and what one message adds to it."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import msgspec

from devices.sparkplug.payload import DataType, Reason, Value


class Definitions(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the last birth said of the metrics of an edge node or a device."""

    names: dict[int, str] = {}
    """Name by alias."""
    types: dict[str, DataType | None] = {}
    """Datatype by name; None where the birth did not give one."""


class Device(msgspec.Struct, frozen=True, omit_defaults=True):
    """A device behind an edge node."""

    online: bool = False
    """Born since the last NBIRTH or NDEATH, and not dead: only then do its aliases mean anything."""
    definitions: Definitions = Definitions()


class Node(msgspec.Struct, frozen=True, omit_defaults=True):
    """The state of one edge node; `msgspec.json` writes it and reads it back exactly.

    Parts that a message does not change are the same objects afterwards: `new.devices is old.devices` tells that no
    definition has to be written again, only `seq` and its neighbours.
    """

    online: bool = False
    seq: int | None = None
    """Of the last message that counted."""
    bd_seq: int | None = None
    """Of the current birth."""
    born_at: datetime | None = None
    """The payload's time of the current NBIRTH, else its arrival."""
    rebirth_wanted: bool = False
    """Something is missing that only births can tell, and none came since."""
    rebirth_asked_at: datetime | None = None
    definitions: Definitions = Definitions()
    """Of the edge node's own metrics."""
    devices: dict[str, Device] = {}


class Occurrence(StrEnum):
    """What a message said beside its values; the codes are stable."""

    NODE_BORN = "sparkplug_node_born"
    NODE_DEAD = "sparkplug_node_dead"
    DEVICE_BORN = "sparkplug_device_born"
    DEVICE_DEAD = "sparkplug_device_dead"
    SEQ_GAP = "sparkplug_seq_gap"
    SEQ_MISSING = "sparkplug_seq_missing"
    SEQ_OUT_OF_RANGE = "sparkplug_seq_out_of_range"
    NBIRTH_SEQ_NOT_ZERO = "sparkplug_nbirth_seq_not_zero"
    REPEATED = "sparkplug_repeated"
    BDSEQ_MISSING = "sparkplug_bdseq_missing"
    NDEATH_STALE = "sparkplug_ndeath_stale"
    NDEATH_AHEAD = "sparkplug_ndeath_ahead"
    DBIRTH_BEFORE_NBIRTH = "sparkplug_dbirth_before_nbirth"
    DATA_BEFORE_BIRTH = "sparkplug_data_before_birth"
    ALIAS_AMBIGUOUS = "sparkplug_alias_ambiguous"
    ALIAS_CONTRADICTED = "sparkplug_alias_contradicted"
    NAME_UNKNOWN = "sparkplug_name_unknown"
    DATATYPE_CHANGED = "sparkplug_datatype_changed"
    DATATYPE_MISSING = "sparkplug_datatype_missing"
    QUALITY_NOT_GOOD = "sparkplug_quality_not_good"
    VALUE_MISSING = "sparkplug_value_missing"
    VALUE_NOT_FINITE = "sparkplug_value_not_finite"
    VALUE_UNSUPPORTED = "sparkplug_value_unsupported"
    TRANSIENT_LEFT_OUT = "sparkplug_transient_left_out"


class Event(NamedTuple):
    """Something worth a line in a log or a count, that costs no value."""

    code: Occurrence
    detail: str = ""


class Rejection(NamedTuple):
    """A part of a message that cannot be used; what it carried is in the raw message alone."""

    reason: Reason
    detail: str


class Sample(msgspec.Struct, frozen=True, gc=False):
    """What was measured at one instant."""

    time: datetime | None
    """Aware, UTC, milliseconds: the metric's own, else the message's; None where neither has one."""
    historical: bool
    """Sent later than it was measured: no news of how the device is now."""
    values: Mapping[str, Value]
    """By metric name; None: null, or said by an event to be no value."""


class Step(msgspec.Struct, frozen=True, gc=False):
    """What one message came to."""

    node: Node
    """The state to keep."""
    samples: tuple[Sample, ...] = ()
    """By time, then as they came; those without a time last."""
    rejections: tuple[Rejection, ...] = ()
    """At most one for each reason."""
    events: tuple[Event, ...] = ()
    rebirth: bool = False
    """Send the edge node a rebirth command now; `node` takes it for sent."""
