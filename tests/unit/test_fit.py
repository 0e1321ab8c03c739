"""Which families messages may be of."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.decoding.catalogue import built_in
from devices.decoding.fit import fits, guesses, newest
from devices.decoding.vectors import Said

AT = datetime(2026, 6, 1, 10, tzinfo=UTC)
FAMILIES = built_in()


def found(*messages: tuple[str, bytes], after_s: float = 1.0, zone: str = "UTC"):
    said = [
        Said(topic, payload, retained=False, at=AT + timedelta(seconds=after_s * number))
        for number, (topic, payload) in enumerate(messages)
    ]
    return fits(said, FAMILIES, ZoneInfo(zone))


def first_vectors():
    """The first vector of each family that has a reading; a prefix of several levels is not told by a topic alone."""
    for name, profile in FAMILIES.items():
        for vector in profile.vectors:
            if (
                vector.readings
                and not vector.fields
                and not any(one.retained or one.topic.startswith("/") for one in vector.messages)
            ):
                if name != "native":
                    yield pytest.param(name, vector, id=name)
                break


@pytest.mark.parametrize(("name", "vector"), list(first_vectors()))
def test_every_family_is_among_those_that_fit_its_own_messages(name, vector):
    at = vector.arrived_at
    said = []
    for message in vector.messages:
        at += timedelta(seconds=message.after_s)
        said.append(Said(message.topic, message.data, message.retained, at))
    fitting = fits(said, FAMILIES, ZoneInfo(vector.time_zone))
    assert fitting[0].outcome.readings
    own = [fit for fit in fitting if fit.profile.name == name]
    assert own
    assert any(fit.outcome.readings for fit in own)


def test_a_family_with_a_lifetime_register_goes_before_one_that_names_nothing():
    fitting = found(("N/c0619ab2c15d/pvinverter/20/Ac/Energy/Forward", b'{"value": 443.842}'))
    assert fitting[0].profile.name == "victron"
    assert fitting[0].points == ["TotWhExp"]
    assert all(not fit.outcome.readings for fit in fitting[1:])


def test_each_device_of_a_shared_topic_is_a_fit_of_its_own():
    body = '{"device": "%s", "time": "2026-06-01T11:59:00", "values": {"pvenergytotal": 100}}'
    fitting = found(
        ("energy/growatt", (body % "A").encode()), ("energy/growatt", (body % "B").encode()), zone="Europe/Amsterdam"
    )
    grott = [fit for fit in fitting if fit.profile.name == "growatt-grott"]
    assert sorted(fit.address["serial"] for fit in grott) == ["A", "B"]
    assert [len(fit.messages) for fit in grott] == [1, 1]


def test_the_site_comes_from_the_topic_of_a_bridge():
    payload = b'{"value": 443.842}'
    topic = "N/c0619ab2c15d/pvinverter/20/Ac/Energy/Forward"
    assert found((topic, payload))[0].site is None
    assert found((f"jcm/v1/roof-1/via/{topic}", payload))[0].site == "roof-1"


def test_what_is_refused_for_its_age_is_shown_all_the_same():
    old = b'{"device": "A", "time": "2021-09-14T19:08:55", "values": {"pvenergytotal": 4660}}'
    [fit, *_] = found(("energy/growatt", old), zone="Europe/Amsterdam")
    assert fit.profile.name == "growatt-grott"
    assert fit.outcome.rejections == ["time_too_old"]
    [(made_of, ts, values)] = newest(fit, 5)
    assert (made_of[0].topic, ts, values) == (
        "energy/growatt", datetime(2021, 9, 14, 17, 8, 55, tzinfo=UTC), {"TotWhExp": 466000.0}
    )  # fmt: skip


def test_a_time_ahead_stays_refused():
    ahead = b'{"device": "A", "time": "2026-06-02T12:00:00", "values": {"pvenergytotal": 4660}}'
    fitting = [fit for fit in found(("energy/growatt", ahead)) if fit.profile.name == "growatt-grott"]
    assert all(not fit.outcome.readings for fit in fitting)


def sparkplug(kind: str) -> list[tuple[str, bytes]]:
    vectors = [one for one in FAMILIES["sparkplug-b"].vectors if one.about.startswith(kind)]
    return [(message.topic, message.data) for message in vectors[0].messages]


def test_devices_of_one_sparkplug_node_are_told_apart_and_read_by_its_births():
    fitting = found(*sparkplug("a device beside it"), after_s=10)
    by_device = {fit.address["device"]: fit for fit in fitting if fit.profile.name == "sparkplug-b"}
    assert set(by_device) == {"inv01", "inv02"}
    for fit in by_device.values():
        assert len(fit.outcome.readings) == 2
        assert "device_unknown" not in fit.outcome.rejections
        assert fit.names == []


def test_sparkplug_metrics_of_other_names_are_for_the_declaration_to_map():
    fitting = found(*sparkplug("born as DATA"), after_s=10)
    [fit] = [fit for fit in fitting if fit.profile.name == "sparkplug-b"]
    assert fit.outcome.readings == []
    assert list(fit.names) == ["DATA/Inverter/energy", "Inverter/energy"]


def test_messages_of_nobody_fit_nothing():
    assert found(("$SYS/broker/uptime", b"5 seconds"), ("a/b", b"\xff\xfe"), ("a/b", b"")) == []


@given(st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=40)), max_size=5))
def test_whatever_is_heard_costs_no_error(messages):
    found(*messages)


@given(st.binary(max_size=60))
def test_whatever_a_sparkplug_node_says_costs_no_error(payload):
    found(*((f"spBv1.0/G/{kind}/E/D", payload) for kind in ("DBIRTH", "DDATA", "NCMD", "DDEATH")))


@pytest.mark.parametrize(
    ("name", "point"),
    [
        ("data.total_energy", "TotWhExp"),
        ("Inverter/lifetime_yield", "TotWhExp"),
        ("energy_today", "DayWh"),
        ("ac_power", "W"),
        ("active_power", "W"),
        ("params.em:0.total_act_power", "W"),
        ("powerfactor", None),
        ("grid_freq", "Hz"),
        ("irradiance", "GHI"),
        ("voltage", None),
    ],
)
def test_guesses_by_name(name, point):
    assert guesses([name]) == ({} if point is None else {point: name})


def test_a_point_is_guessed_once():
    assert guesses(["total_energy", "total_energy_2"]) == {"TotWhExp": "total_energy"}
