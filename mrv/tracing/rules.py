"""The catalogue of rules: what each one says, by the id that results name it with."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mrv.meters.rules import MeterRule
from mrv.quality.rules import QualityRule
from mrv.register_rules import Rule


@dataclass(frozen=True, slots=True)
class RuleText:
    """A rule as a verifier reads it; no rule raises the credit."""

    id: str
    """With its version: `register.gap@1`."""
    version: int
    group: str
    """register, quality or meter."""
    effect: str
    """credits, informs, lowers or excludes."""
    counts: str
    """What is counted: intervals, readings, days, …"""
    explanation: str
    source: str
    """Where the rule is from; empty where it is our own."""

    @property
    def takes(self) -> bool:
        """Whether it takes energy out of the credit."""
        return self.effect in ("lowers", "excludes")


# Of the register rules, those that set a reading aside rather than decide an interval.
_READINGS = {Rule.OPENING, Rule.DIP, Rule.SPIKE, Rule.ZERO, Rule.INVALID, Rule.DUPLICATE, Rule.MICRO_DECREASE,
             Rule.UNRESOLVED, Rule.OUTSIDE}  # fmt: skip


def _all() -> Mapping[str, RuleText]:
    found = [
        RuleText(rule.id, 1, "register", rule.effect.value, "readings" if rule in _READINGS else "intervals",
                 rule.reason, "")
        for rule in Rule
    ]  # fmt: skip
    found += [
        RuleText(rule.id, 1, "quality", rule.effect.value, rule.counts, rule.reason, rule.source)
        for rule in QualityRule
    ]
    found += [RuleText(rule.id, 1, "meter", rule.effect.value, rule.counts, rule.reason, "") for rule in MeterRule]
    return MappingProxyType({one.id: one for one in found})


RULES = _all()
"""By id."""


def rule_text(rule: str) -> RuleText:
    """Return what a rule says; of one that this version does not know, its id alone."""
    if rule in RULES:
        return RULES[rule]
    name, _, version = rule.partition("@")
    return RuleText(rule, int(version or 0), name.partition(".")[0], "", "", "not a rule of this version", "")
