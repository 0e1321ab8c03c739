"""Four frames as npm sparkplug-client put them on the wire (beside the project, see the folder's README)."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from devices.sparkplug import host, topics
from devices.sparkplug.host import Node, Occurrence, Step

pytestmark = pytest.mark.recordings

BORN = datetime.fromtimestamp(1_795_333_620, tz=UTC) + timedelta(milliseconds=260)
SECOND = timedelta(seconds=1)


@pytest.fixture
def steps(recordings: Path) -> list[Step]:
    node: Node | None = None
    taken = []
    for line in (recordings / "sparkplug_frames.txt").read_text().splitlines():
        topic, payload = line.split()
        address = topics.parse(topic)
        assert isinstance(address, topics.Address)
        assert (address.group, address.edge) == ("Plant1", "gw01")
        step = host.take(node, address, bytes.fromhex(payload), arrived_at=BORN, redelivered=False)
        node = step.node
        taken.append(step)
    return taken


def samples(step: Step) -> list[tuple]:
    return [(sample.time, sample.historical, dict(sample.values)) for sample in step.samples]


def test_the_births(steps):
    node, device = steps[:2]
    assert (node.samples, [event.code for event in node.events]) == ((), [Occurrence.NODE_BORN])
    assert (node.node.bd_seq, node.node.seq, node.node.born_at) == (0, 0, BORN)
    assert samples(device) == [
        (
            BORN,
            False,
            {
                "Inverter/ac_power": 4213.5,
                "Inverter/total_energy_wh": 4_294_967_999,
                "Inverter/daily_energy_kwh": 12.345678901234,
                "Inverter/temp": -12,
                "Inverter/state": "MPPT",
            },
        )
    ]


def test_a_historical_energy_stands_apart_and_before(steps):
    assert samples(steps[2]) == [
        (BORN - timedelta(days=1), True, {"Inverter/total_energy_wh": 4_294_968_001}),
        (BORN + SECOND, False, {"Inverter/ac_power": 4300.25, "Inverter/temp": -13}),
    ]  # fmt: skip


def test_a_null_is_none(steps):
    assert samples(steps[3]) == [(BORN + 2 * SECOND, False, {"Inverter/ac_power": None})]


def test_nothing_is_rejected_and_no_rebirth_is_wanted(steps):
    assert [(step.rejections, step.rebirth) for step in steps] == [((), False)] * 4
    assert [step.events for step in steps[2:]] == [(), ()]
    assert steps[-1].node.devices["inv01"].definitions.names == {
        1: "Inverter/ac_power", 2: "Inverter/total_energy_wh", 3: "Inverter/daily_energy_kwh", 4: "Inverter/temp",
        5: "Inverter/state",
    }  # fmt: skip
