"""SunSpec registers to points, against pysunspec2's own decoder and against the traps of the field."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sunspec2.device import Model as TheirModel
from sunspec2.device import get_model_def
from sunspec2.mb import point_type_info, unimpl_value

from devices.errors import PollError
from devices.gateway import sunspec
from devices.gateway.sunspec import Model, identity, measuring, points
from devices.points import POINTS

LENGTHS = {101: 50, 102: 50, 103: 50, 111: 60, 112: 60, 113: 60, 201: 105, 202: 105, 203: 105, 204: 105, 701: 153}
RAW_NAMES = {"WH": "TotWhExp", "VAR": "VAr", "Var": "VAr", "TotWhInj": "TotWhExp", "TotWhAbs": "TotWhImp",
             "VL1": "PhVphA", "VL2": "PhVphB", "VL3": "PhVphC"}  # fmt: skip


def block(model: int, **values: float | str) -> list[int]:
    """Registers of a model as pysunspec2 writes them; what is not given is not implemented."""
    data = b""
    length = sum(point["size"] for point in get_model_def(model)["group"]["points"])
    for point in get_model_def(model)["group"]["points"]:
        name, kind, size = point["name"], point["type"], point["size"]
        value = {"ID": model, "L": length - 2}.get(name, values.get(name))
        if kind == "string":
            data += str(value or "").encode().ljust(size * 2, b"\0")
        elif value is not None:
            data += point_type_info[kind].to_data(value)
        elif kind in {"float32", "float64"}:
            data += struct.pack(">I", 0x7FC00000) if kind == "float32" else struct.pack(">Q", 0x7FF8 << 48)
        else:
            data += point_type_info[kind].to_data(unimpl_value[kind])
    return list(struct.unpack(f">{len(data) // 2}H", data))


def model_of(registers: list[int]) -> Model:
    return Model(registers[0], 40070, registers[1])


def read(model: int, **values: float | str) -> dict[str, float]:
    registers = block(model, **values)
    return points(registers[: sunspec.READ_LIMIT], model_of(registers))


@pytest.mark.parametrize("model", sunspec.MEASURING)
def test_lengths_are_the_standards_and_every_scale_factor_is_in_the_first_read(model):
    registers = block(model)
    assert registers[1] == LENGTHS[model]
    assert all(
        offset + size <= sunspec.READ_LIMIT
        for offset, size, kind, _ in sunspec._layout(model).values()
        if kind == "sunssf"
    )


@pytest.mark.parametrize("model", sunspec.MEASURING)
def test_a_device_that_implements_nothing_gives_nothing(model):
    assert read(model) == {}


def test_the_measured_device():
    # W=4987 SF+1, WH=1234567 SF+3, TmpCab=-35 SF-1, Hz 5001 SF-2, as pysunspec2 read it from a pymodbus server.
    given = read(103, W=4987, W_SF=1, WH=1234567, WH_SF=3, TmpCab=-35, Tmp_SF=-1, Hz=5001, Hz_SF=-2, St=4)
    assert given == {"W": 49870.0, "TotWhExp": 1234567000.0, "TmpCab": -3.5, "Hz": 50.01, "St": 4.0}


@pytest.mark.parametrize(
    ("model", "name", "scale"), [(101, "WH", "WH_SF"), (203, "TotWhExp", "TotWh_SF"), (701, "TotWhInj", "TotWh_SF")]
)
def test_a_lifetime_counter_of_0_is_no_reading(model, name, scale):
    assert "TotWhExp" not in read(model, **{name: 0, scale: 0, "W": 0, "W_SF": 0})
    assert read(model, **{name: 1, scale: 0})["TotWhExp"] == 1


def test_a_float_counter_of_0_is_no_reading_and_infinity_is_none():
    assert read(113, WH=0.0, W=0.0) == {"W": 0.0}
    assert read(113, WH=float("inf"), W=float("-inf")) == {}


def test_a_power_of_0_is_a_reading():
    assert read(103, W=0, W_SF=0) == {"W": 0.0}


@pytest.mark.parametrize("scale", [-32768, 11, -11, 99])
def test_a_scale_factor_that_is_none_takes_its_points_with_it(scale):
    assert read(103, W=4987, W_SF=scale, Hz=5001, Hz_SF=-2) == {"Hz": 50.01}


def test_pysunspec2_itself_gives_the_raw_value_where_the_scale_factor_is_not_implemented():
    """Why we decode ourselves; when this fails, the module's first words are to be changed."""
    registers = block(103, W=4987)
    theirs = TheirModel(103, data=struct.pack(f">{len(registers)}H", *registers))
    assert theirs.points["W"].cvalue == 4987


def test_a_scale_factor_may_change_from_one_read_to_the_next():
    assert read(103, WH=4_294_967_295, WH_SF=0)["TotWhExp"] == 4_294_967_295
    assert read(103, WH=429_496_730, WH_SF=1)["TotWhExp"] == 4_294_967_300


def test_the_states_of_701_are_those_of_103():
    symbols = {
        model: {one["name"]: one["value"] for p in get_model_def(model)["group"]["points"] if p["name"] == name
                for one in p["symbols"]}
        for model, name in ((103, "St"), (701, "InvSt"))
    }  # fmt: skip
    for name, value in symbols[701].items():
        assert read(701, InvSt=value)["St"] == symbols[103]["MPPT" if name == "RUNNING" else name]


def test_power_factors_are_ratios():
    assert read(103, PF=-985, PF_SF=-1)["PF"] == -0.985
    assert read(203, PF=100, PF_SF=0)["PF"] == 1.0
    assert read(701, PF=985, PF_SF=-3)["PF"] == 0.985


@pytest.mark.parametrize("change", [0, 1])
def test_another_model_where_one_was_found_is_a_failed_poll(change):
    registers = block(103, W=1, W_SF=0)
    model = model_of(registers)
    registers[change] += 1
    with pytest.raises(PollError, match="no longer model 103"):
        points(registers, model)


def test_half_an_answer_is_a_failed_poll():
    registers = block(103, W=1, W_SF=0)
    with pytest.raises(PollError):
        points(registers[:30], model_of(registers))


def test_a_vendors_shorter_model_gives_what_it_has():
    registers = block(203, W=5, W_SF=0, TotWhExp=7, TotWh_SF=0)[:40]
    registers[1] = 38
    # The scale factor of the counter stands behind the end.
    assert points(registers, model_of(registers)) == {"W": 5.0}


KINDS = {"int16": st.integers(-0x8000, 0x7FFF), "uint16": st.integers(0, 0xFFFF), "acc32": st.integers(0, 2**32 - 1),
         "enum16": st.integers(0, 0xFFFF), "uint32": st.integers(0, 2**32 - 1), "uint64": st.integers(0, 2**64 - 1),
         "sunssf": st.integers(-10, 10), "float32": st.floats(width=32, allow_nan=False, allow_infinity=False),
}  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_values_are_those_of_pysunspec2(data):
    model = data.draw(st.sampled_from(sunspec.MEASURING))
    drawn = {
        point["name"]: data.draw(KINDS[point["type"]], label=point["name"])
        for point in get_model_def(model)["group"]["points"]
        if point["type"] in KINDS and point["name"] not in {"ID", "L"}
    }
    registers = block(model, **drawn)
    theirs = TheirModel(model, data=struct.pack(f">{len(registers)}H", *registers)).points
    ours = points(registers[: sunspec.READ_LIMIT], model_of(registers))
    for name in ("A", "W", "Hz", "VA", "VAR", "VAr", "Var", "WH", "TotWhExp", "TotWhImp", "TotWhInj", "TotWhAbs", "DCA",
                 "DCV", "DCW", "TmpCab", "TmpAmb", "VL1", "VL2", "VL3"):  # fmt: skip
        if name not in theirs or (model == 701 and name.startswith("TotWh") and name[5:] not in {"Inj", "Abs"}):
            continue
        expected = theirs[name].cvalue
        mine = ours.get(RAW_NAMES.get(name, name))
        if not expected and name.startswith(("TotWh", "WH")):
            expected = None
        assert (mine is None) == (expected is None), name
        if expected is not None:
            assert mine == pytest.approx(expected, rel=1e-9), name
    assert set(ours) <= set(POINTS) | {"StVnd", "Evt1", "Evt", "Alrm"}


def test_who_a_device_is():
    said = identity(
        {1: block(1, Mn="Maker", Md="M-5", SN="S 1", Vr="1.0"), 120: block(120, DERTyp=4, WRtg=50, WRtg_SF=3)}
    )
    assert said.serial_number == "S 1"
    assert said.described == {"Mn": "Maker", "Md": "M-5", "Vr": "1.0", "SN": "S 1", "DERTyp": 4.0, "WRtg": 50000.0}
    assert identity({}).serial_number is None


def found(*models: int) -> list[Model]:
    return [Model(model, 40000 + 200 * number, 50) for number, model in enumerate(models)]


def test_the_one_measuring_model_is_taken():
    assert measuring(found(1, 120, 103), None, None).id == 103


def test_of_several_none_is_guessed():
    with pytest.raises(PollError, match=r"several.*103, 203.*declare"):
        measuring(found(1, 103, 1, 203), None, None)
    assert measuring(found(1, 103, 1, 203), 203, None).id == 203
    with pytest.raises(PollError, match="several"):
        measuring(found(203, 203), 203, None)
    assert measuring(found(203, 203), 203, 2).address == 40200
    with pytest.raises(PollError, match="instance 3"):
        measuring(found(203, 203), 203, 3)


def test_a_device_that_measures_nothing_is_said_so():
    with pytest.raises(PollError, match="it has 1, 120"):
        measuring(found(1, 120), None, None)
    with pytest.raises(PollError, match="no model 203; it has 103"):
        measuring(found(103), 203, None)
