"""A reading, and why a part of a payload is not one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Reading:
    """What one device measured at one instant."""

    ts: datetime
    """Aware, UTC, microseconds."""
    values: Mapping[str, float]
    """Finite SI values by point name (`devices.points.POINTS`)."""
    extra: Mapping[str, float | str | bool] = field(default_factory=dict)
    """What the payload said under names that are no point."""
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """One element of a payload, or the whole payload, that is not a reading."""

    reason: str
    """A stable code, see `docs/reference.md`."""
    detail: str
    """What is wrong, in words, without the payload."""
    element: int | None = None
    """Index in the payload's list; None when the payload as a whole is meant."""


Decoded = tuple[list[tuple[int, Reading]], list[Rejection]]
"""Readings with their index in the payload's list, and rejections."""
