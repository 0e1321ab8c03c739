"""Sparkplug's topics."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.sparkplug import topics
from devices.sparkplug.topics import Address, HostState, Kind


@pytest.mark.parametrize("kind", ["NBIRTH", "NDEATH", "NDATA", "NCMD"])
def test_a_topic_of_an_edge_node(kind):
    assert topics.parse(f"spBv1.0/Plant 1/{kind}/gw01") == Address("Plant 1", Kind(kind), "gw01", None)
    assert topics.parse(f"spBv1.0/Plant 1/{kind}/gw01/inv01") is None


@pytest.mark.parametrize("kind", ["DBIRTH", "DDEATH", "DDATA", "DCMD"])
def test_a_topic_of_a_device(kind):
    assert topics.parse(f"spBv1.0/Plant1/{kind}/gw01/inv01") == Address("Plant1", Kind(kind), "gw01", "inv01")
    assert topics.parse(f"spBv1.0/Plant1/{kind}/gw01") is None


def test_a_topic_of_a_host():
    found = topics.parse("spBv1.0/STATE/jcm-mrv")
    assert found == HostState("jcm-mrv")
    assert found.kind is Kind.STATE
    assert topics.parse("spBv1.0/STATE/NBIRTH/gw01") == Address("STATE", Kind.NBIRTH, "gw01")


@pytest.mark.parametrize(
    "topic",
    [
        "", "spBv1.0", "spBv1.0/Plant1", "spBv1.0/Plant1/NDATA", "spBv1.0/Plant1/NDATA/", "spBv1.0//NDATA/gw01",
        "spBv1.0/Plant1/DDATA/gw01/", "spBv1.0/Plant1/DDATA/gw01/inv01/x", "spBv1.0/Plant1/ndata/gw01",
        "spBv1.0/Plant1/DATA/gw01", "spAv1.0/Plant1/NDATA/gw01", "spbv1.0/Plant1/NDATA/gw01",
        "/spBv1.0/Plant1/NDATA/gw01", "jcm/v1/site/device/readings", "STATE/jcm-mrv", "spBv1.0/STATE",
        # mqtt-spb-wrapper's own place for a host's state
        "spBv1.0/Plant1/STATE/scada",
    ],
)  # fmt: skip
def test_anything_else_is_none(topic):
    assert topics.parse(topic) is None


def test_topics_that_a_host_publishes_on():
    assert topics.ncmd("Plant 1", "gw01") == "spBv1.0/Plant 1/NCMD/gw01"
    assert topics.state("jcm-mrv") == "spBv1.0/STATE/jcm-mrv"
    for wrong in ["", "a/b", "+", "#", "a\0"]:
        with pytest.raises(ValueError, match="cannot stand in a topic"):
            topics.ncmd("Plant1", wrong)
        with pytest.raises(ValueError, match="cannot stand in a topic"):
            topics.state(wrong)


@given(st.lists(st.sampled_from(["spBv1.0", "STATE", "NBIRTH", "DDATA", "a", ""]), max_size=6).map("/".join))
def test_what_is_parsed_is_the_topic(topic):
    found = topics.parse(topic)
    if isinstance(found, Address):
        parts = ["spBv1.0", found.group, found.kind, found.edge] + ([found.device] if found.device else [])
        assert "/".join(parts) == topic
    elif found is not None:
        assert topics.state(found.host) == topic
