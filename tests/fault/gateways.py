"""Simulated site gateways: MQTT 5 on bare sockets, numbered readings, store and forward.

A process of its own (`python -m tests.fault.gateways`), so that the load is no part of what is measured. What a gateway
here does is what `docs/faults.md` asks of a careful one:

- it publishes with QoS 1 and sends again, with the same content, what the broker did not acknowledge;
- an acknowledgement that says "no matching subscribers" (0x10) counts as none: the broker kept nothing;
- it keeps what was acknowledged for a while. After a lost connection it sends the last `resend_s` seconds of it again;
  when the broker does not know its session any more (`session_present=0`), all of it.
"""

import json
import os
import random
import selectors
import socket
import struct
import sys
import time
from array import array
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path

from devices import topics

START_MS = 1_767_225_600_000
_NO_SUBSCRIBERS = 0x10
_SILENCE_S = 15.0
_TICK_S = 0.005


@dataclass(frozen=True)
class Plan:
    host: str
    port: int
    user: str
    password: str
    name: str
    """Of the run; part of the client ids."""
    sites: list[str]
    device: str
    readings: int
    """In total; every gateway sends its share of them."""
    rate: float
    """Of all gateways together, readings a second."""
    careful: bool = True
    resend_s: float = 10.0
    keep_s: float = 1800.0
    window: int = 200
    seed: int = 0
    most: int = 0
    """How many to publish before more are allowed; 0: all. It keeps a load going on until a fault has come."""
    record: str = ""
    """Where to write when each reading was first acknowledged (CLOCK_MONOTONIC), as doubles, gateway by gateway."""

    @property
    def share(self) -> int:
        return self.readings // len(self.sites)


@dataclass
class Progress:
    most: int = 0
    """Readings that may be published by now."""
    published: int = 0
    """Readings sent at least once."""
    acknowledged: int = 0
    """Readings acknowledged at least once by a broker that had a subscriber for them."""
    sent: int = 0
    """Messages, with all repetitions."""
    connections: int = 0
    forgotten: int = 0
    """Connections on which the broker did not know the session any more."""
    unheard: int = 0
    """Acknowledgements that said that nobody subscribes."""
    done: bool = False


def payload(number: int, clock_ms: int = START_MS) -> bytes:
    """What a gateway sends for a number: the same bytes each time."""
    return b'{"ts":%d,"seq":%d,"points":{"W":100.5,"TotWhExp":%d}}' % (clock_ms + 1000 * number, number, 1000 + number)


def _length(count: int) -> bytes:
    return bytes([count]) if count < 128 else bytes([count & 127 | 128, count >> 7])


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack(">H", len(data)) + data


class Gateway:
    def __init__(self, plan: Plan, site: str, progress: Progress, selector: selectors.BaseSelector) -> None:
        self._plan, self._progress, self._selector = plan, progress, selector
        self._chance = random.Random(f"{plan.seed} {site}")
        topic = _text(topics.readings(site, plan.device))
        self._head = topic
        body = _text("MQTT") + bytes([5, 0xC0]) + struct.pack(">H", 60)
        body += b"\x05\x11" + struct.pack(">I", 7 * 24 * 3600)  # a session expiry: the session is ours to find again
        body += _text(f"{plan.name}-{site}") + _text(plan.user) + _text(plan.password)
        self._hello = b"\x10" + _length(len(body)) + body
        self.acknowledged_at = array("d", bytes(8 * plan.share))
        self._next = 0
        self._again: deque[int] = deque()
        self._later: deque[tuple[float, int]] = deque()
        self._kept: deque[tuple[float, int]] = deque()
        self._inflight: dict[int, int] = {}
        self._acknowledged = 0
        self._mid = 0
        self._socket: socket.socket | None = None
        self._connected = False
        self._wanted = selectors.EVENT_READ
        self._in, self._out = b"", bytearray()
        self._heard = self._retry_at = self._answered_at = time.monotonic()
        self._new = True

    @property
    def done(self) -> bool:
        return self._acknowledged == self._plan.share and not (self._again or self._later or self._inflight)

    @property
    def hungry(self) -> bool:
        """Whether it has something to send and may send it."""
        return (
            self._connected
            and len(self._inflight) < self._plan.window
            and bool(self._again or (self._next < self._plan.share and self._progress.published < self._progress.most))
        )

    def look(self, now: float) -> None:
        """Do what is due by the clock."""
        if self._socket is None:
            if now >= self._retry_at:
                self._connect(now)
        elif (self._inflight or not self._connected) and now - self._heard > _SILENCE_S:
            self._lose(now)
        while self._later and self._later[0][0] <= now:
            self._again.append(self._later.popleft()[1])

    def publish(self) -> None:
        if self._again:
            number = self._again.popleft()
        else:
            number = self._next
            self._next += 1
            self._progress.published += 1
        self._mid = self._mid % 65535 + 1
        while self._mid in self._inflight:
            self._mid = self._mid % 65535 + 1
        self._inflight[self._mid] = number
        body = b"%b%b\0%b" % (self._head, self._mid.to_bytes(2, "big"), payload(number))
        self._out += b"\x32" + _length(len(body)) + body
        self._progress.sent += 1

    def flush(self) -> None:
        if self._socket is None:
            return
        if self._out:
            try:
                del self._out[: self._socket.send(self._out)]
            except BlockingIOError:
                pass
            except OSError:
                self._lose(time.monotonic())
                return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
        if wanted != self._wanted:
            self._wanted = wanted
            self._selector.modify(self._socket, wanted, self)

    def read(self) -> None:
        now = time.monotonic()
        try:
            data = self._socket.recv(65536) if self._socket is not None else b""
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose(now)
            return
        self._heard = now
        data = self._in + data
        at = 0
        while len(data) - at >= 2 and len(data) - at >= 2 + data[at + 1]:
            kind, size = data[at], data[at + 1]
            if kind == 0x40:
                self._when_acknowledged(data[at + 2] << 8 | data[at + 3], data[at + 4] if size > 2 else 0, now)
            elif kind == 0x20:
                self._when_connected(data[at + 2] & 1, data[at + 3], now)
            at += 2 + size
        self._in = data[at:]

    def _connect(self, now: float) -> None:
        self._socket = socket.socket()
        self._socket.setblocking(False)
        self._socket.connect_ex((self._plan.host, self._plan.port))
        self._in, self._out = b"", bytearray(self._hello)
        self._heard = now
        self._wanted = selectors.EVENT_READ | selectors.EVENT_WRITE
        self._selector.register(self._socket, self._wanted, self)

    def _lose(self, now: float) -> None:
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
        self._socket, self._connected = None, False
        self._again.extendleft(reversed(self._inflight.values()))
        self._inflight.clear()
        self._retry_at = now + self._chance.uniform(0.1, 0.6)

    def _when_connected(self, session_present: int, reason: int, now: float) -> None:
        if reason:
            self._lose(now)
            return
        self._progress.connections += 1
        self._connected = True
        first, self._new = self._new, False
        if first:
            return
        if not session_present:
            self._progress.forgotten += 1
        if not self._plan.careful:
            return
        again = []
        if not session_present:
            again = [number for _, number in self._kept]
            self._kept.clear()
        else:
            # What was acknowledged shortly before the last acknowledgement is in doubt, however long ago that was.
            since = self._answered_at - self._plan.resend_s
            while self._kept and self._kept[-1][0] >= since:
                again.append(self._kept.pop()[1])
            again.reverse()
        self._again.extend(again)

    def _when_acknowledged(self, mid: int, reason: int, now: float) -> None:
        number = self._inflight.pop(mid, None)
        if number is None:
            return
        self._answered_at = now
        if reason == _NO_SUBSCRIBERS:
            self._progress.unheard += 1
            self._later.append((now + 0.5, number))
            return
        assert reason == 0, f"the broker refused a message: {reason:#x}"
        if not self.acknowledged_at[number]:
            self.acknowledged_at[number] = now
            self._acknowledged += 1
            self._progress.acknowledged += 1
        self._kept.append((now, number))
        while self._kept[0][0] < now - self._plan.keep_s:
            self._kept.popleft()


def run(plan: Plan) -> None:
    """Publish everything, and go on repeating what is in doubt until standard input is closed.

    A line of standard input is the number of readings that may be published from then on.
    """
    progress = Progress(most=plan.most or plan.readings)
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ, None)
    gateways = [Gateway(plan, site, progress, selector) for site in plan.sites]
    told_at = tick_at = time.monotonic()
    allowed = 0.0
    while True:
        for key, _ in selector.select(_TICK_S):
            if key.data is not None:
                key.data.read()
            elif said := os.read(sys.stdin.fileno(), 4096):
                progress.most = int(said.split()[-1])
            else:
                _record(plan, gateways)
                return
        now = time.monotonic()
        for gateway in gateways:
            gateway.look(now)
        # A second's worth at most is made up for after a pause.
        allowed = min(allowed + (now - tick_at) * plan.rate, plan.rate)
        tick_at = now
        hungry = [gateway for gateway in gateways if gateway.hungry]
        while allowed >= 1 and hungry:
            for gateway in hungry:
                gateway.publish()
            allowed -= len(hungry)
            hungry = [gateway for gateway in hungry if gateway.hungry]
        for gateway in gateways:
            gateway.flush()
        if now - told_at >= 0.05:
            told_at = now
            progress.done = all(gateway.done for gateway in gateways)
            sys.stdout.write(json.dumps(asdict(progress)) + "\n")
            sys.stdout.flush()


def _record(plan: Plan, gateways: list[Gateway]) -> None:
    if plan.record:
        with Path(plan.record).open("wb") as file:
            for gateway in gateways:
                gateway.acknowledged_at.tofile(file)


if __name__ == "__main__":
    run(Plan(**json.loads(sys.stdin.readline())))
