"""The lines of a bundle: messages, readings, parts of joined readings, seals."""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from mrv.basis import canonical_text
from mrv.evidence.canonical import Commitments, Message
from mrv.evidence.merkle import Hidden

READINGS_HEAD = "ts_us,register_wh,power_w,message_us,message_id,element,received_us"


class Used(NamedTuple):
    """A reading that a register was computed from."""

    ts_us: int
    register_wh: float
    power_w: float | None
    message_us: int
    """When the message that it came from was received; with its number that finds it."""
    message_id: int
    element: int
    received_us: int
    """When the reading itself was stored; later than the message for a joined one."""

    def line(self) -> str:
        """Write it as a line of CSV; numbers as the shortest text that reads back to the same binary64."""
        power = "" if self.power_w is None else repr(self.power_w)
        late = "" if self.received_us == self.message_us else str(self.received_us)
        return f"{self.ts_us},{self.register_wh!r},{power},{self.message_us},{self.message_id},{self.element},{late}\n"

    @classmethod
    def parse(cls, line: str) -> "Used":
        """Read a line; ValueError when it is none."""
        ts, register, power, message_us, message_id, element, received = line.split(",")
        return cls(
            int(ts),
            float(register),
            float(power) if power else None,
            int(message_us),
            int(message_id),
            int(element),
            int(received or message_us),
        )


class UsedPart(NamedTuple):
    """A message that a joined reading was made of."""

    site: str
    device: str
    ts_us: int
    message_us: int
    message_id: int
    field: str

    def line(self) -> str:
        """Write it as a line of JSON."""
        return canonical_text(self._asdict()) + "\n"


@dataclass(frozen=True, slots=True)
class Line:
    """A message in a bundle: where it stands in its day's tree, its leaf, and what is shown of it."""

    place: int
    leaf: bytes
    message: Message
    """Without topic and payload where they are withheld."""
    withheld: Commitments | None

    def line(self) -> str:
        """Write it as a line of JSON."""
        message = self.message
        hidden = self.withheld
        return (
            canonical_text(
                {
                    "place": self.place,
                    "leaf": self.leaf.hex(),
                    "received_us": message.received_us,
                    "message_id": message.message_id,
                    "arrived_us": message.arrived_us,
                    "topic": message.topic if hidden is None else {"commitment": hidden.topic.hex()},
                    "payload": b64encode(message.payload).decode()
                    if hidden is None
                    else {"commitment": hidden.payload.hex()},
                    "qos": message.qos,
                    "retained": message.retained,
                    "redelivered": message.redelivered,
                    "outcome": message.outcome,
                    "readings": message.readings,
                    "collector": message.collector,
                    "note": message.note,
                }
            )
            + "\n"
        )

    @classmethod
    def parse(cls, site: str, line: str) -> "Line":
        """Read a line; ValueError, KeyError or TypeError when it is none."""
        content: Mapping[str, Any] = json.loads(line)
        topic, payload = content["topic"], content["payload"]
        hidden = isinstance(topic, Mapping)
        return cls(
            place=content["place"],
            leaf=bytes.fromhex(content["leaf"]),
            message=Message(
                site=site,
                received_us=content["received_us"],
                message_id=content["message_id"],
                arrived_us=content["arrived_us"],
                topic="" if hidden else topic,
                payload=b"" if hidden else b64decode(payload, validate=True),
                qos=content["qos"],
                retained=content["retained"],
                redelivered=content["redelivered"],
                outcome=content["outcome"],
                readings=content["readings"],
                collector=content["collector"],
                note=content["note"],
            ),
            withheld=Commitments(bytes.fromhex(topic["commitment"]), bytes.fromhex(payload["commitment"]))
            if hidden
            else None,
        )


def proof_json(hidden: list[Hidden]) -> list[dict[str, object]]:
    """Write a proof."""
    return [{"first": one.first, "end": one.end, "root": one.root.hex()} for one in hidden]


def proof_from(content: list[Mapping[str, Any]]) -> list[Hidden]:
    """Read a proof."""
    return [Hidden(one["first"], one["end"], bytes.fromhex(one["root"])) for one in content]
