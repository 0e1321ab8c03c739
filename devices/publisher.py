"""Publish with QoS 1 and know that every message was acknowledged."""

import contextlib
import secrets
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from devices.errors import BrokerTlsError, PublishError
from devices.mqtt_url import BrokerAddress
from devices.tls import ClientTls

# Unacknowledged messages at most: enough to hide a broker's disk, little enough to hold in memory.
WINDOW = 2000

_NO_MATCHING_SUBSCRIBERS = 0x10
_FAILURE = 0x80
# Refusals that no waiting mends: protocol version, client id, login, authorisation, ban, authentication method.
_FINAL = frozenset({0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C})
_LOGIN = frozenset({0x86, 0x87, 0x8C})
# A broker that takes a connection back so often without acknowledging anything refuses what is published.
_FRUITLESS_CONNECTIONS = 4
# How often a waiting publisher looks whether something failed.
_LOOK_S = 0.2


@dataclass(slots=True)
class Counts:
    """What became of what was published."""

    published: int = 0
    acknowledged: int = 0


class Publisher:
    """A connection to a broker that publishes with QoS 1 and resends what was not acknowledged.

    Use it as a context manager: leaving it without an exception waits for every acknowledgement.

    Parameters
    ----------
    address
        The broker and the login.
    version
        MQTT version; only version 5 says why a message was refused, and whether anybody subscribed.
    must_be_heard
        Whether a message that the broker kept for nobody is a failure; only MQTT 5 tells.
    on_connection
        Called with False when the broker is lost and with True when it is there again, from paho's thread.
    """

    def __init__(
        self,
        address: BrokerAddress,
        *,
        version: Literal["3.1.1", "5"] = "5",
        window: int = WINDOW,
        must_be_heard: bool = False,
        on_connection: Callable[[bool], None] = lambda _there: None,
    ) -> None:
        self.counts = Counts()
        self._address = address
        self._window = window
        self._must_be_heard = must_be_heard
        self._free = threading.Semaphore(0)
        self._all_acknowledged = threading.Event()
        self._connected = threading.Event()
        self._failure: PublishError | None = None
        self._closing = False
        self._there = False
        self._fruitless = 0
        self._on_connection = on_connection
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            # A session of its own each time: nothing of an interrupted replay is left at the broker.
            client_id=f"jcm-mrv-publisher-{secrets.token_hex(6)}",
            protocol=mqtt.MQTTv5 if version == "5" else mqtt.MQTTv311,
        )
        # The window is kept here. paho's own is 20, and searches all of them at every acknowledgement.
        self._client.max_inflight_messages_set(0)
        self._client.reconnect_delay_set(min_delay=1, max_delay=15)
        if address.username is not None:
            self._client.username_pw_set(address.username, address.password)
        self._tls = ClientTls(address.tls_files) if address.tls else None
        if self._tls is not None:
            self._client.tls_set_context(self._tls.context)
        self._client.on_connect = self._when_connected
        self._client.on_connect_fail = lambda _client, _data: self._when_refused()
        self._client.on_disconnect = self._when_disconnected
        self._client.on_publish = self._when_acknowledged

    def __enter__(self) -> Self:
        """Connect.

        Raises
        ------
        PublishError
            The broker does not answer or refuses the login.
        """
        try:
            self._client.connect(self._address.host, self._address.port, keepalive=30)
        except (OSError, ValueError) as error:
            said = self._address.why_refused(error) if isinstance(error, OSError) else ""
            if said:
                raise PublishError(f"the broker at {self._address} {said}") from None
            said = getattr(error, "strerror", None) or str(error)
            raise PublishError(
                f"the broker at {self._address} does not answer ({said.lower()}); start it or correct its URL"
            ) from None
        self._client.loop_start()
        try:
            self._wait_for_connection(timeout_s=15)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.wait_for_all()
        finally:
            self._close()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish one message; wait while as many as the window holds are not acknowledged.

        Parameters
        ----------
        retain
            Whether the broker keeps it for later subscribers.

        Raises
        ------
        PublishError
            The broker refused a message or the login.
        """
        while not self._free.acquire(timeout=_LOOK_S):
            self._raise_failure()
        self._raise_failure()
        self.counts.published += 1
        self._client.publish(topic, payload, qos=1, retain=retain)

    def publish_all(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """Publish messages in their order; see `publish`."""
        for topic, payload in messages:
            self.publish(topic, payload)

    def wait_for_all(self, timeout_s: float | None = None) -> bool:
        """Wait until every message is acknowledged; False when that takes longer than `timeout_s`.

        Raises
        ------
        PublishError
            The broker refused a message or the login.
        """
        while self.counts.acknowledged < self.counts.published:
            self._raise_failure()
            self._all_acknowledged.clear()
            if self.counts.acknowledged >= self.counts.published:
                break
            self._all_acknowledged.wait(_LOOK_S if timeout_s is None else min(timeout_s, _LOOK_S))
            if timeout_s is not None:
                timeout_s -= _LOOK_S
                if timeout_s <= 0:
                    break
        self._raise_failure()
        return self.counts.acknowledged >= self.counts.published

    def _wait_for_connection(self, timeout_s: float) -> None:
        while not self._connected.wait(_LOOK_S):
            self._raise_failure()
            timeout_s -= _LOOK_S
            if timeout_s <= 0:
                raise PublishError(
                    f"the broker at {self._address} accepts connections but does not speak MQTT"
                    + ("" if self._address.tls else "; is it a port for TLS, mqtts://?")
                )

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _close(self) -> None:
        self._closing = True
        self._client.disconnect()
        self._client.loop_stop()

    def _when_connected(
        self, _client: mqtt.Client, _data: Any, _flags: mqtt.ConnectFlags, code: ReasonCode, properties: Any
    ) -> None:
        first = not self._connected.is_set()
        if code.is_failure:
            if first or code.value in _FINAL:
                self._failure = PublishError(self._refusal(code))
                self._client.disconnect()
            return
        self._there = True
        if first:
            # Above the broker's Receive Maximum it would end the connection (MQTT 5, 3.3.4).
            allowed = getattr(properties, "ReceiveMaximum", 65535) if properties is not None else 65535
            self._window = min(self._window, allowed)
            # One alone, the rest of the window when it was acknowledged: Mosquitto 2.0 with unlimited queues closes
            # the connection behind the PUBACK of a refusal (process_bad_message in handle_publish.c), and what is
            # still in flight then resets it before the refusal is read.
            self._free.release()
            self._connected.set()
            return
        self._fruitless += 1
        if self._fruitless >= _FRUITLESS_CONNECTIONS:
            self._failure = PublishError(
                f"the broker at {self._address} closed the connection {self._fruitless} times without acknowledging "
                "a message; it may refuse what is published, see its log"
            )
            self._client.disconnect()
            return
        self._on_connection(True)

    def _refusal(self, code: ReasonCode) -> str:
        user, shown = self._address.username, self._address.tls_files.certificate
        if code.value in _LOGIN:
            who = f"the login of user {user}" if user is not None else "a connection without a login"
            if self._address.tls and shown is not None:
                who = f"{who} with the certificate {shown}"
            return (
                f"the broker at {self._address} refuses {who} ({code.getName().lower()}); "
                "correct user and password in its URL"
            )
        return f"the broker at {self._address} refuses the connection ({code.getName().lower()})"

    def _when_disconnected(
        self, _client: mqtt.Client, _data: Any, _flags: Any, _code: ReasonCode, _properties: Properties | None
    ) -> None:
        if self._there and not self._closing and self._failure is None:
            self._there = False
            self._on_connection(False)
            if self._tls is not None:
                # The broker may be back before a renewed pair is whole; the former is good until then.
                with contextlib.suppress(BrokerTlsError):
                    self._tls.renew()
        elif not self._there:
            self._when_refused()

    def _when_refused(self) -> None:
        """See whether an attempt to connect failed for its certificate, which no waiting mends."""
        if self._closing or self._failure is not None:
            return
        said = self._address.why_refused()
        if said:
            self._failure = PublishError(f"the broker at {self._address} {said}")
            self._client.disconnect()

    def _when_acknowledged(
        self, _client: mqtt.Client, _data: Any, _mid: int, code: ReasonCode, _properties: Properties | None
    ) -> None:
        if code.value >= _FAILURE:
            self._failure = PublishError(
                f"the broker at {self._address} refused a message ({code.getName().lower()}); "
                "the login may publish only below the topics of its own site"
                if code.value == 0x87
                else f"the broker at {self._address} refused a message ({code.getName().lower()})"
            )
            return
        self._fruitless = 0
        self.counts.acknowledged += 1
        if self.counts.acknowledged == 1 and self._window > 1:
            self._free.release(self._window - 1)
        if self._must_be_heard and code.value == _NO_MATCHING_SUBSCRIBERS:
            self._failure = PublishError(
                f"the broker at {self._address} keeps no message, because nobody subscribes to it; start "
                "`jcm-mrv collect` first: from then on the broker keeps a queue for it, also while it is away"
            )
        self._free.release()
        if self.counts.acknowledged >= self.counts.published:
            self._all_acknowledged.set()
