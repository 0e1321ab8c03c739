"""The alert rules: what each means, what to do, its thresholds and their defaults."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from mrv.quality.rules import Effect, QualityRule
from mrv.register_rules import Rule as RegisterRule


class Severity(StrEnum):
    """How much it matters, in rising order."""

    WARNING = "warning"
    """Look at it today."""
    CRITICAL = "critical"
    """Readings are, or soon will be, lost or not computed: look at it now."""


class Thresholds(BaseModel):
    """What every rule has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    off: bool = Field(default=False, description="the rule is not judged")
    severity: Severity = Field(default=Severity.WARNING, description="`warning` or `critical`")
    for_s: int = Field(default=0, ge=0, description="how long it must be so before it fires")
    keep_s: int = Field(default=120, ge=0, description="how long it must be over before it counts as recovered")


class SiteSilent(Thresholds):
    """Thresholds of `site_silent`."""

    severity: Severity = Severity.CRITICAL
    after_s: int = Field(default=1800, gt=0, description="no message for so long, while some are expected")
    never_after_s: int = Field(default=86_400, gt=0, description="no message at all so long after the installation")
    sun_above_deg: float = Field(
        default=5.0, ge=-6, le=45, description="elevation of the sun [°] from which messages are expected"
    )


class DeviceSilent(Thresholds):
    """Thresholds of `device_silent`."""

    after_s: int = Field(default=3600, gt=0, description="no reading for so long, while some are expected")
    never_after_s: int = Field(default=86_400, gt=0, description="no reading at all so long after the installation")
    sun_above_deg: float = Field(
        default=5.0, ge=-6, le=45, description="elevation of the sun [°] from which readings are expected"
    )


_ANOMALIES = (
    RegisterRule.RESET, RegisterRule.STEP_ABOVE_MAXIMUM, RegisterRule.SPIKE, RegisterRule.UNRESOLVED,
    RegisterRule.FROZEN, RegisterRule.INVALID,
)  # fmt: skip
_KNOWN_RULES = {one.id for one in RegisterRule} | {one.id for one in QualityRule}


class RegisterAnomaly(Thresholds):
    """Thresholds of `register_anomaly`."""

    keep_s: int = 0
    days: int = Field(default=2, ge=1, le=31, description="how many of a device's latest computed days are looked at")
    at_least: int = Field(default=1, ge=1, description="how often such a rule must have decided on them")
    rules: tuple[str, ...] = Field(
        default=(
            *(one.id for one in _ANOMALIES),
            *(one.id for one in QualityRule if one.effect is Effect.EXCLUDES),
        ),
        description="the rules that count, by id (docs/verifiers.md)",
    )

    @field_validator("rules")
    @classmethod
    def _known(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for one in given:
            if one not in _KNOWN_RULES:
                raise PydanticCustomError("rule", "There is no rule {id}", {"id": one})
        return given


class QuarantineRising(Thresholds):
    """Thresholds of `quarantine_rising`."""

    keep_s: int = 0
    entries: int = Field(default=10, ge=1, description="entries received within the window")
    window_s: int = Field(default=3600, ge=60, le=86_400, description="the window")


class IdentityBroken(Thresholds):
    """Thresholds of `identity_broken`."""

    severity: Severity = Severity.CRITICAL
    keep_s: int = 0


class SealLate(Thresholds):
    """Thresholds of `seal_late`."""

    keep_s: int = 0
    after_s: int = Field(default=21_600, gt=0, description="a day with messages is not sealed so long after its end")


class ScheduleMissed(Thresholds):
    """Thresholds of `schedule_missed`."""

    severity: Severity = Severity.CRITICAL
    for_s: int = 300
    after_s: int = Field(default=900, gt=0, description="no replica has looked for work, or worked, for so long")
    day_after_s: int = Field(default=21_600, gt=0, description="a day is not computed so long after its end")


class DiskFilling(Thresholds):
    """Thresholds of `disk_filling`."""

    severity: Severity = Severity.CRITICAL
    database_limit_bytes: int | None = Field(
        default=None, gt=0, description="how large the database may become; unset: not checked"
    )
    database_share: float = Field(default=0.85, gt=0, le=1, description="the share of it from which it fires")
    folder: Path | None = Field(
        default=None,
        description="a folder on the database's volume, where this process can see it; unset: the local server's data",
    )
    free_bytes: int = Field(default=5_000_000_000, ge=0, description="less free on that volume than this fires")
    free_share: float = Field(default=0.1, ge=0, lt=1, description="or a smaller share of it")


class CollectorAway(Thresholds):
    """Thresholds of `collector_away`."""

    severity: Severity = Severity.CRITICAL
    after_s: int = Field(default=900, gt=0, description="no message of any site for so long")
    sites: int = Field(default=2, ge=2, description="how many sites must be expected to send")


class ClockSkew(Thresholds):
    """Thresholds of `clock_skew`."""

    keep_s: int = 600
    fast_s: int = Field(default=60, gt=0, description="readings come so long before the time they carry")
    slow_s: int = Field(default=300, gt=0, description="readings come so long after it, all by the same lag")


class CertificateEnding(Thresholds):
    """Thresholds of `certificate_ending`."""

    keep_s: int = 0
    within_s: int = Field(default=1_209_600, gt=0, description="it ends within so long, or has ended")


class Rules(BaseModel):
    """All rules with their thresholds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    site_silent: SiteSilent = SiteSilent()
    device_silent: DeviceSilent = DeviceSilent()
    collector_away: CollectorAway = CollectorAway()
    register_anomaly: RegisterAnomaly = RegisterAnomaly()
    quarantine_rising: QuarantineRising = QuarantineRising()
    identity_broken: IdentityBroken = IdentityBroken()
    clock_skew: ClockSkew = ClockSkew()
    seal_late: SealLate = SealLate()
    schedule_missed: ScheduleMissed = ScheduleMissed()
    disk_filling: DiskFilling = DiskFilling()
    certificate_ending: CertificateEnding = CertificateEnding()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule as it is documented and told."""

    id: str
    title: str
    """What a notice calls it."""
    means: str
    do: str
    by_site: bool
    """Whether its thresholds can be set for a site or a device."""

    @property
    def defaults(self) -> Thresholds:
        """Its thresholds as they are without a file."""
        found = getattr(Rules(), self.id)
        assert isinstance(found, Thresholds)  # noqa: S101 - a test goes through all of them
        return found


RULES: Mapping[str, Rule] = {
    rule.id: rule
    for rule in (
        Rule(
            "site_silent",
            "site silent",
            "nothing was received from a site although the sun is up there, or although it sends at this time of day",
            "see whether its gateway has power and network; what a careful gateway keeps follows by itself",
            by_site=True,
        ),
        Rule(
            "device_silent",
            "device silent",
            "a device gives no reading in daylight, or at a time of day when it does, while its site is heard",
            "`jcm-mrv status` says what came on its topics; look at the device, its bus and its address",
            by_site=True,
        ),
        Rule(
            "collector_away",
            "nothing from any site",
            "no site that is expected to send is heard: the broker, the network before it or the collectors are away",
            "see whether a collector runs (`/readyz`) and the broker answers; the broker keeps its queue meanwhile",
            by_site=False,
        ),
        Rule(
            "register_anomaly",
            "register anomaly",
            "on a device's latest computed days a rule set energy or readings of its register aside",
            "compare the register with the device's display; docs/verifiers.md says what each rule does to the credit",
            by_site=True,
        ),
        Rule(
            "quarantine_rising",
            "quarantine rising",
            "many messages, or elements of messages, of the last hour are no readings",
            "`jcm-mrv quarantine list` gives the reasons; mend the cause, then `jcm-mrv quarantine replay`",
            by_site=True,
        ),
        Rule(
            "identity_broken",
            "account does not hold",
            "received is not stored + duplicate + conflict + quarantined, or messages that were counted are not there",
            "freeze nothing; `jcm-mrv status --recount` says which site; restore from a backup",
            by_site=True,
        ),
        Rule(
            "clock_skew",
            "clock wrong",
            "a device's readings come before the time they carry, or all of them late by the same lag",
            "set the device's clock and its time server; readings keep the time they came with",
            by_site=True,
        ),
        Rule(
            "seal_late",
            "seal late",
            "a UTC day with messages is over and not sealed",
            "`jcm-mrv evidence seal` says why; is the schedule running, and has it the key?",
            by_site=False,
        ),
        Rule(
            "schedule_missed",
            "schedule missed",
            "no replica of the schedule looks for work, or a day that is over is not computed",
            "start `jcm-mrv schedule`; where a day is named, its `job_failed` line says what is wrong with it",
            by_site=False,
        ),
        Rule(
            "disk_filling",
            "disk filling",
            "the database nears the size it may have, or its volume is nearly full",
            "make the volume larger, or keep less (docs/keeping.md); when it is full, the broker queues",
            by_site=False,
        ),
        Rule(
            "certificate_ending",
            "certificate ending",
            "a certificate for the broker, its authority or its list of revoked ones ends before long, or has ended",
            "renew it (`jcm-mrv device provision`); with one that has ended nobody is let in, and gateways queue",
            by_site=False,
        ),
    )
}  # fmt: skip
