"""Recordings: what stands in the file is what is published, to the digit and to the hour."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.errors import RecordingError
from devices.native import decode
from devices.recording import Census, Message, Recording, column, messages
from devices.time_zones import time_zone

MAPS = ("AC=W:kW", "YIELD=TotWhExp:kWh")


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., list[Message]]:
    def reading(text: str, maps: Sequence[str] = MAPS, census: Census | None = None, **how: Any) -> list[Message]:
        path = tmp_path / "r.csv"
        path.write_text(text, encoding="utf-8")
        return list(messages(recording(path, maps, **how), census))

    return reading


def recording(path: Path, maps: Sequence[str] = MAPS, *, tz: str = "Asia/Kolkata", **how: Any) -> Recording:
    given: dict[str, Any] = {"device": "inv", "time_column": "T", **how}
    return Recording(path, "s1", zone=time_zone(tz), columns=[column(text) for text in maps], **given)


def points(message: Message) -> dict[str, Decimal]:
    content: dict[str, Decimal] = json.loads(message.payload, parse_float=Decimal, parse_int=Decimal)["points"]
    return content


def test_a_row_becomes_a_message_to_the_digit(read: Callable[..., list[Message]]) -> None:
    assert read("T,AC,YIELD\n2020-05-15 00:15,1.2340,6259559\n") == [
        ("jcm/v1/s1/inv/readings", b'{"ts":"2020-05-14T18:45:00Z","points":{"W":1234,"TotWhExp":6259559000}}')
    ]


def test_the_collector_reads_what_is_written(read: Callable[..., list[Message]]) -> None:
    [message] = read("T,AC,YIELD\n2020-05-15 00:15:30.5,0.1,1\n")
    [(_, reading)], rejected = decode(message.payload, latest=datetime(2026, 1, 1, tzinfo=UTC))
    assert rejected == []
    assert reading.ts == datetime(2020, 5, 14, 18, 45, 30, 500_000, tzinfo=UTC)
    assert reading.values == {"W": 100.0, "TotWhExp": 1000.0}


@given(number=st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**15), max_value=10**15))
def test_no_number_changes_on_the_way(tmp_path_factory: pytest.TempPathFactory, number: Decimal) -> None:
    path = tmp_path_factory.mktemp("r") / "r.csv"
    path.write_text(f"T,AC\n2020-05-15T00:00:00Z,{number}\n", encoding="utf-8")
    [message] = messages(recording(path, ["AC=W"]))
    assert points(message)["W"] == number


def test_many_devices_keep_the_order_of_the_file(read: Callable[..., list[Message]]) -> None:
    census = Census()
    text = "T,ID,AC\n01-02-2020 10:00,b,1\n01-02-2020 10:00,a,2\n01-02-2020 10:15,b,3\n"
    found = read(text, ["AC=W"], census, device=None, device_column="ID", time_format="%d-%m-%Y %H:%M")
    assert [message.topic.split("/")[3] for message in found] == ["b", "a", "b"]
    assert (census.messages, census.devices) == (3, {"a", "b"})


def test_an_empty_cell_was_not_measured(read: Callable[..., list[Message]]) -> None:
    census = Census()
    found = read("T,AC,YIELD\n2020-05-15T00:00,,5\n2020-05-15T00:15,,\n2020-05-15T00:30,0,\n", census=census)
    assert [points(message) for message in found] == [{"TotWhExp": 5000}, {"W": 0}]
    assert census.rows_without_values == 1


@pytest.mark.parametrize(
    ("text", "how", "said"),
    [
        ('T,AC\n2020-05-15T00:00,"1,5"\n', {}, 'r.csv: line 2, column AC: expected a number, not "1,5"'),
        ("T,AC\n2020-05-15T00:00,NaN\n", {}, 'line 2, column AC: expected a number, not "NaN"'),
        ("T,AC\n2020-05-15T00:00,1_000\n", {}, "expected a number"),
        ("T,AC\n\n2020-05-15T00:00,-\n", {}, "line 3, column AC"),
        ("T,AC\nyesterday,1\n", {}, "line 2, column T: expected an ISO 8601 time (give another with --time-format)"),
        ("T,AC\n2020-05-15,1\n", {"time_format": "%d.%m.%Y"}, "expected a time as %d.%m.%Y"),
        ("T,AC\n0001-01-01T00:00,1\n", {}, "expected a time that can be told in UTC"),
        ("T,POWER\n", {}, 'there is no column "AC"; the columns are T, POWER'),
        ("T,AC,AC\n", {}, 'there are two columns "AC"'),
        ("", {}, "the file is empty"),
        ("T,AC\n2020-05-15T00:00\n", {}, "line 2 has 1 cells, the header has 2"),
        ("T,ID,AC\n2020-05-15T00:00,a/b,1\n", {"device": None, "device_column": "ID"}, "line 2, column ID: 'a/b'"),
        ("T,ID,AC\n2020-05-15T00:00,,1\n", {"device": None, "device_column": "ID"}, "must not be empty"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(
    read: Callable[..., list[Message]], text: str, how: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecordingError) as error:
        read(text, ["AC=W"], **how)
    assert said in str(error.value)


def test_an_hour_that_came_twice_needs_a_choice(read: Callable[..., list[Message]]) -> None:
    text = "T,AC\n2022-11-06T01:30,1\n"
    with pytest.raises(RecordingError, match=r"line 2, column T: .*choose with --fold"):
        read(text, ["AC=W"], tz="America/Denver")
    stamps = [
        json.loads(read(text, ["AC=W"], tz="America/Denver", fold=fold)[0].payload)["ts"]
        for fold in ("first", "second")
    ]
    assert stamps == ["2022-11-06T07:30:00Z", "2022-11-06T08:30:00Z"]


def test_an_hour_that_never_was_is_refused(read: Callable[..., list[Message]]) -> None:
    with pytest.raises(RecordingError, match="clocks skipped this one"):
        read("T,AC\n2022-03-13T02:30,1\n", ["AC=W"], tz="America/Denver", fold="first")


def test_a_time_with_an_offset_is_taken_as_it_is(read: Callable[..., list[Message]]) -> None:
    [message] = read("T,AC\n2022-11-06T01:30:00-07:00,1\n", ["AC=W"], tz="America/Denver")
    assert b'"2022-11-06T08:30:00Z"' in message.payload


@pytest.mark.parametrize("text", ["AC", "=W", "AC=", "W:kW"])
def test_a_mapping_that_maps_nothing(text: str) -> None:
    with pytest.raises(RecordingError, match="expected COLUMN=POINT"):
        column(text)


def test_a_point_comes_from_one_column(read: Callable[..., list[Message]]) -> None:
    with pytest.raises(RecordingError, match="W is mapped from two columns"):
        read("T,AC,B\n", ["AC=W", "B=W"])


def test_parquet_is_read_like_csv(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    table = pa.table(
        {
            "T": pa.array(["2020-05-15T00:15", "2020-05-15T00:30"]).cast(pa.timestamp("ns")),
            "AC": pa.array([0.1, float("nan")], pa.float64()),
            "F32": pa.array([0.1, None], pa.float32()),
            "YIELD": pa.array([6259559, 6259560], pa.int64()),
        }
    )
    pq.write_table(table, path)
    found = list(messages(recording(path, ["AC=W:kW", "F32=Hz", "YIELD=TotWhExp:kWh"])))
    assert [message.payload for message in found] == [
        b'{"ts":"2020-05-14T18:45:00Z","points":{"W":100,"Hz":0.1,"TotWhExp":6259559000}}',
        b'{"ts":"2020-05-14T19:00:00Z","points":{"TotWhExp":6259560000}}',
    ]


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    path.write_bytes(b"T,AC\n")
    with pytest.raises(RecordingError, match="cannot be read as Parquet"):
        list(messages(recording(path)))


@pytest.mark.recordings
def test_plant_1_is_read_whole(recordings: Path) -> None:
    how = {"device": None, "device_column": "SOURCE_KEY", "time_column": "DATE_TIME", "time_format": "%d-%m-%Y %H:%M"}
    census = Census()
    last: dict[str, Decimal] = {}
    first: dict[str, Decimal] = {}
    path = recordings / "plant_1_generation.csv"
    for message in messages(recording(path, ["TOTAL_YIELD=TotWhExp:kWh"], **how), census):
        energy_wh = points(message)["TotWhExp"]
        last[message.topic] = energy_wh
        first.setdefault(message.topic, energy_wh)
    assert (census.messages, len(census.devices)) == (68_778, 22)
    total_wh = sum(last.values()) - sum(first.values())
    assert abs(total_wh / 1_000_000 - Decimal("5381.113")) < 1
