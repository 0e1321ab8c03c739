"""Two real plants, from recordings that lie beside the project: what their registers credit."""

from collections import Counter
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from mrv.energy import daily, period_energy
from mrv.register_rules import RegisterSpec, Rule, to_mwh
from mrv.registers import Intervals, intervals

RECORDINGS = Path(__file__).parents[2] / ".." / "shared" / "data"
SPEC = RegisterSpec.of_bits(64, Decimal(1_500_000))
TZ = "Asia/Kolkata"
FIRST, LAST = date(2020, 5, 15), date(2020, 6, 17)

pytestmark = [
    pytest.mark.recordings,
    pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the plant recordings are not beside the project"),
]


@dataclass(frozen=True)
class Recorded:
    t_us: NDArray[np.int64]
    register_mwh: NDArray[np.int64]
    power_w: NDArray[np.float64]

    def intervals(self, *, with_power: bool = False) -> Intervals:
        return intervals(self.t_us, self.register_mwh, SPEC, power_w=self.power_w if with_power else None)


def plant(name: str, time_format: str) -> dict[str, Recorded]:
    file = RECORDINGS / name
    if not file.is_file():
        pytest.skip(f"the recording {name} is not beside the project")
    rows = pd.read_csv(file)
    local = pd.to_datetime(rows["DATE_TIME"], format=time_format).dt.tz_localize(TZ)
    rows["t_us"] = local.dt.tz_convert("UTC").astype("datetime64[us, UTC]").astype("int64")
    found = {}
    for key, group in rows.sort_values("t_us", kind="stable").groupby("SOURCE_KEY"):
        register = to_mwh(group["TOTAL_YIELD"].to_numpy(dtype=np.float64) * 1000)
        power_w = group["AC_POWER"].to_numpy(dtype=np.float64) * 1000
        found[str(key)] = Recorded(group["t_us"].to_numpy(dtype=np.int64), register, power_w)
    return found


@pytest.fixture(scope="module")
def plant_1() -> dict[str, Recorded]:
    return plant("plant_1_generation.csv", "%d-%m-%Y %H:%M")


@pytest.fixture(scope="module")
def plant_2() -> dict[str, Recorded]:
    return plant("plant_2_generation_6_inverters.csv", "%Y-%m-%d %H:%M:%S")


def test_plant_1_credits_last_minus_first_of_every_register(plant_1: dict[str, Recorded]) -> None:
    assert len(plant_1) == 22
    counts: Counter[str] = Counter()
    total_mwh = 0
    for key, recorded in plant_1.items():
        found = recorded.intervals()
        assert found.total_mwh == recorded.register_mwh[-1] - recorded.register_mwh[0], key
        total_mwh += found.total_mwh
        counts.update(found.counts())
    assert Decimal(total_mwh) / 10**9 == Decimal("5381.113")
    # Four inverters moved the energy of one quarter of an hour into the next on 2020-06-03.
    assert {k: n for k, n in counts.items() if n} == {
        Rule.OPENING.id: 22, Rule.NORMAL.id: 68_551, Rule.GAP.id: 201, Rule.LATE.id: 4,
    }  # fmt: skip


def test_plant_1_period_of_local_days_loses_nothing(plant_1: dict[str, Recorded]) -> None:
    energy_wh = sum(
        (period_energy(daily(recorded.intervals(), TZ), FIRST, LAST) for recorded in plant_1.values()), Decimal(0)
    )
    assert energy_wh == Decimal(5_381_113_000)
    assert int(energy_wh / 10**6 * Decimal("0.319")) == 1716


@pytest.mark.parametrize(
    ("inverter", "first_kwh", "last_kwh"),
    [
        ("4UPUqMRk7TRMgml", 2_429_011, 2_653_495),
        ("IQ2d7wF4YD8zU1Q", 19_941_526, 20_185_065),
        ("LYwnQax7tkwH5Cb", 1_794_958_634, 1_795_115_880),
        ("Qf4GUc1pJu5T6c6", 838_421_377, 838_646_676),
        ("V94E5Ben1TlhnDV", 1_412_083_119, 1_412_292_515),
        ("oZ35aAeoifZaQzV", 1_659_965_051, 1_660_188_893),
    ],
)
@pytest.mark.parametrize("with_power", [False, True])
def test_plant_2_credits_last_minus_first_through_dips_zeros_and_silence(
    plant_2: dict[str, Recorded], inverter: str, first_kwh: int, last_kwh: int, with_power: bool
) -> None:
    recorded = plant_2[inverter]
    assert recorded.register_mwh[0] == first_kwh * 10**6
    assert recorded.register_mwh[-1] == last_kwh * 10**6
    found = recorded.intervals(with_power=with_power)
    expected = Decimal(last_kwh - first_kwh) * 1000
    assert expected * Decimal("0.999") <= found.total_wh <= expected
    assert period_energy(daily(found, TZ), FIRST, LAST) == found.total_wh


def test_plant_2_has_hundreds_of_dips_and_no_reset(plant_2: dict[str, Recorded]) -> None:
    counts: Counter[str] = Counter()
    for recorded in plant_2.values():
        found = recorded.intervals(with_power=True)
        counts.update(found.counts())
        assert len(found.t_us) + len(found.dropped_t_us) == len(recorded.t_us)
    assert {k: n for k, n in counts.items() if n} == {
        Rule.OPENING.id: 6, Rule.NORMAL.id: 18_085, Rule.GAP.id: 20, Rule.LATE.id: 1,
        Rule.DIP.id: 298, Rule.ZERO.id: 48,
    }  # fmt: skip


def test_plant_2_credits_no_more_when_only_part_of_it_arrives(plant_2: dict[str, Recorded]) -> None:
    rng = np.random.default_rng(2020)
    for key, recorded in plant_2.items():
        whole = recorded.intervals().total_mwh
        for share in (0.9, 0.5, 0.1):
            kept = rng.random(len(recorded.t_us)) < share
            part = intervals(recorded.t_us[kept], recorded.register_mwh[kept], SPEC)
            assert part.total_mwh <= whole, (key, share)
