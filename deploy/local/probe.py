"""Asking a broker whether it answers, with one MQTT 3.1.1 packet and no client library's threads."""

import socket
import struct

ACCEPTED = 0
BAD_CREDENTIALS = (4, 5)


def mqtt_connack(host: str, port: int, user: str, password: str, *, timeout_s: float = 2.0) -> int | None:
    """Connect, return the broker's return code (MQTT 3.1.1, table 3.1) and leave; nothing when it does not answer.

    The session is clean and the client id empty, so the broker keeps nothing of the visit.
    """
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.sendall(connect_packet(user, password))
            answer = b""
            while len(answer) < 4:
                part = connection.recv(4 - len(answer))
                if not part:
                    return None
                answer += part
            if answer[:2] != b"\x20\x02":
                return None
            if answer[3] == ACCEPTED:
                connection.sendall(b"\xe0\x00")
            return answer[3]
    except OSError:
        return None


def connect_packet(user: str, password: str) -> bytes:
    """Return a CONNECT packet of MQTT 3.1.1: clean session, user and password, keep-alive of 5 s."""
    body = _text("MQTT") + bytes([4, 0b1100_0010]) + struct.pack(">H", 5) + _text("") + _text(user) + _text(password)
    length = len(body)
    encoded = bytearray()
    while True:
        length, digit = divmod(length, 128)
        encoded.append(digit | (0x80 if length else 0))
        if not length:
            return b"\x10" + bytes(encoded) + body


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">H", len(data)) + data
