"""Quality rules on simulated devices: little fires where nothing is wrong, no fault credits more than was made."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache

import numpy as np
import pytest

from devices.simulator.faults import FAULTS
from devices.simulator.fleet import fleet
from devices.simulator.stream import Simulation
from devices.simulator.unit import SimulatedDevice
from mrv.calendar import to_us
from mrv.quality.judge import Place, Verdict, judge, sum_by_rule
from mrv.quality.receipts import Receipts
from mrv.quality.rules import QualityRule
from mrv.register_rules import RegisterSpec
from mrv.registers import intervals

FIRST, DAYS, STEP_S = date(2026, 3, 6), 4, 300


@cache
def devices() -> list[SimulatedDevice]:
    return list(fleet(seed=11, sites=5, devices=5, families=["native"]))


def judged(device: SimulatedDevice, *faults: str) -> tuple[Verdict, float]:
    """What the rules say of a device, and the energy [Wh] that it truly made."""
    simulation = Simulation([device], FIRST, DAYS, STEP_S, faults)
    rows = {}
    for message in simulation.messages():
        payload = json.loads(message.payload)
        for one in payload if isinstance(payload, list) else [payload]:
            at = datetime.fromisoformat(one["ts"]) if isinstance(one["ts"], str) else None
            at = at or datetime.fromtimestamp(one["ts"] / 1000, UTC)
            if at.year == FIRST.year and "TotWhExp" in one["points"]:
                rows.setdefault(to_us(at), (one["points"], round(message.at * 1e6)))
    t = np.array(sorted(rows), dtype=np.int64)
    points = [rows[at][0] for at in t.tolist()]
    received = np.array([rows[at][1] for at in t.tolist()], dtype=np.int64)
    r = np.array([round(Decimal(str(one["TotWhExp"])) * 1000) for one in points], dtype=np.int64)
    w = np.array([one.get("W", np.nan) for one in points], dtype=np.float64)
    none = np.empty(0, dtype=np.int64)
    spec = RegisterSpec(Decimal(str(device.rated_w)))
    place = Place(spec, device.site.zone.key, device.site.latitude, device.site.longitude, solar=True)
    found = intervals(t, r, spec, power_w=w)
    last = FIRST + timedelta(days=DAYS - 1)
    verdict = judge(
        found, place, FIRST, last, t_us=t, register_mwh=r, power_w=w, received=Receipts(received, none, none)
    )
    return verdict, sum(simulation.truth()[device.site.id][device.id].values())


@pytest.mark.parametrize("number", range(5))
def test_a_device_without_faults_loses_nothing_and_fires_next_to_nothing(number: int) -> None:
    verdict, truth_wh = judged(devices()[number])
    told = sum_by_rule(verdict.by_day)
    # Inverters at their limit are simulated, and clouds that pass within one sample.
    told.pop(QualityRule.CLIPPED_POWER.id, None)
    assert told.pop(QualityRule.SPIKE_POWER.id, 0) <= 0.003 * DAYS * 86_400 / STEP_S
    assert told == {}
    assert set(verdict.taken_mwh.values()) == {0}
    assert float(verdict.intervals.total_wh) == pytest.approx(truth_wh, abs=2)


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_no_fault_credits_more_than_was_made(fault: str) -> None:
    for device in devices()[:3]:
        verdict, truth_wh = judged(device, fault)
        assert float(verdict.intervals.total_wh) <= truth_wh + 1


def test_all_faults_together_credit_no_more_than_was_made() -> None:
    for device in devices():
        verdict, truth_wh = judged(device, "all")
        assert float(verdict.intervals.total_wh) <= truth_wh + 1


@pytest.mark.parametrize(
    ("fault", "rules"),
    [("clock_skew", {QualityRule.CLOCK_FAST, QualityRule.CLOCK_SLOW}), ("outage", {QualityRule.INCOMPLETE_DAY})],
)
def test_a_fault_is_told_by_its_rule(fault: str, rules: set[QualityRule]) -> None:
    told: set[str] = set()
    for device in devices():
        told |= set(sum_by_rule(judged(device, fault)[0].by_day)) - set(sum_by_rule(judged(device)[0].by_day))
    assert told <= {rule.id for rule in rules}
    assert bool(told) == (fault == "clock_skew")  # what was kept through an outage came afterwards
