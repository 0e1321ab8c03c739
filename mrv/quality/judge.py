"""The quality rules on one register: what is credited after them, and what each day is told."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

import numpy as np
from numpy.typing import NDArray

from mrv.calendar import day_edges, days_between
from mrv.quality import power, receipts, rules
from mrv.quality.exclusions import exclude
from mrv.quality.receipts import Deliveries, Receipts
from mrv.quality.rules import QualityRule
from mrv.quality.sky import Sky, sky_over
from mrv.register_rules import RegisterSpec
from mrv.registers import Intervals

NO_COORDINATES = "no coordinates"
NOT_SOLAR = "the register does not count what solar modules alone make"
SUBTRACTED = "what it counts is subtracted from the credit"
NO_POWER = "no reading has a power"
NO_RECEIPTS = "it was not given how readings were received"
NO_DELIVERIES = "it was not given how messages were received"


@dataclass(frozen=True, slots=True)
class Place:
    """What the rules know of a register besides its readings."""

    spec: RegisterSpec
    time_zone: str
    latitude: float | None
    longitude: float | None
    solar: bool
    """Whether it counts what solar modules alone make, towards the credit, so that the sky bounds it."""
    counts: bool = True
    """Whether it counts towards the credit; energy taken out of one that is subtracted would raise it."""

    @property
    def rated_w(self) -> float:
        """Rated power [W]."""
        return float(self.spec.maximum_power_w)

    @property
    def has_coordinates(self) -> bool:
        """Whether it is declared where the site lies."""
        return self.latitude is not None and self.longitude is not None

    def sky(self, ends_us: Iterable[int]) -> Sky | None:
        """Return the sky over the place between instants [µs]; None without coordinates."""
        ends = list(ends_us)
        if self.latitude is None or self.longitude is None or not ends:
            return None
        return sky_over(self.latitude, self.longitude, min(ends), max(ends))


@dataclass(frozen=True)
class Verdict:
    """What the quality rules make of a register."""

    intervals: Intervals
    """With what is credited after them."""
    by_day: Mapping[date, Mapping[str, int]]
    """How often each informing rule decided, by day and rule id, without zeros."""
    taken_mwh: Mapping[QualityRule, int] = field(default_factory=dict)
    """What the excluding rules took out of the credit [mWh], over all readings that were given."""
    not_checked: Mapping[QualityRule, str] = field(default_factory=dict)
    """Why a rule could not be held against it."""
    marked_us: Mapping[QualityRule, NDArray[np.int64]] = field(default_factory=dict)
    """Instants of the readings that rules on single readings told of [µs UTC], over all readings that were given."""


def judge(
    found: Intervals,
    place: Place,
    first: date,
    last: date,
    *,
    t_us: NDArray[np.int64],
    register_mwh: NDArray[np.int64],
    power_w: NDArray[np.float64] | None,
    received: Receipts | None,
) -> Verdict:
    """Hold one register against the quality rules.

    Parameters
    ----------
    found
        What the register rules made of its readings.
    place
        The device and its site.
    first, last
        The days that are told about, both included; readings around them are context.
    t_us, register_mwh, power_w
        Its readings: instants [µs UTC], registers [mWh] and power [W], shape (n,); None where no reading has a power.
    received
        How they were received; None where that is not known.
    """
    edges = day_edges(first, last, place.time_zone)
    not_checked: dict[QualityRule, str] = {}
    if received is None:
        not_checked.update(dict.fromkeys(rules.NEEDS_RECEIPTS, NO_RECEIPTS))
    if power_w is None:
        not_checked.update(dict.fromkeys(rules.NEEDS_POWER, NO_POWER))
    ends = [*found.t_us[[0, -1]].tolist(), int(edges[0]), int(edges[-1])] if len(found.t_us) else []
    ends += t_us[[0, -1]].tolist() if len(t_us) else []
    sky = place.sky(ends) if place.solar else None
    if not place.solar or not place.has_coordinates:
        not_checked.update(dict.fromkeys(rules.NEEDS_SKY, NO_COORDINATES if place.solar else NOT_SOLAR))
    if place.counts:
        credited, taken = exclude(found, register_mwh, sky, place.spec, place.time_zone)
    else:
        credited, taken = found, {}
        not_checked[QualityRule.UNCONFIRMED_RISE] = SUBTRACTED

    marked: dict[QualityRule, NDArray[np.int64]] = {}
    instants: dict[QualityRule, NDArray[np.int64]] = {}
    _mark_power(marked, instants, place, sky, edges, t_us, power_w)
    complete = power.completeness(t_us, edges)
    has_some = np.diff(np.searchsorted(t_us, edges)) > 0
    # A day without any reading is told in the notes.
    marked[QualityRule.INCOMPLETE_DAY] = (has_some & (complete < power.COMPLETE_SHARE)).astype(np.int64)
    if received is not None:
        _mark_receipts(marked, instants, received, t_us, edges)
    marked |= {rule: _per_day(at_us, edges) for rule, at_us in instants.items()}
    by_day = {
        day: {rule.id: int(counts[n]) for rule, counts in marked.items() if counts[n]}
        for n, day in enumerate(days_between(first, last))
    }
    return Verdict(credited, by_day, taken, not_checked, instants)


def told_of_site(found: Deliveries | None, time_zone: str, first: date, last: date) -> dict[QualityRule, int]:
    """Count what the rules tell of a site's messages that were received on the days; none where that is not known."""
    if found is None:
        return {}
    edges = day_edges(first, last, time_zone)
    counts = {
        QualityRule.RETAINED: found.retained,
        QualityRule.REDELIVERED: found.redelivered,
        QualityRule.DUPLICATE_DELIVERY: found.duplicate,
        QualityRule.UNKNOWN_CLOCK: found.unknown_clock,
    }
    told = {rule: int(receipts.by_day(found.t_us, count, edges).sum()) for rule, count in counts.items()}
    told[QualityRule.QUARANTINED] = int(receipts.quarantined_days(found, edges).sum())
    return told


def sum_by_rule(by_day: Mapping[date, Mapping[str, int]]) -> dict[str, int]:
    """Sum what days are told, by rule id."""
    total: Counter[str] = Counter()
    for counts in by_day.values():
        total.update(counts)
    return dict(total)


def _per_day(t_us: NDArray[np.int64], edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count instants by day."""
    counts: NDArray[np.int64] = np.diff(np.searchsorted(t_us, edges))
    return counts


def _mark_power(
    marked: dict[QualityRule, NDArray[np.int64]],
    instants: dict[QualityRule, NDArray[np.int64]],
    place: Place,
    sky: Sky | None,
    edges: NDArray[np.int64],
    t_us: NDArray[np.int64],
    power_w: NDArray[np.float64] | None,
) -> None:
    if power_w is None or len(t_us) == 0:
        return
    rated = place.rated_w
    masks = {
        QualityRule.STALE_POWER: power.stale(t_us, power_w, rated),
        QualityRule.SPIKE_POWER: power.spikes(power_w, rated),
        QualityRule.CLIPPED_POWER: power.clipped(t_us, power_w, rated),
        QualityRule.POWER_LIMITS: power.limits(power_w, rated),
    }
    if sky is not None:
        masks[QualityRule.NIGHT_POWER] = power.at_night(t_us, power_w, rated, sky)
        shifted = power.shifted_days(t_us, power_w, rated, edges, sky)
        marked[QualityRule.TIME_SHIFT] = shifted.astype(np.int64)
    instants |= {rule: t_us[mask] for rule, mask in masks.items()}


def _mark_receipts(
    marked: dict[QualityRule, NDArray[np.int64]],
    instants: dict[QualityRule, NDArray[np.int64]],
    received: Receipts,
    t_us: NDArray[np.int64],
    edges: NDArray[np.int64],
) -> None:
    instants[QualityRule.ARRIVAL_TIMED] = received.arrival_us
    instants[QualityRule.CONFLICT] = received.conflict_us
    instants[QualityRule.CLOCK_FAST] = t_us[receipts.clock_fast(t_us, received.received_us)]
    slow = receipts.clock_slow_days(t_us, received.received_us, edges)
    marked[QualityRule.CLOCK_SLOW] = slow.astype(np.int64)
