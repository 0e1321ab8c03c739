"""What verifiers are told about meters is what the rules say."""

from pathlib import Path

import pytest

from mrv.meters.rules import MeterRule
from mrv.reports import wording
from tests.meters import calibration, declared, eg_wh, meter, mpe, result

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "verifiers.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("rule", MeterRule, ids=lambda rule: rule.id)
def test_every_rule_is_a_row_and_reports_know_it(rule):
    assert f"| `{rule.id}` | {rule.effect.value} | {rule.counts} | {rule.reason} |" in TEXT
    assert wording.rule_reason(rule.id) == (rule.effect.value, rule.reason)


def test_the_example_comes_out():
    done = result(declared(meter("m-1", mpe("0.5"), calibration("2020-01-01", "2021-03-10", "0.1"))))
    assert eg_wh(done) == 478_800
    assert done.meters[0].taken_wh == 1_200
    for text in ("1,200 Wh", "metered 480,000 Wh, credited 478,800 Wh"):
        assert text in TEXT


def test_a_meter_that_declares_nothing_is_credited_in_full():
    assert eg_wh(result(declared(meter()))) == 480_000
