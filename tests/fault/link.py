"""A TCP proxy that can become a black hole: packets vanish, nothing is closed, nothing is refused.

A proxy that only stops copying still acknowledges what it is sent: its kernel does. So here the kernel is told to drop
every packet that arrives on the proxy's sockets (a socket filter that accepts zero bytes), which needs no privilege and
looks from both ends like a cable that was pulled: neither data nor FIN nor RST gets through, new connections hang.
"""

import contextlib
import ctypes
import selectors
import socket
import struct
import threading
from collections.abc import Callable

_ATTACH, _DETACH = 26, 27  # SO_ATTACH_FILTER, SO_DETACH_FILTER
_DROP = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF_RET | BPF_K: keep 0 bytes
_CHUNK = 1 << 18


def drop_all(stream: socket.socket) -> None:
    stream.setsockopt(socket.SOL_SOCKET, _ATTACH, struct.pack("HP", 1, ctypes.addressof(_DROP)))


def drop_none(stream: socket.socket) -> None:
    with contextlib.suppress(OSError):
        stream.setsockopt(socket.SOL_SOCKET, _DETACH, 0)


class _End:
    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self.other: _End | None = None
        self.out = bytearray()
        self.events = selectors.EVENT_READ


class Link:
    """Forwards a port of its own to `target()`."""

    def __init__(self, target: Callable[[], tuple[str, int]]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._ends: set[_End] = set()
        self._hole = False
        self._lock = threading.Lock()
        self._closing = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Let every packet vanish from now on."""
        with self._lock:
            self._hole = True
            for stream in self._streams():
                drop_all(stream)

    def mend(self, *, reset: bool) -> None:
        """Forward again; with `reset` the old connections are ended first, as by a router that forgot them."""
        with self._lock:
            for stream in self._streams():
                drop_none(stream)
            if reset:
                for end in list(self._ends):
                    self._drop(end)
            self._hole = False

    def reset(self) -> None:
        """End every connection."""
        with self._lock:
            for end in list(self._ends):
                self._drop(end)

    def close(self) -> None:
        self._closing = True
        self._thread.join(5)
        self.reset()
        self._listener.close()

    def _streams(self) -> list[socket.socket]:
        return [self._listener, *(end.stream for end in self._ends)]

    def _run(self) -> None:
        while not self._closing:
            ready = self._selector.select(0.1)
            with self._lock:
                if self._hole:
                    ready = []
                for key, events in ready:
                    if key.data is None:
                        self._accept()
                    elif key.data in self._ends:
                        self._serve(key.data, events)
            if self._hole:
                threading.Event().wait(0.02)

    def _accept(self) -> None:
        try:
            stream, _ = self._listener.accept()
        except OSError:
            return
        try:
            onward = socket.create_connection(self._target(), 2)
        except OSError:
            # What a caller sees of a server that is down: the connection is reset.
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.close()
            return
        one, other = _End(stream), _End(onward)
        one.other, other.other = other, one
        for end in (one, other):
            end.stream.setblocking(False)
            end.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._ends.add(end)
            self._selector.register(end.stream, selectors.EVENT_READ, end)

    def _serve(self, end: _End, events: int) -> None:
        other = end.other
        assert other is not None
        if events & selectors.EVENT_READ:
            try:
                data = end.stream.recv(_CHUNK)
            except BlockingIOError:
                data = None
            except OSError:
                data = b""
            if data == b"":
                self._drop(end)
                return
            if data:
                other.out += data
                self._send(other)
        if events & selectors.EVENT_WRITE and end in self._ends:
            self._send(end)

    def _send(self, end: _End) -> None:
        try:
            del end.out[: end.stream.send(end.out)]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(end)
            return
        assert end.other is not None
        self._watch(end)
        # While one side does not take it, the other is not read: no buffer grows.
        self._watch(end.other)

    def _watch(self, end: _End) -> None:
        assert end.other is not None
        events = (0 if end.other.out else selectors.EVENT_READ) | (selectors.EVENT_WRITE if end.out else 0)
        if events and end.events:
            self._selector.modify(end.stream, events, end)
        elif events:
            self._selector.register(end.stream, events, end)
        elif end.events:
            self._selector.unregister(end.stream)
        end.events = events

    def _drop(self, end: _End) -> None:
        for one in (end, end.other):
            if one is not None and one in self._ends:
                self._ends.discard(one)
                if one.events:
                    self._selector.unregister(one.stream)
                one.stream.close()
