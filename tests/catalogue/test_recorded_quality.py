"""Quality rules on real plants: what fires where nothing is known to be wrong, and what does when something is."""

from collections import Counter
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mrv.calendar import day_edges
from mrv.energy import daily, period_energy
from mrv.quality import power
from mrv.quality.judge import Place, Verdict, judge, sum_by_rule
from mrv.quality.rules import QualityRule
from mrv.quality.sky import sky_over
from mrv.register_rules import RegisterSpec, to_mwh
from mrv.registers import intervals

RECORDINGS = Path(__file__).parents[2] / ".." / "shared" / "data"
TZ, FIRST, LAST = "Asia/Kolkata", date(2020, 5, 15), date(2020, 6, 17)
# The recordings do not say where the plants stand; these are places in India whose noon fits theirs.
PLANT_1 = Place(RegisterSpec.of_bits(64, Decimal(1_500_000)), TZ, 14.8, 78.3, solar=True)
PLANT_2 = replace(PLANT_1, latitude=20.0, longitude=73.8)

pytestmark = [
    pytest.mark.recordings,
    pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the plant recordings are not beside the project"),
]


class Recorded:
    def __init__(self, rows: pd.DataFrame) -> None:
        self.t = rows["t_us"].to_numpy(dtype=np.int64)
        self.r = to_mwh(rows["TOTAL_YIELD"].to_numpy(dtype=np.float64) * 1000)
        self.w = rows["AC_POWER"].to_numpy(dtype=np.float64) * 1000

    def judged(self, place: Place) -> Verdict:
        found = intervals(self.t, self.r, place.spec, power_w=self.w)
        return judge(found, place, FIRST, LAST, t_us=self.t, register_mwh=self.r, power_w=self.w, received=None)


def plant(name: str, time_format: str) -> list[Recorded]:
    file = RECORDINGS / name
    if not file.is_file():
        pytest.skip(f"the recording {name} is not beside the project")
    rows = pd.read_csv(file)
    local = pd.to_datetime(rows["DATE_TIME"], format=time_format).dt.tz_localize(TZ)
    rows["t_us"] = local.dt.tz_convert("UTC").astype("datetime64[us, UTC]").astype("int64")
    return [Recorded(group) for _, group in rows.sort_values("t_us", kind="stable").groupby("SOURCE_KEY")]


@pytest.fixture(scope="module")
def plant_1() -> list[Recorded]:
    return plant("plant_1_generation.csv", "%d-%m-%Y %H:%M")


@pytest.fixture(scope="module")
def plant_2() -> list[Recorded]:
    return plant("plant_2_generation_6_inverters.csv", "%Y-%m-%d %H:%M:%S")


def told(plant: list[Recorded], place: Place) -> dict[str, int]:
    total: Counter[str] = Counter()
    for recorded in plant:
        verdict = recorded.judged(place)
        total.update(sum_by_rule(verdict.by_day))
        total.update({rule.id: mwh for rule, mwh in verdict.taken_mwh.items() if mwh})
    return dict(total)


def test_plant_1_fires_nine_spikes_in_68_778_readings_and_the_days_that_lack_readings(plant_1: list[Recorded]) -> None:
    assert told(plant_1, PLANT_1) == {QualityRule.INCOMPLETE_DAY.id: 79, QualityRule.SPIKE_POWER.id: 9}


def test_plant_2_loses_no_energy_through_its_hundreds_of_dips(plant_2: list[Recorded]) -> None:
    assert told(plant_2, PLANT_2) == {QualityRule.INCOMPLETE_DAY.id: 5, QualityRule.SPIKE_POWER.id: 2}


def test_a_plant_that_is_declared_half_a_zone_away_is_told_on_every_day_it_can_be(plant_1: list[Recorded]) -> None:
    counts = told(plant_1, replace(PLANT_1, longitude=78.3 - 30))
    assert counts[QualityRule.TIME_SHIFT.id] > 22 * 25
    assert counts[QualityRule.NIGHT_POWER.id] > 1000
    assert counts[QualityRule.NIGHT_ENERGY.id] > 0


def test_other_faults_in_real_curves_are_told(plant_1: list[Recorded]) -> None:
    recorded = plant_1[0]
    noon = int(recorded.w[:96].argmax())
    w = recorded.w.copy()
    w[noon - 6 : noon + 6] = w[noon]
    w[noon + 96] = 2e6
    place = replace(PLANT_1, spec=RegisterSpec.of_bits(64, Decimal(1_300_000)))
    edges = day_edges(FIRST, LAST, TZ)
    assert power.stale(recorded.t, w, 1.5e6).sum() == 11
    assert power.limits(w, 1.3e6).sum() == 1
    assert power.clipped(recorded.t, np.minimum(w, 0.7e6), 0.7e6).sum() > 50
    assert edges[0] <= recorded.t[0] < edges[1]
    assert sum_by_rule(recorded.judged(place).by_day).get(QualityRule.POWER_LIMITS.id, 0) == 0


def test_a_register_raised_at_night_credits_what_it_did_before(plant_1: list[Recorded]) -> None:
    recorded = plant_1[3]
    sky = sky_over(PLANT_1.latitude or 0, PLANT_1.longitude or 0, int(recorded.t[0]), int(recorded.t[-1]))
    dark = np.flatnonzero(sky.is_night(recorded.t))
    before = recorded.judged(PLANT_1).intervals
    raised = Recorded.__new__(Recorded)
    raised.t, raised.w, raised.r = recorded.t, recorded.w, recorded.r.copy()
    for at in dark[20::97].tolist():
        raised.r[at:] += 50_000_000
    after = raised.judged(PLANT_1).intervals
    energies = [period_energy(daily(found, TZ), FIRST, LAST) for found in (before, after)]
    assert energies[1] <= energies[0]
    assert energies[1] > energies[0] * Decimal("0.99")
