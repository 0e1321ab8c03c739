"""Take readings from the store to the broker: new ones at once, old ones behind them at a bounded rate.

Every connection begins with everything that is in the store, in the order of taking: what was taken meanwhile, what
was in flight, and what was acknowledged so short ago that the broker may have forgotten it. That is the back-fill. What
is taken from then on goes past it.
"""

import queue
import secrets
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.enums import CallbackAPIVersion

from devices import topics
from devices.errors import BrokerTlsError
from devices.gateway.clock import now
from devices.gateway.spool import Kept, Spool
from devices.mqtt_url import BrokerAddress
from devices.tls import ClientTls

log = structlog.get_logger()

_WINDOW = 200
# Of the window, kept free of old readings so that a new one never waits for them.
_FOR_LIVE = 50
_KEEPALIVE_S = 10
_CONNECT_S = 15
_RETRY_S = (1.0, 60.0)
_TICK_S = 0.1
_NO_MATCHING_SUBSCRIBERS = 0x10
_FAILURE = 0x80
_EVERY = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Options:
    """How readings are forwarded."""

    address: BrokerAddress
    site: str
    gateway: str
    version: Literal["3.1.1", "5"] = "5"
    backfill_per_s: float = 50.0
    grace_s: float = 30.0


@dataclass(slots=True)
class Counts:
    """What became of the readings since the start."""

    published: int = 0
    acknowledged: int = 0
    connections: int = 0


class _Lost(Exception):  # noqa: N818 - never leaves this module
    pass


class _HungUp(_Lost):
    """Before it answered."""


class _Renewed(Exception):  # noqa: N818 - never leaves this module
    pass


@dataclass(slots=True)
class _Lanes:
    """How far the store was sent over a connection."""

    old_up_to: int
    """Places up to here are back-fill."""
    old: int = 0
    live: int = 0
    in_flight: dict[int, int] = field(default_factory=dict)
    """Places by message id."""
    safe_soon: deque[tuple[float, int]] = field(default_factory=deque)
    """Acknowledged places, with the time of it."""
    heard: float = 0.0
    """When the broker last acknowledged something."""


class _Pace:
    """At most `rate` a second, and never more than a second's worth at once."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._saved = 1.0
        self._at = time.monotonic()

    def allowed(self) -> int:
        at = time.monotonic()
        self._saved = min(self._saved + (at - self._at) * self._rate, max(self._rate, 1.0))
        self._at = at
        return int(self._saved)

    def spend(self) -> None:
        self._saved -= 1


class Forwarder:
    """Publishes what is in a store until it is told to stop.

    Parameters
    ----------
    spool
        Where the readings are.
    options
        Where they go, and how fast.
    """

    def __init__(self, spool: Spool, options: Options) -> None:
        self.counts = Counts()
        self.connected = False
        self._spool = spool
        self._options = options
        self._ending = threading.Event()
        self._tls: ClientTls | None = None
        # What paho's thread says; its callbacks hold a lock that publishing needs, so they do nothing themselves.
        self._said: queue.SimpleQueue[tuple[str, int, int]] = queue.SimpleQueue()

    def run(self) -> None:
        """Connect, publish, connect again; return after `stop`."""
        retry_s = _RETRY_S[0]
        while not self._ending.is_set():
            before = self.counts.acknowledged
            try:
                self._one_connection()
            except BrokerTlsError as error:
                log.error("gateway_certificate_unusable", reason=str(error))  # noqa: TRY400 - no fault in the code
            except Exception:
                # Whatever it is, the devices are polled on, and what they say is kept.
                log.exception("gateway_forwarder_fault")
            retry_s = _RETRY_S[0] if self.counts.acknowledged > before else min(retry_s * 2, _RETRY_S[1])
            # Not all gateways of a fleet at the same moment.
            self._ending.wait(retry_s * (0.5 + secrets.randbelow(1000) / 1000))

    def stop(self) -> None:
        """End soon; what is not acknowledged stays in the store."""
        self._ending.set()

    def _one_connection(self) -> None:
        client = self._client()
        try:
            client.connect(self._options.address.host, self._options.address.port, keepalive=_KEEPALIVE_S)
        except (OSError, ValueError) as error:
            refused = self._options.address.why_refused(error) if isinstance(error, OSError) else ""
            self._tell_unconnected(refused, str(error))
            return
        client.loop_start()
        try:
            window = self._await_connection()
            self._spool.doubt()
            self.connected = True
            self.counts.connections += 1
            self._serve(client, window)
        except _Renewed:
            log.info("gateway_certificate_renewed", certificate=str(self._options.address.tls_files.certificate))
        except _HungUp as lost:
            self._tell_unconnected(self._options.address.why_refused(), str(lost))
        except _Lost as lost:
            if not self._ending.is_set():
                log.warning("gateway_broker_lost", broker=str(self._options.address), reason=str(lost))
        except sqlite3.Error as error:
            log.error("gateway_spool_failed", reason=str(error))  # noqa: TRY400 - a full disk is no fault in the code
        finally:
            self.connected = False
            client.disconnect()
            client.loop_stop()

    def _tell_unconnected(self, refused: str, reason: str) -> None:
        broker = str(self._options.address)
        if refused:
            log.error("gateway_broker_refused", broker=broker, reason=f"the broker {refused}")
        else:
            log.warning("gateway_broker_away", broker=broker, reason=reason)

    def _client(self) -> mqtt.Client:
        options = self._options
        # A new queue for each connection: what an old one still says is nobody's business.
        said = self._said = queue.SimpleQueue()
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"jcm-mrv-gateway-{options.site}-{options.gateway}",
            protocol=mqtt.MQTTv5 if options.version == "5" else mqtt.MQTTv311,
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(0)
        client.connect_timeout = _CONNECT_S
        if options.address.username is not None:
            client.username_pw_set(options.address.username, options.address.password)
        if options.address.tls:
            self._tls = ClientTls(options.address.tls_files)
            client.tls_set_context(self._tls.context)

        def when_connected(_client: Any, _data: Any, _flags: Any, code: Any, properties: Any) -> None:
            if code.is_failure:
                log.error("gateway_broker_refused", broker=str(options.address), reason=str(code))
                said.put(("refused", 0, code.value))
            else:
                log.info("gateway_broker_connected", broker=str(options.address))
                said.put(("connected", getattr(properties, "ReceiveMaximum", 65535), 0))

        client.on_connect = when_connected
        client.on_disconnect = lambda _client, _data, _flags, code, _properties: said.put(("lost", 0, code.value))
        client.on_publish = lambda _client, _data, mid, code, _properties: said.put(("puback", mid, code.value))
        return client

    def _await_connection(self) -> int:
        deadline = time.monotonic() + _CONNECT_S
        while not self._ending.is_set():
            try:
                what, number, _ = self._said.get(timeout=_TICK_S)
            except queue.Empty:
                if time.monotonic() > deadline:
                    raise _Lost("it takes the connection but does not speak MQTT") from None
                continue
            if what == "connected":
                return min(number, _WINDOW)
            raise _Lost("it refuses the login") if what == "refused" else _HungUp("it ended the connection")
        raise _Lost("the gateway stops")

    def _serve(self, client: mqtt.Client, window: int) -> None:
        newest = self._spool.newest()
        lanes = _Lanes(old_up_to=newest, live=newest, heard=time.monotonic())
        pace = _Pace(self._options.backfill_per_s)
        for_live = min(_FOR_LIVE, window // 4)
        purged = time.monotonic()
        while not self._ending.is_set():
            self._hear(lanes, _TICK_S)
            self._send_live(client, lanes, window)
            self._send_old(client, lanes, min(pace.allowed(), window - for_live - len(lanes.in_flight)), pace.spend)
            if time.monotonic() - purged >= 1:
                purged = time.monotonic()
                self._purge(lanes)
                self._date(lanes)
                self._look_for_renewal(lanes)
        self._leave(lanes)

    def _look_for_renewal(self, lanes: _Lanes) -> None:
        """Begin a new connection with a renewed certificate: should it fail, the former is not over yet."""
        try:
            renewed = self._tls is not None and self._tls.renew()
        except BrokerTlsError:
            # Half of a pair so far, or of a file; the connection that stands needs neither.
            return
        if renewed:
            self._leave(lanes)
            raise _Renewed

    def _send_live(self, client: mqtt.Client, lanes: _Lanes, window: int) -> None:
        room = window - len(lanes.in_flight)
        if room > 0:
            for kept in self._spool.pending(lanes.live, _EVERY, now().boot, room):
                lanes.live = kept.id
                self._publish(client, lanes, kept)

    def _send_old(self, client: mqtt.Client, lanes: _Lanes, room: int, spend: Callable[[], None]) -> None:
        if room <= 0 or lanes.old >= lanes.old_up_to:
            return
        batch = self._spool.pending(lanes.old, lanes.old_up_to, now().boot, room)
        for kept in batch:
            lanes.old = kept.id
            spend()
            self._publish(client, lanes, kept)
        if not batch:
            lanes.old = lanes.old_up_to

    def _publish(self, client: mqtt.Client, lanes: _Lanes, kept: Kept) -> None:
        info = client.publish(topics.readings(self._options.site, kept.device), kept.payload(), qos=1)
        lanes.in_flight[info.mid] = kept.id
        self.counts.published += 1

    def _hear(self, lanes: _Lanes, wait_s: float) -> None:
        """Take in what the broker said, waiting for the first of it."""
        try:
            said = self._said.get(timeout=wait_s)
            while True:
                self._take_in(lanes, *said)
                said = self._said.get_nowait()
        except queue.Empty:
            return

    def _take_in(self, lanes: _Lanes, what: str, number: int, code: int) -> None:
        if what == "lost":
            raise _Lost("it ended the connection, or was not heard of")
        if what != "puback" or number not in lanes.in_flight:
            return
        place = lanes.in_flight.pop(number)
        if code == _NO_MATCHING_SUBSCRIBERS:
            raise _Lost("it keeps no reading, because no collector has ever subscribed to it")
        if code >= _FAILURE:
            raise _Lost(f"it refuses a reading (reason 0x{code:02x}); may the login write below the site's topic?")
        lanes.heard = time.monotonic()
        lanes.safe_soon.append((lanes.heard, place))
        self._spool.acknowledge(place)
        self.counts.acknowledged += 1

    def _purge(self, lanes: _Lanes) -> None:
        """Forget what was acknowledged a grace before the broker was last heard of: it has saved it since."""
        safe: list[int] = []
        while lanes.safe_soon and lanes.safe_soon[0][0] <= lanes.heard - self._options.grace_s:
            safe.append(lanes.safe_soon.popleft()[1])
        if safe:
            self._spool.delete(safe)

    def _date(self, lanes: _Lanes) -> None:
        first = self._spool.date_held(now())
        if first is not None:
            log.info("gateway_readings_dated")
            lanes.old = min(lanes.old, first - 1)
            lanes.old_up_to = lanes.live = self._spool.newest()

    def _leave(self, lanes: _Lanes) -> None:
        deadline = time.monotonic() + 2
        try:
            while lanes.in_flight and time.monotonic() < deadline:
                self._hear(lanes, _TICK_S)
        except _Lost:
            return
        self._purge(lanes)
