"""The values that a declaration is made of: numbers as they were written, ids, instants, names of registers."""

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, StringConstraints

from devices.points import POINTS, REGISTER_LIMIT_WH
from devices.time_zones import time_zone

FACTOR_UNIT = "tCO2/MWh"
EVERY_INVERTER = "*"
"""In `credited_by`: every inverter of the system."""

# The dirtiest generators run at about 1.5 tCO2/MWh; above 2 a value was written in another unit.
_FACTOR_LIMIT = Decimal(2)
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def _exact(value: object) -> object:
    """Take a number as it was written; binary floats never come here, see `declaration_file`."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise ValueError(f"expected a number, not {value!r}")  # noqa: TRY004, pydantic reports ValueError only
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise ValueError(f'expected a number written as digits, such as "0.319", not "{value}"')
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise ValueError(f"expected a number, not {value!r}") from None
    if not number.is_finite():
        raise ValueError(f"expected a finite number, not {value}")
    # 1E+3 becomes 1000: the digits are written out, in the canonical JSON as well.
    return Decimal(_digits(number))


def _digits(number: Decimal) -> str:
    return format(number, "f")


def _identifier(value: str) -> str:
    wrong = sorted({character for character in value if character in '/+#:"\\' or not character.isprintable()})
    if wrong:
        raise ValueError(f"{value!r} may not contain {' '.join(map(repr, wrong))}: ids are parts of MQTT topics")
    if not value or value != value.strip() or value.startswith("$") or value in {".", "..", EVERY_INVERTER}:
        raise ValueError(f"{value!r} cannot be an id: expected text that can be a level of an MQTT topic")
    return value


def _text(value: str) -> str:
    if not value.isprintable():
        raise ValueError(f"{value!r} has a line break or a control character: expected one line of text")
    return value


def _utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError(
            f"{value.isoformat()} has no offset: expected a date (the site's midnight) or a time with its offset, "
            f"such as {value.isoformat()}Z"
        )
    return value.astimezone(UTC)


def zone_name(value: str) -> str:
    """Take the name of a time zone."""
    return time_zone(value).key


def register_point(value: str) -> str:
    """Take the name of a lifetime register's point."""
    registers = [point.name for point in POINTS.values() if point.register]
    if value not in registers:
        raise ValueError(f'"{value}" is no lifetime register: expected {" or ".join(registers)}')
    return value


def factor_unit(value: str) -> str:
    """Take the one unit of factors."""
    if value != FACTOR_UNIT:
        raise ValueError(f'the unit "{value}" is not accepted: expected "{FACTOR_UNIT}"')
    return value


def factor_value(value: Decimal) -> Decimal:
    """Take a factor that can be [tCO2/MWh]."""
    if not 0 <= value <= _FACTOR_LIMIT:
        raise ValueError(f"{value} {FACTOR_UNIT} cannot be: expected 0 to {_FACTOR_LIMIT}")
    return value


Exact = Annotated[Decimal, BeforeValidator(_exact), PlainSerializer(_digits, return_type=str, when_used="json")]
RegisterWh = Annotated[Exact, Field(ge=0, le=Decimal(int(REGISTER_LIMIT_WH)))]
Positive = Annotated[Exact, Field(gt=0)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=1000, strip_whitespace=True), AfterValidator(_text)]
Identifier = Annotated[str, StringConstraints(max_length=128), AfterValidator(_identifier)]
Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
Instant = Annotated[datetime, AfterValidator(_utc)]
Quantity = Literal["sold", "auxiliary", "charged", "discharged"]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
