"""The host's state machine: births, `seq`, `bdSeq`, aliases, deaths, rebirths."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.sparkplug import host, messages
from devices.sparkplug import sparkplug_b_pb2 as wire
from devices.sparkplug.host import Definitions, Device, Node, Occurrence, Step
from devices.sparkplug.payload import EPOCH, DataType, Reason
from devices.sparkplug.topics import Address, Kind

T0 = datetime(2026, 11, 22, 7, 0, tzinfo=UTC)
INT16, INT32, INT64, UINT64 = DataType.INT16, DataType.INT32, DataType.INT64, DataType.UINT64
FLOAT, DOUBLE, BOOLEAN, STRING = DataType.FLOAT, DataType.DOUBLE, DataType.BOOLEAN, DataType.STRING
MINUS_12 = 4_294_967_284


def ms(at: datetime) -> int:
    return (at - EPOCH) // timedelta(milliseconds=1)


def frame(*metrics: dict, seq: int | None = None, at: datetime | None = T0) -> bytes:
    """A payload; a metric's `at` is its own time."""
    made = []
    for metric in metrics:
        given_ = dict(metric)
        if "at" in given_:
            given_["timestamp"] = ms(given_.pop("at"))
        made.append(wire.Payload.Metric(**given_))
    return wire.Payload(
        metrics=made, **({} if at is None else {"timestamp": ms(at)}), **({} if seq is None else {"seq": seq})
    ).SerializeToString()


def bd_seq(number: int) -> dict:
    return {"name": "bdSeq", "datatype": INT64, "long_value": number}


REBIRTH = {"name": "Node Control/Rebirth", "datatype": BOOLEAN, "boolean_value": False}
ENERGY = {"name": "energy", "alias": 2, "datatype": UINT64, "long_value": 4_294_967_999}
TEMP = {"name": "temp", "alias": 4, "datatype": INT16, "int_value": MINUS_12}


class Edge:
    """An edge node as a host hears it."""

    def __init__(self, node: Node | None = None) -> None:
        self.node = node
        self.now = T0

    def hear(self, kind: Kind, payload: bytes, *, redelivered: bool = False, device: str = "inv01") -> Step:
        address = Address("Plant1", kind, "gw01", device if kind.startswith("D") else None)
        step = host.take(self.node, address, payload, arrived_at=self.now, redelivered=redelivered)
        self.node = step.node
        return step

    def born(self, *, number: int = 0, devices: bool = True, births: tuple[dict, ...] = (ENERGY, TEMP)) -> "Edge":
        self.hear(Kind.NBIRTH, frame(REBIRTH, bd_seq(number), seq=0))
        if devices:
            self.hear(Kind.DBIRTH, frame(*births, seq=1))
        return self

    def after(self, seconds: float) -> "Edge":
        self.now += timedelta(seconds=seconds)
        return self


def codes(step: Step) -> list[Occurrence]:
    return [event.code for event in step.events]


def reasons(step: Step) -> list[Reason]:
    return [rejection.reason for rejection in step.rejections]


def values(step: Step) -> dict:
    assert len(step.samples) <= 1, step.samples
    return dict(step.samples[0].values) if step.samples else {}


def by_alias(alias: int, **value) -> dict:
    return {"alias": alias, **value}


def test_births_then_data_by_alias():
    edge = Edge()
    step = edge.hear(
        Kind.NBIRTH, frame(REBIRTH, bd_seq(3), {"name": "uptime", "datatype": UINT64, "long_value": 5}, seq=0)
    )
    assert codes(step) == [Occurrence.NODE_BORN]
    assert values(step) == {"uptime": 5}  # the protocol's own metrics measure nothing
    assert (edge.node.online, edge.node.bd_seq, edge.node.seq, edge.node.born_at) == (True, 3, 0, T0)
    step = edge.hear(Kind.DBIRTH, frame(ENERGY, TEMP, seq=1))
    assert codes(step) == [Occurrence.DEVICE_BORN]
    assert values(step) == {"energy": 4_294_967_999, "temp": -12}
    assert edge.node.devices["inv01"] == Device(
        online=True, definitions=Definitions({2: "energy", 4: "temp"}, {"energy": UINT64, "temp": INT16})
    )
    step = edge.hear(Kind.DDATA, frame(by_alias(4, int_value=65_523), by_alias(2, long_value=2**53 + 1), seq=2))
    assert values(step) == {"temp": -13, "energy": 2**53 + 1}
    assert (step.rejections, step.events, step.rebirth) == ((), (), False)


def test_node_data_uses_the_nodes_own_definitions():
    edge = Edge()
    edge.hear(
        Kind.NBIRTH, frame(bd_seq(0), {"name": "supply", "alias": 9, "datatype": FLOAT, "float_value": 12.5}, seq=0)
    )
    edge.hear(Kind.DBIRTH, frame({"name": "other", "alias": 9, "datatype": INT16, "int_value": 1}, seq=1))
    assert values(edge.hear(Kind.NDATA, frame(by_alias(9, float_value=12.25), seq=2))) == {"supply": 12.25}
    assert values(edge.hear(Kind.DDATA, frame(by_alias(9, int_value=2), seq=3))) == {"other": 2}


def test_samples_are_grouped_by_their_own_time_in_order():
    edge = Edge().born()
    step = edge.hear(
        Kind.DDATA,
        frame(
            by_alias(4, int_value=3, at=T0 + timedelta(seconds=5)),
            by_alias(2, long_value=10),
            by_alias(4, int_value=1, at=T0 - timedelta(hours=1), is_historical=True),
            by_alias(2, long_value=9, at=T0 - timedelta(hours=1), is_historical=True),
            by_alias(4, int_value=2),
            seq=2,
        ),
    )
    assert [(sample.time, sample.historical, sample.values) for sample in step.samples] == [
        (T0 - timedelta(hours=1), True, {"temp": 1, "energy": 9}),
        (T0, False, {"energy": 10, "temp": 2}),
        (T0 + timedelta(seconds=5), False, {"temp": 3}),
    ]


def test_a_historical_value_is_apart_from_a_live_one_of_the_same_instant():
    step = Edge().born().hear(
        Kind.DDATA, frame(by_alias(4, int_value=1, is_historical=True), by_alias(2, long_value=2), seq=2)
    )  # fmt: skip
    assert [(sample.historical, sample.values) for sample in step.samples] == [
        (True, {"temp": 1}),
        (False, {"energy": 2}),
    ]


def test_without_any_time_there_is_none():
    step = Edge().born().hear(
        Kind.DDATA, frame(by_alias(4, int_value=1), by_alias(2, long_value=2, at=T0), seq=2, at=None)
    )  # fmt: skip
    assert [(sample.time, sample.values) for sample in step.samples] == [(T0, {"energy": 2}), (None, {"temp": 1})]


def test_a_second_value_for_the_same_instant_is_another_sample_and_the_same_again_is_none():
    step = Edge().born().hear(
        Kind.DDATA, frame(by_alias(2, long_value=5), by_alias(2, long_value=5), by_alias(2, long_value=6), seq=2)
    )  # fmt: skip
    assert [sample.values for sample in step.samples] == [{"energy": 5}, {"energy": 6}]


def test_a_time_that_no_calendar_has_costs_its_metric():
    payload = frame(by_alias(2, long_value=5), {"alias": 4, "int_value": 1, "timestamp": 2**63}, seq=2)
    step = Edge().born().hear(Kind.DDATA, payload)
    assert values(step) == {"energy": 5}
    assert reasons(step) == [Reason.TIME_ABSURD]
    absurd = wire.Payload(timestamp=2**63, seq=2, metrics=[wire.Payload.Metric(alias=2, long_value=5)])
    step = Edge().born().hear(Kind.DDATA, absurd.SerializeToString())
    assert (step.samples, reasons(step)) == ((), [Reason.TIME_ABSURD])


def test_null_is_none_and_so_is_what_is_no_number():
    edge = Edge().born(births=(ENERGY, {"name": "W", "alias": 1, "datatype": FLOAT, "float_value": 1.0}))
    step = edge.hear(Kind.DDATA, frame(by_alias(1, is_null=True), by_alias(2, long_value=7), seq=2))
    assert (values(step), step.events, step.rejections) == ({"W": None, "energy": 7}, (), ())
    step = edge.hear(Kind.DDATA, frame(by_alias(1, float_value=float("nan")), by_alias(2, long_value=8), seq=3))
    assert (values(step), codes(step), step.rejections) == ({"W": None, "energy": 8}, [Occurrence.VALUE_NOT_FINITE], ())
    step = edge.hear(Kind.DDATA, frame(by_alias(1, dataset_value={}), by_alias(2), seq=4))
    assert values(step) == {"W": None, "energy": None}
    assert codes(step) == [Occurrence.VALUE_UNSUPPORTED, Occurrence.VALUE_MISSING]


@pytest.mark.parametrize(("quality", "value"), [(192, 7), (0, None), (500, None)])
def test_a_value_that_its_sender_calls_bad_or_stale_is_none(quality, value):
    properties = {"keys": ["Quality"], "values": [{"type": INT32, "int_value": quality}]}
    step = Edge().born().hear(Kind.DDATA, frame(by_alias(2, long_value=7, properties=properties), seq=2))
    assert values(step) == {"energy": value}
    assert codes(step) == ([] if value else [Occurrence.QUALITY_NOT_GOOD])


def test_a_transient_metric_is_left_out_and_said():
    step = (
        Edge()
        .born()
        .hear(Kind.DDATA, frame(by_alias(2, long_value=7), by_alias(4, int_value=1, is_transient=True), seq=2))
    )
    assert (values(step), codes(step)) == ({"energy": 7}, [Occurrence.TRANSIENT_LEFT_OUT])


# seq ----------------------------------------------------------------------------------------------------------------


def test_seq_wraps_from_255_to_0():
    edge = Edge().born()
    for number in range(2, 600):
        step = edge.hear(Kind.DDATA, frame(by_alias(2, long_value=number), seq=number % 256))
        assert (values(step), step.events, step.rebirth) == ({"energy": number}, (), False)


@pytest.mark.parametrize("seq", [3, 200, 1, 0])
def test_a_gap_asks_for_a_rebirth_and_costs_no_value(seq):
    edge = Edge().born()
    step = edge.hear(Kind.DDATA, frame(by_alias(2, long_value=5), seq=seq))
    assert values(step) == {"energy": 5}
    assert codes(step) == [Occurrence.SEQ_GAP]
    assert step.rebirth
    step = edge.hear(Kind.DDATA, frame(by_alias(2, long_value=6), seq=seq + 1))
    assert (values(step), step.events) == ({"energy": 6}, ())


@pytest.mark.parametrize("back", [0, 1, 5, 128])
def test_a_redelivered_message_is_no_gap(back):
    edge = Edge().born()
    for number in range(2, 200):
        edge.hear(Kind.DDATA, frame(by_alias(2, long_value=number), seq=number))
    before = edge.node
    step = edge.hear(Kind.DDATA, frame(by_alias(2, long_value=199 - back), seq=199 - back), redelivered=True)
    assert (values(step), codes(step), step.rebirth) == ({"energy": 199 - back}, [Occurrence.REPEATED], False)
    assert edge.node == before
    assert edge.hear(Kind.DDATA, frame(by_alias(2, long_value=200), seq=200)).events == ()


def test_a_redelivered_message_not_heard_before_counts():
    edge = Edge().born()
    assert edge.hear(Kind.DDATA, frame(by_alias(2, long_value=1), seq=2), redelivered=True).events == ()
    assert edge.node.seq == 2
    step = edge.hear(Kind.DDATA, frame(by_alias(2, long_value=1), seq=5), redelivered=True)
    assert (codes(step), step.rebirth) == ([Occurrence.SEQ_GAP], True)


def test_redelivered_births_and_deaths_change_nothing_twice():
    edge = Edge()
    nbirth, dbirth = frame(bd_seq(1), seq=0), frame(ENERGY, seq=1)
    ddeath, dbirth_again = frame(seq=2), frame(ENERGY, TEMP, seq=3)
    for kind, payload in [
        (Kind.NBIRTH, nbirth),
        (Kind.DBIRTH, dbirth),
        (Kind.DDEATH, ddeath),
        (Kind.DBIRTH, dbirth_again),
    ]:
        edge.hear(kind, payload)
    kept = edge.node
    for kind, payload in [
        (Kind.NBIRTH, nbirth),
        (Kind.DBIRTH, dbirth),
        (Kind.DDEATH, ddeath),
        (Kind.DBIRTH, dbirth_again),
    ]:
        step = edge.hear(kind, payload, redelivered=True)
        assert codes(step) == [Occurrence.REPEATED]
        assert not step.rebirth
        assert edge.node == kept
    assert values(edge.hear(Kind.DDATA, frame(by_alias(4, int_value=1), seq=4))) == {"temp": 1}


@pytest.mark.parametrize(("number", "later"), [(1, 5), (2, 0)])
def test_a_redelivered_birth_that_was_not_heard_is_a_birth(number, later):
    edge = Edge().born(number=1)
    payload = frame(bd_seq(number), seq=0, at=T0 + timedelta(seconds=later))
    assert codes(edge.hear(Kind.NBIRTH, payload, redelivered=True)) == [Occurrence.NODE_BORN]
    assert not edge.node.devices["inv01"].online


@pytest.mark.parametrize(("seq", "code"), [(7, Occurrence.NBIRTH_SEQ_NOT_ZERO), (None, Occurrence.SEQ_MISSING)])
def test_an_nbirth_with_another_seq_is_accepted_and_said(seq, code):
    edge = Edge()
    step = edge.hear(Kind.NBIRTH, frame(bd_seq(0), seq=seq))
    assert codes(step) == [code, Occurrence.NODE_BORN]
    step = edge.hear(Kind.DBIRTH, frame(ENERGY, seq=8))
    assert (codes(step), step.rebirth) == ([Occurrence.DEVICE_BORN], False)


def test_data_without_seq_or_with_one_too_high_is_used_and_said():
    edge = Edge().born()
    step = edge.hear(Kind.DDATA, frame(by_alias(2, long_value=5)))
    assert (values(step), codes(step), step.rebirth) == ({"energy": 5}, [Occurrence.SEQ_MISSING], False)
    step = edge.hear(Kind.DDATA, frame(by_alias(2, long_value=5), seq=258))
    assert codes(step) == [Occurrence.SEQ_OUT_OF_RANGE]
    assert values(step) == {"energy": 5}


# births and deaths --------------------------------------------------------------------------------------------------


def test_a_death_with_the_births_number_takes_the_node_and_all_devices_offline():
    edge = Edge().born(number=4)
    edge.hear(Kind.DBIRTH, frame(TEMP, seq=2), device="inv02")
    step = edge.hear(Kind.NDEATH, frame(bd_seq(4)))
    assert codes(step) == [Occurrence.NODE_DEAD]
    assert not edge.node.online
    assert [device.online for device in edge.node.devices.values()] == [False, False]
    assert (step.samples, step.rebirth) == ((), False)
    assert edge.hear(Kind.NDEATH, frame(bd_seq(4))).events == ()


@pytest.mark.parametrize(("born", "dead"), [(4, 3), (0, 255), (130, 2), (1200, 1000)])
def test_the_death_of_an_earlier_session_is_left_alone(born, dead):
    edge = Edge().born(number=born)
    before = edge.node
    step = edge.hear(Kind.NDEATH, frame(bd_seq(dead)))
    assert codes(step) == [Occurrence.NDEATH_STALE]
    assert edge.node == before


@pytest.mark.parametrize(("born", "dead"), [(0, 1), (255, 0), (3, 130), (1000, 1200)])
def test_a_death_ahead_of_the_birth_is_a_death(born, dead):
    # pysparkplug 0.6.1: NBIRTH bdSeq 0, NDEATH of a graceful disconnect bdSeq 1.
    edge = Edge().born(number=born)
    step = edge.hear(Kind.NDEATH, frame(bd_seq(dead)))
    assert codes(step) == [Occurrence.NDEATH_AHEAD, Occurrence.NODE_DEAD]
    assert not edge.node.online


@pytest.mark.parametrize("payload", [b"", frame(), b"\xff\xff"])
def test_a_death_without_a_number_is_a_death(payload):
    edge = Edge().born()
    edge.hear(Kind.NDEATH, payload)
    assert not edge.node.online
    assert not edge.node.devices["inv01"].online


def test_a_dead_node_dies_again_of_any_number():
    # Devices may have been born without an NBIRTH; then the last known bdSeq says nothing.
    edge = Edge().born(number=4)
    edge.hear(Kind.NDEATH, frame(bd_seq(4)))
    edge.hear(Kind.DBIRTH, frame(ENERGY, seq=2))
    assert edge.hear(Kind.NDEATH, frame(bd_seq(3))).events == ()
    assert not edge.node.devices["inv01"].online


def test_a_birth_without_a_number_is_a_birth_and_any_death_ends_it():
    edge = Edge()
    assert codes(edge.hear(Kind.NBIRTH, frame(seq=0))) == [Occurrence.BDSEQ_MISSING, Occurrence.NODE_BORN]
    assert codes(edge.hear(Kind.NDEATH, frame(bd_seq(9)))) == [Occurrence.NODE_DEAD]


def test_the_number_given_twice_is_one_number():
    # npm sparkplug-client 3.2.4 adds a bdSeq to the same payload object at every birth (the recorded NBIRTH).
    edge = Edge()
    edge.hear(Kind.NBIRTH, frame(bd_seq(2), bd_seq(2), seq=0))
    assert edge.node.bd_seq == 2


def test_after_a_death_an_alias_means_nothing_until_the_next_birth():
    edge = Edge().born()
    edge.hear(Kind.NDEATH, frame(bd_seq(0)))
    named = {"name": "energy", "datatype": UINT64, "long_value": 6}
    step = edge.hear(Kind.DDATA, frame(by_alias(4, int_value=1), named, seq=2))
    assert values(step) == {"energy": 6}
    assert reasons(step) == [Reason.ALIAS_UNKNOWN]
    assert codes(step) == [Occurrence.DATA_BEFORE_BIRTH]
    assert step.rebirth
    edge.born(births=({**ENERGY, "alias": 4}, {**TEMP, "alias": 2}))
    assert values(edge.hear(Kind.DDATA, frame(by_alias(4, int_value=1), seq=2))) == {"energy": 1}


def test_a_new_nbirth_ends_the_aliases_of_devices_until_they_are_born_again():
    edge = Edge().born()
    edge.hear(Kind.NBIRTH, frame(bd_seq(1), seq=0))
    assert not edge.node.devices["inv01"].online
    step = edge.hear(Kind.DDATA, frame(by_alias(2, long_value=1), seq=1))
    assert (step.samples, reasons(step), step.rebirth) == ((), [Reason.ALIAS_UNKNOWN], True)


def test_the_death_of_a_device_is_its_own():
    edge = Edge().born()
    edge.hear(Kind.DBIRTH, frame({**TEMP, "alias": 7}, seq=2), device="inv02")
    step = edge.hear(Kind.DDEATH, frame(seq=3))
    assert codes(step) == [Occurrence.DEVICE_DEAD]
    assert edge.node.online
    assert {name: device.online for name, device in edge.node.devices.items()} == {"inv01": False, "inv02": True}
    step = edge.hear(Kind.DDATA, frame(by_alias(2, long_value=1), seq=4))
    assert (reasons(step), codes(step), step.rebirth) == ([Reason.ALIAS_UNKNOWN], [Occurrence.DATA_BEFORE_BIRTH], True)
    assert codes(edge.hear(Kind.DDEATH, frame(seq=5), device="inv03")) == [Occurrence.DEVICE_DEAD]


def test_a_device_born_before_its_node_is_used_and_a_rebirth_asked_for():
    # mqtt-spb-wrapper's device entity never sends an NBIRTH.
    edge = Edge()
    step = edge.hear(Kind.DBIRTH, frame(ENERGY, seq=0))
    assert codes(step) == [Occurrence.DBIRTH_BEFORE_NBIRTH, Occurrence.DEVICE_BORN]
    assert values(step) == {"energy": 4_294_967_999}
    assert step.rebirth
    step = edge.hear(Kind.DDATA, frame(by_alias(2, long_value=5), seq=1))
    assert (values(step), step.rejections, codes(step)) == ({"energy": 5}, (), [Occurrence.DATA_BEFORE_BIRTH])
    edge.hear(Kind.NDEATH, frame(bd_seq(0)))
    assert not edge.node.devices["inv01"].online


def test_an_unreadable_birth_ends_the_aliases_it_would_have_replaced():
    edge = Edge().born()
    step = edge.hear(Kind.DBIRTH, b"\xff")
    assert (reasons(step), step.rebirth) == ([Reason.UNDECODABLE], True)
    assert not edge.node.devices["inv01"].online
    edge = Edge().born()
    step = edge.hear(Kind.NBIRTH, b"\xff")
    assert (reasons(step), step.rebirth, edge.node.online) == ([Reason.UNDECODABLE], True, False)
    assert not edge.node.devices["inv01"].online


def test_unreadable_data_is_a_rejection_alone():
    edge = Edge().born()
    before = edge.node
    step = edge.hear(Kind.DDATA, b"\xff")
    assert step == Step(before, rejections=(host.Rejection(Reason.UNDECODABLE, "not a payload of Sparkplug B"),))


@pytest.mark.parametrize("kind", [Kind.NCMD, Kind.DCMD])
def test_commands_change_nothing(kind):
    edge = Edge().born()
    assert edge.hear(kind, messages.rebirth_command(T0)) == Step(edge.node)
    assert edge.hear(kind, b"\xff") == Step(edge.node)


# names, aliases, datatypes ------------------------------------------------------------------------------------------


def test_data_before_any_birth_use_what_has_a_name_and_reject_the_rest():
    step = Edge().hear(
        Kind.DDATA,
        frame(
            by_alias(1, float_value=1.0),
            by_alias(2, long_value=1),
            {"name": "energy", "alias": 2, "datatype": UINT64, "long_value": 5},
            {"name": "W", "float_value": 2.5},
            {"name": "St", "int_value": 3},
            {"float_value": 1.0},
            seq=9,
        ),
    )
    assert values(step) == {"energy": 5, "W": 2.5}
    assert step.rejections == (
        (Reason.ALIAS_UNKNOWN, "alias 1, alias 2"),
        (Reason.DATATYPE_UNKNOWN, "'St'"),
        (Reason.NAME_MISSING, "unnamed"),
    )
    assert codes(step) == [Occurrence.DATA_BEFORE_BIRTH]
    assert step.rebirth


def test_an_unknown_alias_costs_its_metric_and_asks_for_a_rebirth():
    step = Edge().born().hear(Kind.DDATA, frame(by_alias(2, long_value=5), by_alias(99, int_value=1), seq=2))
    assert values(step) == {"energy": 5}
    assert step.rejections == ((Reason.ALIAS_UNKNOWN, "alias 99"),)
    assert step.rebirth


def test_a_name_the_birth_did_not_have_is_used_as_it_is():
    # mqtt-spb-wrapper 2.1.2: born with "DATA/Inverter/temp", sends "Inverter/temp" with its datatype.
    edge = Edge().born(births=({"name": "DATA/Inverter/temp", "datatype": INT64, "long_value": 2**64 - 12},))
    step = edge.hear(Kind.DDATA, frame({"name": "Inverter/temp", "datatype": INT64, "long_value": 2**64 - 13}, seq=2))
    assert (values(step), codes(step)) == ({"Inverter/temp": -13}, [Occurrence.NAME_UNKNOWN])
    assert (step.rejections, step.rebirth) == ((), False)


def test_a_name_goes_before_an_alias_that_says_otherwise():
    step = (
        Edge()
        .born()
        .hear(Kind.DDATA, frame({"name": "energy", "alias": 4, "datatype": UINT64, "long_value": 5}, seq=2))
    )
    assert (values(step), codes(step), step.rebirth) == ({"energy": 5}, [Occurrence.ALIAS_CONTRADICTED], True)


def test_an_alias_of_zero_is_an_alias():
    edge = Edge().born(births=({**ENERGY, "alias": 0}, {**TEMP, "alias": 1}))
    assert values(edge.hear(Kind.DDATA, frame(by_alias(0, long_value=5), seq=2))) == {"energy": 5}


def test_a_birth_names_its_metrics_itself():
    edge = Edge()
    edge.hear(Kind.NBIRTH, frame(bd_seq(0), seq=0))
    step = edge.hear(Kind.DBIRTH, frame(ENERGY, by_alias(2, datatype=UINT64, long_value=7), seq=1))
    assert (values(step), reasons(step)) == ({"energy": 4_294_967_999}, [Reason.ALIAS_UNKNOWN])
    # The next birth would not have the name either.
    assert not step.rebirth


def test_an_alias_of_two_names_belongs_to_neither():
    edge = Edge()
    edge.hear(Kind.NBIRTH, frame(bd_seq(0), seq=0))
    step = edge.hear(Kind.DBIRTH, frame(ENERGY, {**TEMP, "alias": 2}, seq=1))
    assert codes(step) == [Occurrence.ALIAS_AMBIGUOUS, Occurrence.DEVICE_BORN]
    assert reasons(edge.hear(Kind.DDATA, frame(by_alias(2, long_value=5), seq=2))) == [Reason.ALIAS_UNKNOWN]


@pytest.mark.parametrize(
    ("born", "sent", "value"),
    [
        # Only one reading of it is possible.
        ((INT64, {"long_value": 0}), {"datatype": DOUBLE, "double_value": 12.5}, 12.5),
        ((DOUBLE, {"double_value": 1.5}), {"datatype": INT64, "long_value": 2**64 - 2}, -2),
        ((INT64, {"long_value": 0}), {"double_value": 12.5}, 12.5),
        ((INT16, {"int_value": 0}), {"datatype": INT32, "int_value": 70_000}, 70_000),
        ((DataType.DATASET, {"dataset_value": {}}), {"datatype": INT32, "int_value": 7}, 7),
        # Both readings are the same.
        ((INT32, {"int_value": 0}), {"datatype": DataType.UINT32, "int_value": 100}, 100),
        ((STRING, {"string_value": ""}), {"datatype": DataType.TEXT, "string_value": "a"}, "a"),
    ],
)
def test_a_named_value_of_another_datatype_is_used_when_there_is_no_doubt(born, sent, value):
    edge = Edge().born(births=({"name": "m", "alias": 1, "datatype": born[0], **born[1]},))
    step = edge.hear(Kind.DDATA, frame({"name": "m", **sent}, seq=2))
    assert (values(step), codes(step), step.rejections) == ({"m": value}, [Occurrence.DATATYPE_CHANGED], ())
    assert type(values(step)["m"]) is type(value)


@pytest.mark.parametrize(
    ("born", "sent"),
    [
        ((INT32, {"int_value": 0}), {"name": "m", "datatype": DataType.UINT32, "int_value": MINUS_12}),
        ((UINT64, {"long_value": 0}), {"name": "m", "datatype": DataType.DATETIME, "long_value": 1}),
        ((FLOAT, {"float_value": 0}), {"name": "m", "int_value": 5}),
        # An alias alone: what is of another type is of another metric, and a birth was missed.
        ((INT64, {"long_value": 0}), {"alias": 1, "datatype": INT16, "int_value": 5}),
        ((INT64, {"long_value": 0}), {"alias": 1, "double_value": 12.5}),
        ((FLOAT, {"float_value": 0}), {"alias": 1, "long_value": 12}),
    ],
)
def test_a_value_that_contradicts_its_birth_is_rejected(born, sent):
    edge = Edge().born(births=({"name": "m", "alias": 1, "datatype": born[0], **born[1]},))
    step = edge.hear(Kind.DDATA, frame(sent, seq=2))
    assert (step.samples, reasons(step), step.rebirth) == ((), [Reason.DATATYPE_CONTRADICTED], True)


def test_a_birth_without_a_datatype_is_said_and_does_not_ask_for_another():
    edge = Edge()
    edge.hear(Kind.NBIRTH, frame(bd_seq(0), seq=0))
    step = edge.hear(
        Kind.DBIRTH, frame({"name": "n", "alias": 1, "int_value": 5}, {"name": "x", "double_value": 0.5}, seq=1)
    )
    assert codes(step) == [Occurrence.DATATYPE_MISSING, Occurrence.DEVICE_BORN]
    assert (values(step), reasons(step), step.rebirth) == ({"x": 0.5}, [Reason.DATATYPE_UNKNOWN], False)
    step = edge.hear(Kind.DDATA, frame(by_alias(1, int_value=5), seq=2))
    assert (reasons(step), step.rebirth) == ([Reason.DATATYPE_UNKNOWN], False)


def test_many_of_a_kind_are_one_rejection():
    step = Edge().born().hear(Kind.DDATA, frame(*[by_alias(alias, int_value=1) for alias in range(100, 110)], seq=2))
    assert step.rejections == ((Reason.ALIAS_UNKNOWN, "alias 100, alias 101, alias 102 and 7 more"),)


# rebirth ------------------------------------------------------------------------------------------------------------


def test_a_rebirth_is_asked_for_once_in_30_seconds_until_it_comes():
    edge = Edge().born()
    assert edge.hear(Kind.DDATA, frame(by_alias(9, int_value=1), seq=2)).rebirth
    assert not edge.after(29.9).hear(Kind.DDATA, frame(by_alias(9, int_value=1), seq=3)).rebirth
    # Nothing is wrong with the next one, but the births are still owed.
    assert edge.after(0.1).hear(Kind.DDATA, frame(by_alias(2, long_value=1), seq=4)).rebirth
    edge.born()
    step = edge.after(60).hear(Kind.DDATA, frame(by_alias(2, long_value=1), seq=2))
    assert (step.rebirth, step.node.rebirth_wanted) == (False, False)


def test_a_rebirth_that_did_not_help_is_not_asked_for_faster():
    edge = Edge().born()
    assert edge.hear(Kind.DDATA, frame(by_alias(9, int_value=1), seq=2)).rebirth
    edge.after(1).born()
    assert not edge.hear(Kind.DDATA, frame(by_alias(9, int_value=1), seq=2)).rebirth
    assert edge.after(29).hear(Kind.DDATA, frame(by_alias(2, long_value=1), seq=3)).rebirth


def test_a_clock_set_back_does_not_silence_the_request():
    edge = Edge().born()
    assert edge.hear(Kind.DDATA, frame(by_alias(9, int_value=1), seq=2)).rebirth
    assert edge.after(-3600).hear(Kind.DDATA, frame(by_alias(9, int_value=1), seq=3)).rebirth
    assert not edge.hear(Kind.DDATA, frame(by_alias(9, int_value=1), seq=4)).rebirth


def test_a_dead_node_is_not_asked():
    edge = Edge().born()
    edge.hear(Kind.DDATA, frame(by_alias(9, int_value=1), seq=2))
    step = edge.after(60).hear(Kind.NDEATH, frame(bd_seq(0)))
    assert (step.rebirth, step.node.rebirth_wanted) == (False, False)


# the state ----------------------------------------------------------------------------------------------------------

definitions = st.builds(
    Definitions,
    st.dictionaries(st.integers(0, 2**64 - 1), st.text(max_size=5), max_size=3),
    st.dictionaries(st.text(max_size=5), st.none() | st.sampled_from(DataType), max_size=3),
)
times = st.none() | st.datetimes(timezones=st.just(UTC))
nodes = st.builds(
    Node,
    st.booleans(), st.none() | st.integers(0, 2**64 - 1), st.none() | st.integers(0, 2**64 - 1), times, st.booleans(),
    times, definitions, st.dictionaries(st.text(max_size=5), st.builds(Device, st.booleans(), definitions), max_size=3),
)  # fmt: skip


@given(nodes)
def test_the_state_is_written_and_read_back_exactly(node):
    assert msgspec.json.decode(msgspec.json.encode(node), type=Node) == node


def test_a_collector_that_reads_the_state_goes_on_where_another_stopped():
    edge = Edge().born()
    other = Edge(msgspec.json.decode(msgspec.json.encode(edge.node), type=Node))
    step = other.hear(Kind.DDATA, frame(by_alias(4, int_value=MINUS_12), seq=2))
    assert (values(step), step.events) == ({"temp": -12}, ())


def test_what_a_message_does_not_change_is_the_same_object():
    edge = Edge().born()
    before = edge.node
    edge.hear(Kind.DDATA, frame(by_alias(2, long_value=1), seq=2))
    assert edge.node.devices is before.devices
    assert edge.node.definitions is before.definitions
    assert edge.hear(Kind.DDATA, b"\xff").node is edge.node


metrics = st.builds(
    lambda fields, value: fields | value,
    st.fixed_dictionaries(
        {},
        optional={
            "name": st.sampled_from(["energy", "temp", "bdSeq", "", "x\0", "DATA/x"]),
            "alias": st.integers(0, 5),
            "datatype": st.integers(0, 40),
            "timestamp": st.integers(0, 2**64 - 1) | st.integers(ms(T0), ms(T0) + 3),
            "is_null": st.booleans(),
            "is_historical": st.booleans(),
            "is_transient": st.booleans(),
        },
    ),
    st.one_of(
        st.fixed_dictionaries({"int_value": st.integers(0, 2**32 - 1)}),
        st.fixed_dictionaries({"long_value": st.integers(0, 2**64 - 1)}),
        st.fixed_dictionaries({"double_value": st.floats()}),
        st.fixed_dictionaries({"string_value": st.text(max_size=3)}),
        st.fixed_dictionaries({"bytes_value": st.binary(max_size=3)}),
        st.just({}),
    ),
)
payloads = st.binary(max_size=60) | st.builds(
    lambda found, seq, cut: frame(*found, seq=seq)[: None if cut > 50 else cut],
    st.lists(metrics, max_size=6),
    st.none() | st.integers(0, 300),
    st.integers(0, 100),
)


@given(
    st.none() | nodes,
    st.lists(
        st.tuples(st.sampled_from([kind for kind in Kind if kind != "STATE"]), payloads, st.booleans()), max_size=8
    ),
)
def test_whatever_comes_is_taken_and_taken_the_same_again(node, heard):
    edge = Edge(node)
    for kind, payload, redelivered in heard:
        before = msgspec.json.encode(edge.node)
        again = Edge(edge.node).hear(kind, payload, redelivered=redelivered)
        step = edge.hear(kind, payload, redelivered=redelivered)
        assert step == again  # deterministic
        if before != b"null":
            assert msgspec.json.encode(msgspec.json.decode(before, type=Node)) == before
        assert msgspec.json.decode(msgspec.json.encode(step.node), type=Node) == step.node
        known = [sample.time for sample in step.samples if sample.time is not None]
        assert known == sorted(known)
        assert all(sample.values for sample in step.samples)
        assert len(set(reasons(step))) == len(step.rejections)
