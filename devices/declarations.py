"""What is declared: a project, its sites, PV systems and devices.

The models are the shape of a declaration file (`devices.declaration_file` reads one) and of its canonical JSON, which
is stored with every revision and from which the MRV module computes. Days given in a file were already made instants
here, so a declaration means the same wherever it is read.
"""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    Strict,
    StringConstraints,
    TypeAdapter,
)

from devices.points import POINTS, REGISTER_LIMIT_WH
from devices.time_zones import time_zone

NATIVE = "native"
"""The profile of the product's own payload; the others are in `devices/profiles` and in a folder of one's own."""

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


def _zone_name(value: str) -> str:
    return time_zone(value).key


def _register_point(value: str) -> str:
    registers = [point.name for point in POINTS.values() if point.register]
    if value not in registers:
        raise ValueError(f'"{value}" is no lifetime register: expected {" or ".join(registers)}')
    return value


def _factor_unit(value: str) -> str:
    if value != FACTOR_UNIT:
        raise ValueError(f'the unit "{value}" is not accepted: expected "{FACTOR_UNIT}"')
    return value


def _factor_value(value: Decimal) -> Decimal:
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

_COUNTRY = 'an ISO 3166-1 alpha-3 country code such as "THA"'
_TEXT = "a text"
_ID = "an id that can be a level of an MQTT topic"
_DAY = "a date such as 2020-05-01"
_INSTANT = "a date (the site's midnight) or a time with its offset"
_REGISTER = "a register in Wh, 0 or more"


class Declared(BaseModel):
    """A part of a declaration: exactly these keys, each of exactly its type; the description says what is expected."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, validate_by_name=False, validate_by_alias=True)


class CreditingPeriod(Declared):
    """The days a project may be credited for, both included."""

    first_day: date = Field(alias="from", description=_DAY)
    last_day: date = Field(alias="to", description=_DAY)


class Participant(Declared):
    """A project participant."""

    name: Text = Field(description=_TEXT)
    country: Country = Field(description=_COUNTRY)


class Project(Declared):
    """A JCM project and the methodology version it is registered under."""

    id: Identifier = Field(description=_ID)
    title: Text = Field(description=_TEXT)
    host_country: Country = Field(description=_COUNTRY)
    methodology: Text = Field(description='the id of a methodology such as "TH_AM001"')
    methodology_version: Text = Field(description='the version as text, such as "1.0"')
    registered: date | None = Field(default=None, description=_DAY)
    crediting_period: CreditingPeriod = Field(description="{ from = 2020-05-01, to = 2030-04-30 }")
    participants: Annotated[tuple[Participant, ...], Strict(strict=False)] = Field(
        default=(), description='a list such as [{ name = "…", country = "THA" }]'
    )
    third_party_entity: Text | None = Field(default=None, description=_TEXT)


class Site(Declared):
    """A place with its own local time."""

    id: Identifier = Field(description=_ID)
    name: Text = Field(description=_TEXT)
    time_zone: Annotated[str, AfterValidator(_zone_name)] = Field(description="a time zone name such as Asia/Bangkok")
    latitude: Annotated[Exact, Field(ge=-90, le=90)] | None = Field(
        default=None, description="degrees north, -90 to 90"
    )
    longitude: Annotated[Exact, Field(ge=-180, le=180)] | None = Field(
        default=None, description="degrees east, -180 to 180"
    )

    @property
    def zone(self) -> ZoneInfo:
        """The site's time zone: its days are the days of the energy."""
        return ZoneInfo(self.time_zone)


class EmissionFactor(Declared):
    """The factor registered for a system, instead of the methodology's default for the connection."""

    value: Annotated[Exact, AfterValidator(_factor_value)] = Field(description='a number as text, such as "0.319"')
    unit: Annotated[str, AfterValidator(_factor_unit)] = Field(description=f'"{FACTOR_UNIT}"')
    source: Text = Field(description="where the factor is registered")


class Register(Declared):
    """The lifetime counter that a credit is computed from."""

    point: Annotated[str, AfterValidator(_register_point)] = Field(description='"TotWhExp" or "TotWhImp"')
    bits: int = Field(ge=8, le=64, description="the register's width in bits, 8 to 64")
    resolution_wh: Positive = Field(default=Decimal(1), description="Wh a count, more than 0")
    micro_decrease_wh: Annotated[Exact, Field(ge=0)] | None = Field(
        default=None, description="a drop of up to so many Wh is the register's own jitter"
    )


class SystemMeter(Declared):
    """A register that a methodology counts besides the generation."""

    device: str = Field(description="the id of a device of the system's site")
    quantity: Quantity = Field(description='"sold", "auxiliary", "charged" or "discharged"')
    energy_register: Register | None = Field(
        default=None,
        alias="register",
        description='{ point = "TotWhImp", bits = 32 }; left out: the device\'s own register',
    )


class DayCategory(Declared):
    """Days of a category, where a methodology tells days apart; where several entries fit a day the last one holds."""

    category: Text = Field(description='the name of a category of days, such as "school day"')
    first_day: date = Field(alias="from", description=_DAY)
    last_day: date = Field(alias="to", description=_DAY)
    weekdays: Annotated[tuple[Weekday, ...], Strict(strict=False), Field(min_length=1)] | None = Field(
        default=None, description='a list such as ["sat", "sun"]; left out: every day'
    )
    emission_factor: EmissionFactor | None = Field(
        default=None, description='{ value = "0.353", unit = "tCO2/MWh", source = "…" }; left out: the system\'s own'
    )

    def fits(self, day: date) -> bool:
        """Whether a day is one of these."""
        inside = self.first_day <= day <= self.last_day
        return inside and (self.weekdays is None or WEEKDAYS[day.weekday()] in self.weekdays)


class PvSystem(Declared):
    """System i of the methodology."""

    id: Identifier = Field(description=_ID)
    site: str = Field(description="the id of a [[site]] of this file")
    capacity_kw: Positive = Field(description="a capacity in kW, more than 0")
    connection: Literal["grid", "grid_and_captive", "captive"] = Field(
        description='"grid", "grid_and_captive" or "captive"'
    )
    grid_region: Text | None = Field(default=None, description="a region of the methodology's table of factors")
    credited_by: Annotated[tuple[str, ...], Strict(strict=False), Field(min_length=1)] = Field(
        description='a list of device ids, or ["*"] for every inverter of this system'
    )
    emission_factor: EmissionFactor | None = Field(
        default=None, description='{ value = "0.319", unit = "tCO2/MWh", source = "…" }'
    )
    # None and not an empty tuple: a declaration without them keeps the canonical text it always had.
    captive_fuel: Literal["diesel", "gas"] | None = Field(
        default=None, description='"diesel" or "gas": what the captive generator burns'
    )
    meters: Annotated[tuple[SystemMeter, ...], Strict(strict=False), Field(min_length=1)] | None = Field(
        default=None, alias="meter", description="[[pv_system.meter]] tables"
    )
    day_categories: Annotated[tuple[DayCategory, ...], Strict(strict=False), Field(min_length=1)] | None = Field(
        default=None, alias="day_category", description="[[pv_system.day_category]] tables"
    )

    def category_of(self, day: date) -> str | None:
        """Return the category of a day; None where none is declared for it."""
        fitting = [entry.category for entry in self.day_categories or () if entry.fits(day)]
        return fitting[-1] if fitting else None


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list) else (value,)


def _as_text(value: object) -> object:
    listed = _listed(value)
    assert isinstance(listed, tuple)  # noqa: S101
    return tuple(str(one).lower() if isinstance(one, bool) else str(one) for one in listed)


Names = Annotated[tuple[str, ...], BeforeValidator(_listed), Strict(strict=False)]
Literals = Annotated[tuple[str, ...], BeforeValidator(_as_text), Strict(strict=False)]


class FieldMap(Declared):
    """What a field of a payload means."""

    names: Names = Field(default=(), description="the field's name in the payload, or a list: the first there is")
    total_of: Names = Field(default=(), description="fields that are added up; all must be there")
    unit: Text | None = Field(default=None, description="the unit in the payload; left out: the point's own")
    factor: Exact = Field(default=Decimal(1), description='what a count is worth in that unit, such as "0.1"')
    kind: Literal["instant", "lifetime", "daily", "interval"] | None = Field(
        default=None, description='"instant", "lifetime", "daily" or "interval"'
    )
    zero: Literal["reading", "missing"] | None = Field(
        default=None, description='"reading" or "missing"; left out: a lifetime register is never 0'
    )
    missing: Literals = Field(default=(), description="values that mean no reading")
    between: Annotated[tuple[Exact, Exact], Strict(strict=False)] | None = Field(
        default=None, description="the least and the most that can be, in the point's unit"
    )
    of_list: Literal["refuse", "sum", "first"] = Field(
        default="refuse", description='"refuse", "sum" or "first": what a list of values means'
    )


class Removal(Declared):
    """When a device left its place, and what its register said then."""

    at: Instant = Field(description=_INSTANT)
    closing_register_wh: RegisterWh | None = Field(default=None, description=_REGISTER)


class Calibration(Declared):
    """A calibration of a meter, valid for the days from `performed` to `valid_until`."""

    performed: date = Field(description=_DAY)
    valid_until: date = Field(description=_DAY)
    error_percent: Exact | None = Field(default=None, description='a number as text, such as "0.1"')
    laboratory: Text | None = Field(default=None, description=_TEXT)
    certificate: Text | None = Field(default=None, description=_TEXT)


_Entry = TypeVar("_Entry", Site, PvSystem)


def _by_date(calibrations: tuple[Calibration, ...]) -> tuple[Calibration, ...]:
    return tuple(sorted(calibrations, key=lambda calibration: calibration.performed))


class Device(Declared):
    """A device in its place at a site; known by site and id, as in the topic it publishes to."""

    id: Identifier = Field(description=_ID)
    site: str = Field(description="the id of a [[site]] of this file")
    pv_system: str | None = Field(default=None, description="the id of a [[pv_system]] of this file")
    kind: Literal["inverter", "meter", "weather", "gateway"] = Field(
        description='"inverter", "meter", "weather" or "gateway"'
    )
    profile: Identifier = Field(default=NATIVE, description='a device family, see docs/devices.md, such as "native"')
    address: dict[str, str] | None = Field(
        default=None, description='what finds the device in its family\'s topics, such as { serial = "116482923311" }'
    )
    fields: dict[str, FieldMap] | None = Field(
        default=None, description='{ TotWhExp = { names = ["total_energy"], unit = "kWh" } }, beside the profile\'s own'
    )
    time_zone: Annotated[str, AfterValidator(_zone_name)] | None = Field(
        default=None, description="the zone of the device's clock, where it is not the site's"
    )
    rated_power_w: Positive | None = Field(default=None, description="a power in W, more than 0")
    energy_register: Register | None = Field(
        default=None, alias="register", description='{ point = "TotWhExp", bits = 32 }'
    )
    serial_number: Text | None = Field(default=None, description=_TEXT)
    accuracy_class: Text | None = Field(default=None, description='a class as text, such as "0.5S"')
    maximum_permissible_error_percent: Annotated[Exact, Field(ge=0)] | None = Field(
        default=None, description='a number as text, such as "0.5"'
    )
    installed: Instant = Field(description=_INSTANT)
    opening_register_wh: RegisterWh | None = Field(default=None, description=_REGISTER)
    removed: Removal | None = Field(
        default=None, description="{ at = 2021-06-01T03:00:00Z, closing_register_wh = 998877 }"
    )
    replaced_by: str | None = Field(default=None, description="the id of a [[device]] of the same site")
    calibrations: Annotated[tuple[Calibration, ...], Strict(strict=False), AfterValidator(_by_date)] = Field(
        default=(), alias="calibration", description="[[device.calibration]] tables"
    )


def _by_id(entries: tuple[_Entry, ...]) -> tuple[_Entry, ...]:
    return tuple(sorted(entries, key=lambda entry: entry.id))


def _by_site_and_id(devices: tuple[Device, ...]) -> tuple[Device, ...]:
    return tuple(sorted(devices, key=lambda device: (device.site, device.id)))


class ProjectDeclaration(Declared):
    """A project with everything that belongs to it, in the order of the ids, whatever the file's order was."""

    project: Project = Field(description="a [project] table")
    sites: Annotated[tuple[Site, ...], Strict(strict=False), AfterValidator(_by_id)] = Field(
        alias="site", description="[[site]] tables"
    )
    pv_systems: Annotated[tuple[PvSystem, ...], Strict(strict=False), AfterValidator(_by_id)] = Field(
        default=(), alias="pv_system", description="[[pv_system]] tables"
    )
    devices: Annotated[tuple[Device, ...], Strict(strict=False), AfterValidator(_by_site_and_id)] = Field(
        default=(), alias="device", description="[[device]] tables"
    )

    def site(self, site: str) -> Site:
        """Find a site by its id; KeyError when there is none."""
        return {entry.id: entry for entry in self.sites}[site]

    def device(self, site: str, device: str) -> Device:
        """Find a device by its site and id; KeyError when there is none."""
        return {(entry.site, entry.id): entry for entry in self.devices}[site, device]

    def credited_devices(self, system: PvSystem) -> tuple[Device, ...]:
        """List the devices whose registers are the EG of a system, each once, in the order of their ids.

        What replaced a credited device stands in its place, so it counts from its own installation on.
        """
        return credited_devices(system, self.devices)

    def metered_devices(self, system: PvSystem, meter: SystemMeter) -> tuple[Device, ...]:
        """List the device of a further register and what replaced it, each once, in the order of their ids."""
        return _with_replacements([meter.device], {d.id: d for d in self.devices if d.site == system.site})


def credited_devices(system: PvSystem, devices: Iterable[Device]) -> tuple[Device, ...]:
    """As `ProjectDeclaration.credited_devices`, for devices that are not part of a declaration yet."""
    at_site = {device.id: device for device in devices if device.site == system.site}
    if EVERY_INVERTER in system.credited_by:
        waiting = [
            device.id for device in at_site.values() if device.kind == "inverter" and device.pv_system == system.id
        ]
    else:
        waiting = list(system.credited_by)
    return _with_replacements(waiting, at_site)


def _with_replacements(names: Iterable[str], at_site: Mapping[str, Device]) -> tuple[Device, ...]:
    waiting, found = list(names), dict[str, Device]()
    while waiting:
        device = at_site.get(waiting.pop())
        if device is not None and device.id not in found:
            found[device.id] = device
            if device.replaced_by is not None:
                waiting.append(device.replaced_by)
    return tuple(found[name] for name in sorted(found))


def canonical_json(declaration: ProjectDeclaration) -> str:
    """Write a declaration as the one text that stands for it.

    Keys are sorted, what was not given is left out, exact numbers are strings, times are UTC.
    `ProjectDeclaration.model_validate_json` reads it back to an equal declaration.
    """
    content: dict[str, Any] = declaration.model_dump(mode="json", by_alias=True, exclude_none=True)
    return json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


_FIELDS = TypeAdapter(dict[str, FieldMap])


def fields_as_json(fields: Mapping[str, FieldMap]) -> str:
    """Write the fields of a device as they are kept in the database."""
    return _FIELDS.dump_json(dict(fields), exclude_none=True).decode()


def fields_from_json(text: str) -> dict[str, FieldMap]:
    """Read what `fields_as_json` wrote."""
    return _FIELDS.validate_json(text)
