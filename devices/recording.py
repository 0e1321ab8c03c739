"""Recordings of plants, CSV or Parquet, row by row as messages of the native profile.

Numbers come from the text of the file by way of `Decimal` into the text of the payload: no binary fraction in between,
6259559 kWh is 6259559000 Wh. Nothing is filled in and nothing is cleaned: an empty cell was not measured, and a cell
that cannot be read stops the replay with its place.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from math import isnan
from pathlib import Path
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from devices.errors import RecordingError
from devices.topics import readings
from devices.units import Convert, converter, point

Fold = Literal["first", "second"]

_ROWS_AT_ONCE = 10_000
# Rows of many devices follow each other with the same time; a day of minutes is enough to remember.
_TIMES_REMEMBERED = 1440


class Message(NamedTuple):
    """What is published for one row."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the recording and the point it is."""

    name: str
    point: str
    convert: Convert


@dataclass(frozen=True, slots=True)
class Recording:
    """A file and how to read it."""

    path: Path
    site: str
    time_column: str
    zone: ZoneInfo
    """The time zone of times without an offset."""
    columns: Sequence[Column]
    device: str | None = None
    """The one device of the file; else `device_column` says which."""
    device_column: str | None = None
    time_format: str | None = None
    """As of `datetime.strptime`; None means ISO 8601."""
    fold: Fold | None = None
    """Which of the two is meant when clocks were set back; None refuses such a time."""


@dataclass(slots=True)
class Census:
    """What was found on the way through a recording."""

    messages: int = 0
    rows_without_values: int = 0
    devices: set[str] = field(default_factory=set)


def column(text: str) -> Column:
    """Read `COLUMN=POINT[:UNIT]`.

    Raises
    ------
    RecordingError
        It is not of that form.
    UnknownUnitError
        There is no such point or unit.
    """
    name, equals, target = text.rpartition("=")
    if not equals or not name or not target:
        raise RecordingError(f'"{text}" maps nothing; expected COLUMN=POINT or COLUMN=POINT:UNIT, such as AC=W:kW')
    named, colon, unit = target.partition(":")
    measured = point(named)
    return Column(name, measured.name, converter(measured, unit if colon else None))


def messages(recording: Recording, census: Census | None = None) -> Iterator[Message]:
    """Turn a recording into messages, in the file's order, without holding more than a part of it.

    Raises
    ------
    RecordingError
        The file, a column, or a cell cannot be read; the message names file, row and column.
    """
    rows = _parquet_rows if recording.path.suffix.lower() in {".parquet", ".pq"} else _csv_rows
    census = Census() if census is None else census
    named = [mapped.name for mapped in recording.columns]
    twice = {
        mapped.point for mapped in recording.columns if sum(c.point == mapped.point for c in recording.columns) > 1
    }
    if twice:
        raise RecordingError(f"{', '.join(sorted(twice))} is mapped from two columns; expected each point once")
    wanted = [recording.time_column, *([recording.device_column] if recording.device_column else []), *named]
    times = _Times(recording)
    topics = _Topics(recording.site)
    offset = len(wanted) - len(named)
    for where, cells in rows(recording.path, wanted):
        device = recording.device if recording.device_column is None else cells[1]
        device = "" if device is None else str(device).strip()
        points = []
        for mapped, cell in zip(recording.columns, cells[offset:], strict=True):
            if cell is None or cell == "":
                continue
            try:
                points.append(f'"{mapped.point}":{_text(mapped.convert(_number(cell)))}')
            except (ValueError, ArithmeticError):
                raise _cell_error(recording, where, mapped.name, cell, "a number") from None
        if not points:
            census.rows_without_values += 1
            continue
        stamp = times.get(cells[0], where)
        topic = topics.get(device, recording, where)
        census.messages += 1
        census.devices.add(device)
        yield Message(topic, f'{{"ts":"{stamp}","points":{{{",".join(points)}}}}}'.encode())


class _Topics:
    def __init__(self, site: str) -> None:
        self._site = site
        self._known: dict[str, str] = {}

    def get(self, device: str, recording: Recording, where: str) -> str:
        topic = self._known.get(device)
        if topic is None:
            try:
                topic = self._known[device] = readings(self._site, device)
            except ValueError as error:
                if recording.device_column is None:
                    raise RecordingError(str(error)) from None
                raise RecordingError(f"{recording.path}: {where}, column {recording.device_column}: {error}") from None
        return topic


class _Times:
    """From a cell to the UTC text of a payload."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._known: dict[Any, str] = {}

    def get(self, cell: Any, where: str) -> str:
        stamp = self._known.get(cell)
        if stamp is None:
            if len(self._known) >= _TIMES_REMEMBERED:
                self._known.clear()
            stamp = self._known[cell] = self._read(cell, where)
        return stamp

    def _read(self, cell: Any, where: str) -> str:
        moment = self._parse(cell, where)
        if moment.tzinfo is None:
            moment = self._place(moment, where)
        try:
            return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
        except OverflowError:
            raise self._error(where, cell, "a time that can be told in UTC") from None

    def _parse(self, cell: Any, where: str) -> datetime:
        if isinstance(cell, datetime):
            return cell
        if isinstance(cell, date):
            return datetime.combine(cell, time())
        form = self._recording.time_format
        try:
            if form is None:
                return datetime.fromisoformat(str(cell).strip())
            return datetime.strptime(str(cell).strip(), form)  # noqa: DTZ007 - the zone is applied in _place
        except ValueError:
            expected = "an ISO 8601 time (give another with --time-format)" if form is None else f"a time as {form}"
            raise self._error(where, cell, expected) from None

    def _place(self, moment: datetime, where: str) -> datetime:
        """Place a local time: PEP 495's two readings of it differ where the clocks were changed."""
        first = moment.replace(tzinfo=self._recording.zone, fold=0)
        second = moment.replace(tzinfo=self._recording.zone, fold=1)
        if first.utcoffset() == second.utcoffset():
            return first
        if first.astimezone(UTC) > second.astimezone(UTC):
            raise self._error(where, moment, f"a time that was in {self._recording.zone.key}: clocks skipped this one")
        if self._recording.fold is None:
            expected = f"a time that was once in {self._recording.zone.key}: clocks were set back (choose with --fold)"
            raise self._error(where, moment, expected)
        return first if self._recording.fold == "first" else second

    def _error(self, where: str, cell: object, expected: str) -> RecordingError:
        return _cell_error(self._recording, where, self._recording.time_column, cell, expected)


def _number(cell: Any) -> Decimal:
    if isinstance(cell, str):
        if "_" in cell:
            raise ValueError(cell)
        number = Decimal(cell)
    elif isinstance(cell, bool):
        raise ValueError(cell)  # noqa: TRY004 - one kind of failure for the caller
    elif isinstance(cell, float):
        # The shortest text that is this float: 0.1 stays 0.1.
        number = Decimal(repr(cell))
    elif isinstance(cell, int | Decimal):
        number = Decimal(cell)
    else:
        raise ValueError(cell)  # noqa: TRY004
    if not number.is_finite():
        raise InvalidOperation(cell)
    return number


def _text(number: Decimal) -> str:
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _cell_error(recording: Recording, where: str, name: str, cell: object, expected: str) -> RecordingError:
    shown = str(cell)
    shown = shown if len(shown) <= 40 else f"{shown[:37]}…"
    return RecordingError(f'{recording.path}: {where}, column {name}: expected {expected}, not "{shown}"')


def _places(path: Path, wanted: Sequence[str], there: Sequence[str]) -> list[int]:
    for name in wanted:
        if name not in there:
            raise RecordingError(f'{path}: there is no column "{name}"; the columns are {", ".join(there)}')
        if list(there).count(name) > 1:
            raise RecordingError(f'{path}: there are two columns "{name}"; rename one')
    return [list(there).index(name) for name in wanted]


def _csv_rows(path: Path, wanted: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, None)
            if header is None:
                raise RecordingError(f"{path}: the file is empty")
            places = _places(path, wanted, [name.strip() for name in header])
            width = len(header)
            for row in reader:
                if len(row) != width:
                    if not row:
                        continue
                    raise RecordingError(
                        f"{path}: line {reader.line_num} has {len(row)} cells, the header has {width}; "
                        "the file may have been cut off"
                    )
                yield f"line {reader.line_num}", [row[place].strip() for place in places]
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise RecordingError(f"{path}: this is not CSV in UTF-8: {error}") from None


def _parquet_rows(path: Path, wanted: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise RecordingError(f"{path}: cannot be read as Parquet: {said.splitlines()[0].lower()}") from None
    with file:
        _places(path, wanted, file.schema_arrow.names)
        number = 0
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=list(dict.fromkeys(wanted))):
            lists = [_values(batch.column(name)) for name in wanted]
            for cells in zip(*lists, strict=True):
                number += 1
                yield f"row {number}", list(cells)


def _values(array: Any) -> list[Any]:
    """Give a column as Python values; a NaN in a float column is how pandas writes that there is no value."""
    import pyarrow as pa

    kind = array.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        array = array.cast(pa.timestamp("us", kind.tz), safe=False)
    if pa.types.is_float64(kind):
        return [None if value is None or isnan(value) else value for value in array.to_pylist()]
    if pa.types.is_floating(kind):
        # numpy shows the shortest text of a float32; as a float64 its 0.1 would be 0.10000000149011612.
        return [None if isnan(value) else Decimal(str(value)) for value in array.to_numpy(zero_copy_only=False)]
    return list(array.to_pylist())
