"""The rules for Prometheus: what promtool says of them, and that they speak of metrics and alerts that there are."""

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import yaml

from deploy.alerts.rules import RULES, QuarantineRising, ScheduleMissed, SealLate
from deploy.fleet_metrics import FLEET_FAMILIES
from ingest.metrics import FAMILIES
from tests.promtool import promtool

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
PAGE = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
GROUPS = yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}
TESTS = yaml.safe_load((FOLDER / "alerts.test.yml").read_text(encoding="utf-8"))["tests"]
KNOWN = {**FAMILIES, **FLEET_FAMILIES}


@pytest.mark.parametrize(
    "arguments",
    [("check", "rules", "alerts.yml"), ("check", "config", "prometheus.yml"), ("test", "rules", "alerts.test.yml")],
    ids=" ".join,
)
def test_promtool_finds_nothing_wrong(arguments):
    done = subprocess.run([promtool(), *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def test_promtool_finds_what_is_wrong(tmp_path):
    """The tests of the rules do test them: without its `for` an alert fires too early."""
    for name in ("alerts.yml", "alerts.test.yml"):
        shutil.copy(FOLDER / name, tmp_path)
    text = (tmp_path / "alerts.yml").read_text()
    (tmp_path / "alerts.yml").write_text(text.replace("for: 5m", "for: 0m"))
    done = subprocess.run(
        [promtool(), "test", "rules", "alerts.test.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "FAILED" in done.stdout + done.stderr


def metrics_of(expression: str) -> set[str]:
    return set(re.findall(r"\bjcm_mrv_[a-z_]+", expression))


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_speaks_of_metrics_that_there_are(alert):
    rule = ALERTS[alert]
    for name in metrics_of(rule["expr"]):
        family = KNOWN.get(name) or KNOWN[re.sub(r"_(bucket|count|sum)$", "", name)]
        assert family.kind == "histogram" or name in KNOWN
    shown = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    given = {label for name in metrics_of(rule["expr"]) for label in getattr(KNOWN.get(name), "labels", ())}
    assert shown - {"instance"} <= given


@pytest.mark.parametrize("series", [one["series"] for test in TESTS for one in test["input_series"]])
def test_the_tests_speak_of_metrics_as_they_are(series):
    name, _, rest = series.partition("{")
    labels = set(re.findall(r"(\w+)=", rest)) - {"instance", "job"}
    if name == "up":
        return
    family = KNOWN.get(name) or KNOWN[name.removesuffix("_bucket")]
    assert labels - {"le"} == set(family.labels)


def test_there_is_a_rule_for_each_alert_by_the_same_id():
    assert [rule["alert"] for rule in GROUPS[0]["rules"]] == [
        *[name for name in ALERTS if name in RULES]
    ]  # the first group is of these alone
    assert set(RULES) == {rule["alert"] for rule in GROUPS[0]["rules"]}
    for name, rule in RULES.items():
        assert ALERTS[name]["labels"] == {"severity": rule.defaults.severity}


def test_thresholds_are_those_of_the_alerts_file():
    seal, schedule, quarantine = (RULES[one].defaults for one in ("seal_late", "schedule_missed", "quarantine_rising"))
    assert isinstance(seal, SealLate)
    assert isinstance(schedule, ScheduleMissed)
    assert isinstance(quarantine, QuarantineRising)
    assert f"> {seal.after_s}" in ALERTS["seal_late"]["expr"]
    assert f"> {schedule.after_s}" in ALERTS["schedule_missed"]["expr"]
    assert f">= {quarantine.entries}" in ALERTS["quarantine_rising"]["expr"]


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_has_a_summary_a_description_and_a_page(alert):
    notes = ALERTS[alert]["annotations"]
    assert set(notes) == {"summary", "description", "runbook_url"}
    page, _, anchor = notes["runbook_url"].partition("#")
    assert (ROOT / page).is_file()
    assert anchor == alert
    assert re.search(rf"^### {anchor}$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_is_seen_to_fire_and_not_to_fire(alert):
    fires, quiet = Counter(), Counter()
    for test in TESTS:
        for one in test.get("promql_expr_test", []):
            if f'alertname="{alert}"' in one["expr"]:
                (fires if one["exp_samples"] else quiet)[alert] += 1
        for one in test.get("alert_rule_test", []):
            if one["alertname"] == alert:
                (fires if one["exp_alerts"] else quiet)[alert] += 1
    assert fires[alert]
    assert quiet[alert]
    # And in `all is well` none does.
    assert {one["expr"] for one in TESTS[0]["promql_expr_test"]} == {"ALERTS"}


def test_no_metric_has_two_meanings():
    assert not set(FAMILIES) & set(FLEET_FAMILIES)
