"""Putting what waits in quarantine through the collector's way once more.

A replayed message is a message again: it gets a row of its own in `message`, with the same bytes and the arrival of the
first, under the collector `quarantine-replay`, and is counted there. The raw bytes then lie twice, because evidence is
never changed. What is refused again is not received again: it writes nothing and stays as it was, so that replaying
twice grows nothing.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import psycopg
from psycopg import Connection

from devices.decoding.bindings import bind
from devices.decoding.catalogue import Catalogue, built_in
from devices.decoding.judging import Judge
from devices.decoding.memory import Aside, Joined, Memory
from devices.native import Reason
from ingest.batch import Outcome, Planned, Registry, plan
from ingest.errors import QuarantineBusyError, QuarantineEntryUnknownError, UnstorableError
from ingest.inbox import Received
from ingest.quarantine import Selection
from ingest.store import Settled, Store
from sql.named import load

COLLECTOR = "quarantine-replay"
"""Under this name replayed messages are kept and accounted."""

_PAGE = 1000
_BATCH_MESSAGES = 500
_BATCH_BYTES = 8 * 1024 * 1024
_UNSTORABLE = (UnstorableError, psycopg.DataError, psycopg.IntegrityError)


@dataclass(slots=True)
class Replayed:
    """What became of a replay."""

    messages: int = 0
    """That were judged again."""
    released: int = 0
    """Entries."""
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    """Of the messages that were written."""
    readings: Counter[Outcome] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    """Messages that stay as they were, by what is wrong with them now."""


class _Waiting(NamedTuple):
    quarantine_id: int
    element: int | None


@dataclass(frozen=True, slots=True)
class _Again:
    """A message that is written again, the entries that this releases, and all that wait of it."""

    message: Received
    releases: list[int]
    entries: Sequence["_Waiting"]


class _DryRun(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, settled: Settled) -> None:
        self.settled = settled


def readmit(planned: Planned, entries: Sequence[tuple[int, int | None]]) -> tuple[Planned | None, list[int]]:
    """Decide what of a message that was judged again is written, and which of its waiting entries that releases.

    Parameters
    ----------
    planned
        The message under the present registry.
    entries
        Number and element of each of its entries that waits.

    Returns
    -------
    tuple
        None and nothing, when no entry became a reading. Of a message that was refused as a whole, elements that are
        still no readings are kept with it, as new entries: they were never counted. Elements that were entries
        already, and stay so, are left out.
    """
    good = {element for element, _ in planned.readings}
    # A message can be good without a reading in it: one field of several.
    accepted = bool(good) or not planned.rejections
    releases = [number for number, element in entries if (accepted if element is None else element in good)]
    if not releases:
        return None, []
    whole = any(element is None for _, element in entries)
    return replace(planned, rejections=planned.rejections if whole else []), releases


def _why(judged: Planned) -> str:
    return str(judged.rejections[0].reason) if judged.rejections else "unchanged"


class Replay:
    """Puts waiting messages through the collector's way again, with what is declared now.

    Parameters
    ----------
    database_url
        Connection string.
    future_tolerance
        As the collector's; a reading's time is held against the first arrival of its message, not against now.
    limit_bytes
        As the collector's.
    dry_run
        Judge and write, and roll back.
    catalogue
        The families of devices; None: those of this version.
    """

    def __init__(
        self,
        database_url: str,
        *,
        future_tolerance: timedelta,
        limit_bytes: int,
        dry_run: bool = False,
        catalogue: Catalogue | None = None,
    ) -> None:
        self._store = Store(database_url, COLLECTOR)
        self._registry = Registry()
        self._future_tolerance = future_tolerance
        self._limit_bytes = limit_bytes
        self._dry_run = dry_run
        self._catalogue = built_in() if catalogue is None else catalogue
        self._queries = load("quarantine")
        self.done = Replayed()

    def close(self) -> None:
        """End the connection."""
        self._store.close()

    def _waiting(self, selection: Selection) -> tuple[int, int]:
        """Count the entries that are meant, and give the number of the last."""
        connection = self._store.open()
        if selection.ids is not None:
            missing = connection.execute(self._queries["not_waiting"], selection.parameters).fetchone()
            if missing is not None:
                number, released_at = missing
                if released_at is None:
                    raise QuarantineEntryUnknownError(
                        f"there is no quarantine entry {number}; `jcm-mrv quarantine list` shows the newest"
                    )
                raise QuarantineEntryUnknownError(
                    f"quarantine entry {number} was released at {released_at:%Y-%m-%d %H:%M:%S} UTC; leave it out"
                )
        count, last = connection.execute(self._queries["waiting"], selection.parameters).fetchall()[0]
        return count, last

    def run(
        self,
        selection: Selection,
        *,
        limit: int | None = None,
        tell: Callable[[int, int], None] = lambda _done, _of: None,
    ) -> Replayed:
        """Replay what is meant, oldest first, each batch in one transaction with the release of its entries.

        Parameters
        ----------
        limit
            Most messages.
        tell
            Called with how many entries were looked at, and of how many, as the work goes on.

        Raises
        ------
        QuarantineEntryUnknownError
            An entry that is named does not wait; nothing was done.
        QuarantineBusyError
            Another replay released entries of a batch meanwhile; that batch was not written.
        """
        self._registry.learn_foreign(bind(self._store.foreign(), self._catalogue)[0])
        # Nothing behind the last entry of now: a replay can put elements into quarantine itself.
        total, until = self._waiting(selection)
        after, seen, looked_at = 0, set[tuple[datetime, int]](), 0
        while limit is None or self.done.messages < limit:
            page = self._store.open().execute(
                self._queries["page"], selection.parameters | {"after": after, "until": until, "limit": _PAGE}
            )
            rows = page.fetchall()
            if not rows:
                break
            keys = dict.fromkeys((received_at, message_id) for _, received_at, message_id in rows)
            entries = self._entries(keys)
            todo = [key for key in keys if key not in seen]
            if limit is not None:
                todo = todo[: limit - self.done.messages]
            for messages in self._messages(todo):
                self._replay(messages, entries)
            after, looked_at = rows[-1][0], looked_at + len(rows)
            tell(looked_at, total)
            # A message whose entries go on behind this page is not judged twice.
            seen = {key for key in keys if any(entry.quarantine_id > after for entry in entries[key])}
        return self.done

    def _entries(self, keys: dict[tuple[datetime, int], None]) -> dict[tuple[datetime, int], list[_Waiting]]:
        entries: dict[tuple[datetime, int], list[_Waiting]] = defaultdict(list)
        rows = self._store.open().execute(self._queries["entries"], {"message_ids": [one for _, one in keys]})
        for message_id, received_at, quarantine_id, element in rows:
            entries[received_at, message_id].append(_Waiting(quarantine_id, element))
        return entries

    def _messages(self, keys: Sequence[tuple[datetime, int]]) -> Iterator[list[tuple[tuple[datetime, int], Received]]]:
        """Read messages, no more at once than a batch may hold."""
        if not keys:
            return
        sizes = dict(self._read("sizes", keys))
        chunk: list[tuple[datetime, int]] = []
        size = 0
        for key in keys:
            if chunk and (len(chunk) >= _BATCH_MESSAGES or size + sizes.get(key[1], 0) > _BATCH_BYTES):
                yield self._read_messages(chunk)
                chunk, size = [], 0
            chunk.append(key)
            size += sizes.get(key[1], 0)
        yield self._read_messages(chunk)

    def _read_messages(self, keys: Sequence[tuple[datetime, int]]) -> list[tuple[tuple[datetime, int], Received]]:
        by_id = {message_id: (received_at, message_id) for received_at, message_id in keys}
        return [
            (
                by_id[message_id],
                Received(0, 0, topic, bytes(payload), qos, retained, redelivered, arrived_at.timestamp()),
            )
            for message_id, arrived_at, topic, payload, qos, retained, redelivered in self._read("messages", keys)
        ]

    def _read(self, name: str, keys: Sequence[tuple[datetime, int]]) -> list[tuple[Any, ...]]:
        times = [received_at for received_at, _ in keys]
        parameters = {
            "received_at": times, "message_ids": [message_id for _, message_id in keys],
            "first": min(times), "last": max(times),
        }  # fmt: skip
        # Unprepared: the planner then sees the bounds and leaves out the chunks that lie outside.
        return self._store.open().execute(self._queries[name], parameters, prepare=False).fetchall()

    def _replay(
        self,
        messages: Sequence[tuple[tuple[datetime, int], Received]],
        entries: dict[tuple[datetime, int], list[_Waiting]],
    ) -> None:
        received = [one for _, one in messages]
        unknown = self._registry.unknown(received)
        if unknown:
            sites, devices = self._store.look_up(unknown)
            self._registry.learn(sites, devices.items())
        batch: list[_Again] = []
        for (key, message), judged in zip(messages, self._judge(received)[0], strict=True):
            self.done.messages += 1
            again, releases = readmit(judged, entries[key])
            if again is None:
                self.done.refused[_why(judged)] += 1
            else:
                batch.append(_Again(message, releases, entries[key]))
        if batch:
            self._write(batch)

    def _judge(self, messages: Sequence[Received]) -> tuple[list[Planned], list[Joined]]:
        """Judge messages by themselves: what a collector remembers is of now, and they are of then."""
        judge = Judge(Memory())
        planned = plan(
            messages, self._registry, judge, future_tolerance=self._future_tolerance, limit_bytes=self._limit_bytes
        )  # fmt: skip
        judge.close_all(self._registry.owners, self._future_tolerance)
        return planned, judge.aside.joined

    def _write(self, batch: Sequence[_Again]) -> None:
        """Commit, and on a data error the halves apart; what cannot be stored alone stays where it is."""
        ids = [number for one in batch for number in one.releases]
        # Judged once more without those that stay: the place of a message in the batch is what its readings go by.
        judged, joined = self._judge([one.message for one in batch])
        planned = [
            again
            for one, each in zip(batch, judged, strict=True)
            if (again := readmit(each, one.entries)[0]) is not None
        ]  # fmt: skip

        def release(connection: Connection, settled: Settled) -> None:
            cursor = connection.execute(
                self._queries["release"], {"released_at": settled.received_at, "ids": ids}
            )  # fmt: skip
            if cursor.rowcount != len(ids):
                raise QuarantineBusyError(
                    "another replay is releasing the same entries; wait for its end, then try again"
                )
            if self._dry_run:
                raise _DryRun(settled)

        try:
            settled = self._store.write(planned, Aside(joined), also=release)
        except _DryRun as tried:
            settled = tried.settled
        except _UNSTORABLE:
            if len(batch) == 1:
                self.done.refused[str(Reason.UNSTORABLE)] += 1
                return
            middle = len(batch) // 2
            self._write(batch[:middle])
            self._write(batch[middle:])
            return
        self.done.released += len(ids)
        self.done.outcomes.update(settled.outcomes)
        for account in settled.accounts.values():
            self.done.readings.update(account.readings)
