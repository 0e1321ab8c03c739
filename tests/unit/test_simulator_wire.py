"""What each family puts on the wire: as the samples of real devices look, and the same bytes from the same seed."""

import hashlib
import itertools
import json
import re
import tomllib
from datetime import date

import pytest

from devices.declaration_file import parse
from devices.decoding.catalogue import built_in
from devices.simulator.declaration import declaration
from devices.simulator.faults import Message
from devices.simulator.fleet import fleet
from devices.simulator.stream import Simulation
from devices.simulator.wire import FAMILIES
from devices.sparkplug.sparkplug_b_pb2 import Payload

DAY = date(2026, 3, 6)


def run(
    *families: str, seed: int = 4, sites: int = 1, devices: int | None = None, direct=False, faults=()
) -> list[Message]:
    made = fleet(seed=seed, sites=sites, devices=devices or len(families), families=families, direct=direct)
    return list(Simulation(made, DAY, 1, 900, faults).messages())


def at_noon(family: str) -> list[Message]:
    """What a device sends for one sample in the middle of the day, topics without the site's prefix."""
    sent = run(family)
    noon = [one for one in sent if abs(one.at - sent[len(sent) // 2].at) < 60]
    return [one._replace(topic=one.topic.removeprefix("jcm/v1/sim4-0001/via/")) for one in noon]


def digest(messages: list[Message]) -> str:
    return hashlib.sha256(repr(messages).encode()).hexdigest()


def test_the_seed_decides_every_byte_and_their_order():
    everything = [digest(run(*FAMILIES, seed=seed, sites=2, faults=["all"])) for seed in (1, 1, 2)]
    assert everything[0] == everything[1] != everything[2]


def test_a_known_device_stays_as_it_is():
    """Whoever declared a seed's devices finds the same ones in a later version."""
    first = run("native")[0]
    assert first.topic == "jcm/v1/sim4-0001/inverter-1/readings"
    # 23 s after midnight in Bangkok, every day.
    assert first.at == 1_772_730_023
    assert json.loads(first.payload)["points"]["TotWhExp"] == 150_810_767


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"native"}))
def test_a_foreign_family_speaks_below_its_sites_own_topics_or_directly(family):
    assert all(one.topic.startswith("jcm/v1/sim4-0001/via/") for one in run(family))
    assert not any(one.topic.startswith("jcm/") for one in run(family, direct=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_no_two_devices_of_a_broker_are_taken_for_each_other(family):
    """Different topics; or one topic and a name in the payload."""
    made = fleet(seed=4, sites=2, devices=2, families=[family], direct=True)
    addresses = {
        (device.site.id, device.id) if family == "native" else tuple(device.family.connect(device).address.items())
        for device in made
    }
    assert len(addresses) == 4


@pytest.mark.parametrize("family", sorted(name for name, one in FAMILIES.items() if one.scalar))
def test_a_scalar_family_sends_one_field_a_message_a_few_milliseconds_apart(family):
    sent = at_noon(family)
    assert len({one.topic for one in sent}) == len(sent) > 3
    gaps = [b.at - a.at for a, b in itertools.pairwise(sent)]
    assert all(0.002 <= gap <= 0.0221 for gap in gaps)
    assert any(one.retain for one in sent) == FAMILIES[family].retains


@pytest.mark.parametrize(
    ("family", "topics"),
    [
        (
            "opendtu",
            ["status/reachable", "status/last_update", "0/yieldday", "0/yieldtotal", "0/power", "0/temperature"],
        ),
        ("ahoydtu", ["last_success", "ch0/U_AC", "ch0/P_AC", "ch0/YieldTotal", "ch0/YieldDay"]),
        ("victron", ["Ac/Power", "Ac/L2/Power", "Ac/Energy/Forward"]),
        ("deye", ["day_energy", "total_energy", "ac/active_power"]),
        ("shelly-gen1", ["power", "energy", "total", "total_returned"]),
        ("mbmd", ["Power", "Power/L1", "Import", "Export", "Sum"]),
        ("dsmr-reader", ["timestamp", "electricity_returned_1", "electricity_returned_2"]),
        ("esphome", ["power/state", "total_energy/state"]),
    ],
)
def test_fields_come_in_the_firmwares_order(family, topics):
    sent = [one.topic for one in at_noon(family)]
    places = [next(index for index, topic in enumerate(sent) if topic.endswith("/" + name)) for name in topics]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("family", "topic", "payload"),
    [
        ("opendtu", r"solar/\d{12}/0/yieldtotal", r"\d+\.\d{3}"),
        ("opendtu", r"solar/\d{12}/0/yieldday", r"\d+"),
        ("ahoydtu", r"inverter/HM-1/ch0/YieldTotal", r"\d{3,4}\.?\d{0,2}"),
        ("victron", r"N/[0-9a-f]{12}/pvinverter/20/Ac/Energy/Forward", r'\{"value":\d+\.\d{1,3}\}'),
        ("victron", r"N/[0-9a-f]{12}/pvinverter/20/Ac/L2/Power", r'\{"value":null\}'),
        ("growatt-grott", r"energy/growatt", r'\{"device": "TEG2[0-9A-F]{6}", "time": "2026-03-06T\d\d:\d\d:\d\d", .*'),
        ("deye", r"deye/1/total_energy", r"\d+\.\d"),
        ("sungrow-sungather", r"SunGather/A\d{10}", r'.*"timestamp": "2026-3-6 1\d:\d\d:\d\d"\}'),
        ("solax", r"loc/SW[0-9A-F]{8}", r'.*"Data": \[(-?[\d.]+, ){199}0\].*'),
        ("sma-sbfspot", r"sbfspot_\d{10}", r'\{"Timestamp": "06/03/2026 \d\d:\d\d:\d\d",.*"ETotal": \d+\.\d{3},.*'),
        ("fronius", r"fronius-1", r'.*"E_Day": null, "E_Total": \d+,.*"Timestamp": "2026-03-06T[\d:]+\+07:00".*'),
        ("enphase", r"envoy-1/production", r'.*"type": "eim", "activeCount": 0,.*"whLifetime": 0,.*'),
        ("solaredge2mqtt", r"solaredge-1/modbus/inverter", r'.*"energytotal": \d+,.*'),
        ("shelly-gen1", r"shellies/shellyem-[0-9a-f]{12}/emeter/0/total_returned", r"\d+(\.\d)?"),
        ("shelly-gen2", r"shellypro3em-[0-9a-f]{12}/events/rpc", r'.*"NotifyStatus","params":\{"ts":\d+\.\d+,"em:0".*'),
        ("shelly-gen2", r"shellypro3em-[0-9a-f]{12}/events/rpc", r'.*"emdata:0":.*"total_act_ret":\d+(\.\d\d?)?\}\}\}'),
        ("tasmota", r"tele/tasmota_[0-9A-F]{6}/SENSOR", r'\{"Time":"2026-03-06T\d\d:\d\d:\d\d","ENERGY":.*'),
        ("zigbee2mqtt", r"zigbee2mqtt/PV meter-1", r'.*"energy":[\d.]+,"last_seen":"2026-03-06T[\d:]+\+07:00",.*'),
        ("dsmr-reader", r"dsmr-1/reading/electricity_returned_2", r"\d+\.\d{3}"),
        ("esphome", r"pv-meter-1/sensor/total_energy/state", r"\d+\.\d{3}"),
        ("mbmd", r"mbmd/sdm1-1/Export", r"\d+\.\d{3}"),
        ("acrel", r"/gw/acrelHW/arcm300/data/\d{14}", r'.*"time":"20260306\d{6}".*"EPE":"\d+\.\d\d".*'),
        ("advantech-wise", r"Advantech/[0-9A-F]{12}/data", r'\{"s":\d+,"t":"2026-03-06T[\d:]+Z","q":192,.*'),
        ("siemens", r"powercenter-1", r'.*"value":"\d+","unit":"Wh","quality":"valid".*'),
        ("neuron", r"/neuron/mqtt/modbus/pv-1", r'\{"timestamp":\d{13},.*"errors":\{\}.*'),
        ("thingsboard", r"v1/devices/me-1/telemetry", r'\{"ts":\d{13},"values":\{.*'),
        ("senml", r"senml-1", r'\[\{"bn":"urn:dev:mac:[0-9a-f]{12}:","bt":\d{10},"n":"power".*'),
        ("telegraf-json", r"telegraf/gw-1/modbus", r'\{"fields":\{"energy":\d+,.*"timestamp":\d{10}\}'),
        ("influx-line", r"telegraf/gw-1/line", r"modbus,host=gw-1 energy=\d+i,power=[\d.]+,temperature=[\d.]+ \d{19}"),
        ("native", r"jcm/v1/sim4-0001/inverter-1/readings", r'\{"ts":"2026-03-06T[\d:]+Z","seq":\d+,"points":\{"W":.*'),
    ],
)  # fmt: skip
def test_messages_look_as_real_ones_do(family, topic, payload):
    sent = at_noon(family)
    assert any(re.fullmatch(topic, one.topic) and re.fullmatch(payload, one.payload.decode()) for one in sent), sent


def test_every_family_but_sparkplug_is_looked_at():
    marks = test_messages_look_as_real_ones_do.pytestmark[0].args[1]
    assert {family for family, *_ in marks} == set(FAMILIES) - {"sparkplug-b"}


def test_victron_says_with_no_bytes_that_the_inverter_sleeps():
    empty = [one for one in run("victron") if one.payload == b""]
    assert len({one.topic for one in empty}) == len(empty) == 7


def test_acrel_sends_history_on_a_topic_of_its_own():
    kinds = [one.topic.split("/")[8] for one in run("acrel", faults=["outage"])]
    assert set(kinds) == {"data", "hstdata"}
    assert kinds[0] == kinds[-1] == "data"


def test_a_dsmr_meter_has_a_tariff_for_the_weekend():
    sent = list(Simulation(fleet(seed=4, sites=1, devices=1, families=["dsmr-reader"]), DAY, 2, 900).messages())
    low, high = ([float(one.payload) for one in sent if one.topic.endswith(f"returned_{number}")] for number in (1, 2))
    friday = len(low) // 2
    assert low[friday - 1] - low[0] == 0 < high[friday - 1] - high[0]
    assert low[-1] - low[friday + 40] > 0 == high[-1] - high[friday + 40]


def test_sparkplug_is_born_and_then_speaks_by_alias():
    devices = fleet(seed=4, sites=1, devices=1, families=["sparkplug-b"])
    messages = Simulation(devices, DAY, 1, 300).messages()
    sent = [(one.topic.split("/")[6], Payload.FromString(one.payload)) for one in messages]
    assert len(sent) > 256
    assert [kind for kind, _ in sent] == ["NBIRTH", "DBIRTH"] + ["DDATA"] * (len(sent) - 2)
    assert [payload.seq for _, payload in sent] == [index % 256 for index in range(len(sent))]
    node, unit, *data = (payload for _, payload in sent)
    assert {metric.name for metric in node.metrics} == {"bdSeq", "Node Control/Rebirth"}
    aliases = {metric.alias: metric.name for metric in unit.metrics}
    assert set(aliases.values()) == {"TotWhExp", "W", "Hz", "TmpCab"}
    for payload in data:
        assert {metric.alias for metric in payload.metrics} == set(aliases)
        assert not any(metric.HasField("name") or metric.HasField("datatype") for metric in payload.metrics)


def test_after_an_outage_sparkplug_is_born_again_and_sends_history():
    sent = [(one.topic.split("/")[6], Payload.FromString(one.payload)) for one in run("sparkplug-b", faults=["outage"])]
    births = [index for index, (kind, _) in enumerate(sent) if kind == "NBIRTH"]
    assert len(births) == 2
    assert [sent[index][1].metrics[0].long_value for index in births] == [0, 1]
    again = sent[births[1] :]
    assert [payload.seq for _, payload in again[:4]] == [0, 1, 2, 3]
    history = [payload for kind, payload in again if kind == "DDATA" and payload.metrics[0].is_historical]
    times = [payload.metrics[0].timestamp for payload in history]
    assert len(times) >= 2
    assert times == sorted(times)


@pytest.mark.parametrize("direct", [False, True])
def test_the_declaration_is_one_that_apply_reads(direct):
    known = [name for name in FAMILIES if name in built_in()]
    made = fleet(seed=4, sites=3, devices=len(known), families=known, direct=direct)
    declared = parse(declaration(made, seed=4, first_day=DAY), "simulated")
    assert {(one.site, one.id, one.profile) for one in declared.devices} == {
        (one.site.id, one.id, one.family.name) for one in made
    }
    assert all(one.energy_register is not None for one in declared.devices)
    assert {site.time_zone for site in declared.sites} == {one.site.zone.key for one in made}
    assert all(len(declared.credited_devices(system)) == len(known) for system in declared.pv_systems)


def test_the_declaration_says_all_there_is_of_every_family():
    made = fleet(seed=4, sites=1, devices=len(FAMILIES), families=list(FAMILIES))
    devices = tomllib.loads(declaration(made, seed=4, first_day=DAY))["device"]
    assert [one.get("profile", "native") for one in devices] == list(FAMILIES)
    assert all(isinstance(value, str) for one in devices for value in one.get("address", {}).values())


def test_the_same_seed_declares_the_same_whichever_days():
    made = fleet(seed=4, sites=1, devices=2, families=["native"])
    assert declaration(made, seed=4, first_day=DAY) == declaration(made, seed=4, first_day=date(2021, 1, 1))
