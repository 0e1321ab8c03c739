"""From elements to readings: units, sentinels, what zero means, and whose element it is."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.declarations import FieldMap
from devices.decoding.elements import Bound, Judged, judge
from devices.decoding.profile import Profile
from devices.decoding.shapes import BAD, REPEATED, Fields, Raw
from devices.decoding.vectors import Outcome, Said, decode
from devices.native import Reason
from devices.points import REGISTER_LIMIT_WH
from devices.topics import Topic

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ENERGY = {"TotWhExp": {"names": ["e"], "unit": "kWh"}}


def profile(**source: object) -> Profile:
    return Profile.model_validate(
        {
            "name": "test", "title": "Test", "about": "", "support": "documentation", "references": [],
            "address": {"device": {"about": "its name", "default": ""}},
            "source": [{"topic": "t", "shape": "json"} | source],
        }
    )  # fmt: skip


def bound(fields: dict[str, dict[str, object]], address: str = "", **source: object) -> Bound:
    own = {name: FieldMap.model_validate(one) for name, one in fields.items()}
    return Bound(Topic("s", "d"), 1, profile(**source), {"device": address}, own, ZoneInfo("UTC"))


def judged(fields: Fields, maps: dict[str, dict[str, object]] | None = None, **source: object) -> Judged:
    one = bound(maps or ENERGY, **source)
    return judge(one, one.profile.sources[0], fields, index=0, arrived_at=NOW, latest=NOW + timedelta(seconds=300))


def values(fields: Fields, maps: dict[str, dict[str, object]] | None = None, **source: object) -> dict[str, object]:
    found = judged(fields, maps, **source)
    return {} if not found.readings else found.readings[0][2].values | dict(found.readings[0][2].extra)


class TestNumbers:
    @pytest.mark.parametrize(
        ("raw", "expected"),
        [(1, 1000.0), ("1.5", 1500.0), (Decimal("465.294"), 465294.0), (" 2 ", 2000.0), ("1e3", 1e6), ("+1", 1000.0),
         (".5", 500.0), ("5.", 5000.0), ("001073.079", 1073079.0)],
    )  # fmt: skip
    def test_what_is_one(self, raw: Raw, expected: float) -> None:
        assert values({"e": raw}) == {"TotWhExp": expected}

    @pytest.mark.parametrize(
        ("raw", "note"),
        [
            (None, "missing"), ("", "missing"), ("nan", "missing"), ("NaN", "missing"), ("--", "missing"),
            ("unavailable", "missing"), ("inf", "missing"), (0, "zero"), ("0.000", "zero"), (Decimal("-0.0"), "zero"),
            (-1, "negative"), ("-170", "negative"), (10**12, "out_of_range"), (10**31, "out_of_range"),
            ("1e300", "out_of_range"), (BAD, "quality"),
        ],
    )  # fmt: skip
    def test_what_is_none_and_nothing_is_wrong(self, raw: Raw, note: str) -> None:
        found = judged({"e": raw})
        assert (found.readings, found.rejections, found.notes) == ([], [], {f"{note}:TotWhExp"})

    @pytest.mark.parametrize("raw", [True, False, "12 kWh", "0x10", "1,5", "1.2.3", "1e9999", REPEATED, [1], []])
    def test_what_is_no_number_at_all(self, raw: Raw) -> None:
        found = judged({"e": raw})
        assert found.readings == []
        assert [one.reason for one in found.rejections] == [Reason.VALUE_NOT_A_NUMBER]

    def test_one_that_is_none_costs_no_other(self) -> None:
        maps = ENERGY | {"W": {"names": ["p"]}}
        assert values({"e": "x", "p": 5}, maps) == {"W": 5.0}
        assert judged({"e": "x", "p": 5}, maps).notes == {"not_a_number:TotWhExp"}

    def test_a_comma_only_where_the_family_has_it(self) -> None:
        assert values({"e": "20552,409"}, decimal_comma=True) == {"TotWhExp": 20552409.0}
        assert values({"e": "20.552,409"}, decimal_comma=True) == {}

    @given(st.one_of(st.text(), st.integers(), st.decimals(allow_nan=False), st.booleans(), st.none()))
    def test_a_register_is_above_0_and_below_what_can_be_or_is_none(self, raw: Raw) -> None:
        for value in values({"e": raw}).values():
            assert isinstance(value, float)
            assert 0 < value <= REGISTER_LIMIT_WH

    @given(st.decimals(min_value="0.001", max_value=10**8, places=3))
    def test_a_register_is_exactly_what_was_written(self, kwh: Decimal) -> None:
        assert values({"e": str(kwh)}) == {"TotWhExp": float(kwh * 1000)}


class TestFields:
    def test_the_first_name_that_is_there(self) -> None:
        maps = {"W": {"names": ["a", "b"]}}
        assert values({"b": 2, "a": 1}, maps) == {"W": 1.0}
        assert values({"b": 2}, maps) == {"W": 2.0}
        assert judged({"c": 2}, maps).notes == {"no_field"}

    def test_a_sum_needs_all_of_it(self) -> None:
        maps = {"TotWhExp": {"total_of": ["a", "b"], "unit": "kWh"}}
        assert values({"a": "1.5", "b": "2.5"}, maps) == {"TotWhExp": 4000.0}
        assert values({"a": "1.5", "b": 0}, maps) == {"TotWhExp": 1500.0}
        for nothing in (None, "nan", "x", BAD):
            assert values({"a": "1.5", "b": nothing}, maps) == {}
        assert judged({"a": "1.5"}, maps).notes == {"no_field"}
        assert judged({"a": 0, "b": 0}, maps).notes == {"zero:TotWhExp"}

    @pytest.mark.parametrize(("rule", "expected"), [("refuse", {}), ("sum", {"W": 6.0}), ("first", {"W": 1.0})])
    def test_a_list(self, rule: str, expected: dict[str, float]) -> None:
        assert values({"p": [1, 2, 3]}, {"W": {"names": ["p"], "of_list": rule}}) == expected
        assert values({"p": []}, {"W": {"names": ["p"], "of_list": rule}}) == {}

    def test_a_sentinel_however_it_is_written(self) -> None:
        for raw in (9999.9999, "9999.9999", Decimal("9999.99990")):
            assert values({"e": raw if not isinstance(raw, float) else Decimal(str(raw))}, missing=["9999.9999"]) == {}
        maps = {"TotWhExp": {"names": ["e"], "factor": "0.1", "missing": [2147483647]}}
        assert values({"e": 2147483647}, maps) == {}
        assert values({"e": 2147483646}, maps) == {"TotWhExp": 214748364.6}

    def test_what_zero_means(self) -> None:
        assert values({"p": 0}, {"W": {"names": ["p"]}}) == {"W": 0.0}
        assert values({"p": 0}, {"W": {"names": ["p"], "zero": "missing"}}) == {}
        assert values({"e": 0}, {"TotWhExp": {"names": ["e"], "zero": "reading"}}) == {"TotWhExp": 0.0}

    def test_between(self) -> None:
        maps = {"Hz": {"names": ["f"], "between": ["40", "70"]}}
        assert values({"f": 50}, maps) == {"Hz": 50.0}
        assert judged({"f": 198}, maps).notes == {"out_of_range:Hz"}

    def test_daily_energy_is_beside_the_columns(self) -> None:
        maps = {"DayWh": {"names": ["d"], "unit": "kWh"}}
        [(_, _, reading)] = judged({"d": 3}, maps).readings
        assert (reading.values, reading.extra) == ({}, {"DayWh": 3000.0})


class TestStatedUnits:
    @pytest.mark.parametrize(
        ("declared", "said", "expected"),
        [
            ("kWh", "kWh", {"TotWhExp": 2000.0}),
            (None, "kWh", {"TotWhExp": 2000.0}),
            (None, "J", {"TotWhExp": 0.000555555}),
            (None, None, {"TotWhExp": 2.0}),
            ("kWh", None, {"TotWhExp": 2000.0}),
            ("kWh", "", {"TotWhExp": 2000.0}),
            ("kWh", "Wh", {}),
            ("kWh", "W", {}),
            (None, "m3", {}),
        ],
    )
    def test_a_unit_that_the_payload_says(self, declared: str | None, said: str | None, expected: object) -> None:
        maps = {"TotWhExp": {"names": ["e"]} | ({"unit": declared} if declared else {})}
        fields: Fields = {"e": 2} | ({"e@unit": said} if said is not None else {})
        assert values(fields, maps) == expected
        assert judged(fields, maps).notes == (set() if expected else {"unit:TotWhExp"})

    def test_two_names_of_one_unit(self) -> None:
        maps = {"TmpAmb": {"names": ["t"], "unit": "°C"}}
        assert values({"t": 20, "t@unit": "Cel"}, maps) == {"TmpAmb": 20.0}
        assert values({"t": 293, "t@unit": "K"}, maps) == {}


class TestSources:
    def test_quality(self) -> None:
        quality = {"field": "q", "good": [192, True]}
        assert values({"e": 1, "q": 192}, quality=quality) == {"TotWhExp": 1000.0}
        assert values({"e": 1, "q": True}, quality=quality) == {"TotWhExp": 1000.0}
        for bad in (0, None, "bad", False):
            assert judged({"e": 1, "q": bad}, quality=quality).notes == {"quality"}

    def test_asleep_is_when_all_of_it_is_0(self) -> None:
        assert judged({"e": 5, "a": 0, "b": "0.0"}, asleep=["a", "b"]).notes == {"asleep"}
        for awake in ({"a": 0, "b": 1}, {"a": 0}, {"a": 0, "b": None}):
            assert values({"e": 5} | awake, asleep=["a", "b"]) == {"TotWhExp": 5000.0}

    def test_a_time_that_cannot_be_costs_the_reading(self) -> None:
        found = judged({"e": 5, "t": 0}, time={"field": "t", "format": "unix-s"})
        assert (found.readings, [one.reason for one in found.rejections]) == ([], [Reason.TIME_ABSURD])

    def test_a_time_is_not_asked_for_where_there_is_no_value(self) -> None:
        found = judged({"e": 0, "t": 0}, time={"field": "t", "format": "unix-s"})
        assert (found.rejections, found.notes) == ([], {"zero:TotWhExp"})


class TestNamedDevices:
    """A payload that names devices, on one topic of several."""

    PAYLOAD = '[{"e": 1, "n": "A"}, {"e": 2, "n": "B"}]'

    def out(self, *bounds: Bound, payload: str = PAYLOAD) -> Outcome:
        return decode(bounds, [Said("t", payload.encode(), retained=False, at=NOW)])

    def named(self, address: str, *, needed: bool = False) -> Bound:
        return bound(ENERGY, address, device={"field": ["n", "m"], "address": "device", "needed": needed})

    def energies(self, outcome: Outcome) -> list[float]:
        return [reading.values["TotWhExp"] for reading in outcome.readings]

    def test_each_its_own(self) -> None:
        first = self.named("A")
        # Devices of one family share its profile.
        outcome = self.out(first, replace(first, device_id=2, address={"device": "B"}))
        assert (self.energies(outcome), outcome.rejections) == ([1000.0, 2000.0], [])

    def test_the_others_are_unknown_and_never_somebody_elses(self) -> None:
        outcome = self.out(self.named("A"))
        assert (self.energies(outcome), outcome.rejections) == ([1000.0], ["device_unknown"])

    def test_without_a_name_in_the_address_the_payload_must_speak_of_one(self) -> None:
        outcome = self.out(self.named(""))
        assert (self.energies(outcome), outcome.rejections) == ([], ["device_unknown"] * 2)
        alone = self.out(self.named(""), payload='[{"e": 1, "n": "A"}, {"e": 2, "n": "A"}]')
        assert self.energies(alone) == [1000.0, 2000.0]

    def test_where_a_name_is_needed_none_is_guessed(self) -> None:
        assert self.out(self.named("", needed=True), payload='{"e": 1, "n": "A"}').rejections == ["device_unknown"]
        assert self.energies(self.out(self.named("", needed=True), payload='{"e": 1}')) == [1000.0]

    def test_a_payload_without_a_name_is_nobodys_who_has_one(self) -> None:
        assert self.out(self.named("A"), payload='{"e": 1}').rejections == ["device_unknown"]

    def test_any_of_the_fields_may_name_it(self) -> None:
        assert self.energies(self.out(self.named("B"), payload='{"e": 1, "n": "A", "m": "B"}')) == [1000.0]
