"""Ask the broker and the database what they are, before the collector's own session begins.

The broker is asked under a client id of its own, so that nothing is sent that would have to be acknowledged: with the
collector's own it would begin to send the queue, and a shared subscription would take messages from the others.
Whether the broker has its queue on disk cannot be asked; only whether sessions outlive a connection.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any, Literal, Self

import paho.mqtt.client as mqtt
import psycopg
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from psycopg import Connection

from ingest.self_check import BrokerFacts, DatabaseFacts, Facts
from ingest.session import SessionOptions
from sql.named import load

_ANSWER_S = 5.0
# Retained messages follow a SUBACK at once; a broker without `$SYS` never sends one.
_SYS_S = 0.3
_COMMITS = 5
_VERSION = "$SYS/broker/version"
_DROPPED = "$SYS/broker/publish/messages/dropped"

_Version = Literal["3.1.1", "5"]


class _SilentError(Exception):
    """The broker did not answer as it should."""


def gather(session: SessionOptions, connection: Connection, *, batch_messages: int, batch_linger_ms: int) -> Facts:
    """Ask everything that `self_check.judge` wants to know.

    A broker that refuses to be asked is no error: whether it can be used is for the session to find out.
    """
    broker, silence = None, ""
    try:
        broker = ask_broker(session)
    except (_SilentError, OSError) as error:
        silence = str(error) or type(error).__name__
    return Facts(
        window=session.window,
        batch_messages=batch_messages,
        linger_s=batch_linger_ms / 1000,
        version=session.version,
        session_expiry_s=session.session_expiry_s,
        database=ask_database(connection),
        broker=broker,
        broker_silence=silence,
    )


def ask_database(connection: Connection) -> DatabaseFacts:
    """Read what decides whether a COMMIT is on disk, as it holds for this connection, and time a few.

    A timed transaction writes one logical message of no bytes to the WAL, which makes the commit flush as any other
    does, and leaves no row behind.
    """
    queries = load("ingest")
    fsync, synchronous_commit, full_page_writes = connection.execute(queries["durability"]).fetchall()[0]
    return DatabaseFacts(fsync == "on", synchronous_commit, full_page_writes == "on", _commit_s(connection))


def _commit_s(connection: Connection) -> float | None:
    taken = []
    try:
        for _ in range(_COMMITS):
            started = time.perf_counter()
            with connection.transaction():
                connection.execute(load("ingest")["empty_write"])
            taken.append(time.perf_counter() - started)
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFunction):
        return None
    return statistics.median(taken)


def ask_broker(session: SessionOptions) -> BrokerFacts:
    """Ask the broker for its limits, and see whether it keeps a session.

    Raises
    ------
    OSError
        It does not answer.
    """
    limits = _limits(session)
    client_id = f"{session.client_id}-check"
    with _Client(session, client_id, session.version) as first:
        subscribed = first.subscribe(f"jcm/v1/none/none/{client_id}")
        first.leave()
    if not subscribed:
        return limits
    with _Client(session, client_id, session.version) as second:
        kept = second.session_present
        second.leave(forget=True)
    if session.version == "3.1.1":
        with _Client(session, client_id, "3.1.1", clean=True) as last:
            last.leave()
    return BrokerFacts(
        software=limits.software,
        window=limits.window,
        maximum_qos=limits.maximum_qos,
        session_expiry_s=limits.session_expiry_s if session.version == "5" else None,
        session_kept=kept,
        dropped=limits.dropped,
    )


def _limits(session: SessionOptions) -> BrokerFacts:
    """Ask in MQTT 5, which alone tells limits, also for a collector that speaks 3.1.1."""
    said: dict[str, str] = {}
    try:
        client = _Client(session, f"{session.client_id}-check", "5", clean=True)
    except _SilentError:
        if session.version == "5":
            raise
        return BrokerFacts()
    with client:
        told = client.properties
        if client.subscribe(_VERSION, _DROPPED):
            client.go_on_until(lambda: len(client.retained) == 2, _SYS_S)
            said = client.retained
        client.leave(forget=True)
    dropped = said.get(_DROPPED, "")
    return BrokerFacts(
        software=said.get(_VERSION, "")[:80],
        # Not said means 65,535 (MQTT 5, 3.2.2.3.3), and 2 (3.2.2.3.4).
        window=getattr(told, "ReceiveMaximum", 65535),
        maximum_qos=getattr(told, "MaximumQoS", 2),
        session_expiry_s=getattr(told, "SessionExpiryInterval", None),
        dropped=int(dropped) if dropped.isdecimal() else None,
    )


class _Client:
    """One short connection, driven from this thread."""

    def __init__(self, session: SessionOptions, client_id: str, version: _Version, *, clean: bool = False) -> None:
        five = version == "5"
        self._five = five
        self._left = False
        self._connected = False
        self._granted: list[ReasonCode] | None = None
        self._refusal = ""
        self.session_present = False
        self.properties: Any = None
        self.retained: dict[str, str] = {}
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=None if five else clean,
            protocol=mqtt.MQTTv5 if five else mqtt.MQTTv311,
            reconnect_on_failure=False,
        )
        address = session.address
        if address.tls:
            self._client.tls_set_context(address.tls_context())
        if address.username is not None:
            self._client.username_pw_set(address.username, address.password)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.connect_timeout = _ANSWER_S
        properties = None
        if five:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = session.session_expiry_s
            properties.ReceiveMaximum = session.window
        self._client.connect(
            address.host,
            address.port,
            session.keepalive_s,
            clean_start=clean if five else mqtt.MQTT_CLEAN_START_FIRST_ONLY,
            properties=properties,
        )
        self.go_on_until(lambda: self._connected or bool(self._refusal), _ANSWER_S)
        if not self._connected:
            self.leave()
            raise _SilentError(f"it refuses ({self._refusal})" if self._refusal else "it does not answer")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def go_on_until(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Let the client do its work until something is so; say whether it became so."""
        deadline = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > deadline or self._client.loop(0.02) != mqtt.MQTT_ERR_SUCCESS:
                return done()
        return True

    def subscribe(self, *topics: str) -> bool:
        """Subscribe at QoS 1; say whether all was granted in whatever QoS."""
        self._client.subscribe([(topic, 1) for topic in topics])
        self.go_on_until(lambda: self._granted is not None, _ANSWER_S)
        return self._granted is not None and not any(reason.is_failure for reason in self._granted)

    def leave(self, *, forget: bool = False) -> None:
        """Disconnect; with `forget`, let the broker throw the session away (MQTT 5)."""
        if self._left:
            return
        self._left = True
        properties = None
        if self._five and forget:
            properties = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 0
        self._client.disconnect(properties=properties)
        deadline = time.monotonic() + 1
        while self._client.socket() is not None and time.monotonic() < deadline:
            if self._client.loop(0.02) != mqtt.MQTT_ERR_SUCCESS:
                break

    def _on_connect(
        self, _client: mqtt.Client, _data: Any, flags: mqtt.ConnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
            return
        self._connected = True
        self.session_present = flags.session_present
        self.properties = properties

    def _on_subscribe(self, _client: mqtt.Client, _data: Any, _mid: int, reasons: list[ReasonCode], _: Any) -> None:
        self._granted = reasons

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        self.retained[message.topic] = message.payload[:200].decode("utf-8", "replace")
