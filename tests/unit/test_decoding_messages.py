"""What one message says in several elements, and what is sent once more after a crash."""

from datetime import UTC, datetime, timedelta

from devices.declarations import FieldMap
from devices.decoding.catalogue import built_in
from devices.decoding.elements import Bound
from devices.decoding.vectors import Said, decode
from devices.time_zones import time_zone
from devices.topics import Topic

AT = datetime(2026, 6, 1, 4, 0, tzinfo=UTC)


def bound(family: str, fields: dict | None = None, **address: str) -> Bound:
    profile = built_in()[family]
    return Bound(Topic("s", "d"), 1, profile, profile.parameters(address), fields or {}, time_zone("UTC"))


METER = {
    "TotWhExp": FieldMap(names=("energy",), unit="kWh"),
    "W": FieldMap(names=("power",), unit="W"),
}


def lines(*text: str) -> list[Said]:
    return [Said("t", "\n".join(text).encode(), retained=False, at=AT)]


def test_lines_of_one_instant_are_one_reading() -> None:
    ns = int(AT.timestamp()) * 10**9
    outcome = decode([bound("influx-line", METER, topic="t")], lines(f"m energy=1.5 {ns}", f"m power=7 {ns}"))
    assert [reading.values for reading in outcome.readings] == [{"TotWhExp": 1500.0, "W": 7.0}]


def test_lines_that_contradict_each_other_stay_apart() -> None:
    ns = int(AT.timestamp()) * 10**9
    outcome = decode([bound("influx-line", METER, topic="t")], lines(f"m energy=1.5 {ns}", f"m energy=1.6 {ns}"))
    assert [reading.values for reading in outcome.readings] == [{"TotWhExp": 1500.0}, {"TotWhExp": 1600.0}]


def test_a_field_that_is_sent_again_after_a_crash_is_no_next_value() -> None:
    def said(field: str, value: str, after_s: float, *, again: bool = False) -> Said:
        return Said(
            f"deye/{field}", value.encode(), retained=False, at=AT + timedelta(seconds=after_s), redelivered=again
        )

    messages = [
        said("total_energy", "12.3", 0),
        said("total_energy", "12.3", 0.5, again=True),
        said("day_energy", "1.1", 1),
    ]
    outcome = decode([bound("deye")], messages)
    assert [reading.values | dict(reading.extra) for reading in outcome.readings] == [
        {"TotWhExp": 12300.0, "DayWh": 1100.0}
    ]
