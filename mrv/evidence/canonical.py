"""The bytes that are hashed and signed: of a message, of a commitment, of a seal's statement (`docs/evidence.md`)."""

import hmac
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

from mrv.basis import canonical_text
from mrv.evidence.merkle import leaf_hash

MESSAGE_FORMAT = b"jcm-mrv message 1"
COMMITMENT_FORMAT = b"jcm-mrv commitment 1"
SEAL_FORMAT = "jcm-mrv seal 1"
SALT_BYTES = 32

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LENGTH = struct.Struct(">I")
_TIMES = struct.Struct(">qqqBB")
_COUNT = struct.Struct(">i")
_SALT_OF = struct.Struct(">qq")


def led(part: bytes) -> bytes:
    """Lead bytes by their length, 4 bytes big-endian."""
    return _LENGTH.pack(len(part)) + part


def microseconds(at: datetime) -> int:
    """Count the microseconds since 1970-01-01T00:00Z."""
    return (at - _EPOCH) // _MICROSECOND


def instant(us: int) -> datetime:
    """Return the instant of so many microseconds since 1970-01-01T00:00Z."""
    return _EPOCH + us * _MICROSECOND


def utc_day(us: int) -> date:
    """Return the UTC day of an instant [µs]."""
    return instant(us).date()


class Message(NamedTuple):
    """A message as `message` holds it; times in microseconds since 1970-01-01T00:00Z."""

    site: str
    """Empty: of no declared site."""
    received_us: int
    message_id: int
    arrived_us: int
    topic: str
    payload: bytes
    qos: int
    retained: bool
    redelivered: bool
    outcome: str
    readings: int
    collector: str
    note: str | None

    @property
    def label(self) -> str:
        """Name it for a person."""
        return label(self.site, self.received_us, self.message_id)


def label(site: str, received_us: int, message_id: int) -> str:
    """Name a message for a person."""
    return f"message {message_id} of {utc_day(received_us)} ({site or 'no declared site'})"


def message_salt(day_salt: bytes, received_us: int, message_id: int) -> bytes:
    """Derive a message's salt from its day's."""
    return hmac.digest(day_salt, _SALT_OF.pack(message_id, received_us), "sha256")


def commitment(name: str, salt: bytes, value: bytes) -> bytes:
    """Commit to a confidential value: SHA-256 over its name, a salt and itself."""
    return sha256(led(COMMITMENT_FORMAT) + led(name.encode()) + led(salt) + led(value)).digest()


class Commitments(NamedTuple):
    """What stands for the confidential fields of a message."""

    topic: bytes
    payload: bytes

    @classmethod
    def of(cls, message: Message, day_salt: bytes) -> "Commitments":
        """Commit to topic and payload."""
        salt = message_salt(day_salt, message.received_us, message.message_id)
        return cls(commitment("topic", salt, message.topic.encode()), commitment("payload", salt, message.payload))


def message_leaf(message: Message, committed: Commitments) -> bytes:
    """Hash the canonical bytes of a message; its topic and payload are not looked at, their commitments are."""
    note = b"\x00" if message.note is None else b"\x01" + led(message.note.encode())
    return leaf_hash(
        b"".join(
            (
                led(MESSAGE_FORMAT),
                led(message.site.encode()),
                _TIMES.pack(
                    message.received_us,
                    message.message_id,
                    message.arrived_us,
                    message.qos,
                    message.retained | message.redelivered << 1,
                ),
                led(message.outcome.encode()),
                _COUNT.pack(message.readings),
                led(message.collector.encode()),
                note,
                committed.topic,
                committed.payload,
            )
        )
    )


class Place(NamedTuple):
    """When a message was received, and its number: what the leaves are ordered by."""

    received_us: int
    message_id: int

    def as_json(self) -> dict[str, int]:
        """Return it as statements write it."""
        return {"received_us": self.received_us, "message_id": self.message_id}


@dataclass(frozen=True, slots=True)
class Seal:
    """What is said of one site's messages of one UTC day."""

    site: str
    day: date
    messages: int
    root: bytes
    first: Place
    last: Place
    previous: str | None
    """SHA-256 of the statement of the site's seal before this one, in hexadecimal; None: it is the first."""
    previous_day: date | None
    """Its day. Between the two days the site sent no message."""
    code_version: str
    created_us: int
    key: str
    """Id of the key that signs."""

    @property
    def statement(self) -> str:
        """The canonical text that is signed."""
        return canonical_text(
            {
                "format": SEAL_FORMAT,
                "site": self.site,
                "day": self.day.isoformat(),
                "messages": self.messages,
                "root": self.root.hex(),
                "first": self.first.as_json(),
                "last": self.last.as_json(),
                "previous": self.previous,
                "previous_day": None if self.previous_day is None else self.previous_day.isoformat(),
                "code_version": self.code_version,
                "created_us": self.created_us,
                "key": self.key,
            }
        )

    @property
    def sha256(self) -> str:
        """What the next seal names."""
        return sha256(self.statement.encode()).hexdigest()

    @property
    def label(self) -> str:
        """Name it for a person."""
        return f"seal of {self.day} ({self.site or 'no declared site'})"

    @classmethod
    def from_statement(cls, statement: str) -> "Seal":
        """Read a statement.

        Raises
        ------
        ValueError, KeyError, TypeError
            It is none, or not in its canonical form.
        """
        content: Mapping[str, Any] = json.loads(statement)
        seal = cls(
            site=content["site"],
            day=date.fromisoformat(content["day"]),
            messages=content["messages"],
            root=bytes.fromhex(content["root"]),
            first=Place(**content["first"]),
            last=Place(**content["last"]),
            previous=content["previous"],
            previous_day=None if content["previous_day"] is None else date.fromisoformat(content["previous_day"]),
            code_version=content["code_version"],
            created_us=content["created_us"],
            key=content["key"],
        )
        if content["format"] != SEAL_FORMAT or seal.statement != statement:
            raise ValueError(f"no statement of the format {SEAL_FORMAT} in its canonical form")
        return seal
