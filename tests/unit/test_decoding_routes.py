"""Which device a topic belongs to: below a site's name, directly, and never to two sites at once."""

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from devices.decoding import catalogue
from devices.decoding.elements import Bound
from devices.decoding.profile import Profile
from devices.decoding.routes import Routes, covers, foreign, pattern, uncovered
from devices.topics import Topic

FAMILIES = catalogue.built_in()


def bound(site: str, device_id: int, family: str = "opendtu", **address: str) -> Bound:
    profile = FAMILIES[family]
    return Bound(
        Topic(site, f"device-{device_id}"), device_id, profile, profile.parameters(address), {}, ZoneInfo("UTC")
    )


def devices(routes: Routes, topic: str) -> tuple[str | None, set[int]] | None:
    found = routes.find(topic)
    return None if found is None else (found.site, {route.bound.device_id for route in found.routes})


class TestTwoWaysIn:
    ROUTES = Routes([bound("north", 1, serial="11"), bound("south", 2, serial="22"), bound("south", 3, serial="11")])

    def test_below_a_site_only_its_own_devices_are_meant(self) -> None:
        assert devices(self.ROUTES, "jcm/v1/north/via/solar/11/0/power") == ("north", {1})
        assert devices(self.ROUTES, "jcm/v1/south/via/solar/11/0/power") == ("south", {3})
        assert devices(self.ROUTES, "jcm/v1/north/via/solar/22/0/power") is None
        assert devices(self.ROUTES, "jcm/v1/east/via/solar/11/0/power") is None

    def test_directly_it_is_the_one_sites_that_declares_it(self) -> None:
        assert devices(self.ROUTES, "solar/22/0/power") == ("south", {2})

    def test_directly_two_sites_on_one_topic_are_none(self) -> None:
        assert devices(self.ROUTES, "solar/11/0/power") == (None, {1, 3})

    def test_what_nobody_declared(self) -> None:
        for topic in ("solar/33/0/power", "other/11/0/power", "jcm/v1/north/via", "jcm/v1/north/via/", "", "$SYS/x"):
            assert devices(self.ROUTES, topic) is None

    def test_the_familys_own_topic_and_the_name_of_the_field(self) -> None:
        for topic in ("solar/22/0/power", "jcm/v1/south/via/solar/22/0/power"):
            found = self.ROUTES.find(topic)
            assert found is not None
            assert found.topic == "solar/22/0/power"
            assert [route.name for route in found.routes] == ["0/power"]

    def test_it_is_the_same_the_second_time(self) -> None:
        topic = "jcm/v1/south/via/solar/22/0/power"
        assert self.ROUTES.find(topic) is self.ROUTES.find(topic)


@pytest.mark.parametrize(
    ("topic", "own"),
    [
        ("jcm/v1/s/via/solar/1", "solar/1"),
        ("jcm/v1/s/via//gw/x", "/gw/x"),
        ("jcm/v1/s/via/", ""),
        ("jcm/v1/s/via", None),
        ("jcm/v1/s/d/readings", None),
        ("jcm/v1//via/x", None),
        ("jcm/v2/s/via/x", None),
        ("solar/1", None),
    ],
)
def test_the_topic_below_a_sites_name(topic: str, own: str | None) -> None:
    assert foreign(topic) == own


def test_a_topic_that_begins_with_a_slash() -> None:
    routes = Routes([bound("s", 1, "acrel", serial="7")])
    for prefix in ("", "jcm/v1/s/via/"):
        assert devices(routes, f"{prefix}/gw/acrelHW/null/data/7") == ("s", {1})
        assert devices(routes, f"{prefix}gw/acrelHW/null/data/7") is None


@pytest.mark.parametrize(
    ("topic", "address", "expected"),
    [
        ("{prefix}/{serial}/{field}", {"prefix": "a/b", "serial": "1"}, "a/b/1/#"),
        ("{prefix}/sensor/{field}/state", {"prefix": "a"}, "a/sensor/+/state"),
        ("{prefix}/{unit}/inverter", {"prefix": "a", "unit": ""}, "a/inverter"),
        ("/gw/{product}/+/x", {"product": "null"}, "/gw/null/+/x"),
    ],
)
def test_a_source_as_a_subscription(topic: str, address: dict[str, str], expected: str) -> None:
    assert pattern(topic, address) == expected


def test_a_field_within_a_topic_is_one_level() -> None:
    routes = Routes([bound("s", 1, "esphome", prefix="home/pv")])
    found = routes.find("home/pv/sensor/total_energy/state")
    assert found is not None
    assert [route.name for route in found.routes] == ["total_energy"]
    assert routes.find("home/pv/sensor/total/energy/state") is None


def test_what_a_profile_ignores_counts_only_where_nothing_else_speaks() -> None:
    routes = Routes([bound("s", 1, "dsmr-reader")])
    shapes = {
        topic: [route.source.shape for route in found.routes]
        for topic in ("dsmr/json", "dsmr/raw", "dsmr/day-consumption/x")
        if (found := routes.find(topic)) is not None
    }
    assert shapes == {"dsmr/json": ["json"], "dsmr/raw": ["dsmr-telegram"], "dsmr/day-consumption/x": ["ignored"]}


def test_the_products_own_payload_is_not_foreign() -> None:
    assert Routes([bound("s", 1, "native")]).direct_filters() == []


def test_two_devices_of_one_topic_are_both_meant_and_of_one_site() -> None:
    routes = Routes([bound("s", 1, "growatt-grott", serial="A"), bound("s", 2, "growatt-grott", serial="B")])
    assert devices(routes, "energy/growatt") == ("s", {1, 2})


class TestFilters:
    def test_what_is_subscribed_to(self) -> None:
        routes = Routes([bound("north", 1, serial="11"), bound("south", 2, "growatt-grott", serial="A")])
        assert routes.direct_filters() == ["energy/growatt", "solar/11/#"]
        assert routes.direct_filters("south") == ["energy/growatt"]
        assert routes.direct_filters("east") == []

    def test_a_filter_that_another_covers_is_left_out(self) -> None:
        assert uncovered(["a/#", "a/b", "a/+/c", "a", "b/+", "b/c", "b/c/d"]) == ["a/#", "b/+", "b/c/d"]

    levels = st.lists(st.sampled_from(["a", "b", "", "+"]), min_size=1, max_size=4)
    filters = st.builds(lambda one, end: "/".join([*one, *end]), levels, st.sampled_from([[], ["#"]]))
    topics = st.lists(st.sampled_from(["a", "b", ""]), min_size=1, max_size=5).map("/".join).filter(bool)

    @given(filters, filters, topics)
    def test_what_covers_takes_every_topic_of_the_other(self, wide: str, narrow: str, topic: str) -> None:
        if covers(wide, narrow) and topic_matches_sub(narrow, topic):
            assert topic_matches_sub(wide, topic)

    @given(st.lists(filters, max_size=8), topics)
    def test_what_is_left_takes_every_topic(self, wanted: list[str], topic: str) -> None:
        before = any(topic_matches_sub(one, topic) for one in wanted)
        assert any(topic_matches_sub(one, topic) for one in uncovered(wanted)) == before


@pytest.mark.parametrize("profile", FAMILIES.values(), ids=FAMILIES)
def test_every_vector_reaches_its_device_both_ways(profile: Profile) -> None:
    if profile.name == "native":
        return
    for vector in profile.vectors:
        one = Bound(Topic("s", "d"), 1, profile, profile.parameters(vector.address), {}, ZoneInfo("UTC"))
        routes = Routes([one])
        for message in vector.messages:
            direct, via = routes.find(message.topic), routes.find(f"jcm/v1/s/via/{message.topic}")
            if direct is None:
                assert via is None
                continue
            assert via is not None
            assert via.routes == direct.routes
            assert via.site == direct.site == "s"
            speaks = any(route.source.shape != "ignored" for route in direct.routes)
            asked = any(topic_matches_sub(wanted, message.topic) for wanted in routes.direct_filters())
            assert asked or not speaks
