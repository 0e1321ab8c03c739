"""The MQTT session: persistent, QoS 1, acknowledged by hand, and only on the connection that a message came on.

paho does the protocol, except PUBLISH and PUBACK, which are many (see `ingest.packets`); the loop is ours (its
`loop_read`, `loop_write`, `loop_misc`). Everything that touches the connection happens in one thread, so that the
check of a message's epoch and the sending of its PUBACK cannot be parted by a reconnect, and a fault ends the thread
where it can be seen: paho's own thread dies silently (paho #365, #704), and its `ack()` sends the number on whatever
connection is open.
"""

import contextlib
import select
import selectors
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from devices import topics
from devices.errors import BrokerTlsError
from devices.mqtt_url import BrokerAddress
from devices.tls import ClientTls
from ingest.backoff import Backoff
from ingest.errors import BrokerRefusedError, BrokerUnavailableError, IngestError, SessionFailedError
from ingest.inbox import Inbox, Received
from ingest.packets import MalformedPacketError, PacketReader
from ingest.subscriptions import PrimaryHost, Subscriptions

log = structlog.get_logger()

# A broker that accepts a connection and then says nothing is away: CONNACK and SUBACK must be there by then.
_HANDSHAKE_S = 15.0
_GOODBYE_S = 3.0
# What is read before acknowledgements are looked at again: some hundred messages.
_READ_BYTES = 65536
_NO_SUBSCRIPTION = "jcm/v1/none/none/none"
_PUBACK = struct.Struct(">BBH")


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What the session is; the client id must stay the same, the broker keeps the queue under it."""

    address: BrokerAddress
    client_id: str
    version: Literal["3.1.1", "5"] = "5"
    window: int = 4000
    """Receive Maximum (MQTT 5): most messages in flight without an acknowledgement."""
    session_expiry_s: int = 7 * 24 * 3600
    topic_filter: str = topics.FILTER
    """Narrower than all, such as `jcm/v1/<site>/#`, where sites are divided among collectors by name."""
    share_group: str = ""
    # paho notices a silent connection after two of these.
    keepalive_s: int = 20
    accept_qos_0: bool = False
    """Whether a broker may grant the subscription without acknowledgements: what is in flight is lost with a crash."""
    sparkplug_host_id: str = ""
    """The name under which `STATE` is published for edge nodes that wait for their primary host; empty: none."""

    @property
    def subscription(self) -> str:
        """The subscription."""
        return f"$share/{self.share_group}/{self.topic_filter}" if self.share_group else self.topic_filter


class _Client(mqtt.Client):
    """paho, that is handed packets instead of reading them from the socket itself."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.packet = b""
        self.ended = False

    def _sock_recv(self, bufsize: int) -> bytes:
        if not self.packet and not self.ended:
            raise BlockingIOError
        part, self.packet = self.packet[:bufsize], self.packet[bufsize:]
        return part


class Session:
    """A connection that comes back, and what arrives on it.

    Parameters
    ----------
    options
        Broker, login and session.
    inbox
        Where messages go.
    by_permit
        Whether each connection but the first waits for `permit`. The broker gives a client id to whoever connected
        last, so a collector must know that it is the only one before it comes back.
    """

    def __init__(self, options: SessionOptions, inbox: Inbox, *, by_permit: bool = False) -> None:
        self._options = options
        self._inbox = inbox
        self._backoff = Backoff()
        self._tls = ClientTls(options.address.tls_files) if options.address.tls else None
        self._client = self._make_client()
        self._thread = threading.Thread(target=self._run, name="jcm-mrv-mqtt", daemon=True)
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_out.setblocking(False)
        self._wake_in.setblocking(False)
        self._by_permit = by_permit
        self._permitted = threading.Event()
        self._permitted.set()
        self._ready = threading.Event()
        self._ended = threading.Event()
        self._stopping = threading.Event()
        self._draining = False
        self._failure: IngestError | None = None
        self._acknowledged: deque[Sequence[Received]] = deque()
        self._subscriptions = Subscriptions(
            options.topic_filter,
            options.share_group,
            five=options.version == "5",
            accept_qos_0=options.accept_qos_0,
            broker=str(options.address),
        )
        self._primary_host = PrimaryHost(options.sparkplug_host_id)
        self._outgoing: deque[tuple[str, bytes]] = deque()
        # The rest belongs to the network thread.
        self._epoch = 0
        self._live = 0
        self._reader = self._make_reader()
        self._subscribed = False
        self._pending = bytearray()
        self._paho_writes = False
        self._question: int | None = None
        self._answered = False
        self._refusal = self._loss = self._untrusted = ""
        self._count = 0
        self._beat = time.monotonic()

    @property
    def failure(self) -> IngestError | None:
        """Why the session ended, when it did not end by `stop`."""
        return self._failure

    @property
    def started(self) -> bool:
        """Whether the network thread was ever started."""
        return self._thread.ident is not None

    @property
    def received(self) -> int:
        """How many messages the broker has handed over since the start, on whatever connection."""
        return self._count

    @property
    def connected(self) -> bool:
        """Whether the subscription stands now."""
        return self._subscribed

    @property
    def wants_permit(self) -> bool:
        """Whether the connection is lost and `permit` is awaited."""
        return not self._permitted.is_set()

    def permit(self) -> None:
        """Let the session connect again."""
        self._permitted.set()

    def alive(self, within_s: float = 30.0) -> bool:
        """Whether the network thread runs and went round within `within_s`; knows nothing of the database."""
        return self._thread.is_alive() and time.monotonic() - self._beat < within_s

    def start(self) -> None:
        """Connect and subscribe; return when messages may come, so that somebody takes them from then on.

        With a session that the broker kept they come before its answer to the subscription; a refusal is then found in
        `failure`.

        Raises
        ------
        BrokerUnavailableError, BrokerRefusedError, SubscriptionRefusedError
            The first connection failed; later ones are tried again for ever.
        """
        self._thread.start()
        while not self._ready.wait(0.05):
            if self._ended.is_set():
                raise self._failure or SessionFailedError("the MQTT session ended before it began")

    def acknowledge(self, messages: Sequence[Received]) -> None:
        """Send a PUBACK for each message that came on the connection that stands; the broker repeats the others."""
        self._acknowledged.append(messages)
        self._wake()

    def hear(self, filters: Iterable[str]) -> None:
        """Subscribe to these as well as to our own topics, now and on every later connection.

        Unlike our own, a filter that the broker refuses is told in the log and costs no other.
        """
        self._subscriptions.want(filters)
        self._wake()

    def send(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 0 when the connection stands: a command that is late is asked for again."""
        self._outgoing.append((topic, payload))
        self._wake()

    def drain(self) -> None:
        """Take no new message; what the broker still sends stays unacknowledged and comes again next time."""
        self._draining = True

    def stop(self) -> None:
        """Send the acknowledgements that are left, disconnect and end the thread; the broker keeps the session."""
        self._draining = True
        self._stopping.set()
        self._inbox.close()
        self._wake()
        if self._thread.ident is not None:
            self._thread.join(_GOODBYE_S + 2)
        if not self._thread.is_alive():
            self._wake_out.close()
            self._wake_in.close()

    def _wake(self) -> None:
        # A full buffer wakes as well as one byte more would; a closed one has nobody to wake.
        with contextlib.suppress(OSError):
            self._wake_in.send(b"\0")

    def _make_client(self) -> _Client:
        options = self._options
        five = options.version == "5"
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=options.client_id,
            clean_session=None if five else False,
            protocol=mqtt.MQTTv5 if five else mqtt.MQTTv311,
            manual_ack=True,
            reconnect_on_failure=False,
        )
        if self._tls is not None:
            client.tls_set_context(self._tls.context)
        if options.address.username is not None:
            client.username_pw_set(options.address.username, options.address.password)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_unsubscribe
        client.on_disconnect = self._on_disconnect
        # With this set, paho leaves every write to our loop.
        client.on_socket_register_write = lambda *_: None
        properties = None
        if five:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = options.session_expiry_s
            properties.ReceiveMaximum = options.window
        client.connect_async(
            options.address.host,
            options.address.port,
            options.keepalive_s,
            clean_start=False if five else mqtt.MQTT_CLEAN_START_FIRST_ONLY,
            properties=properties,
        )
        return client

    def _run(self) -> None:
        try:
            self._stay_connected()
        except IngestError as error:
            self._failure = error
        except Exception as error:
            log.exception("mqtt_thread_failed")
            self._failure = SessionFailedError(
                f"the MQTT thread failed by {type(error).__name__}: {error}; nothing is lost, start again and report it"
            )
        finally:
            self._subscribed = False
            self._ended.set()
            self._inbox.close()

    def _stay_connected(self) -> None:
        while not self._stopping.is_set():
            self._refusal = self._loss = self._untrusted = ""
            epoch = self._epoch
            self._primary_host.before_connect(self._client)
            self._renew_certificate()
            try:
                self._client.reconnect()
            except OSError as error:
                self._loss = error.strerror or str(error)
                self._untrusted = self._options.address.why_refused(error)
            else:
                self._serve()
                if self._epoch == epoch and not (self._refusal or self._stopping.is_set()):
                    self._untrusted = self._options.address.why_refused()
            if self._stopping.is_set():
                return
            if not self._ready.is_set():
                raise self._first_failure()
            if self._by_permit:
                self._permitted.clear()
            wait_s = self._backoff.next()
            if refusal := self._refusal or self._untrusted:
                log.error("broker_refused", broker=str(self._options.address), reason=refusal, retry_s=wait_s)
            else:
                log.warning("broker_lost", broker=str(self._options.address), reason=self._loss, retry_s=wait_s)
            self._beat = time.monotonic() + wait_s
            self._stopping.wait(wait_s)
            while not (self._permitted.wait(0.1) or self._stopping.is_set()):
                self._beat = time.monotonic()

    def _renew_certificate(self) -> None:
        try:
            if self._tls is not None and self._tls.renew():
                log.info("client_certificate_renewed", certificate=str(self._options.address.tls_files.certificate))
        except BrokerTlsError as error:
            # The former is shown again; it may hold for some time yet.
            log.warning("client_certificate_unusable", reason=str(error))

    def _first_failure(self) -> IngestError:
        address = self._options.address
        if self._untrusted:
            return BrokerRefusedError(f"the broker {address} {self._untrusted}")
        if self._refusal:
            login = f"the login {address.username}" if address.username else "a client without login"
            return BrokerRefusedError(
                f"the broker {address} refuses {login} ({self._refusal}); "
                "correct JCM_MRV_MQTT_URL or the users of the broker"
            )
        return BrokerUnavailableError(
            f"the broker {address} does not answer ({self._loss or 'no reason given'}); "
            "start it or correct JCM_MRV_MQTT_URL"
        )

    def _serve(self) -> None:
        """Carry one connection until it ends."""
        stream: Any = self._client.socket()
        self._reader = self._make_reader()
        self._client.packet, self._client.ended = b"", False
        tls = isinstance(stream, ssl.SSLSocket)
        deadline, count = time.monotonic() + _HANDSHAKE_S, self._count
        misc_at = 0.0
        interest = selectors.EVENT_READ
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(stream, interest)
                selector.register(self._wake_out, selectors.EVENT_READ)
                while self._flush(stream):
                    if self._stopping.is_set():
                        self._say_goodbye(stream)
                        return
                    wanted = selectors.EVENT_READ
                    if self._pending or self._client.want_write():
                        wanted |= selectors.EVENT_WRITE
                    if wanted != interest:
                        interest = wanted
                        selector.modify(stream, wanted)
                    ready = {key.fileobj for key, _ in selector.select(0 if tls and stream.pending() else 1.0)}
                    if self._wake_out in ready:
                        self._wake_out.recv(4096)
                    if stream in ready or tls:
                        self._read(stream)
                    now = self._beat = time.monotonic()
                    if now - misc_at >= 1:
                        misc_at = now
                        self._client.loop_misc()
                    if self._count != count:
                        count, deadline = self._count, now + _HANDSHAKE_S
                    if not self._subscribed and now > deadline:
                        self._loss = self._loss or f"no answer within {_HANDSHAKE_S:g} s"
                        return
        finally:
            # From here on the acknowledgements of this connection are void; the broker sends those messages again.
            self._live = 0
            self._subscribed = False
            self._pending.clear()
            self._paho_writes = False
            # Whatever ended it, the broker is not left with a connection that nobody reads.
            stream.close()

    def _read(self, stream: Any) -> None:
        try:
            data = stream.recv(_READ_BYTES)
            messages = self._reader.feed(data, time.time())
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except (OSError, MalformedPacketError) as error:
            self._loss = self._loss or str(error)
            data = b""
        if not data:
            # paho is shown the end of the stream, and then tidies up.
            self._client.ended = True
            self._client.loop_read()
            return
        self._count += len(messages)
        if self._draining:
            messages = [message for message in messages if not message.qos]
        self._inbox.put(*messages)

    def _make_reader(self) -> PacketReader:
        return PacketReader(five=self._options.version == "5", other=self._leave_to_paho)

    def _leave_to_paho(self, packet: bytes) -> None:
        self._client.packet = packet
        while self._client.packet and self._client.loop_read() == mqtt.MQTT_ERR_SUCCESS:
            pass

    def _flush(self, stream: Any) -> bool:
        """Write what is to be written: one `send` for all acknowledgements, and what paho has of its own.

        paho sends each PUBACK by itself. Neither may cut into a packet of the other that is half sent.
        Return whether the connection still stands.
        """
        if self._live:
            self._subscriptions.follow(self._client)
            while self._outgoing:
                self._client.publish(*self._outgoing.popleft())
        while self._acknowledged:
            live = self._live
            for message in self._acknowledged.popleft():
                if message.epoch == live and message.qos:
                    self._pending += _PUBACK.pack(0x40, 2, message.mid)
        if self._paho_writes:
            self._client.loop_write()
            self._paho_writes = self._client.want_write()
        if self._pending and not self._paho_writes:
            try:
                del self._pending[: stream.send(self._pending)]
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                pass
            except OSError:
                # paho meets the same on its next read and ends the connection.
                self._pending.clear()
        if not self._pending and self._client.want_write():
            self._client.loop_write()
            self._paho_writes = self._client.want_write()
        return self._client.socket() is stream

    def _say_goodbye(self, stream: Any) -> None:
        """Disconnect when the broker has read every acknowledgement.

        Closing a socket while something unread lies in it resets the connection, and the broker then throws away what
        it has not read itself. Its answer to a question after the last PUBACK tells that it has read them all; the
        question is one that changes nothing, the end of a subscription that never was.
        """
        deadline = time.monotonic() + _GOODBYE_S
        self._primary_host.offline(self._client)
        _, self._question = self._client.unsubscribe(_NO_SUBSCRIPTION)
        while self._flush(stream) and not self._answered and time.monotonic() < deadline:
            select.select([stream], [], [], 0 if self._pending else 0.02)
            self._read(stream)
        if self._client.socket() is stream:
            self._client.disconnect()
        while self._flush(stream) and time.monotonic() < deadline:
            time.sleep(0.01)

    def _on_connect(
        self, client: mqtt.Client, _data: Any, flags: mqtt.ConnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
            return
        self._epoch += 1
        self._live = self._reader.epoch = self._epoch
        log.info(
            "broker_connected",
            broker=str(self._options.address),
            version=self._options.version,
            session_present=flags.session_present,
        )
        if flags.session_present:
            self._ready.set()
        elif self._ready.is_set():
            log.warning("broker_lost_session", client_id=self._options.client_id)
        self._subscriptions.renew(client)
        self._primary_host.online(client)

    def _on_subscribe(
        self, _client: mqtt.Client, _data: Any, mid: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        if self._subscriptions.answered(mid, reasons):
            self._subscribed = True
            self._backoff.reset()
            self._ready.set()

    def _on_unsubscribe(self, _client: mqtt.Client, _data: Any, mid: int, _reasons: Any, _properties: Any) -> None:
        self._answered = mid == self._question

    def _on_disconnect(
        self, _client: mqtt.Client, _data: Any, _flags: mqtt.DisconnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        self._live = 0
        self._loss = self._loss or str(reason)
