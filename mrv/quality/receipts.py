"""What is known about the coming of readings and messages: masks of one device, counts of a site's messages.

A time of receipt is the database's clock, which is not altered by what a device says.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SECOND_US = 1_000_000
FAST_US = 60 * _SECOND_US
SLOW_US = 300 * _SECOND_US
SAME_LAG_US = 60 * _SECOND_US
LEAST_READINGS = 10
QUARANTINED_SHARE = 0.01

Mask = NDArray[np.bool_]
Instants = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Receipts:
    """How the readings of a series were received."""

    received_us: Instants
    """When each was received [µs UTC], shape (n,), beside the series."""
    arrival_us: Instants
    """Instants of the readings whose time is their message's arrival [µs UTC], rising."""
    conflict_us: Instants
    """Instants for which another value was offered [µs UTC], rising, once for each offer."""


@dataclass(frozen=True, slots=True, eq=False)
class Deliveries:
    """A site's messages by the quarter of an hour in which they were received; all shape (n,)."""

    t_us: Instants
    """Starts of the quarters [µs UTC], rising; only those with messages."""
    messages: Instants
    retained: Instants
    redelivered: Instants
    duplicate: Instants
    quarantined: Instants
    unknown_clock: Instants

    def arrays(self) -> tuple[Instants, ...]:
        """Return the arrays in the order above."""
        return (self.t_us, self.messages, self.retained, self.redelivered, self.duplicate, self.quarantined,
                self.unknown_clock)  # fmt: skip


def clock_fast(t_us: Instants, received_us: Instants) -> Mask:
    """Mark readings that were received over a minute before the time they carry."""
    marked: Mask = t_us - received_us > FAST_US
    return marked


def clock_slow_days(t_us: Instants, received_us: Instants, edges_us: Instants) -> Mask:
    """Mark the days whose readings all came late by the same lag.

    Parameters
    ----------
    t_us, received_us
        Instants of the readings and of their receipt [µs UTC], shape (n,).
    edges_us
        Starts of the days and end of the last [µs UTC], shape (days + 1,).

    Returns
    -------
    NDArray of bool
        Shape (days,): the median lag is over 5 minutes, and nine tenths of the lags lie within a minute of each other.
        Readings kept through an outage come with lags that differ by the length of the outage.
    """
    marked = np.zeros(len(edges_us) - 1, dtype=np.bool_)
    reach = np.searchsorted(t_us, edges_us)
    for day, (lo, hi) in enumerate(zip(reach[:-1].tolist(), reach[1:].tolist(), strict=True)):
        if hi - lo < LEAST_READINGS:
            continue
        low, middle, high = np.percentile(received_us[lo:hi] - t_us[lo:hi], [5, 50, 95])
        marked[day] = middle > SLOW_US and high - low < SAME_LAG_US
    return marked


def quarantined_days(deliveries: Deliveries, edges_us: Instants) -> Mask:
    """Mark the days of receipt on which over a hundredth of the site's messages went into quarantine; shape (days,)."""
    quarantined = by_day(deliveries.t_us, deliveries.quarantined, edges_us)
    marked: Mask = quarantined > QUARANTINED_SHARE * by_day(deliveries.t_us, deliveries.messages, edges_us)
    return marked


def by_day(t_us: Instants, counts: Instants, edges_us: Instants) -> Instants:
    """Sum counts over days; shape (days,)."""
    until = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)))
    total: Instants = np.diff(until[np.searchsorted(t_us, edges_us)])
    return total
