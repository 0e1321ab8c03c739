"""The loop: take a batch, commit it, acknowledge it, in the order received."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import psycopg
import structlog

from devices.decoding.bindings import bind
from devices.decoding.catalogue import Catalogue, built_in
from devices.decoding.judging import Judge
from devices.decoding.memory import Aside, Memory
from devices.native import Reason
from devices.topics import Topic
from ingest import batch, liveness, probe, self_check
from ingest.backoff import Backoff
from ingest.batch import Outcome, Planned, Registry
from ingest.errors import LeaseHeldError, StaleMemoryError, StoreFailedError, UnstorableError
from ingest.inbox import Inbox, Received
from ingest.liveness import Check, Pulse
from ingest.metrics import Live, Metrics
from ingest.self_check import Risk
from ingest.session import Session, SessionOptions
from ingest.store import Settled, Store
from sql.connection import reported
from sql.errors import DatabaseUnavailableError, StoreError

log = structlog.get_logger()

# A batch ends here, whatever the count says: a transaction of 1,000 payloads of a megabyte is no batch.
# Of arrays of 60 readings, 2 MiB are 15,000: 121,000 and 152,000 readings a second, where 8 MiB did 96,000 and 114,000,
# and 0.5 MiB 78,000 and 85,000 (draining 480,000, twice each in turn).
_BATCH_BYTES = 2 * 1024 * 1024
_IDLE_S = 0.5
_REPORT_S = 30.0
# How long a collector that was told to stop goes on trying to reach a database that is away.
_DRAIN_S = 5.0
# How often a standby looks whether the other is gone.
_STANDBY_S = 1.0
# How often the database is asked whether it is there, when no batch does.
_PING_S = 5.0
# How often it is asked for new devices because of messages that are nobody's.
_LOOK_AGAIN_S = 1.0
# A message is stamped before it stands in the inbox: frames are closed with so much to spare.
_FRAME_GRACE_S = 1.0

_UNSTORABLE = (UnstorableError, psycopg.DataError, psycopg.IntegrityError)
# Away, full, read-only, restarting: the database's state, not the data's.
_AWAY = (psycopg.OperationalError, psycopg.InternalError, DatabaseUnavailableError, LeaseHeldError)

_T = TypeVar("_T")


class _InterruptedError(Exception):
    """Told to stop while the database is away."""

    def __init__(self, messages: int) -> None:
        self.messages = messages


@dataclass(frozen=True, slots=True)
class CollectorOptions:
    """How much is committed at once, and what is taken for a reading."""

    batch_messages: int = 1000
    batch_linger_ms: int = 50
    future_tolerance: timedelta = timedelta(seconds=300)
    payload_limit_bytes: int = 1_048_576
    catalogue: Catalogue = field(default_factory=built_in)
    """The families of devices."""
    accepted_risks: frozenset[Risk] = frozenset()
    """What the self-check lets pass although it may lose data."""
    code_version: str = ""


@dataclass(slots=True)
class Totals:
    """What this collector has done since it started."""

    batches: int = 0
    received: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    commit_s: float = 0.0


class Collector:
    """From the broker to a committed row.

    Parameters
    ----------
    session
        Broker, login and session.
    database_url
        Connection string.
    options
        Batch and limits.
    """

    def __init__(self, session: SessionOptions, database_url: str, options: CollectorOptions | None = None) -> None:
        self._options = options or CollectorOptions()
        self._session_options = session
        # Twice the window: what an earlier connection left and what the broker repeats on the next one.
        self._inbox = Inbox(2 * session.window)
        self._session = Session(session, self._inbox, by_permit=True)
        self._store = Store(database_url, session.client_id, alone=True)
        self._registry = Registry()
        self._memory = Memory()
        self._declarations = -1
        """How many declarations there were when the foreign devices were read."""
        self._looked_at = 0.0
        self._closed_at = self._judged_until = 0.0
        """Every message that arrived up to then, by the collector's clock, is committed."""
        # No more than the window can be in flight, so waiting for more would be waiting for nothing.
        self._most = min(self._options.batch_messages, session.window)
        self._ahead: tuple[list[Received], list[Planned]] = ([], [])
        """The batch after this one, and what is to become of it where that needed no look into the database."""
        self._stop = threading.Event()
        self._stop_by = float("inf")
        self._backoff = Backoff()
        self.totals = Totals()
        self.standby = False
        """Whether another collector with this client id is at work and this one waits for its end."""
        self._pulse = Pulse()
        self._work_s = 0.0
        self.metrics = Metrics(
            Live(
                received=lambda: self._session.received,
                broker_connected=lambda: self._session.connected,
                database_connected=lambda: self._pulse.database_up,
                standby=lambda: self.standby,
            ),
            window=session.window,
            version=self._options.code_version,
        )

    @property
    def session(self) -> Session:
        """The MQTT session, for those who look after its health."""
        return self._session

    def live(self) -> list[Check]:
        """Say whether this collector goes round; never asks the database."""
        return liveness.live(self._session, self._pulse)

    def ready(self) -> list[Check]:
        """Say whether it takes messages and commits them now."""
        return liveness.ready(self._session, self._pulse, standby=self.standby)

    def stop(self) -> None:
        """Take nothing new, commit and acknowledge what was received, and end; may be called from a signal handler."""
        self._stop_by = time.monotonic() + _DRAIN_S
        self._session.drain()
        self._stop.set()
        self._inbox.close()

    def run(self) -> None:
        """Collect until `stop`.

        Raises
        ------
        BrokerUnavailableError, BrokerRefusedError, SubscriptionRefusedError
            At the start; later the broker is awaited.
        DatabaseUnavailableError, SchemaError, ServerNotSupportedError
            At the start; later the database is awaited.
        UnsafeSetupError
            At the start: what is set up would lose data, see `ingest.self_check`.
        SessionFailedError, StoreFailedError
            Something is wrong that waiting does not mend. Nothing unacknowledged is lost: the broker has it.
        """
        try:
            with reported():
                if not self._become_active():
                    return
                self._pulse.database_is(up=True)
                self._check_setup()
                self._learn(self._store.declared())
                self._learn_foreign()
            self._session.start()
            options = self._session_options
            log.info("collector_started", client_id=options.client_id, subscription=options.subscription)
            self._loop()
        except _InterruptedError as interrupted:
            # Nothing is lost: the broker keeps what is not acknowledged and sends it to the next collector.
            unacknowledged = interrupted.messages + self._waiting
            if unacknowledged:
                log.warning("stopped_with_unacknowledged", messages=unacknowledged)
        finally:
            self._session.stop()
            self._store.close()
        self._report("collector_stopped")

    def _become_active(self) -> bool:
        """Take the lease of this client id; wait as a standby while another collector has it. False: told to stop.

        Two live collectors with one client id would take the session from each other for ever.
        """
        while not self._stop.is_set():
            try:
                self._store.open()
            except LeaseHeldError:
                if not self.standby:
                    log.info("standby_waiting", client_id=self._session_options.client_id)
                self.standby = True
            except (DatabaseUnavailableError, psycopg.OperationalError):
                if not self.standby:
                    raise
            else:
                self.standby = False
                return True
            self._stop.wait(_STANDBY_S)
        return False

    def _loop(self) -> None:
        told, told_at = 0, time.monotonic()
        while True:
            stopping = self._stop.is_set()
            messages, planned = self._next(stopping=stopping)
            self._pulse.go_round()
            if messages:
                self._handle(messages, planned)
            self._close_frames(idle=not messages)
            if not messages and self._is_over(stopping=stopping):
                return
            if not stopping and time.monotonic() - self._looked_at > _PING_S:
                self._look_again()
            if self._session.wants_permit and not stopping:
                # The database may have been lost unnoticed, and another collector may be active since.
                self._retried(self._confirm, 0)
                self._session.permit()
            if self.totals.received != told and time.monotonic() - told_at >= _REPORT_S:
                told, told_at = self.totals.received, time.monotonic()
                self._report("collected")

    def _is_over(self, *, stopping: bool) -> bool:
        """Look after session and database while nothing is to be taken; True when nothing will come any more."""
        if self._session.failure is not None:
            raise self._session.failure
        if not stopping and time.monotonic() - self._pulse.database_asked > _PING_S:
            self._ping()
        return stopping

    def _next(self, *, stopping: bool) -> tuple[list[Received], list[Planned]]:
        if self._ahead[0]:
            following, self._ahead = self._ahead, ([], [])
            return following
        linger_s, idle_s = (0.0, 0.0) if stopping else (self._options.batch_linger_ms / 1000, _IDLE_S)
        return self._inbox.take(self._most, _BATCH_BYTES, linger_s, idle_s), []

    def _look_ahead(self) -> None:
        """Judge the next batch, if it is full already, while the database inserts this one.

        The interpreter and the database then work at the same time: 30,000 messages a second before, 39,000 with it
        (draining 200,000; medians of three runs each, in turn, on two busy cores).
        """
        if not self._ahead[0] and len(self._inbox) >= self._most:
            messages = self._inbox.take(self._most, _BATCH_BYTES, 0, 0)
            # What depends on the messages before it waits until they are committed.
            later = self._registry.unknown(messages) or self._registry.stateful(messages)
            self._ahead = messages, [] if later else self._judge(messages, Judge(self._memory))

    def _handle(self, messages: list[Received], planned: list[Planned]) -> None:
        started = time.monotonic()
        if planned:
            self._commit(planned)
        elif self._registry.stateful(messages):
            self._handle_stateful(messages)
        else:
            self._commit(self._retried(lambda: self._plan(messages, Judge(self._memory)), len(messages)))
        self._judged_until = messages[-1].arrived_at
        self.totals.batches += 1
        self.totals.received += len(messages)
        self.totals.commit_s += time.monotonic() - started

    def _commit(self, planned: list[Planned]) -> None:
        for part in self._settle(planned):
            # A part of a split batch is acknowledged when it is committed; the parts keep the order received.
            self._session.acknowledge([one.received for one in part])

    def _handle_stateful(self, messages: list[Received]) -> None:
        """Judge and commit messages that depend on what is remembered, and on each other.

        Where something cannot be kept, the halves are judged again, the second when the first is committed.
        """
        judge = Judge(self._memory)
        planned = self._retried(lambda: self._plan(messages, judge), len(messages))
        try:
            # Judged again only when it is sure that nothing was kept: after a lost connection the same plan is tried.
            settled = self._retried(lambda: self._write(planned, judge.aside), len(messages))
        except StaleMemoryError:
            self._remember_again(len(messages))
            self._handle_stateful(messages)
        except _UNSTORABLE as error:
            if len(messages) == 1:
                # Bare bytes change nothing that is remembered.
                self._commit([batch.unstorable(planned[0], _first_line(error))])
                return
            middle = len(messages) // 2
            self._handle_stateful(messages[:middle])
            self._handle_stateful(messages[middle:])
        else:
            self._note(planned, settled)
            self._session.acknowledge(messages)

    def _remember_again(self, messages: int) -> None:
        self._memory.replace(self._retried(self._store.remembered, messages))

    def _close_frames(self, *, idle: bool) -> None:
        """Make readings of what nothing can be added to any more."""
        now = time.time()
        if not self._registry.owners or now - self._closed_at < _IDLE_S:
            return
        self._closed_at = now
        until = min(now - _FRAME_GRACE_S, now if idle and not self._waiting else self._judged_until)
        at = datetime.fromtimestamp(until, UTC)
        judge = Judge(self._memory)
        judge.close_due(self._registry.owners, at, self._options.future_tolerance)
        if not judge.aside:
            return
        try:
            settled = self._retried(lambda: self._write([], judge.aside), 0)
        except StaleMemoryError:
            self._remember_again(0)
        else:
            self._note([], settled)

    def _note(self, planned: list[Planned], settled: Settled) -> None:
        self.totals.outcomes.update(settled.outcomes)
        self.metrics.settled(planned, settled, self._work_s)

    def _plan(self, messages: list[Received], judge: Judge) -> list[Planned]:
        if self._registry.homeless(messages) and time.monotonic() - self._looked_at > _LOOK_AGAIN_S:
            with self._pulse.at_database():
                self._learn_foreign()
        unknown = self._registry.unknown(messages)
        if unknown:
            with self._pulse.at_database():
                found = self._store.look_up(unknown)
            self._learn(found)
        return self._judge(messages, judge)

    def _learn_foreign(self) -> None:
        """Read the devices of foreign families again, if anything was declared since, and hear their topics."""
        self._looked_at = time.monotonic()
        declarations = self._store.declarations()
        if declarations == self._declarations:
            return
        self._declarations = declarations
        bounds, unknown = bind(self._store.foreign(), self._options.catalogue)
        for device in unknown:
            log.error("family_unknown", site=device.site, device=device.device, family=device.family)
        self._registry.learn_foreign(bounds)
        self._memory.replace(self._store.remembered())
        self._session.hear(self._registry.routes.direct_filters())

    def _learn(self, declared: tuple[set[str], dict[Topic, int]]) -> None:
        sites, devices = declared
        self._registry.learn(sites, devices.items())

    def _judge(self, messages: list[Received], judge: Judge) -> list[Planned]:
        return batch.plan(
            messages,
            self._registry,
            judge,
            future_tolerance=self._options.future_tolerance,
            limit_bytes=self._options.payload_limit_bytes,
        )

    def _settle(self, planned: list[Planned]) -> Iterator[list[Planned]]:
        """Commit, and on a data error commit the halves apart, until the message that cannot be kept is alone."""
        try:
            settled = self._retried(lambda: self._write(planned), len(planned))
        except _UNSTORABLE as error:
            if len(planned) > 1:
                middle = len(planned) // 2
                yield from self._settle(planned[:middle])
                yield from self._settle(planned[middle:])
                return
            [alone] = planned
            if not alone.readings and alone.rejections[0].reason == Reason.UNSTORABLE:
                raise StoreFailedError(
                    f"the database refuses even the bare bytes of a message ({_first_line(error)}); see its log"
                ) from error
            log.warning("message_unstorable", topic=alone.received.topic, reason=_first_line(error))
            yield from self._settle([batch.unstorable(alone, _first_line(error))])
            return
        self._note(planned, settled)
        yield planned

    def _write(self, planned: list[Planned], aside: Aside | None = None) -> Settled:
        with self._pulse.at_database():
            started = time.monotonic()
            settled = self._store.write(planned, aside, meanwhile=self._look_ahead)
            self._work_s = time.monotonic() - started
        self._pulse.database_is(up=True)
        self._memory.settled(settled.aside)
        for command in settled.aside.commands:
            self._session.send(command.topic, command.payload)
        return settled

    def _confirm(self) -> None:
        with self._pulse.at_database():
            self._store.confirm()
        self._pulse.database_is(up=True)

    def _ping(self) -> None:
        """Ask the database whether it is there; the next batch will say what is wrong with it."""
        try:
            self._confirm()
        except (psycopg.Error, StoreError, LeaseHeldError):
            self._pulse.database_is(up=False)

    def _look_again(self) -> None:
        """Ask what was declared since, also under load: a device that speaks on a topic of its own is not heard yet."""
        try:
            with self._pulse.at_database():
                self._learn_foreign()
        except (psycopg.Error, StoreError, LeaseHeldError):
            self._pulse.database_is(up=False)

    def _retried(self, work: Callable[[], _T], messages: int) -> _T:
        """Do what needs the database, as often as it takes."""
        while True:
            try:
                done = work()
            except (*_UNSTORABLE, StaleMemoryError):
                raise
            except _AWAY as error:
                reason = _first_line(error)
                event = "lease_lost" if isinstance(error, LeaseHeldError) else "database_away"
                self._pulse.database_is(up=False)
            except (psycopg.Error, StoreError) as error:
                raise StoreFailedError(
                    f"the database refuses to take readings ({_first_line(error)}); run `jcm-mrv migrate`"
                ) from error
            else:
                if self._backoff.attempts:
                    log.info("database_back", attempts=self._backoff.attempts)
                    self._backoff.reset()
                return done
            if self._session.failure is not None:
                raise self._session.failure
            if time.monotonic() >= self._stop_by:
                raise _InterruptedError(messages)
            wait_s = self._backoff.next()
            log.warning(event, reason=reason, waiting=messages + self._waiting, retry_s=round(wait_s, 2))
            if self._stop.wait(wait_s):
                time.sleep(min(wait_s, 0.5))

    def _check_setup(self) -> None:
        options = self._options
        with self._pulse.at_database():
            facts = probe.gather(
                self._session_options,
                self._store.open(),
                batch_messages=options.batch_messages,
                batch_linger_ms=options.batch_linger_ms,
            )
        self_check.report(facts, accepted=options.accepted_risks)

    @property
    def _waiting(self) -> int:
        return len(self._ahead[0]) + len(self._inbox)

    def _report(self, event: str) -> None:
        totals = self.totals
        log.info(
            event,
            received=totals.received,
            **{str(outcome): totals.outcomes[outcome] for outcome in Outcome},
            batches=totals.batches,
            commit_ms=round(1000 * totals.commit_s / totals.batches, 1) if totals.batches else None,
            waiting=self._waiting,
        )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
