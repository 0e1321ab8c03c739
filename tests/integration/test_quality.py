"""Quality rules on a real database: what a period credits and tells, and that old revisions recompute without them."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from mrv import periods, revisions
from mrv.calendar import day_bounds
from mrv.errors import PeriodError
from mrv.quality.rules import CURRENT, REGISTER_ONLY, QualityRule
from mrv.quality.sky import sky_over
from mrv.result import PeriodResult
from mrv.schedule import Schedule
from sql.connection import Role, connect

FIRST, LAST = date(2021, 3, 1), date(2021, 3, 4)
LATITUDE, LONGITUDE = 13.9, 101.4
MINUTE = timedelta(minutes=1)


def located(plant):
    where = f'time_zone = "{plant.zone}"'
    plant.toml = plant.toml.replace(where, f"{where}\nlatitude = {LATITUDE}\nlongitude = {LONGITUDE}")
    plant.apply(plant.toml)
    return plant


def sunny(plant, first=FIRST, last=LAST, rated_w=100_000.0, minutes=15):
    """Readings of a plant under a clear sky: (time, register, power)."""
    begin, end = day_bounds(first, plant.zone)[0], day_bounds(last, plant.zone)[1]
    times = [begin + n * minutes * MINUTE for n in range(int((end - begin) / (minutes * MINUTE)) + 1)]
    t_us = np.array([int(at.timestamp()) * 1_000_000 for at in times])
    sky = sky_over(LATITUDE, LONGITUDE, int(t_us[0]), int(t_us[-1]))
    elevation = np.interp((t_us - t_us[0]).astype(float), (sky.t_us - t_us[0]).astype(float), sky.elevation_deg)
    power = 0.8 * rated_w * np.maximum(np.sin(np.radians(elevation)), 0)
    made = np.concatenate(([0.0], np.cumsum((power[:-1] + power[1:]) / 2 * minutes / 60)))
    return list(zip(times, np.floor(1000 + made).tolist(), power.tolist(), strict=True))


def insert(plant, rows, device="inv-1", lag=timedelta(seconds=2), point="energy_exported_wh"):
    number = plant.owner.execute("select device_id from device where id = %s", [device]).fetchone()[0]
    plant.owner.cursor().executemany(
        f"insert into reading (device_id, ts, received_at, message_id, element, {point}, power_w) "
        "values (%s, %s, %s, 1, 0, %s, %s)",
        [(number, ts, ts + lag, wh, power) for ts, wh, power in rows],
    )
    return number


def freeze(plant, first=FIRST, last=LAST):
    return periods.freeze(plant.connection, plant.project, first, last, code_version="1")


def draft(plant):
    return periods.draft(plant.connection, plant.project, FIRST, LAST, code_version="1")


def left_open(result):
    return {rule: entry.reason for entry in result.not_checked for rule in entry.rules}


def test_clean_data_under_a_known_sky_fires_nothing_and_leaves_little_open(plant):
    rows = sunny(located(plant))
    insert(plant, rows)
    result = draft(plant)
    assert result.rule_set == CURRENT.name
    assert {rule: n for rule, n in result.rules.items() if rule.startswith("quality.") and n} == {}
    assert {rule.id for rule in QualityRule} <= set(result.rules)
    assert left_open(result) == {QualityRule.METER_ABOVE_INVERTERS.id: "no inverters stand behind credited meters"}
    assert result.systems[0].devices[0].energy_wh == Decimal(rows[-1][1] - rows[0][1])
    assert PeriodResult.from_json(json.loads(json.dumps(result.as_json()))) == result


def test_without_coordinates_the_result_says_what_was_not_checked(plant):
    insert(plant, sunny(plant))
    result = draft(plant)
    reasons = left_open(result)
    assert {rule for rule, reason in reasons.items() if reason == "no coordinates"} == {
        f"quality.{name}@1"
        for name in ("time_shift", "night_power", "night_energy", "above_clear_sky", "day_above_clear_sky")
    }
    (note,) = [note for note in result.notes if "lack of coordinates" in note]
    assert "s-P1/inv-1; declare `latitude` and `longitude` of the site" in note
    assert result.as_json()["quality"]["not_checked"][0] == {
        "reason": "no coordinates",
        "where": ["s-P1/inv-1"],
        "rules": sorted(rule for rule, reason in reasons.items() if reason == "no coordinates"),
    }


def test_production_at_night_is_not_credited_in_the_period_nor_on_the_day(plant):
    rows = sunny(located(plant))
    midnight = datetime(2021, 3, 2, 17, tzinfo=UTC)  # 00:00 of 3 March in Bangkok
    raised = [(ts, wh + (700 if ts > midnight + timedelta(hours=1) else 0), power) for ts, wh, power in rows]
    number = insert(plant, raised)
    result = draft(plant)
    assert result.systems[0].devices[0].energy_wh == Decimal(rows[-1][1] - rows[0][1])
    assert result.rules["quality.night_energy@1"] == 1
    assert "not credited of s-P1/inv-1, readings around the period included: 700 Wh by quality.night_energy@1" in (
        result.notes
    )
    days = "select day, within_wh + carried_wh, rules from energy_day where device_id = %s order by day"
    by_draft = plant.owner.execute(days, [number]).fetchall()
    assert by_draft[2][0] == date(2021, 3, 3)
    assert by_draft[2][2]["quality.night_energy@1"] == 1
    assert sum(wh for _, wh, _ in by_draft) == Decimal(rows[-1][1] - rows[0][1])
    plant.owner.execute("truncate energy_day")
    Schedule(lambda: connect(plant.url, Role.MRV), name="a", code_version="1").run_until_done()
    assert plant.owner.execute(days, [number]).fetchall()[: len(by_draft)] == by_draft


def test_a_revision_of_the_register_rules_alone_recomputes_to_the_same_byte(plant, monkeypatch):
    """As frozen before there were quality rules: what they would exclude stays in, and nothing of them is told."""
    rows = sunny(located(plant))
    at_night = datetime(2021, 3, 2, 19, tzinfo=UTC)
    insert(plant, [(ts, wh + (700 if ts > at_night else 0), power) for ts, wh, power in rows])
    with monkeypatch.context() as patch:
        patch.setattr(periods, "CURRENT", REGISTER_ONLY)
        one = freeze(plant).revision
    assert "rule_set" not in one.result_text
    assert one.result.rule_set == REGISTER_ONLY.name
    assert not any(rule.startswith("quality.") for rule in one.result.rules)
    again = periods.recompute(plant.connection, plant.project, FIRST, LAST, 1)
    assert again.result_text == one.result_text
    two = freeze(plant)
    assert (two.new, two.revision.number) == (True, 2)
    assert one.result.systems[0].eg_mwh - two.revision.result.systems[0].eg_mwh == Decimal("0.000700")
    assert not freeze(plant).new
    for number, frozen in ((1, one), (2, two.revision)):
        again = periods.recompute(plant.connection, plant.project, FIRST, LAST, number)
        assert again.result_text == frozen.result_text


def test_a_rule_set_of_another_version_is_named(plant, monkeypatch):
    insert(plant, sunny(plant))
    frozen = freeze(plant).revision
    plant.owner.execute("alter table period_revision disable trigger frozen")
    plant.owner.execute("update period_revision set result = replace(result, %s, 'quality-99')", [CURRENT.name])
    with pytest.raises(PeriodError, match="the rule set 'quality-99' is not in this version; use the version that"):
        periods.recompute(plant.connection, plant.project, FIRST, LAST)
    assert revisions.find_revision(plant.connection, plant.project, FIRST, LAST).number == frozen.number


def add_message(plant, at, outcome="stored", *, retained=False, redelivered=False, number=1):
    plant.owner.execute(
        "insert into message (received_at, message_id, arrived_at, topic, payload, sha256, qos, retained, redelivered, "
        "collector, site_id, outcome, readings) values (%s, %s, %s, 't', '', '', 1, %s, %s, 'c', %s, %s, 1)",
        [at, number, at, retained, redelivered, plant.site, outcome],
    )


def test_what_is_known_of_messages_is_told_by_the_day_of_their_receipt(plant):
    insert(plant, sunny(located(plant)))
    noon = datetime(2021, 3, 2, 5, tzinfo=UTC)
    for n in range(40):
        add_message(plant, noon + n * MINUTE, number=n)
    add_message(plant, noon, retained=True, number=100)
    add_message(plant, noon, redelivered=True, number=101)
    add_message(plant, noon, "duplicate", redelivered=True, number=102)
    add_message(plant, noon, "quarantined", number=103)
    add_message(plant, noon + timedelta(days=30), "duplicate", number=104)  # received in another period
    plant.owner.execute(
        "insert into quarantine (received_at, message_id, site_id, topic, reason, detail) "
        "values (%s, 103, %s, 't', 'time_absurd', '')",
        [noon, plant.site],
    )
    frozen = freeze(plant).revision
    told = {rule: n for rule, n in frozen.result.rules.items() if rule.startswith("quality.") and n}
    assert told == {
        "quality.retained@1": 1,
        "quality.redelivered@1": 2,
        "quality.duplicate_delivery@1": 1,
        "quality.quarantined@1": 1,
        "quality.unknown_clock@1": 1,
    }
    # Released since: the count is of what came, so the revision recomputes.
    plant.owner.execute("update quarantine set released_at = now()")
    again = periods.recompute(plant.connection, plant.project, FIRST, LAST)
    assert again.result_text == frozen.result_text


def test_conflicts_skew_and_arrival_times_are_told_and_stay_as_they_were_frozen(plant):
    rows = sunny(located(plant))
    number = insert(plant, rows[:96], lag=timedelta(minutes=-3))
    insert(plant, rows[96:192], lag=timedelta(minutes=11))
    arrivals = [(ts + timedelta(microseconds=123_456), wh, power) for ts, wh, power in rows[193:201]]
    insert(plant, [rows[192], *rows[201:]])
    insert(plant, arrivals, lag=timedelta(0))
    for ts, _, _ in arrivals:
        add_message(plant, ts)

    def offer(at):
        plant.owner.execute(
            "insert into reading_conflict values (%s, %s, %s, 7, 0, '{}', '{}')", [number, rows[5][0], at]
        )

    offer(rows[5][0])
    frozen = freeze(plant).revision
    told = {rule: n for rule, n in frozen.result.systems[0].devices[0].rules.items() if rule.startswith("quality.")}
    assert told["quality.clock_fast@1"] == 96
    assert told["quality.clock_slow@1"] == 1
    assert told["quality.arrival_timed@1"] == 8
    assert told["quality.conflict@1"] == 1
    offer(datetime.now(UTC))  # after the cut-off
    again = periods.recompute(plant.connection, plant.project, FIRST, LAST)
    assert again.result_text == frozen.result_text
    assert freeze(plant).revision.result.rules["quality.conflict@1"] == 2


METER = """
[[device]]
id = "meter"
site = "{site}"
pv_system = "pv-1"
kind = "meter"
rated_power_w = 200_000
accuracy_class = "0.5S"
register = {{ point = "TotWhExp", bits = 64 }}
installed = 2019-01-01
"""


@pytest.mark.parametrize(("factor", "above"), [(1.98, 0), (2.04, 0), (2.15, 4)])
def test_a_meter_that_counts_more_than_its_inverters_is_told_loudly(plants, factor, above):
    plant = plants(inverters=2)
    plant.toml = plant.toml.replace('credited_by = ["*"]', 'credited_by = ["meter"]') + METER.format(site=plant.site)
    located(plant)
    rows = sunny(plant)
    insert(plant, rows, "inv-1")
    insert(plant, rows, "inv-2")
    insert(plant, [(ts, 1000 + factor * (wh - 1000), factor * power) for ts, wh, power in rows], "meter")
    frozen = freeze(plant).revision
    result = frozen.result
    assert result.rules["quality.meter_above_inverters@1"] == above
    assert [device.id for device in result.systems[0].devices] == ["meter"]
    checks = [note for note in result.notes if note.startswith("CHECK pv-1: its meters counted more than all")]
    assert len(checks) == bool(above)
    assert "quality.meter_above_inverters@1" not in left_open(result)
    assert periods.recompute(plant.connection, plant.project, FIRST, LAST).result_text == frozen.result_text
    # It informs: the credit is the meter's, and a later reading of an inverter is another input.
    before = result.inputs_digest
    insert(plant, [(rows[-1][0] - 7 * MINUTE, rows[-1][1], 0.0)], "inv-2", lag=timedelta(days=1))
    assert freeze(plant).revision.inputs_digest != before
