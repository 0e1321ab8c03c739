"""Each fault shows what it is named for, where a family can show it, and never changes what was generated."""

import itertools
import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from devices.simulator.faults import FAULTS, Message, check
from devices.simulator.fleet import fleet
from devices.simulator.stream import Simulation
from devices.simulator.wire import FAMILIES

DAY = date(2026, 3, 6)
STEP_S = 300


def run(family: str, *faults: str, days: int = 1) -> tuple[list[Message], dict]:
    devices = fleet(seed=4, sites=1, devices=1, families=[family])
    simulation = Simulation(devices, DAY, days, STEP_S, faults)
    return list(simulation.messages()), simulation.truth()


def native(*faults: str, days: int = 1) -> list[dict]:
    """The payloads, each with when it was sent."""
    return [json.loads(one.payload) | {"at": one.at} for one in run("native", *faults, days=days)[0]]


def registers(payloads: list[dict]) -> list[int]:
    return [one["points"]["TotWhExp"] for one in payloads]


def ts(payload: dict) -> datetime:
    return datetime.fromisoformat(payload["ts"])


def ahead(payload: dict) -> float:
    return ts(payload).timestamp() - payload["at"]


@pytest.mark.parametrize("fault", FAULTS)
def test_the_truth_is_the_same_whatever_goes_wrong(fault):
    family = next(name for name, one in FAMILIES.items() if FAULTS[fault].shown_by(one))
    (well, truth), (ill, same) = run(family), run(family, fault)
    assert well != ill
    assert truth == same


def test_an_outage_is_made_good_in_the_order_of_time():
    well, ill = native(), native("outage")
    assert [one["points"] for one in ill] == [one["points"] for one in well]
    assert [one["ts"] for one in ill] == [one["ts"] for one in well]
    late = [one for one in ill if ahead(one) < -1]
    assert 5 <= len(late) <= 37
    assert [one["seq"] for one in ill] == list(range(1, len(ill) + 1))
    assert len({int(one["at"]) for one in late}) <= 3


def test_what_was_kept_of_one_sample_is_sent_before_the_next():
    well, ill = run("opendtu")[0], run("opendtu", "outage")[0]
    assert [(one.topic, one.payload) for one in ill] == [(one.topic, one.payload) for one in well]


def test_an_outage_without_a_clock_is_silence():
    well, ill = run("mbmd")[0], run("mbmd", "outage")[0]
    assert set(ill) < set(well)
    gaps = [b.at - a.at for a, b in itertools.pairwise(ill)]
    assert 1800 <= max(gaps) <= 3 * 3600 + 2 * STEP_S


def test_grott_says_what_was_buffered():
    times = [json.loads(one.payload) for one in run("growatt-grott", "outage")[0]]
    assert Counter(one["buffered"] for one in times)["yes"] >= 5
    assert [one["time"] for one in times] == sorted(one["time"] for one in times)


def test_a_skewed_clock_is_always_wrong_by_as_much():
    found = {ahead(one) for one in native("clock_skew")}
    assert len(found) == 1
    assert 60 <= abs(found.pop()) <= 600


def test_a_frozen_clock_stands_and_comes_back():
    payloads = native("clock_frozen")
    [(frozen, count)] = Counter(one["ts"] for one in payloads).most_common(1)
    assert 12 <= count <= 85
    assert len({registers([one])[0] for one in payloads if one["ts"] == frozen}) > 3
    assert ahead(payloads[-1]) == 0


def test_the_wrong_century_is_2001():
    years = [json.loads(one.payload)["time"][:4] for one in run("growatt-grott", "wrong_century")[0]]
    assert set(years) == {"2001", "2026"}
    assert 5 <= years.count("2001") <= 7


def test_a_reset_register_begins_again():
    found = registers(native("register_reset"))
    falls = [index for index in range(1, len(found)) if found[index] < found[index - 1]]
    assert len(falls) == 1
    assert found[falls[0]] == 0
    assert 0 < found[-1] < 1_000_000


def test_zeros_come_at_dawn_only():
    payloads = native("register_dip_zero", days=3)
    zeros = [index for index, register in enumerate(registers(payloads)) if register == 0]
    assert 3 <= len(zeros) <= 9
    assert all(payloads[index]["points"]["W"] > 0 for index in zeros)
    firsts = [index for index in range(1, len(payloads)) if payloads[index]["points"]["W"] > 0
              and payloads[index - 1]["points"]["W"] == 0]  # fmt: skip
    assert set(firsts) <= set(zeros)
    assert all(any(index - first in {0, 1, 2} for first in firsts) for index in zeros)


def test_at_dawn_grott_does_not_know_its_inverter():
    found = [json.loads(one.payload) for one in run("growatt-grott", "register_dip_zero")[0]]
    zeros = [one for one in found if one["values"]["pvenergytotal"] == 0]
    assert {one["device"] for one in zeros} == {"XXXXXXXXXX"}
    assert 1 <= len(zeros) <= 3


def test_the_same_message_comes_again():
    well, ill = run("native")[0], run("native", "duplicate")[0]
    counted = Counter(one.payload for one in ill)
    assert set(counted) == {one.payload for one in well}
    assert 2 <= sum(counted.values()) - len(counted) <= 30


SENTINELS = {
    "native": b'"TotWhExp":-1000000.0', "growatt-grott": b'"pvenergytotal": 2147483647', "victron": b'{"value":null}',
    "esphome": b"nan", "fronius": b'"E_Total": null', "solaredge2mqtt": b'"energytotal": 0',
    "shelly-gen2": b'"total_act_ret":null', "zigbee2mqtt": b'"energy":null', "advantech-wise": b'"ai2":9999.9999',
    "siemens": b'"quality":"invalid"', "neuron": b'"errors":{"energy":2014}', "thingsboard": b'"energy":null',
    "senml": b'{"n":"energy","u":"Wh"}', "telegraf-json": b'"fields":{"power"', "influx-line": b" power=",
    "sparkplug-b": b"\x38\x01",
}  # fmt: skip


def test_every_family_with_a_sentinel_is_tested():
    assert set(SENTINELS) == {name for name, one in FAMILIES.items() if one.sentinel}


@pytest.mark.parametrize("family", SENTINELS)
def test_a_failed_read_is_the_familys_own_sign(family):
    count = [sum(SENTINELS[family] in one.payload for one in run(family, *fault)[0]) for fault in ([], ["sentinel"])]
    usual = count[0] if family == "victron" else 0  # which says null of its second phase all day
    assert count[0] == usual
    assert 1 <= count[1] - usual <= 40


def test_a_jittering_register_falls_by_one_count():
    found = registers(native("micro_decrease"))
    falls = [a - b for a, b in itertools.pairwise(found) if b < a]
    assert falls
    assert set(falls) == {1}


def test_what_a_bridge_had_kept_is_an_hour_old_and_retained():
    well, ill = run("opendtu", days=2)[0], run("opendtu", "retained_stale", days=2)[0]
    first_sent = {(one.topic, one.payload): one.at for one in reversed(well) if "yieldtotal" in one.topic}
    stale = [one for one in ill if (one.topic, one.payload) in first_sent
             and one.at - first_sent[one.topic, one.payload] >= 3599 and one.retain]  # fmt: skip
    assert len(ill) > len(well)
    assert len(stale) >= 4  # of two channels on two days


def test_a_late_field_comes_seconds_after_the_others():
    well, ill = run("opendtu")[0], run("opendtu", "late_field")[0]
    assert sorted((one.topic, one.payload) for one in ill) == sorted((one.topic, one.payload) for one in well)
    moved = {(one.topic, one.payload, one.at) for one in ill} - {(one.topic, one.payload, one.at) for one in well}
    assert 2 <= len(moved) <= 30
    before = {(one.topic, one.payload, int(one.at)): one.at for one in well}
    for topic, payload, at in moved:
        earlier = [when for (name, text, _), when in before.items() if (name, text) == (topic, payload)]
        assert any(3 <= at - when < 20 for when in earlier)
    assert [one.at for one in ill] == sorted(one.at for one in ill)


@pytest.mark.parametrize("family", ["native", "opendtu"])
def test_what_is_reordered_is_all_there(family):
    well, ill = run(family)[0], run(family, "reordered")[0]
    assert sorted((one.topic, one.payload) for one in ill) == sorted((one.topic, one.payload) for one in well)
    assert [one.payload for one in ill] != [one.payload for one in well]
    assert [one.at for one in ill] == sorted(one.at for one in ill)


def test_a_fault_that_a_family_cannot_show_is_refused():
    native, opendtu = FAMILIES["native"], FAMILIES["opendtu"]
    check(["late_field", "all"], [opendtu])
    with pytest.raises(ValueError, match=r'^native cannot show the fault "late_field", which needs a message for each'):
        check(["outage", "late_field"], [opendtu, native])
    with pytest.raises(ValueError, match=r'there is no fault "rain": expected all or one of clock_skew, '):
        check(["rain"], [native])


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_shown_by_some_family(fault):
    assert any(FAULTS[fault].shown_by(family) for family in FAMILIES.values())


def test_what_is_late_by_more_than_a_step_comes_after_it():
    devices = fleet(seed=4, sites=1, devices=1, families=["opendtu"])
    messages = list(Simulation(devices, DAY, 1, 5, ["late_field"]).messages())
    assert [one.at for one in messages] == sorted(one.at for one in messages)


def test_all_of_them_at_once_stay_in_the_order_of_sending():
    devices = fleet(seed=4, sites=2, devices=len(FAMILIES), families=list(FAMILIES))
    sent = [one.at for one in Simulation(devices, DAY, 1, 900, ["all"]).messages()]
    assert sent == sorted(sent)
    assert datetime.fromtimestamp(sent[-1], UTC) - datetime.fromtimestamp(sent[0], UTC) > timedelta(hours=23)


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_explained_to_operators(fault):
    page = (Path(__file__).resolve().parents[2] / "docs" / "operators.md").read_text(encoding="utf-8")
    assert f"\n| `{fault}` | " in page
