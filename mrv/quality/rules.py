"""The quality rules by name, and the sets of rules that results were computed with.

The kinds are the three automated checks of the EBRD/MITECO "Protocol for Digitalised MRV" (v1.0, 2020): format and
origin, statistics, plausibility. A rule whose decision changes gets a new version in its id and a new set; a revision
recomputes with the set that it names.
"""

from dataclasses import dataclass
from enum import Enum

from mrv.errors import PeriodError
from mrv.meters.rules import METER_RULES
from mrv.register_rules import Rule


class Kind(Enum):
    """Which of the protocol's three checks a rule belongs to."""

    ORIGIN = "format and origin"
    STATISTICS = "statistics"
    PLAUSIBILITY = "plausibility"


class Effect(Enum):
    """What a rule does: it only tells, or it takes energy out of the credit."""

    INFORMS = "informs"
    EXCLUDES = "excludes"


class QualityRule(Enum):
    """What is told about readings, intervals or days beside what the register rules decided.

    Each is (label, kind, effect, what is counted, reason, source).
    """

    ARRIVAL_TIMED = (
        "arrival_timed", Kind.ORIGIN, Effect.INFORMS, "readings",
        "the device sent no time: the reading has that of its arrival",
        "EBRD D-MRV protocol, check 1; the message's time of arrival",
    )  # fmt: skip
    UNKNOWN_CLOCK = (
        "unknown_clock", Kind.ORIGIN, Effect.INFORMS, "messages",
        "a message had a time that cannot be, or none although its family sends one; it is in quarantine",
        "EBRD D-MRV protocol, check 1; quarantine reasons time_*",
    )  # fmt: skip
    RETAINED = (
        "retained", Kind.ORIGIN, Effect.INFORMS, "messages",
        "the broker had kept the message: it is older than its arrival",
        "MQTT 5.0 section 3.3.1.3, RETAIN",
    )  # fmt: skip
    REDELIVERED = (
        "redelivered", Kind.ORIGIN, Effect.INFORMS, "messages",
        "the broker sent the message again, as after a lost connection; it counts once",
        "MQTT 5.0 section 3.3.1.1, DUP",
    )  # fmt: skip
    QUARANTINED = (
        "quarantined", Kind.ORIGIN, Effect.INFORMS, "days",
        "more than a hundredth of the site's messages of the day could not be read",
        "EBRD D-MRV protocol, check 1",
    )  # fmt: skip
    CONFLICT = (
        "conflict", Kind.ORIGIN, Effect.INFORMS, "readings",
        "another value came for the same device and instant; the first stands, both are kept",
        "EBRD D-MRV protocol, check 1; table reading_conflict",
    )  # fmt: skip
    INCOMPLETE_DAY = (
        "incomplete_day", Kind.STATISTICS, Effect.INFORMS, "days",
        "fewer than nine tenths of the readings that the device's own interval asks for",
        "as pvanalytics.quality.gaps.completeness_score",
    )  # fmt: skip
    STALE_POWER = (
        "stale_power", Kind.STATISTICS, Effect.INFORMS, "readings",
        "the power stood at one value for an hour, above a hundredth of the rating and below nine tenths of it",
        "pvanalytics.quality.gaps.stale_values_round",
    )  # fmt: skip
    SPIKE_POWER = (
        "spike_power", Kind.STATISTICS, Effect.INFORMS, "readings",
        "a single power far from its neighbours on both sides, which agree with each other",
        "Hampel identifier as pvanalytics.quality.outliers.hampel, vectorised; Pearson et al. 2016",
    )  # fmt: skip
    CLIPPED_POWER = (
        "clipped_power", Kind.STATISTICS, Effect.INFORMS, "readings",
        "the inverter worked at its limit: a flat top above nine tenths of its rating",
        "pvanalytics.features.clipping.geometric; Perry et al. 2021",
    )  # fmt: skip
    TIME_SHIFT = (
        "time_shift", Kind.STATISTICS, Effect.INFORMS, "days",
        "the middle of the production lies over 45 minutes from solar noon in the week around: a wrong zone or clock",
        "solar noon by pvlib.solarposition; after pvanalytics.quality.time.shifts_ruptures",
    )  # fmt: skip
    DUPLICATE_DELIVERY = (
        "duplicate_delivery", Kind.STATISTICS, Effect.INFORMS, "messages",
        "all that the message says was there before; it counts once",
        "accounting of the ingestion",
    )  # fmt: skip
    CLOCK_FAST = (
        "clock_fast", Kind.STATISTICS, Effect.INFORMS, "readings",
        "received over a minute before the time it carries: the device's clock is fast",
        "time of receipt less time of reading",
    )  # fmt: skip
    CLOCK_SLOW = (
        "clock_slow", Kind.STATISTICS, Effect.INFORMS, "days",
        "all readings came over 5 minutes after their time and by the same lag: the device's clock is slow",
        "time of receipt less time of reading",
    )  # fmt: skip
    POWER_LIMITS = (
        "power_limits", Kind.PLAUSIBILITY, Effect.INFORMS, "readings",
        "a power above 1.2 × the rating, or below minus a twentieth of it",
        "pvanalytics.quality.util.check_limits",
    )  # fmt: skip
    NIGHT_POWER = (
        "night_power", Kind.PLAUSIBILITY, Effect.INFORMS, "readings",
        "power above a hundredth of the rating while the sun is 6 degrees and more below the horizon",
        "solar elevation by pvlib.solarposition",
    )  # fmt: skip
    UNCONFIRMED_RISE = (
        "unconfirmed_rise", Kind.STATISTICS, Effect.EXCLUDES, "intervals",
        "readings after it do not show all of it, or the register is reset or jumps: what they show is credited",
        "own: whether a reading was too high or those after it too low, only later readings tell",
    )  # fmt: skip
    NIGHT_ENERGY = (
        "night_energy", Kind.PLAUSIBILITY, Effect.EXCLUDES, "intervals",
        "the register rose while the sun was 6 degrees and more below the horizon; that energy is not credited",
        "EBRD D-MRV protocol, check 3; solar elevation by pvlib.solarposition",
    )  # fmt: skip
    ABOVE_CLEAR_SKY = (
        "above_clear_sky", Kind.PLAUSIBILITY, Effect.EXCLUDES, "intervals",
        "more energy than the rating can make under a cloudless sky in that time; it is not credited",
        "EBRD D-MRV protocol, check 3; pvlib.clearsky.simplified_solis, pvlib.pvsystem.pvwatts_dc",
    )  # fmt: skip
    DAY_ABOVE_CLEAR_SKY = (
        "day_above_clear_sky", Kind.PLAUSIBILITY, Effect.EXCLUDES, "intervals",
        "its day has more energy than the rating can make under a cloudless sky; nothing of the day is credited",
        "EBRD D-MRV protocol, check 3; pvlib.clearsky.simplified_solis, pvlib.pvsystem.pvwatts_dc",
    )  # fmt: skip
    METER_ABOVE_INVERTERS = (
        "meter_above_inverters", Kind.PLAUSIBILITY, Effect.INFORMS, "days",
        "the credited meters counted more than all inverters behind them, beyond what their accuracy allows",
        "EBRD D-MRV protocol, check 3: peripheral data; declared permissible errors",
    )  # fmt: skip

    def __init__(self, label: str, kind: Kind, effect: Effect, counts: str, reason: str, source: str) -> None:
        self.id = f"quality.{label}@1"
        self.kind = kind
        self.effect = effect
        self.counts = counts
        self.reason = reason
        self.source = source


EXCLUSION_CODES = {
    QualityRule.UNCONFIRMED_RISE: 27,
    QualityRule.NIGHT_ENERGY: 24,
    QualityRule.ABOVE_CLEAR_SKY: 25,
    QualityRule.DAY_ABOVE_CLEAR_SKY: 26,
}
"""Codes of the excluding rules in `Intervals.rule`, beside those of the register rules (0 to 17)."""

NEEDS_SKY = (
    QualityRule.TIME_SHIFT,
    QualityRule.NIGHT_POWER,
    QualityRule.NIGHT_ENERGY,
    QualityRule.ABOVE_CLEAR_SKY,
    QualityRule.DAY_ABOVE_CLEAR_SKY,
)
NEEDS_POWER = (
    QualityRule.STALE_POWER,
    QualityRule.SPIKE_POWER,
    QualityRule.CLIPPED_POWER,
    QualityRule.TIME_SHIFT,
    QualityRule.POWER_LIMITS,
    QualityRule.NIGHT_POWER,
)
NEEDS_RECEIPTS = (
    QualityRule.ARRIVAL_TIMED,
    QualityRule.CONFLICT,
    QualityRule.CLOCK_FAST,
    QualityRule.CLOCK_SLOW,
)
NEEDS_DELIVERIES = (
    QualityRule.UNKNOWN_CLOCK,
    QualityRule.RETAINED,
    QualityRule.REDELIVERED,
    QualityRule.QUARANTINED,
    QualityRule.DUPLICATE_DELIVERY,
)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules that a result was computed with."""

    name: str
    register: tuple[str, ...]
    """Ids of the register rules."""
    quality: tuple[str, ...]
    """Ids of the quality rules; none: the register rules alone."""
    meters: tuple[str, ...] = ()
    """Ids of the rules about meters and invoices; none: they are not looked at."""

    @property
    def ids(self) -> tuple[str, ...]:
        """All of them."""
        return self.register + self.quality + self.meters


_REGISTER_1 = tuple(rule.id for rule in Rule)
REGISTER_ONLY = RuleSet("register-1", _REGISTER_1, ())
_QUALITY_1 = tuple(rule.id for rule in QualityRule)
QUALITY_1 = RuleSet("quality-1", _REGISTER_1, _QUALITY_1)
CURRENT = RuleSet("meters-1", _REGISTER_1, _QUALITY_1, METER_RULES)
RULE_SETS = {rules.name: rules for rules in (REGISTER_ONLY, QUALITY_1, CURRENT)}


def rule_set(name: str) -> RuleSet:
    """Return the rule set of that name, as a result names it.

    Raises
    ------
    PeriodError
        This version of the code has no such rules.
    """
    try:
        return RULE_SETS[name]
    except KeyError:
        raise PeriodError(f"the rule set {name!r} is not in this version; use the version that froze it") from None
