"""Listening to a broker for a while, without a trace: no session is left behind, nothing is acknowledged for others."""

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from devices.decoding.vectors import Said
from devices.errors import ListenError
from devices.mqtt_url import BrokerAddress

_HANDSHAKE_S = 15.0


def listen(
    address: BrokerAddress,
    topic_filter: str,
    *,
    seconds: float,
    most: int,
    tell: Callable[[int], object] = lambda _: None,
    stopped: Callable[[], bool] = lambda: False,
) -> list[Said]:
    """Take messages until `seconds` have passed, `most` have come, or `stopped` says so.

    Parameters
    ----------
    address
        The broker and a login that may read.
    topic_filter
        A subscription, `+` and `#` allowed.
    tell
        Called with how many have come, about every quarter of a second.

    Raises
    ------
    ListenError
        The broker does not answer, or refuses the login or the subscription.
    """
    listener = _Listener(address, topic_filter, most)
    listener.start()
    try:
        listener.wait(lambda: listener.subscribed or stopped(), _HANDSHAKE_S)
        if not listener.subscribed and not listener.problem and not stopped():
            raise ListenError(f"the broker {address} does not answer within {_HANDSHAKE_S:g} s")

        def enough() -> bool:
            tell(len(listener.heard))
            return len(listener.heard) >= most or stopped()

        listener.wait(enough, seconds)
    finally:
        listener.stop()
    if listener.problem:
        raise ListenError(listener.problem)
    return listener.heard


class _Listener:
    def __init__(self, address: BrokerAddress, topic_filter: str, most: int) -> None:
        self._address = address
        self._filter = topic_filter
        self._most = most
        self.heard: list[Said] = []
        self.problem = ""
        self.subscribed = False
        self._connected = False
        name = f"jcm-mrv-listen-{uuid.uuid4().hex[:8]}"
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
        self._client.username_pw_set(address.username, address.password)
        if address.tls:
            self._client.tls_set_context(address.tls_context())
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def start(self) -> None:
        try:
            self._client.connect(self._address.host, self._address.port)
        except OSError as error:
            said = self._address.why_refused(error)
            if said:
                raise ListenError(f"the broker {self._address} {said}") from None
            reason = error.strerror or str(error)
            raise ListenError(
                f"the broker {self._address} does not answer ({reason}); start it or correct JCM_MRV_MQTT_URL"
            ) from None
        except ValueError as error:
            raise ListenError(f"{self._filter!r} cannot be listened to: {error}") from None
        self._client.loop_start()

    def wait(self, done: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self.problem and not done() and time.monotonic() < end:
            time.sleep(min(0.25, max(0.0, end - time.monotonic())))

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        if reason.is_failure:
            self.problem = f"the broker {self._address} refuses the login ({reason}); correct JCM_MRV_MQTT_URL"
            return
        self._connected = True
        try:
            client.subscribe(self._filter, qos=0)
        except ValueError:
            self.problem = f"{self._filter!r} is no topic filter: + and # stand for whole levels, # for the last one"

    def _on_disconnect(self, *_: Any) -> None:
        if not self._connected and not self.problem:
            said = self._address.why_refused()
            self.problem = f"the broker {self._address} {said}" if said else ""

    def _on_subscribe(
        self, _client: mqtt.Client, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            self.problem = f"the broker {self._address} refuses the subscription {self._filter} ({reasons[0]})"
        self.subscribed = True

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        if len(self.heard) < self._most:
            payload = bytes(message.payload)
            self.heard.append(Said(message.topic, payload, message.retain, datetime.now(UTC), message.dup))
