"""What is possible with this broker, this database and these settings, and what of them would lose data.

Pure: `judge` turns facts into a verdict; `ingest.probe` gathers the facts. What would lose data is refused unless the
operator accepts it by its name.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NamedTuple

import structlog

from ingest.errors import UnsafeSetupError

log = structlog.get_logger()

# Draining 200,000 messages of one reading went at 39,000 a second on two busy cores (see Collector._look_ahead).
_MESSAGE_S = 0.000025
# Where the commit could not be timed: a flush on a disk without a cache of its own.
_ASSUMED_FLUSH_S = 0.01


class Risk(StrEnum):
    """Something that loses data, by the name under which an operator can accept it (`JCM_MRV_ACCEPT_RISKS`)."""

    QOS_0 = "qos_0"
    SESSION_NOT_KEPT = "session_not_kept"
    SESSION_EXPIRY_SHORT = "session_expiry_short"
    FSYNC_OFF = "fsync_off"
    SYNCHRONOUS_COMMIT_OFF = "synchronous_commit_off"
    FULL_PAGE_WRITES_OFF = "full_page_writes_off"


@dataclass(frozen=True, slots=True)
class BrokerFacts:
    """What the broker says of itself when asked; None: it was not said."""

    software: str = ""
    """From `$SYS/broker/version`, where that is readable."""
    window: int | None = None
    """Receive Maximum of its CONNACK. It bounds what the broker takes; most brokers have one number for both ways."""
    maximum_qos: int = 2
    session_expiry_s: int | None = None
    """The CONNACK's Session Expiry Interval, which overrides the one asked for."""
    session_kept: bool | None = None
    """Whether a session that was left was there again a moment later."""
    dropped: int | None = None
    """Publications that the broker dropped since its start, from `$SYS/broker/publish/messages/dropped`."""

    @property
    def window_is_the_clients(self) -> bool:
        """Whether the broker goes by an MQTT 5 client's Receive Maximum, whatever its own limit.

        Measured with Mosquitto 2.0.21: with max_inflight_messages 20 and Receive Maximum 4,000 it has 4,000 in flight.
        """
        return self.software.startswith("mosquitto version 2")


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """What the database connection of the collector goes by."""

    fsync: bool = True
    synchronous_commit: str = "on"
    full_page_writes: bool = True
    commit_s: float | None = None
    """Median time of a transaction that writes next to nothing, flush included."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that is judged."""

    window: int
    """Receive Maximum of the collector (JCM_MRV_MQTT_WINDOW)."""
    batch_messages: int
    linger_s: float
    version: Literal["3.1.1", "5"]
    session_expiry_s: int
    database: DatabaseFacts = field(default_factory=DatabaseFacts)
    broker: BrokerFacts | None = None
    """None: it could not be asked."""
    broker_silence: str = ""
    """Why it could not."""


class Finding(NamedTuple):
    """Something to change."""

    name: str
    cost: str
    change: str
    risk: Risk | None = None
    """Set when it loses data."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is possible, and what is wrong."""

    messages_per_second: int
    """Of one reading each, while a backlog waits."""
    window: int
    """Messages that can be in flight."""
    window_known: bool
    """Whether the broker said what it allows."""
    commit_s: float
    findings: list[Finding]

    def refused(self, accepted: Iterable[Risk]) -> list[Finding]:
        """List what loses data and was not accepted."""
        return [one for one in self.findings if one.risk is not None and one.risk not in set(accepted)]


def judge(facts: Facts) -> Verdict:
    """Work out what rate is possible, and find what does not fit or would lose data.

    The rate is window / (linger + commit) while the window holds less than two batches: the broker then sits still
    until a batch is acknowledged. From two batches on the next one is there when one is committed, and the commits
    alone are the bound.
    """
    window, known = _window(facts)
    batch = min(facts.batch_messages, window)
    commit_s = batch * _MESSAGE_S + (
        facts.database.commit_s if facts.database.commit_s is not None else _ASSUMED_FLUSH_S
    )
    rate = batch / commit_s
    findings = [*_of_broker(facts), *_of_database(facts.database)]
    if window < 2 * facts.batch_messages:
        rate = min(rate, window / (facts.linger_s + commit_s))
        findings.append(
            Finding(
                "window_small",
                f"with {window} messages in flight and batches of {facts.batch_messages}, "
                f"at most about {rate:.0f} messages a second are possible",
                _let_window_be(facts, window),
            )
        )
    return Verdict(round(rate), window, known, commit_s, findings)


def report(facts: Facts, *, accepted: Iterable[Risk] = ()) -> Verdict:
    """Log what is possible and what to change.

    Raises
    ------
    UnsafeSetupError
        Something loses data that was not accepted by name.
    """
    verdict = judge(facts)
    accepted = set(accepted)
    refused = verdict.refused(accepted)
    database = facts.database
    log.info(
        "self_check",
        messages_per_second=verdict.messages_per_second,
        window=verdict.window,
        window_told_by_broker=verdict.window_known,
        batch_messages=facts.batch_messages,
        linger_ms=round(1000 * facts.linger_s),
        flush_ms=None if database.commit_s is None else round(1000 * database.commit_s, 2),
        commit_ms=round(1000 * verdict.commit_s, 1),
        broker=facts.broker.software if facts.broker is not None else "",
        refused=[str(one.risk) for one in refused],
        accepted=[str(one.risk) for one in verdict.findings if one.risk in accepted],
    )
    for one in verdict.findings:
        if one not in refused:
            log.warning("self_check_finding", finding=one.name, cost=one.cost, change=one.change)
    if refused:
        said = "; ".join(f"{one.name}: {one.cost} ({one.change})" for one in refused)
        names = ",".join(one.name for one in refused)
        raise UnsafeSetupError(f"this would lose data: {said}; or accept it with JCM_MRV_ACCEPT_RISKS={names}")
    return verdict


def _window(facts: Facts) -> tuple[int, bool]:
    """Find how many messages can be in flight, and whether the broker said so."""
    broker = facts.broker
    if broker is None or broker.window is None:
        return facts.window, False
    if facts.version == "3.1.1":
        # The window is the broker's alone; the inbox holds two of ours and then stops reading.
        return min(broker.window, 2 * facts.window), True
    return (facts.window if broker.window_is_the_clients else min(facts.window, broker.window)), True


def _let_window_be(facts: Facts, window: int) -> str:
    wanted = 2 * facts.batch_messages
    broker = f"the broker's window (Mosquitto: max_inflight_messages, EMQX: max_inflight) be {wanted} or more"
    own = f"JCM_MRV_MQTT_WINDOW be {wanted} or more"
    smaller = f"or set JCM_MRV_BATCH_MESSAGES to {max(1, window // 2)}"
    if facts.version == "3.1.1":
        return f"let {broker}, {smaller}"
    if window < facts.window:
        return f"let {broker}, {smaller}"
    return f"let {own}, {smaller}"


def _of_broker(facts: Facts) -> list[Finding]:
    broker = facts.broker
    if broker is None:
        return [
            Finding(
                "broker_not_checked",
                f"what the broker keeps and allows is not known: {facts.broker_silence}",
                "let the collector's login also connect under its client id with -check behind it",
            )
        ]
    findings = []
    if broker.maximum_qos < 1:
        findings.append(
            Finding(
                "qos_0",
                "the broker hands over without acknowledgement, so what is in flight is lost with a crash",
                "let the broker allow QoS 1",
                Risk.QOS_0,
            )
        )
    if broker.session_kept is False or broker.session_expiry_s == 0:
        findings.append(
            Finding(
                "session_not_kept",
                "the broker forgets a session when its client leaves, and all that is published until it is back",
                "let the broker keep persistent sessions",
                Risk.SESSION_NOT_KEPT,
            )
        )
    elif broker.session_expiry_s is not None and broker.session_expiry_s < facts.session_expiry_s:
        findings.append(
            Finding(
                "session_expiry_short",
                f"the broker keeps the queue of an absent collector for {broker.session_expiry_s} s, "
                f"not for the {facts.session_expiry_s} s that are asked for",
                "raise the broker's limit, or lower JCM_MRV_MQTT_SESSION_EXPIRY_S if that is long enough",
                Risk.SESSION_EXPIRY_SHORT,
            )
        )
    if broker.dropped:
        findings.append(
            Finding(
                "broker_dropped",
                f"the broker says that it dropped {broker.dropped} publications since its start, of whatever client",
                "look at its queue bounds (Mosquitto: max_queued_messages, max_queued_bytes)",
            )
        )
    return findings


def _of_database(database: DatabaseFacts) -> list[Finding]:
    findings = []
    if not database.fsync:
        findings.append(
            Finding(
                "fsync_off",
                "PostgreSQL does not flush to disk; a crash of its machine can lose or damage the whole database",
                "set fsync = on",
                Risk.FSYNC_OFF,
            )
        )
    if database.synchronous_commit == "off":
        findings.append(
            Finding(
                "synchronous_commit_off",
                "PostgreSQL answers a COMMIT before it is on disk; a crash loses what was acknowledged",
                "set synchronous_commit = on for this login",
                Risk.SYNCHRONOUS_COMMIT_OFF,
            )
        )
    if not database.full_page_writes:
        findings.append(
            Finding(
                "full_page_writes_off",
                "a page that was half written in a crash of PostgreSQL's machine cannot be restored",
                "set full_page_writes = on",
                Risk.FULL_PAGE_WRITES_OFF,
            )
        )
    return findings
