"""Quarantine: what waits in it, and what is known of one entry."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from psycopg import Connection

from devices.decoding.judging import TOPIC_AMBIGUOUS, TOPIC_UNKNOWN
from devices.decoding.messages import DEVICE_UNKNOWN
from devices.native import Reason
from devices.sparkplug.payload import Reason as SparkplugReason
from ingest.errors import QuarantineEntryUnknownError
from sql.named import load

REASONS = (
    TOPIC_UNKNOWN,
    TOPIC_AMBIGUOUS,
    DEVICE_UNKNOWN,
    *(str(reason) for reason in Reason),
    *(str(reason) for reason in SparkplugReason),
)

_SHOWN = 20


class Waiting(NamedTuple):
    """Entries of one site and reason that nobody has released; site `""`: it was not declared when they came."""

    site: str
    reason: str
    entries: int
    first: datetime
    last: datetime


class Entry(NamedTuple):
    """One entry: a message, or an element of its list, that is not a reading."""

    quarantine_id: int
    received_at: datetime
    site: str
    topic: str
    reason: str
    detail: str
    element: int | None


class Sibling(NamedTuple):
    """An entry of the same message."""

    quarantine_id: int
    element: int | None
    reason: str
    detail: str
    released_at: datetime | None


class Neighbour(NamedTuple):
    """A reading that was stored from the same message."""

    site: str
    device: str
    ts: datetime
    element: int
    power_w: float | None
    energy_exported_wh: float | None


@dataclass(frozen=True, slots=True)
class Detail:
    """An entry with its message."""

    entry: Entry
    message_id: int
    released_at: datetime | None
    arrived_at: datetime
    payload: bytes
    sha256: bytes
    qos: int
    retained: bool
    redelivered: bool
    collector: str
    outcome: str
    elements: int
    """Readings that the message held, good and bad."""
    siblings: list[Sibling]
    readings: list[Neighbour]
    """Stored from this message; both lists end after 20."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which entries are meant; None: all."""

    reason: str | None = None
    site: str | None = None
    ids: tuple[int, ...] | None = None

    @property
    def parameters(self) -> dict[str, object]:
        """For the statements."""
        return {"reason": self.reason, "site": self.site, "ids": list(self.ids) if self.ids is not None else None}


def waiting(connection: Connection, selection: Selection) -> list[Waiting]:
    """Count the entries that wait, by site and reason, the most first."""
    rows = connection.execute(load("quarantine")["counts"], selection.parameters).fetchall()
    return [Waiting(*row) for row in rows]


def newest(connection: Connection, selection: Selection, limit: int) -> list[Entry]:
    """Read the newest entries that wait, at most `limit`."""
    rows = connection.execute(load("quarantine")["newest"], selection.parameters | {"limit": limit}).fetchall()
    return [Entry(*row) for row in rows]


def show(connection: Connection, quarantine_id: int) -> Detail:
    """Read an entry with its message.

    Raises
    ------
    QuarantineEntryUnknownError
        There is no such entry.
    """
    queries = load("quarantine")
    found = connection.execute(queries["entry"], [quarantine_id]).fetchone()
    if found is None:
        raise QuarantineEntryUnknownError(
            f"there is no quarantine entry {quarantine_id}; `jcm-mrv quarantine list` shows the newest"
        )
    number, received_at, message_id, element, site, topic, reason, detail, released_at = found
    message = connection.execute(queries["message"], [received_at, message_id]).fetchone()
    if message is None:
        raise QuarantineEntryUnknownError(f"the message of quarantine entry {quarantine_id} is no longer kept")
    key: dict[str, object] = {"received_at": received_at, "message_id": message_id, "limit": _SHOWN}
    siblings = connection.execute(queries["entries_of_message"], key).fetchall()
    readings = connection.execute(queries["readings_of_message"], key).fetchall()
    arrived_at, payload, sha256, qos, retained, redelivered, collector, outcome, elements = message
    return Detail(
        entry=Entry(number, received_at, site, topic, reason, detail, element),
        message_id=message_id,
        released_at=released_at,
        arrived_at=arrived_at,
        payload=bytes(payload),
        sha256=bytes(sha256),
        qos=qos,
        retained=retained,
        redelivered=redelivered,
        collector=collector,
        outcome=outcome,
        elements=elements,
        siblings=[Sibling(*row) for row in siblings if row[0] != quarantine_id],
        readings=[Neighbour(*row) for row in readings],
    )
