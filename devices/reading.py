"""A reading, and why a part of a payload is not one."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec

from devices.points import POINTS


class Reading(msgspec.Struct, frozen=True, gc=False):
    """What one device measured at one instant.

    A struct of msgspec, because a collector makes tens of thousands a second: 0.1 µs where a frozen dataclass is 0.8.
    """

    ts: datetime
    """Aware, UTC, microseconds."""
    columns: tuple[float | None, ...]
    """Finite SI values in the order of `devices.points.POINTS`, which is the table's; None: not given."""
    extra: Mapping[str, float | str | bool] = {}
    """What the payload said under names that are no point."""
    seq: int | None = None

    @property
    def values(self) -> dict[str, float]:
        """The values that were given, by point name."""
        return {name: value for name, value in zip(POINTS, self.columns, strict=True) if value is not None}


def in_columns(values: Mapping[str, float]) -> tuple[float | None, ...]:
    """Put values by point name into the order of `Reading.columns`."""
    return tuple(map(values.get, POINTS))


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
