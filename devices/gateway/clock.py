"""The gateway's clock, and how a reading is dated that was taken before the clock was set."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)
"""No gateway of this version ran before: a board without a battery wakes in 1970, or in its firmware's year."""

_EARLIEST_MS = int(EARLIEST.timestamp() * 1000)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Instant:
    """When something happened, by both clocks of the machine."""

    ts_ms: int | None
    """Epoch milliseconds; None while the clock is not set."""
    boot: str
    """The machine's run, from its start to its end."""
    boot_ms: int
    """Milliseconds since it started, which no setting of the clock changes."""


def now() -> Instant:
    """Look at the clocks."""
    wall_ms = int(time.time() * 1000)
    boot_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    return Instant(wall_ms if wall_ms >= _EARLIEST_MS else None, _boot(), boot_ms)


def _boot() -> str:
    return _BOOT_ID.read_text(encoding="ascii").strip()
