"""A payload for people: as text where it is text, and as bytes; a part of it where it is long."""

import json
from dataclasses import dataclass

MOST = 16 * 1024
"""Bytes of a payload that a page shows; all of it can be downloaded."""
_ACROSS = 16
_MOST_HEX = 2048


@dataclass(frozen=True, slots=True)
class Shown:
    """A payload as a page shows it."""

    text: str | None
    """None where it is not text."""
    pretty: str | None
    """The same JSON with line breaks; None where it is none, or is not shown whole."""
    dump: str
    """Offset, bytes and characters, as `hexdump -C` writes them."""
    size: int
    cut: bool
    """Whether there is more of it than is shown."""


def shown(payload: bytes) -> Shown:
    """Make a payload readable; it is never taken for markup."""
    part = payload[:MOST]
    text: str | None
    try:
        # A cut may go through a character.
        text = part.decode("utf-8", "strict" if len(part) == len(payload) else "ignore")
    except UnicodeDecodeError:
        text = None
    if text is not None and any(not (char.isprintable() or char in "\r\n\t") for char in text):
        text = None
    pretty = None
    if text is not None and len(part) == len(payload):
        try:
            pretty = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        except (ValueError, RecursionError):
            pretty = None
    return Shown(text, pretty, dump(payload[:_MOST_HEX]), len(payload), len(payload) > MOST)


def dump(content: bytes) -> str:
    """Write bytes in hexadecimal, sixteen on a line, with their place and their printable characters."""
    lines = []
    for at in range(0, len(content), _ACROSS):
        row = content[at : at + _ACROSS]
        printable = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{at:08x}  {row.hex(' '):<{_ACROSS * 3 - 1}}  |{printable}|")
    return "\n".join(lines)
