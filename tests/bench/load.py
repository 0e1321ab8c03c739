"""Messages, published as fast as a broker takes them: packets made beforehand, acknowledgements only counted."""

import json
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta

from devices import mqtt_url, topics
from tests.bench.lab import place

START = datetime(2026, 1, 1, tzinfo=UTC)
Payloads = Iterable[tuple[str, bytes]]


def reading(number: int, step: int) -> dict:
    """The reading with this number: five points, as a string inverter sends."""
    return {
        "ts": (START + timedelta(seconds=step)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seq": number,
        "points": {
            "W": 1234.5 + number % 100,
            "TotWhExp": 9876543 + number,
            "Hz": 50.01,
            "PhVphA": 231.4,
            "A": 5.37,
        },
    }


def singles(count: int, devices: int, *, first: int = 0) -> Iterator[tuple[str, bytes]]:
    """Messages of one reading; the devices take turns, and each round of them is one second."""
    names = [topics.readings(*place(number)) for number in range(min(devices, count))]
    for number in range(first, first + count):
        step, device = divmod(number, len(names))
        yield names[device], json.dumps(reading(number, step)).encode()


def arrays(count: int, devices: int, size: int = 60) -> Iterator[tuple[str, bytes]]:
    """Messages of `size` readings, as a gateway sends every minute."""
    names = [topics.readings(*place(number)) for number in range(devices)]
    for number in range(count):
        minute, device = divmod(number, devices)
        readings = [reading(number * size + n, minute * size + n) for n in range(size)]
        yield names[device], json.dumps(readings).encode()


def publish(url: str, messages: Payloads, *, window: int = 2000, rate: float = 0) -> int:
    """Publish with QoS 1 over MQTT 3.1.1 and return when the broker has acknowledged all.

    Parameters
    ----------
    rate
        Messages a second; 0 for as fast as possible.
    """
    address = mqtt_url.parse(url)
    with socket.create_connection((address.host, address.port), timeout=60) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.sendall(_connect(f"bench-{time.monotonic_ns():x}", address.username or "", address.password or ""))
        assert stream.recv(4) == b"\x20\x02\x00\x00"
        acknowledged = Acknowledgements(stream)
        sent, begun = 0, time.monotonic()
        pending: list[bytes] = []
        for topic, payload in messages:
            pending.append(packet(topic, payload, sent % 65535 + 1))
            sent += 1
            due = rate and begun + sent / rate - time.monotonic()
            if len(pending) == 200 or due > 0:
                stream.sendall(b"".join(pending))
                pending.clear()
                acknowledged.until(sent - window)
            if due > 0:
                # Some at once and then a rest, as many gateways together look; a sleep a message would be a load.
                time.sleep(max(due, 0.001))
        stream.sendall(b"".join(pending))
        acknowledged.until(sent)
        stream.sendall(b"\xe0\x00")
    return sent


class Acknowledgements:
    """Counts the PUBACKs of MQTT 3.1.1, four bytes each."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._bytes = 0

    def until(self, wanted: int) -> None:
        while self._bytes < 4 * wanted:
            got = len(self._stream.recv(65536))
            assert got, "the broker closed the connection"
            self._bytes += got


def subscribe(url: str, client_id: str, *, five: bool, expiry_s: int = 3600) -> None:
    """Make a persistent session with a QoS 1 subscription to everything, and leave it to the broker."""
    address = mqtt_url.parse(url)
    with socket.create_connection((address.host, address.port), timeout=30) as stream:
        stream.sendall(
            _connect(client_id, address.username or "", address.password or "", keep=True, five=five, expiry_s=expiry_s)
        )
        _answer(stream, 0x20)
        topic = _text(topics.FILTER)
        body = b"\x00\x01" + (b"\x00" if five else b"") + topic + b"\x01"
        stream.sendall(bytes([0x82, len(body)]) + body)
        _answer(stream, 0x90)
        stream.sendall(b"\xe0\x00")


def forget(url: str, client_id: str) -> None:
    """Let the broker forget a session."""
    address = mqtt_url.parse(url)
    with socket.create_connection((address.host, address.port), timeout=30) as stream:
        stream.sendall(_connect(client_id, address.username or "", address.password or ""))
        _answer(stream, 0x20)
        stream.sendall(b"\xe0\x00")


def packet(topic: str, payload: bytes, mid: int) -> bytes:
    """A PUBLISH of QoS 1."""
    body = _text(topic) + struct.pack(">H", mid) + payload
    return b"\x32" + _length(len(body)) + body


def _connect(
    client_id: str, user: str, password: str, *, keep: bool = False, five: bool = False, expiry_s: int = 0
) -> bytes:
    flags = (0xC0 if user else 0) | (0 if keep else 2)
    properties = struct.pack(">BBI", 5, 0x11, expiry_s) if five else b""
    body = (
        _text("MQTT")
        + bytes([5 if five else 4, flags, 0, 120])
        + properties
        + _text(client_id)
        + (_text(user) + _text(password) if user else b"")
    )
    return b"\x10" + _length(len(body)) + body


def _answer(stream: socket.socket, kind: int) -> None:
    head = stream.recv(2, socket.MSG_WAITALL)
    assert head[0] == kind, head
    rest = stream.recv(head[1], socket.MSG_WAITALL)
    assert kind != 0x20 or rest[1] == 0, rest


def _text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack(">H", len(encoded)) + encoded


def _length(length: int) -> bytes:
    out = bytearray()
    while True:
        length, digit = divmod(length, 128)
        out.append(digit | 0x80 if length else digit)
        if not length:
            return bytes(out)


def timed(work: Callable[[], int]) -> float:
    """What work does a second."""
    begun = time.monotonic()
    return work() / (time.monotonic() - begun)
