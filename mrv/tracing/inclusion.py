"""That a message is in the seal of its site and day: leaf, path and root, in the published form (docs/evidence.md)."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg

from mrv.evidence.merkle import Hidden
from mrv.tracing.errors import NotThereError


@dataclass(frozen=True, slots=True)
class SealTrace:
    """The seal of a site and day."""

    statement: str
    """The bytes that are signed, in UTF-8."""
    sha256: str
    signature: str
    """Hexadecimal."""
    signature_holds: bool
    key: str
    public_key: str
    """Hexadecimal. It says nothing of who holds it: have it from the operator on another way."""
    root: str
    messages: int
    previous: str | None
    """SHA-256 of the statement of the site's seal before this one."""
    previous_day: date | None
    created_at: datetime
    timestamp: "TimestampTrace | None"


@dataclass(frozen=True, slots=True)
class TimestampTrace:
    """A time stamp of a seal (RFC 3161)."""

    time: datetime
    """By the authority's clock."""
    policy: str
    token: bytes
    covers: bool
    """Whether it is over this statement. Who signed it is not looked at: that needs the authority's root."""


@dataclass(frozen=True, slots=True)
class InclusionTrace:
    """Where a message stands in the sealed tree of its day; or when it will."""

    site: str
    day: date
    """UTC day of receipt."""
    sealed: bool
    due: datetime
    """When the day is over and can be sealed."""
    seal: SealTrace | None
    place: int | None
    """From 0, among `seal.messages`."""
    leaf: str | None
    """Hexadecimal."""
    salt: str | None
    """The message's own salt in hexadecimal, from which its commitments and leaf can be made; it tells nothing of other
    messages."""
    path: tuple[Hidden, ...]
    """Roots of the subtrees beside it, from left to right, as bundles write proofs."""
    holds: bool
    """Whether leaf and path come to the sealed root."""
    problem: str | None
    """What does not hold, in a sentence."""

    def proof_json(self) -> list[dict[str, Any]]:
        """Write the path as bundles do."""
        return [{"first": one.first, "end": one.end, "root": one.root.hex()} for one in self.path]


def inclusion(connection: psycopg.Connection, received_at: datetime, message_id: int) -> InclusionTrace:
    """Prove that a message is in the seal of its site and day; or say when it will be.

    Raises
    ------
    NotThereError
        There is no such message, or it is not seen.
    """
    raise NotThereError("to be written")
