"""From the simulator's wire to credited energy: every profile reads what was generated, and no fault adds to it.

Nothing stands between but what a collector and a period use: the declaration file, the profile, the register algebra.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import cache

import numpy as np
import pytest

from devices.declaration_file import parse
from devices.declarations import ProjectDeclaration
from devices.decoding.catalogue import built_in
from devices.decoding.elements import Bound
from devices.decoding.vectors import Said, decode
from devices.reading import Reading
from devices.simulator.declaration import declaration
from devices.simulator.faults import FAULTS
from devices.simulator.fleet import fleet
from devices.simulator.stream import Simulation
from devices.simulator.unit import SimulatedDevice
from devices.simulator.wire import FAMILIES
from devices.topics import Topic
from mrv.basis import Credited
from mrv.calendar import to_us
from mrv.registers import Intervals, intervals

DAY = date(2026, 3, 6)  # Friday and Saturday: both tariffs of a meter that has two.
STEP_S = 900
# Faults that cost nothing where readings have times of their own: every register is read, or the next one is.
HARMLESS = {"outage", "duplicate", "late_field", "reordered", "sentinel", "clock_skew", "micro_decrease",
            "register_dip_zero", "retained_stale"}  # fmt: skip


@dataclass(frozen=True)
class Run:
    device: SimulatedDevice
    readings: tuple[Reading, ...]
    truth_wh: float
    found: Intervals

    @property
    def credited_wh(self) -> float:
        return float(self.found.total_wh)

    @property
    def count_wh(self) -> float:
        return float(self.device.family.resolution_wh)

    @property
    def step_wh(self) -> float:
        """What the device can make between two samples: a family that sleeps says its last word so much too early."""
        return self.device.rated_w * STEP_S / 3600


def device_of(family: str) -> SimulatedDevice:
    return fleet(seed=9, sites=1, devices=1, families=[family])[0]


@cache
def run(family: str, *faults: str) -> Run:
    device = device_of(family)
    simulation = Simulation([device], DAY, 2, STEP_S, faults)
    messages = [
        Said(one.topic, one.payload, retained=False, at=datetime.fromtimestamp(one.at, UTC))
        for one in simulation.messages()
    ]
    declared = parse(declaration([device], seed=9, first_day=DAY), "simulated")
    readings = tuple(read(family, declared, messages))
    (truth,) = simulation.truth()[device.site.id].values()
    return Run(device, readings, sum(truth.values()), credited(declared, readings))


def read(family: str, declared: ProjectDeclaration, messages: Sequence[Said]) -> list[Reading]:
    """What a collector makes of the messages, in the order in which it does."""
    (device,) = declared.devices
    profile = built_in()[family]
    address = profile.parameters(dict(device.address or {}))
    zone = declared.site(device.site).zone
    bound = Bound(Topic(device.site, device.id), 1, profile, address, dict(device.fields or {}), zone)
    return decode([bound], messages).readings


def credited(declared: ProjectDeclaration, readings: Sequence[Reading]) -> Intervals:
    """What a period makes of the readings; of two at one instant the first stands."""
    (device,) = declared.devices
    credit = Credited(declared.pv_systems[0], declared.sites[0], device)
    kept = {reading.ts: reading for reading in reversed(readings) if credit.point in reading.values}
    found = [kept[ts] for ts in sorted(kept)]
    return intervals(
        np.array([to_us(reading.ts) for reading in found], dtype=np.int64),
        np.array([round(reading.values[credit.point] * 1000) for reading in found], dtype=np.int64),
        credit.spec,
        power_w=np.array([abs(reading.values.get("W", np.nan)) for reading in found]),
    )


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_what_was_generated_is_credited(family):
    one = run(family)
    assert len(one.found.t_us) > 40
    assert one.truth_wh - one.step_wh - one.count_wh <= one.credited_wh <= one.truth_wh + one.count_wh
    assert one.truth_wh > 4 * one.step_wh
    assert set(one.found.dropped_rule) == set()


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_registers_stand_where_they_stood(family):
    one = run(family)
    first = one.found.register_mwh[0] / 1000
    assert abs(first - one.device.opening_wh) <= one.step_wh + one.count_wh
    # The only total of a Tasmota socket is declared as the delivery, and still is what the profile says it is.
    other = set() if family == "tasmota" else {"TotWhExp", "TotWhImp"} - {one.device.family.point}
    assert all(reading.values[point] == 0 for reading in one.readings for point in other & reading.values.keys())


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_power_is_read_as_what_was_generated(family):
    one = run(family)
    watts = [abs(reading.values["W"]) for reading in one.readings if "W" in reading.values]
    if family in built_in() and not watts:
        # A two-way meter whose profile reads the registers alone.
        assert "W" not in {field.point for field in built_in()[family].fields} | set(one.device.family.fields or ())
        return
    assert sum(watts) * STEP_S / 3600 == pytest.approx(one.truth_wh, rel=0.02)
    assert max(watts) <= one.device.rated_w + 1


@pytest.mark.parametrize(
    ("family", "fault"),
    [(name, fault) for name in sorted(FAMILIES) for fault, kind in FAULTS.items() if kind.shown_by(FAMILIES[name])],
)
def test_no_fault_adds_energy(family, fault):
    one = run(family, fault)
    assert len(one.found.t_us) > 40
    assert 0 < one.credited_wh <= one.truth_wh + one.count_wh
    if fault in HARMLESS:
        assert one.credited_wh >= one.truth_wh - one.step_wh - one.count_wh


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_all_faults_together_add_nothing(family):
    one = run(family, "all")
    assert 0 <= one.credited_wh <= one.truth_wh + one.count_wh


def test_the_families_are_those_of_the_catalogue():
    assert set(FAMILIES) == set(built_in())


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() & built_in().keys()))
def test_addresses_and_registers_are_the_profiles(family):
    device = replace(device_of(family), direct=True)
    profile = built_in()[family]
    assert set(device.family.connect(device).address) <= set(profile.address)
    if profile.register_defaults is not None and device.family.fields is None:
        assert profile.register_defaults.point == device.family.point
        assert profile.register_defaults.resolution_wh >= device.family.resolution_wh
