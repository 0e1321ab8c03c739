"""How payloads are laid out: from bytes to elements, each a flat mapping from a field's path to what stands there.

Numbers are kept as `Decimal` or `int`, exactly as they were written. A shape that has a time or a device of its own
gives it under `@time` (seconds since 1970) and `@device`.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any

from devices.native import ELEMENT_LIMIT, Reason

Raw = Decimal | int | str | bool | list[Any] | None
Fields = dict[str, Raw]

TIME = "@time"
DEVICE = "@device"

REPEATED = "@repeated"
"""Stands where an object gives the same name two values: nobody knows which was meant (the manual of the WISE-4471)."""

BAD = "@bad"
"""Stands for a value that the payload itself calls not good."""

UNIT = "@unit"
"""Behind the name of a field: the unit that the payload says."""

_DEPTH = 12
_SENML_RELATIVE = Decimal(2**28)


class ShapeError(Exception):
    """A payload is not laid out as its family's are."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def elements(shape: str, payload: bytes, *, name: str = "", path: str = "") -> list[Fields]:
    """Cut a payload into elements.

    Parameters
    ----------
    shape
        One of `devices.decoding.profile.SHAPES` that is decoded here.
    name
        What a scalar is called: the rest of its topic.
    path
        Dotted; where the list of elements lies in a JSON payload. Empty: the payload is the element, or the list.

    Raises
    ------
    ShapeError
        The payload is not of this shape; with a stable reason and no part of the payload.
    """
    found = _SHAPES[shape](payload, name, path)
    if len(found) > ELEMENT_LIMIT:
        raise ShapeError(Reason.PAYLOAD_TOO_LARGE, f"{len(found)} elements; at most {ELEMENT_LIMIT} are decoded")
    return found


def _text(payload: bytes) -> str:
    try:
        return payload.decode("utf-8")
    except UnicodeDecodeError:
        raise ShapeError(Reason.PAYLOAD_UNDECODABLE, "not text in UTF-8") from None


def _scalar(payload: bytes, name: str, _path: str) -> list[Fields]:
    text = _text(payload).strip()
    if not text:
        raise ShapeError(Reason.PAYLOAD_EMPTY, "the payload is empty")
    return [{name: text}]


def _value(payload: bytes, name: str, _path: str) -> list[Fields]:
    """Read `{"value": x}`, as Victron's GX devices write every D-Bus path."""
    found = _json(payload)
    if not isinstance(found, dict) or "value" not in found:
        raise ShapeError(Reason.PAYLOAD_UNDECODABLE, 'not an object with "value"')
    value = found["value"]
    return [{name: value if not isinstance(value, dict) else REPEATED}]


def _object(payload: bytes, _name: str, path: str) -> list[Fields]:
    found = _json(payload)
    # What stands beside the list of elements (a device, a time) belongs to each of them.
    shared: Fields = {}
    for step in path.split(".") if path else ():
        if isinstance(found, dict):
            shared |= flat({key: value for key, value in found.items() if key != step})
            found = found.get(step)
        elif isinstance(found, list) and len(found) == 1 and isinstance(found[0], dict):
            shared |= flat({key: value for key, value in found[0].items() if key != step})
            found = found[0].get(step)
        else:
            found = None
    if found is None and path:
        return [shared] if shared else []
    listed = found if isinstance(found, list) else [found]
    if not listed and not path:
        raise ShapeError(Reason.PAYLOAD_EMPTY, "the list is empty")
    return [shared | (flat(one) if isinstance(one, dict) else {"@": _raw(one)}) for one in listed]


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        found[key] = REPEATED if key in found and found[key] != value else value
    return found


def _json(payload: bytes) -> Any:
    try:
        return json.loads(
            _text(payload), parse_float=Decimal, parse_constant=lambda _: None, object_pairs_hook=_pairs
        )  # fmt: skip
    except (ValueError, RecursionError, InvalidOperation) as error:
        if not payload.strip():
            raise ShapeError(Reason.PAYLOAD_EMPTY, "the payload is empty") from None
        where = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise ShapeError(Reason.PAYLOAD_UNDECODABLE, f"not JSON{where}") from None


def flat(found: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Fields:
    """Name every leaf by its dotted path; items of a list by their index, and the list itself by its own."""
    fields: Fields = {}
    for key, value in found.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and depth < _DEPTH:
            fields |= flat(value, f"{path}.", depth + 1)
        elif isinstance(value, list) and depth < _DEPTH:
            fields[path] = value
            fields |= flat({str(index): one for index, one in enumerate(value)}, f"{path}.", depth + 1)
        else:
            fields[path] = _raw(value)
    return fields


def _raw(value: Any) -> Raw:
    return value if isinstance(value, (Decimal, int, str, bool, list)) or value is None else REPEATED


def _senml(payload: bytes, _name: str, _path: str) -> list[Fields]:
    """Resolve SenML (RFC 8428, 4.6): records of one time are one element; `s`, an integrated sum, is `<name>.sum`.

    The sum's unit is the record's times a second (4.2): of watts, joules. A time below 2^28 is relative to now, which
    is the arrival: `@time` is then mostly negative or 0, and `@relative` is true.
    """
    records = _json(payload)
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise ShapeError(Reason.PAYLOAD_UNDECODABLE, "not a list of SenML records")
    base: dict[str, Any] = {}
    found: dict[tuple[Decimal, str], Fields] = {}
    for record in records:
        base |= {key: record[key] for key in ("bn", "bt", "bu", "bv", "bs", "bver") if key in record}
        time = _number(base.get("bt", 0)) + _number(record.get("t", 0))
        bare = str(record.get("n", ""))
        whole = f"{base.get('bn', '')}{bare}"
        device = str(base.get("bn", ""))
        fields = found.setdefault((time, device), {DEVICE: device.rstrip("/:"), TIME: time})
        if time < _SENML_RELATIVE:
            fields["@relative"] = True
        unit = str(record.get("u", base.get("bu", "")))
        for key, suffix, shift in (("v", "", "bv"), ("s", ".sum", "bs")):
            if key in record or (shift in base and key == "v" and not {"vs", "vb", "vd", "s"} & record.keys()):
                value = _number(record.get(key, 0)) + _number(base.get(shift, 0))
                for path in dict.fromkeys((bare, whole)):
                    given = fields.setdefault(f"{path}{suffix}", value)
                    if given != value:
                        fields[f"{path}{suffix}"] = REPEATED
                    if unit:
                        fields[f"{path}{suffix}{UNIT}"] = _of_sum(unit) if key == "s" else unit
        for key in ("vs", "vb"):
            if key in record:
                fields[bare] = _raw(record[key])
    return list(found.values())


def _of_sum(unit: str) -> str:
    return {"W": "J", "kW": "kJ", "MW": "MJ"}.get(unit, f"{unit}·s")


def _number(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise ShapeError(Reason.VALUE_NOT_A_NUMBER, "a SenML value or time is not a number")
    return Decimal(value)


_LINE_PART = re.compile(r"(?:\\.|[^,= \\])+")
_LINE_TAG = re.compile(r",((?:\\.|[^,= \\])+)=((?:\\.|[^, \\])*)")
_LINE_FIELD = re.compile(r'((?:\\.|[^,= \\])+)=("(?:\\.|[^"\\])*"|[^," ]*)')


def _line_protocol(payload: bytes, _name: str, _path: str) -> list[Fields]:
    """Read InfluxDB line protocol: `measurement,tag=a field=1i,other=2.5 timestamp`; `#` begins a comment."""
    found = [_line(line) for line in _text(payload).split("\n") if line.strip() and not line.lstrip().startswith("#")]
    if not found:
        raise ShapeError(Reason.PAYLOAD_EMPTY, "the payload has no line")
    return found


def _line(line: str) -> Fields:
    head = re.match(r"((?:\\.|[^ \\])+) +", line)
    if head is None:
        raise ShapeError(Reason.PAYLOAD_UNDECODABLE, "a line has no fields")
    measurement = _LINE_PART.match(head[1])
    fields: Fields = {"measurement": _unescaped(measurement[0] if measurement else "")}
    for tag in _LINE_TAG.finditer(head[1], measurement.end() if measurement else 0):
        fields[f"tags.{_unescaped(tag[1])}"] = _unescaped(tag[2])
    at = head.end()
    while (field := _LINE_FIELD.match(line, at)) is not None:
        fields[_unescaped(field[1])] = _line_value(field[2])
        at = field.end()
        if at < len(line) and line[at] == ",":
            at += 1
        else:
            break
    else:
        raise ShapeError(Reason.PAYLOAD_UNDECODABLE, "a line has no fields")
    rest = line[at:].strip()
    if rest:
        if not re.fullmatch(r"-?\d{1,19}", rest):
            raise ShapeError(Reason.TIME_UNDECODABLE, "a line ends with what is no timestamp")
        fields[TIME] = int(rest)
    return fields


def _line_value(text: str) -> Raw:
    if text.startswith('"'):
        return re.sub(r'\\(["\\])', r"\1", text[1:-1])
    if text in {"t", "T", "true", "True", "TRUE", "f", "F", "false", "False", "FALSE"}:
        return text[0] in "tT"
    if re.fullmatch(r"-?\d+[iu]", text):
        return int(text[:-1])
    return text


def _unescaped(text: str) -> str:
    return re.sub(r"\\([,= ])", r"\1", text)


def _thingsboard(payload: bytes, _name: str, _path: str) -> list[Fields]:
    """Read a device's telemetry (`{…}`, `{"ts": ms, "values": {…}}`, a list of these) or a gateway's, by device."""
    found = _json(payload)
    if isinstance(found, dict) and found and all(isinstance(one, list) for one in found.values()):
        return [
            {DEVICE: device} | fields
            for device, listed in found.items()
            for fields in _thingsboard_list(listed)
        ]  # fmt: skip
    return _thingsboard_list(found if isinstance(found, list) else [found])


def _thingsboard_list(listed: list[Any]) -> list[Fields]:
    fields = []
    for one in listed:
        if not isinstance(one, dict):
            raise ShapeError(Reason.PAYLOAD_UNDECODABLE, "an element is not an object")
        if isinstance(one.get("values"), dict):
            fields.append(flat(one["values"]) | ({TIME: _raw(one["ts"])} if "ts" in one else {}))
        else:
            fields.append(flat(one))
    return fields


def _neuron(payload: bytes, _name: str, _path: str) -> list[Fields]:
    """Read EMQX Neuron in both of its formats; a tag that failed has an error and no value."""
    found = _json(payload)
    if not isinstance(found, dict):
        raise ShapeError(Reason.PAYLOAD_UNDECODABLE, "not an object")
    values, errors = found.get("values"), found.get("errors")
    if not isinstance(values, dict):
        tags = found.get("tags")
        if not isinstance(tags, list):
            raise ShapeError(Reason.PAYLOAD_UNDECODABLE, 'neither "values" nor "tags" is there')
        named = {str(tag["name"]): tag for tag in tags if isinstance(tag, dict) and "name" in tag}
        values = {name: tag["value"] for name, tag in named.items() if "value" in tag}
        errors = {name: tag["error"] for name, tag in named.items() if tag.get("error")}
    failed = dict.fromkeys(errors, BAD) if isinstance(errors, dict) else {}
    fields = flat(values) | failed | {DEVICE: _raw(found.get("node")), "@group": _raw(found.get("group"))}
    return [fields | ({TIME: _raw(found["timestamp"])} if "timestamp" in found else {})]


_TRAILING_COMMA = re.compile(rb",(?=\s*[}\]])")


def _siemens(payload: bytes, _name: str, _path: str) -> list[Fields]:
    """Read a 7KN Powercenter's items, by name and by internal name, or the data points of IIH Essentials.

    The manual of the Powercenter 3000 shows a comma before a closing brace, which JSON has not.
    """
    try:
        found = _json(payload)
    except ShapeError:
        found = _json(_TRAILING_COMMA.sub(b"", payload))
    fields: list[Fields] = []
    for one in found if isinstance(found, list) else [found]:
        embedded = one.get("_embedded") if isinstance(one, dict) else None
        items = embedded.get("item") if isinstance(embedded, dict) else None
        points = one.get("datapoints") if isinstance(one, dict) else None
        if isinstance(items, list):
            fields.append(_siemens_items(items) | {TIME: _raw(one.get("timestamp"))})
        elif isinstance(points, list):
            name = str(one.get("Name"))
            fields += [
                {
                    name: _raw(point.get("Measurement")) if str(point.get("Quality_Code")) == "192" else BAD,
                    TIME: _raw(point.get("Time")),
                }
                for point in points
                if isinstance(point, dict)
            ]
        else:
            raise ShapeError(Reason.PAYLOAD_UNDECODABLE, 'neither "_embedded.item" nor "datapoints" is there')
    return fields


def _siemens_items(items: list[Any]) -> Fields:
    fields: Fields = {}
    for item in items:
        if not isinstance(item, dict):
            continue
        value = _raw(item.get("value")) if item.get("quality") == "valid" else BAD
        for key in ("name", "internal_name"):
            if isinstance(item.get(key), str):
                name = item[key]
                fields[name] = value if fields.get(name, value) == value else REPEATED
                if item.get("unit"):
                    fields[f"{name}{UNIT}"] = _raw(item["unit"])
    return fields


_OBIS = re.compile(r"^\d+-\d+:(\d+\.\d+\.\d+)((?:\([^()\r\n]*\))+)\s*$", re.MULTILINE)


def _dsmr_telegram(payload: bytes, _name: str, _path: str) -> list[Fields]:
    """Read a P1 telegram: OBIS codes such as `1.8.1`, the last value of a line without its unit; the CRC must fit."""
    text = _text(payload)
    start, end = text.find("/"), text.rfind("!")
    if start < 0 or end < start:
        raise ShapeError(Reason.PAYLOAD_UNDECODABLE, "not a whole telegram: / and ! are not both there")
    checksum = text[end + 1 :].strip()
    # Before DSMR 4, which says its version under 0.2.8, there was none.
    # Its lines end with CR LF, also where a bridge took the CR away.
    sent = text[start : end + 1].replace("\r\n", "\n").replace("\n", "\r\n")
    if checksum and f"{crc16(sent.encode()):04X}" != checksum.upper():
        raise ShapeError(Reason.PAYLOAD_UNDECODABLE, "the telegram's checksum does not fit: a part was lost")
    fields: Fields = {}
    for code, values in _OBIS.findall(text[start:end]):
        fields.setdefault(code, values.rpartition("(")[2].rstrip(")").partition("*")[0])
    if not checksum and "0.2.8" in fields:
        raise ShapeError(Reason.PAYLOAD_UNDECODABLE, "the telegram's checksum is missing: a part was lost")
    return [fields]


def crc16(data: bytes) -> int:
    """Compute CRC-16/ARC, as DSMR 5.0.2 P1 (5.2.3) prescribes: x^16 + x^15 + x^2 + 1, reflected, from `/` to `!`."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


_Shape = Callable[[bytes, str, str], list[Fields]]
_SHAPES: Mapping[str, _Shape] = MappingProxyType(
    {
        "scalar": _scalar,
        "value": _value,
        "json": _object,
        "senml": _senml,
        "line-protocol": _line_protocol,
        "thingsboard": _thingsboard,
        "neuron": _neuron,
        "siemens": _siemens,
        "dsmr-telegram": _dsmr_telegram,
    }
)


def scalar_fields(fields: Fields) -> Iterator[tuple[str, str]]:
    """Give the fields that can be joined with others, as text."""
    for name, value in fields.items():
        yield name, "" if value is None else str(value)
