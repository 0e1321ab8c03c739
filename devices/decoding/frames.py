"""Joining what comes one field a topic into readings; a pure function of the messages in the order they came.

A frame begins with a field and ends when one of its fields comes again, or when `join_s` has passed since it began. So
every value is in exactly one reading, the next one begins where the last ended, and neither batches nor the moment at
which a frame is looked at change anything: a field that comes late is the first of the next frame, at its own time.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec


class Part(msgspec.Struct, frozen=True):
    """A value and the message that carried it."""

    name: str
    text: str
    message: int
    """Its id; until it has one, its place in the batch as −1, −2, …"""
    received_at: datetime | None = None
    """The message's, which with its id finds it."""


class Frame(msgspec.Struct, frozen=True):
    """What was received of a reading so far."""

    started_at: datetime
    parts: tuple[Part, ...]

    def with_ids(self, message_ids: Sequence[int], received_at: datetime) -> "Frame":
        """Put ids in the place of places."""
        return Frame(
            self.started_at,
            tuple(
                Part(part.name, part.text, message_ids[-1 - part.message], received_at) if part.message < 0 else part
                for part in self.parts
            ),
        )


def is_over(frame: Frame, at: datetime, join_s: float) -> bool:
    """Say whether nothing that comes at `at` or later can belong to the frame."""
    return at >= frame.started_at + timedelta(seconds=join_s)


def add(frame: Frame | None, part: Part, at: datetime, join_s: float) -> tuple[Frame | None, Frame]:
    """Add a value that came at `at`; gives the frame that this ends, if any, and the one that is open now."""
    if frame is not None and (is_over(frame, at, join_s) or any(part.name == one.name for one in frame.parts)):
        return frame, Frame(at, (part,))
    if frame is None:
        return None, Frame(at, (part,))
    return None, Frame(frame.started_at, (*frame.parts, part))
