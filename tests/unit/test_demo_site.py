"""The demo's site: what was measured is published as it was, and the gateway's register invents nothing."""

import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from pvlib.solarposition import get_solarposition

from devices import demo_site
from devices.declaration_file import parse
from devices.native import decode
from devices.topics import parse as parse_topic

START = datetime(2022, 1, 2, tzinfo=UTC)
NOW = datetime(2026, 11, 22, 19, tzinfo=UTC)


def by_device() -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for topic, payload in demo_site.payloads():
        found[topic.split("/")[3]].append(json.loads(payload))
    return found


def test_every_message_is_of_a_declared_device_and_can_be_read() -> None:
    declared = parse(demo_site.declaration(), "demo_site.toml")
    ids = {device.id for device in declared.devices}
    for topic, payload in demo_site.payloads():
        named = parse_topic(topic)
        assert named is not None
        assert named.site == demo_site.SITE
        assert named.device in ids
        [_], rejected = decode(payload, latest=NOW)
        assert rejected == []
    assert declared.project.id == demo_site.PROJECT
    assert declared.project.third_party_entity == demo_site.THIRD_PARTY_ENTITY
    assert demo_site.PARTICIPANT in {one.name for one in declared.project.participants}


def test_the_days_are_those_of_the_site() -> None:
    zone = parse(demo_site.declaration(), "").site(demo_site.SITE).zone
    for messages in by_device().values():
        times = [datetime.fromisoformat(message["ts"]) for message in messages]
        assert times == sorted(times)
        assert len(times) == 5 * 96
        # RSF II's logger was two hours ahead: its first two hours are of the evening before.
        first, last = ((times[at] + timedelta(hours=2)).astimezone(zone).date() for at in (0, -9))
        assert (first, last) == demo_site.period()


def test_there_is_power_and_light_only_while_the_sun_is_up() -> None:
    site = parse(demo_site.declaration(), "").site(demo_site.SITE)
    for messages in by_device().values():
        values = {
            datetime.fromisoformat(message["ts"]): message["points"].get("W", message["points"].get("POAI", 0.0))
            for message in messages
        }
        bright = [ts for ts, value in values.items() if value > 0.05 * max(values.values())]
        elevation = get_solarposition(pd.DatetimeIndex(bright), float(site.latitude or 0), float(site.longitude or 0))[
            "elevation"
        ]
        assert len(bright) > 100
        assert elevation.min() > -1.5


def test_registers_count_what_was_measured() -> None:
    found = by_device()
    rise = {
        device: messages[-1]["points"]["TotWhExp"] - messages[0]["points"]["TotWhExp"]
        for device, messages in found.items()
        if "TotWhExp" in messages[0]["points"]
    }
    # The recorded powers, each for a quarter of an hour; what is drawn at night is left out.
    assert rise == {"meter-rsf-ii": 3_696_637, "inverter-2": 1_455_886, "inverter-west": 101_625}
    for messages in found.values():
        registers = [message["points"]["TotWhExp"] for message in messages if "TotWhExp" in message["points"]]
        assert registers == sorted(registers)
        assert all(isinstance(register, int) for register in registers)


def test_it_is_the_same_every_time() -> None:
    assert list(demo_site.payloads()) == list(demo_site.payloads())


@given(
    samples=st.lists(
        st.tuples(st.integers(1, 1800), st.none() | st.floats(-1e5, 1e5, allow_nan=False)), min_size=1, max_size=50
    )
)
def test_a_register_never_falls_and_never_counts_more_than_was_made(samples: list[tuple[int, float | None]]) -> None:
    register = demo_site.Register()
    ts, shown = START, []
    most_wh = 0.0
    for seconds, power_w in samples:
        ts += timedelta(seconds=seconds)
        most_wh += 1e5 * min(seconds, 900) / 3600
        shown.append(register.count(ts, power_w))
    assert shown == sorted(shown)
    assert shown[-1] - shown[0] <= most_wh + 1


def test_a_missing_power_and_a_long_gap_count_nothing() -> None:
    register = demo_site.Register()
    first = register.count(START, 1000.0)
    assert register.count(START + timedelta(minutes=20), 1000.0) == first
    assert register.count(START + timedelta(minutes=30), None) == first
    assert register.count(START + timedelta(minutes=35), 1000.0) == first
    assert register.count(START + timedelta(minutes=50), 1000.0) == first + 250


def test_the_live_site_goes_on_where_it_stood() -> None:
    live = demo_site.LiveSite({"meter-rsf-ii": 9_000_000.0})
    shown = [
        json.loads(payload)["points"].get("TotWhExp")
        for second in (0, 600)
        for topic, payload in live.payloads(NOW + timedelta(seconds=second))
        if "meter-rsf-ii" in topic
    ]
    assert shown[0] == 9_000_000
    # Noon in Golden on the sunniest recorded day: about 200 kW for ten minutes.
    assert 9_030_000 < shown[1] < 9_035_000


def test_the_live_site_begins_where_the_recording_ends() -> None:
    last = {device: messages[-1]["points"].get("TotWhExp") for device, messages in by_device().items()}
    live = {
        topic.split("/")[3]: json.loads(payload)["points"].get("TotWhExp")
        for topic, payload in demo_site.LiveSite().payloads(NOW)
    }
    assert live == last


@given(seconds=st.integers(0, 86399))
def test_the_live_site_has_a_reading_for_every_second_of_a_day(seconds: int) -> None:
    for _, payload in demo_site.LiveSite().payloads(NOW + timedelta(seconds=seconds)):
        [_], rejected = decode(payload, latest=NOW + timedelta(days=1))
        assert rejected == []
