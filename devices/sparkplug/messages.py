"""What a host application sends: the request for a rebirth, and its own state."""

import json
from datetime import datetime, timedelta

from devices.sparkplug import sparkplug_b_pb2 as wire
from devices.sparkplug.payload import EPOCH, DataType

REBIRTH = "Node Control/Rebirth"
"""The metric that an edge node declares in its NBIRTH and that a host writes to."""


def rebirth_command(at: datetime) -> bytes:
    """Build the NCMD that asks an edge node for all its births; a command has no `seq`.

    Parameters
    ----------
    at
        Aware; when it is sent. Milliseconds are kept.
    """
    milliseconds = _milliseconds(at)
    metric = wire.Payload.Metric(name=REBIRTH, timestamp=milliseconds, datatype=DataType.BOOLEAN, boolean_value=True)
    return wire.Payload(timestamp=milliseconds, metrics=[metric]).SerializeToString()


def host_state(*, online: bool, at: datetime) -> bytes:
    """Build a STATE message, which goes out at QoS 1 and retained; the will is the same with `online` false.

    Parameters
    ----------
    at
        Aware; when the connection was made, for the will too: an edge node believes the newest.
    """
    return json.dumps({"online": online, "timestamp": _milliseconds(at)}).encode()


def _milliseconds(at: datetime) -> int:
    return (at - EPOCH) // timedelta(milliseconds=1)
