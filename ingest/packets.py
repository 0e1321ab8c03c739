"""From the broker's bytes to messages: PUBLISH is read here, every other packet is left to paho.

paho reads a packet with four `recv` calls, of which two ask for one byte, and each of them hands the interpreter's
lock to the other thread and waits for it again: 14 of the 28 µs that a message cost in CPU went there (py-spy, 200,000
messages). Read 64 KiB at a time and cut here, it is 2 µs.
"""

from collections.abc import Callable

from ingest.inbox import Received

_PUBLISH = 3
_LONGEST_LENGTH = 4
"""Bytes that a packet's length may take (MQTT 5, 1.5.5)."""


class MalformedPacketError(Exception):
    """The broker sent what is no MQTT; the connection is of no use any more."""


class PacketReader:
    """The packets of one connection.

    Parameters
    ----------
    five
        Whether the connection speaks MQTT 5, whose PUBLISH has properties.
    other
        Is called with every packet that is no PUBLISH, in the order of the stream.
    """

    def __init__(self, *, five: bool, other: Callable[[bytes], None]) -> None:
        self.epoch = 0
        """The number of the connection, which messages carry."""
        self._five = five
        self._other = other
        self._parts: list[bytes] = []
        self._size = 0
        self._needed = 2

    def feed(self, data: bytes, arrived_at: float) -> list[Received]:
        """Take what was read from the socket and give the messages that it completes.

        Raises
        ------
        MalformedPacketError
            A length does not fit.
        """
        self._parts.append(data)
        self._size += len(data)
        # Joined when the packet is whole, so that a payload of megabytes is not copied once for every read.
        if self._size < self._needed:
            return []
        stream = b"".join(self._parts)
        messages: list[Received] = []
        start = 0
        while True:
            body, end = _frame(stream, start)
            if end > len(stream):
                break
            if stream[start] >> 4 == _PUBLISH:
                messages.append(self._publish(stream, start, body, end, arrived_at))
            else:
                self._other(stream[start:end])
            start = end
        self._parts = [stream[start:]]
        self._size = len(stream) - start
        self._needed = end - start
        return messages

    def _publish(self, stream: bytes, start: int, at: int, end: int, arrived_at: float) -> Received:
        flags = stream[start]
        qos = flags >> 1 & 3
        if qos > 1:
            raise MalformedPacketError("a message of QoS 2 for a subscription of QoS 1")
        mid = 0
        try:
            topic_at = at + 2
            at = topic_end = topic_at + (stream[at] << 8 | stream[at + 1])
            if qos:
                mid = stream[at] << 8 | stream[at + 1]
                at += 2
            if self._five:
                properties, at = _length(stream, at)
                at += properties
        except IndexError:
            at = end + 1
        if at > end:
            raise MalformedPacketError("a message ends before its payload begins")
        return Received(
            self.epoch,
            mid,
            # Against the standard, so no broker hands it on; it must not end the collector all the same.
            stream[topic_at:topic_end].decode(errors="replace"),
            stream[at:end],
            qos,
            flags & 1 == 1,
            flags & 8 == 8,
            arrived_at,
        )


def _frame(stream: bytes, start: int) -> tuple[int, int]:
    """Find where a packet's body starts and ends; beyond the stream when it is not whole."""
    try:
        length = stream[start + 1]
        if length < 0x80:
            return start + 2, start + 2 + length
        length, body = _length(stream, start + 1)
    except IndexError:
        return 0, len(stream) + 1
    return body, body + length


def _length(stream: bytes, at: int) -> tuple[int, int]:
    """Read a variable byte integer; gives it and where it ends."""
    value = 0
    for place in range(_LONGEST_LENGTH):
        digit = stream[at + place]
        value |= (digit & 0x7F) << 7 * place
        if digit < 0x80:
            return value, at + place + 1
    raise MalformedPacketError("a length has more than four bytes")
