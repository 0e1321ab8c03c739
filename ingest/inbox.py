"""What was received and not yet taken: between the MQTT thread and the batch."""

import threading
import time
from collections import deque
from typing import NamedTuple


class Received(NamedTuple):
    """One message as the broker handed it over."""

    epoch: int
    """The connection that it came on; an acknowledgement is good on that one only."""
    mid: int
    topic: str
    payload: bytes
    qos: int
    retained: bool
    redelivered: bool
    arrived_at: float
    """The collector's clock, seconds since 1970."""


class Inbox:
    """A queue for one writer and one reader that wakes the reader once a batch, not once a message.

    Parameters
    ----------
    bound
        From here on `put` blocks. A broker that respects the window never reaches it; with MQTT 3.1.1 the window is
        the broker's alone, and then a full inbox must stop the reading from the socket, not grow.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._messages: deque[Received] = deque()
        self._wake = threading.Event()
        self._room = threading.Event()
        self._wanted = 1
        self._closed = False

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, *messages: Received) -> None:
        """Add messages; called by the MQTT thread only."""
        added = 0
        while added < len(messages):
            while len(self._messages) >= self._bound and not self._closed:
                self._room.clear()
                if len(self._messages) >= self._bound:
                    self._room.wait(0.1)
            room = len(messages) if self._closed else self._bound - len(self._messages)
            self._messages.extend(messages[added : added + room])
            added += room
            if len(self._messages) >= self._wanted:
                self._wake.set()

    def close(self) -> None:
        """Wake whoever waits: what is here can still be taken, nothing more will come."""
        self._closed = True
        self._wake.set()
        self._room.set()

    def take(self, most: int, most_bytes: int, linger_s: float, idle_s: float) -> list[Received]:
        """Wait for messages and take a batch; empty after `idle_s` without any, or when closed and empty.

        Parameters
        ----------
        most, most_bytes
            A batch ends with this many messages, or with the message that reaches this many bytes of payload.
        linger_s
            How long to wait for more after the first.
        """
        if not self._await(1, idle_s):
            return []
        if linger_s > 0:
            self._await(most, linger_s)
        messages: list[Received] = []
        size = 0
        while self._messages and len(messages) < most and size < most_bytes:
            message = self._messages.popleft()
            size += len(message.payload)
            messages.append(message)
        self._room.set()
        return messages

    def _await(self, wanted: int, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        self._wanted = wanted
        while True:
            # Cleared before the look at the queue: what is put between the two sets it again.
            self._wake.clear()
            left = deadline - time.monotonic()
            if len(self._messages) >= wanted or self._closed or left <= 0:
                return bool(self._messages)
            self._wake.wait(left)
