"""A batch in one transaction: readings, conflicts, messages, quarantine and account, or nothing of it."""

import contextlib
import itertools
import operator
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
import psycopg
import structlog
from psycopg import Connection

from devices.decoding.bindings import Declared
from devices.decoding.memory import Aside
from devices.topics import Topic
from ingest import rows
from ingest.batch import Account, Outcome, Planned
from ingest.errors import LeaseHeldError, StaleMemoryError, UnstorableError
from sql.connection import Role, connect
from sql.migrator import check
from sql.named import load

log = structlog.get_logger()

_UNDECLARED = ""
# In the order of the key, so that two collectors that are sent the same readings wait for each other and never in a
# circle.
_KEY = operator.itemgetter(0, 1)
# A batch of 1,000 that is inserted in vain costs about 3 ms and leaves dead rows.
_STAGED_MOST = 127


def _nothing() -> None:
    pass


@dataclass(slots=True)
class Settled:
    """How every message of a committed batch ended."""

    received_at: datetime
    outcomes: list[Outcome] = field(default_factory=list)
    accounts: dict[str, Account] = field(default_factory=dict)
    aside: Aside = field(default_factory=Aside)


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A COMMIT that was sent and never answered."""

    batch: Sequence[Planned]
    settled: Settled
    transaction_id: str
    first_message_id: int


class Store:
    """One connection to the database; it comes back after a loss when it is next used.

    Parameters
    ----------
    url
        Connection string.
    collector
        The name under which messages are kept and accounted.
    alone
        Whether the connection holds the lease of this name, which one connection at a time can have.
    """

    def __init__(self, url: str, collector: str, *, alone: bool = False) -> None:
        self._url = url
        self._collector = collector
        self._alone = alone
        self._queries = load("ingest")
        self._connection: Connection | None = None
        self._doubt: _Doubt | None = None
        self._staged_batches = 0
        """How many batches are still to go over the staging table."""
        self._staging = 0

    def open(self) -> Connection:
        """Give the connection, made anew when there is none.

        Raises
        ------
        DatabaseUnavailableError, SchemaError, ServerNotSupportedError
            See `sql.connection.connect` and `sql.migrator.check`.
        LeaseHeldError
            Another connection has the lease; or the last one of ours, which the server does not know to be lost yet.
        """
        if self._connection is None or self._connection.closed:
            connection = connect(self._url, Role.COLLECTOR, application=f"jcm-mrv collect {self._collector}")
            try:
                check(connection)
                connection.execute(self._queries["session"])
                connection.execute(self._queries["create_staged"])
                if self._alone:
                    self._take_lease(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _take_lease(self, connection: Connection) -> None:
        if connection.execute(self._queries["take_lease"], {"collector": self._collector}).fetchone() != (True,):
            raise LeaseHeldError(f"another collector with the client id {self._collector} is at work")

    def confirm(self) -> None:
        """Find out that the connection stands, and with it the lease; raises as `open` and psycopg do."""
        self.open().execute(self._queries["ping"])

    def close(self) -> None:
        """End the connection; what was not committed is rolled back by the server."""
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
            self._connection = None

    def declared(self) -> tuple[set[str], dict[Topic, int]]:
        """Read all declared sites and devices: 0.3 s and 25 MB for 100,000 devices, which else each cost a look."""
        return _declared(self.open().execute(self._queries["declared"]))

    def declarations(self) -> int:
        """Count the declarations that were ever applied."""
        row = self.open().execute(self._queries["declarations"]).fetchone()
        return row[0] if row is not None else 0

    def foreign(self) -> list[Declared]:
        """Read the declared devices of foreign families."""
        return [Declared(*row) for row in self.open().execute(self._queries["foreign"])]

    def remembered(self) -> list[tuple[str, str, int, str]]:
        """Read what collectors remember, see `devices.decoding.memory`."""
        return self.open().execute(self._queries["remembered"]).fetchall()

    def look_up(self, unknown: Sequence[Topic]) -> tuple[set[str], dict[Topic, int]]:
        """Find which of these sites and devices are declared.

        Asked in every batch that names one that is not known, so that a device is known from the moment it is
        declared; it is one look into an index, whatever a stranger sends.
        """
        parameters = {"sites": [topic.site for topic in unknown], "devices": [topic.device for topic in unknown]}
        return _declared(self.open().execute(self._queries["look_up"], parameters))

    def write(
        self,
        batch: Sequence[Planned],
        aside: Aside | None = None,
        *,
        also: Callable[[Connection, Settled], None] | None = None,
        meanwhile: Callable[[], None] = _nothing,
    ) -> Settled:
        """Commit a batch, and what `also` does in the same transaction; when this returns, all of it is on disk.

        Called again with the same batch after a lost connection, it first finds out whether the COMMIT of the last
        try arrived: then nothing is written twice and nothing is counted twice.

        Parameters
        ----------
        aside
            What is written beside the messages.
        meanwhile
            Called while the database inserts the readings; must not use the connection and does not raise.

        Raises
        ------
        UnstorableError, psycopg.DataError, psycopg.IntegrityError
            Something in the batch cannot be kept; nothing was.
        StaleMemoryError
            Another collector has remembered something meanwhile; read `remembered` and judge again. Nothing was kept.
        psycopg.OperationalError, psycopg.InternalError, StoreError
            The database is away or cannot write now; try again.
        """
        connection = self.open()
        doubt = self._doubt
        if doubt is not None:
            if doubt.batch is batch and self._is_committed(connection, doubt):
                self._doubt = None
                log.info("commit_confirmed_after_loss", messages=len(batch))
                return doubt.settled
            self._doubt = None
        try:
            doubt = self._write(connection, batch, aside or Aside(), meanwhile)
            if also is not None:
                also(connection, doubt.settled)
            # Of joined readings alone there is no message to look for; what is remembered has a version to tell.
            self._doubt = doubt if batch else None
            connection.execute("commit")
        except BaseException:
            self._abandon(connection)
            raise
        self._doubt = None
        return doubt.settled

    def _abandon(self, connection: Connection) -> None:
        try:
            connection.rollback()
        except psycopg.Error:
            self.close()
        else:
            # The server answered, so the transaction is known to be undone.
            self._doubt = None

    def _is_committed(self, connection: Connection, doubt: _Doubt) -> bool:
        try:
            status = connection.execute(self._queries["transaction_status"], (doubt.transaction_id,)).fetchone()
        except psycopg.DataError:
            status = None  # a number that this server has not come to: another server than before
        if status == ("in progress",):
            raise psycopg.OperationalError("the server has not yet noticed the loss of the last connection")
        found = connection.execute(
            self._queries["is_committed"], (doubt.settled.received_at, doubt.first_message_id)
        ).fetchone()
        return found == (True,)

    def _write(
        self, connection: Connection, batch: Sequence[Planned], aside: Aside, meanwhile: Callable[[], None]
    ) -> _Doubt:
        queries = self._queries
        with connection.pipeline():
            connection.execute("begin")
            connection.execute(queries["lock_batch"])
            begun = connection.execute(queries["begin_batch"], {"messages": len(batch)}).fetchone()
        assert begun is not None  # noqa: S101 - a select without a table gives a row
        received_at, transaction_id, blocks = begun
        message_ids = list(itertools.chain.from_iterable(range(first, first + 1000) for first in blocks))[: len(batch)]
        settled = Settled(received_at)
        if aside:
            aside = settled.aside = aside.with_ids(message_ids, received_at)
            self._remember(connection, aside, received_at)

        own = rows.readings(batch, message_ids, received_at)
        ended = self._store(connection, own + rows.joined(aside, received_at), meanwhile)
        place = 0
        for planned in batch:
            site = planned.site_id or _UNDECLARED
            account = settled.accounts.get(site)
            if account is None:
                account = settled.accounts[site] = Account()
            following = place + len(planned.readings)
            settled.outcomes.append(account.add(planned, ended[place:following]))
            place = following
        self._joined(settled, aside, ended[place:])

        kept = rows.messages(
            batch, message_ids, settled.outcomes, received_at=received_at, collector=self._collector
        )  # fmt: skip
        self._copy(connection, "copy_message", rows.MESSAGE_TYPES, kept)
        self._quarantine(connection, batch, message_ids, received_at)
        if aside:
            self._write_aside(connection, aside, message_ids, received_at)
        self._account(connection, settled)
        return _Doubt(batch, settled, transaction_id, message_ids[0] if message_ids else 0)

    def _remember(self, connection: Connection, aside: Aside, received_at: datetime) -> None:
        if not aside.states:
            return
        parameters = {
            "received_at": received_at,
            "kinds": [key.kind for key in aside.states],
            "keys": [key.name for key in aside.states],
            "versions": [aside.versions[key] for key in aside.states],
            "states": [msgspec.json.encode(state).decode() for state in aside.states.values()],
        }
        if connection.execute(self._queries["remember"], parameters).rowcount != len(aside.states):
            raise StaleMemoryError("another collector has remembered something meanwhile")

    @staticmethod
    def _joined(settled: Settled, aside: Aside, outcomes: Sequence[Outcome]) -> None:
        ended = iter(outcomes)
        for one in aside.joined:
            account = settled.accounts.setdefault(one.bound.device.site, Account())
            for _ in one.judged.readings:
                account.add_joined(next(ended))
            for _ in one.judged.rejections:
                account.add_joined(Outcome.QUARANTINED)

    def _write_aside(
        self, connection: Connection, aside: Aside, message_ids: Sequence[int], received_at: datetime
    ) -> None:
        if aside.joined:
            self._copy(connection, "copy_reading_part", rows.PART_TYPES, rows.parts(aside))
        refused = [
            (part.received_at, part.message, rejection.element, one.bound.device.site, rows.name(one),
             str(rejection.reason), rejection.detail)
            for one in aside.joined for rejection in one.judged.rejections for part in [rows.origin(one, None)]
        ]  # fmt: skip
        if refused:
            self._copy(connection, "copy_quarantine", rows.QUARANTINE_TYPES, refused)
        if aside.events:
            events = (
                (received_at, message_ids[event.place], event.site, event.subject, event.event, event.detail)
                for event in aside.events
            )
            self._copy(connection, "copy_device_event", rows.EVENT_TYPES, events)

    def _copy(
        self,
        connection: Connection,
        statement: str,
        types: Sequence[str],
        data: Iterable[rows.Row],
        meanwhile: Callable[[], None] = _nothing,
    ) -> None:
        try:
            with connection.cursor().copy(self._queries[statement]) as copy:
                copy.set_types(types)
                for row in data:
                    copy.write_row(row)
                meanwhile()
        except (TypeError, ValueError, OverflowError, struct.error, msgspec.MsgspecError) as error:
            raise UnstorableError(f"a value fits no column: {type(error).__name__}") from error

    def _store(
        self, connection: Connection, readings: Sequence[rows.Row], meanwhile: Callable[[], None]
    ) -> list[Outcome]:
        """Insert readings and say how each ended, in the order given."""
        if not readings:
            return []
        if self._staged_batches:
            self._staged_batches -= 1
        elif self._insert(connection, readings, meanwhile):
            self._staging = 0
            return [Outcome.STORED] * len(readings)
        else:
            self._staging = self._staged_batches = min(2 * self._staging + 1, _STAGED_MOST)
        return self._insert_staged(connection, readings, meanwhile)

    def _insert(self, connection: Connection, readings: Sequence[rows.Row], meanwhile: Callable[[], None]) -> bool:
        """Insert readings of which none is there yet; False, and nothing of it, when one is.

        COPY has no ON CONFLICT, but takes 1.8 µs a row where the way over a table of its own takes 5.5. A key that is
        there is rare: after a loss of the connection, or from a device that repeats itself. Then everything is done
        again the other way, and after each further time for twice as many batches at once.
        """
        connection.execute("savepoint readings")
        try:
            self._copy(connection, "copy_reading", rows.READING_TYPES, sorted(readings, key=_KEY), meanwhile)
        except psycopg.errors.UniqueViolation:
            connection.execute("rollback to savepoint readings")
            return False
        return True

    def _insert_staged(
        self, connection: Connection, readings: Sequence[rows.Row], meanwhile: Callable[[], None]
    ) -> list[Outcome]:
        queries = self._queries
        outcomes = [Outcome.STORED] * len(readings)
        self._copy(connection, "copy_staged", rows.STAGED_TYPES, rows.numbered(readings))
        # A pipeline sends the statement and waits for its end only when it is left.
        with connection.pipeline():
            cursor = connection.execute(queries["store"])
            meanwhile()
        missing = len(readings) - cursor.rowcount
        if not missing:
            return outcomes
        times = [row[1] for row in readings]
        bounds = {"received_at": readings[0][2], "first": min(times), "last": max(times)}
        # Unprepared: the planner then sees the bounds and leaves out the chunks that lie outside.
        found = cursor.execute(queries["not_stored"], bounds, prepare=False).fetchall()
        if len(found) != missing:
            raise psycopg.OperationalError(
                f"{missing} readings were not stored, but {len(found)} stand in their place: some were deleted"
            )
        conflicts = []
        for ordinal, same in found:
            outcomes[ordinal] = Outcome.DUPLICATE if same else Outcome.CONFLICT
            if not same:
                conflicts.append(ordinal)
        if conflicts:
            cursor.execute(queries["keep_conflicts"], bounds | {"ordinals": conflicts}, prepare=False)
        return outcomes

    def _quarantine(
        self, connection: Connection, batch: Sequence[Planned], message_ids: Sequence[int], received_at: datetime
    ) -> None:
        if not any(planned.rejections for planned in batch):
            return
        kept = (
            (
                received_at,
                message_id,
                rejection.element,
                planned.site_id,
                planned.received.topic,
                str(rejection.reason),
                rejection.detail,
            )
            for planned, message_id in zip(batch, message_ids, strict=True)
            for rejection in planned.rejections
        )
        self._copy(connection, "copy_quarantine", rows.QUARANTINE_TYPES, kept)

    def _account(self, connection: Connection, settled: Settled) -> None:
        accounts = settled.accounts
        parameters: dict[str, object] = {
            "collector": self._collector,
            "received_at": settled.received_at,
            "sites": list(accounts),
            "messages_received": [account.messages_received for account in accounts.values()],
            "readings_received": [account.readings_received for account in accounts.values()],
        }
        for outcome in Outcome:
            parameters[f"messages_{outcome}"] = [account.messages[outcome] for account in accounts.values()]
            parameters[f"readings_{outcome}"] = [account.readings[outcome] for account in accounts.values()]
        connection.execute(self._queries["account"], parameters)


def _declared(found: Iterable[tuple[str, str | None, int]]) -> tuple[set[str], dict[Topic, int]]:
    sites: set[str] = set()
    devices: dict[Topic, int] = {}
    for site, device, device_id in found:
        sites.add(site)
        if device is not None:
            devices[Topic(site, device)] = device_id
    return sites, devices
