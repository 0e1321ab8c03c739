"""Readings on disk from the poll until the broker surely has them: SQLite, safe against a power cut, bounded.

A reading is written with `synchronous=FULL` before anything is done with it. It leaves the store when it was
acknowledged and the broker was heard of a grace later again: Mosquitto acknowledges from memory and saves at its
`autosave_interval` (5 s as this product sets it up), so a broker that is killed forgets what it acknowledged last.
Whatever is still here when a connection is made is sent again; the collector knows duplicates.
"""

import json
import re
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from devices.errors import SpoolError
from devices.gateway.clock import Instant

Policy = Literal["drop-oldest", "drop-newest"]

_PAGE = 4096
_NAME = re.compile(r"^-- name: (\w+)[ \t]*\n", re.MULTILINE)
_parts = _NAME.split(Path(__file__).with_name("spool.sql").read_text(encoding="utf-8"))[1:]
_SQL: Mapping[str, str] = MappingProxyType(dict(zip(_parts[::2], _parts[1::2], strict=True)))

# Dropped at once when the store is full, so that not every reading has to.
_DROP = 32


@dataclass(frozen=True, slots=True)
class Kept:
    """A reading in the store."""

    id: int
    device: str
    seq: int
    ts_ms: int | None
    """None when it was taken before the clock was set and the machine was switched off since: nobody knows when."""
    points: str

    def payload(self) -> bytes:
        """Give the native payload; the same bytes each time, so that a repetition is seen as one."""
        time = "" if self.ts_ms is None else f'"ts":{self.ts_ms},'
        return f'{{{time}"seq":{self.seq},"points":{self.points}}}'.encode()


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is in the store."""

    readings: int
    oldest_ms: int | None
    without_time: int
    dropped: int
    """Lost to the bound since the store was made."""


class Spool:
    """The store; its methods may be called from any thread.

    Parameters
    ----------
    path
        The database file; it is made when it is not there.
    limit_bytes
        How large the readings may grow on disk.
    when_full
        Which reading is given up when the store is full. Each is counted, and leaves a gap in its device's `seq`.

    Raises
    ------
    SpoolError
        The file cannot be opened or is no store of readings.
    """

    def __init__(self, path: Path, *, limit_bytes: int, when_full: Policy) -> None:
        self._lock = threading.Lock()
        self._acknowledged: set[int] = set()
        self._limit_pages = max(limit_bytes // _PAGE, 16)
        self._when_full = when_full
        try:
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1)
        except sqlite3.Error as error:
            raise SpoolError(_cannot(path, error)) from None
        try:
            self._database.execute(f"pragma page_size={_PAGE}")
            self._database.execute("pragma journal_mode=wal")
            self._database.execute("pragma synchronous=full")
            self._database.execute(f"pragma journal_size_limit={1 << 20}")
            # Two gateways on one store would both publish it, and number the same device twice.
            self._database.execute("pragma locking_mode=exclusive")
            self._database.executescript(f"begin immediate; {_SQL['schema']} commit;")
            # Counted once: over a store of months that takes seconds.
            self._count = int(self._one("count"))
        except sqlite3.Error as error:
            self._database.close()
            raise SpoolError(_cannot(path, error)) from None

    def put(self, device: str, taken: Instant, points: Mapping[str, float | str | bool]) -> int | None:
        """Keep a reading; it is on disk when this returns.

        Returns
        -------
        int or None
            The place in the order of taking; None when the store is full and gives up the newest.

        Raises
        ------
        sqlite3.Error
            The disk is full or broken: the reading is not kept.
        """
        text = json.dumps(points, allow_nan=False, separators=(",", ":"))
        with self._lock, self._transaction():
            seq = self._one("next_seq", device)
            if self._full() and not self._make_room():
                self._run("count_dropped", device)
                return None
            place = int(self._one("put", device, seq, taken.ts_ms, taken.boot, taken.boot_ms, text))
            self._count += 1
            return place

    def pending(self, after: int, up_to: int, boot: str, limit: int) -> list[Kept]:
        """Read in the order of taking; what still waits for the clock is left out."""
        with self._lock:
            return [Kept(*row) for row in self._rows("pending", after, up_to, boot, limit)]

    def newest(self) -> int:
        """Give the place of the newest reading, 0 when there is none."""
        with self._lock:
            return int(self._one("newest"))

    def acknowledge(self, number: int) -> None:
        """Note that the broker has acknowledged a reading: should the store fill up, it is the first to go."""
        with self._lock:
            self._acknowledged.add(number)

    def doubt(self) -> None:
        """Take every acknowledgement for doubtful: the broker was away, and may have forgotten what it said."""
        with self._lock:
            self._acknowledged.clear()

    def delete(self, numbers: Sequence[int]) -> None:
        """Forget readings that the broker surely has."""
        with self._lock, self._transaction():
            self._delete(numbers)
            self._acknowledged.difference_update(numbers)

    def date_held(self, at: Instant) -> int | None:
        """Date the readings that were taken in this run of the machine before the clock was set, once it is.

        Returns
        -------
        int or None
            The place of the first of them; None when there is none or the clock is not set.
        """
        if at.ts_ms is None:
            return None
        with self._lock, self._transaction():
            first: int | None = self._one("first_held", at.boot)
            if first is not None:
                self._run("date_held", at.ts_ms, at.boot_ms, at.boot)
            return first

    def waiting(self) -> Waiting:
        """Count what is in the store."""
        with self._lock:
            oldest = self._rows("oldest_time")
            return Waiting(
                self._count, oldest[0][0] if oldest else None, int(self._one("count_held")), int(self._one("dropped"))
            )

    def close(self) -> None:
        """Close the file; everything stays in it."""
        with self._lock:
            self._database.close()

    def _make_room(self) -> bool:
        if self._acknowledged:
            self._delete(self._acknowledged)
            self._acknowledged.clear()
            if not self._full():
                return True
        if self._when_full == "drop-newest":
            return False
        oldest = self._rows("oldest", _DROP)
        self._delete([number for number, _ in oldest])
        for _, owner in oldest:
            self._run("count_dropped", owner)
        return True

    def _delete(self, numbers: Iterable[int]) -> None:
        self._count -= self._database.executemany(_SQL["delete"], [(number,) for number in numbers]).rowcount

    def _full(self) -> bool:
        pages: int = self._database.execute("pragma page_count").fetchone()[0]
        free: int = self._database.execute("pragma freelist_count").fetchone()[0]
        return pages - free >= self._limit_pages

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        before = self._count
        self._database.execute("begin immediate")
        try:
            yield
            self._database.execute("commit")
        except BaseException:
            # Also a commit fails, when the disk is full; nothing could be begun behind it.
            self._count = before
            if self._database.in_transaction:
                self._database.execute("rollback")
            raise

    def _run(self, name: str, *given: object) -> sqlite3.Cursor:
        return self._database.execute(_SQL[name], given)

    def _rows(self, name: str, *given: object) -> list[Any]:
        return self._run(name, *given).fetchall()

    def _one(self, name: str, *given: object) -> Any:
        return self._run(name, *given).fetchall()[0][0]


def _cannot(path: Path, error: sqlite3.Error) -> str:
    said = str(error)
    if "locked" in said:
        return f"{path} is in use; another gateway runs with it, and each needs a store of its own"
    return f"{path} cannot be used as the gateway's store ({said}); see that its folder is there and may be written"
