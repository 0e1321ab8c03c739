"""The quality rules by name: each one documented, each set complete, each exclusion on its own code."""

import re
from pathlib import Path

import pytest

from mrv.errors import PeriodError
from mrv.quality import rules
from mrv.quality.rules import CURRENT, EXCLUSION_CODES, REGISTER_ONLY, RULE_SETS, Effect, QualityRule, rule_set
from mrv.register_chains import KEPT
from mrv.register_rules import Rule
from mrv.reports.wording import rule_reason

VERIFIERS = (Path(__file__).parents[2] / "docs" / "verifiers.md").read_text(encoding="utf-8")


def documented() -> dict[str, list[str]]:
    lines = [line for line in VERIFIERS.splitlines() if line.startswith("| `quality.")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_every_quality_rule_stands_in_the_verifiers_table_as_it_is() -> None:
    assert documented() == {
        rule.id: [rule.kind.value, rule.effect.value, rule.counts, rule.reason, rule.source] for rule in QualityRule
    }


def test_every_register_rule_stands_in_the_verifiers_table() -> None:
    assert set(re.findall(r"^\| `(register\.\w+@\d+)`", VERIFIERS, re.MULTILINE)) == {rule.id for rule in Rule}


def test_ids_are_versioned_and_unique() -> None:
    ids = [rule.id for rule in QualityRule]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"quality\.[a-z_]+@\d+", name) for name in ids)


def test_the_rules_that_exclude_have_codes_of_their_own() -> None:
    assert set(EXCLUSION_CODES) == {rule for rule in QualityRule if rule.effect is Effect.EXCLUDES}
    codes = [*EXCLUSION_CODES.values(), *(rule.code for rule in Rule), KEPT]
    assert len(set(codes)) == len(codes)


def test_reports_know_every_rule() -> None:
    for rule in QualityRule:
        assert rule_reason(rule.id) == (rule.effect.value, rule.reason)


def test_a_set_is_what_it_was_when_it_was_named() -> None:
    """Results name these sets. Whoever changes a decision gives the rule a new version and adds a set."""
    assert REGISTER_ONLY.quality == ()
    assert rule_set("register-1") is REGISTER_ONLY
    assert {"register-1", "quality-1"} < set(RULE_SETS)
    assert CURRENT.quality == rule_set("quality-1").quality
    assert [name.partition(".")[2] for name in CURRENT.quality] == [
        "arrival_timed@1", "unknown_clock@1", "retained@1", "redelivered@1", "quarantined@1", "conflict@1",
        "incomplete_day@1", "stale_power@1", "spike_power@1", "clipped_power@1", "time_shift@1", "duplicate_delivery@1",
        "clock_fast@1", "clock_slow@1", "power_limits@1", "night_power@1", "unconfirmed_rise@1", "night_energy@1",
        "above_clear_sky@1", "day_above_clear_sky@1", "meter_above_inverters@1",
    ]  # fmt: skip
    with pytest.raises(PeriodError, match="the rule set 'quality-0' is not in this version"):
        rule_set("quality-0")


def test_what_a_rule_needs_names_rules_once_each() -> None:
    for needed in (rules.NEEDS_SKY, rules.NEEDS_POWER, rules.NEEDS_RECEIPTS, rules.NEEDS_DELIVERIES):
        assert len(set(needed)) == len(needed)
