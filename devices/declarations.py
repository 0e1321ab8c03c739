"""What is declared: a project, its sites, PV systems and devices.

The models are the shape of a declaration file (`devices.declaration_file` reads one) and of its canonical JSON, which
is stored with every revision and from which the MRV module computes. Days given in a file were already made instants
here, so a declaration means the same wherever it is read.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    TypeAdapter,
)

from devices.declared_values import (
    EVERY_INVERTER,
    FACTOR_UNIT,
    WEEKDAYS,
    Country,
    Exact,
    Identifier,
    Instant,
    Positive,
    Quantity,
    RegisterWh,
    Text,
    Weekday,
    factor_unit,
    factor_value,
    register_point,
    zone_name,
)

NATIVE = "native"
"""The profile of the product's own payload; the others are in `devices/profiles` and in a folder of one's own."""

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
    time_zone: Annotated[str, AfterValidator(zone_name)] = Field(description="a time zone name such as Asia/Bangkok")
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

    value: Annotated[Exact, AfterValidator(factor_value)] = Field(description='a number as text, such as "0.319"')
    unit: Annotated[str, AfterValidator(factor_unit)] = Field(description=f'"{FACTOR_UNIT}"')
    source: Text = Field(description="where the factor is registered")


class Register(Declared):
    """The lifetime counter that a credit is computed from."""

    point: Annotated[str, AfterValidator(register_point)] = Field(description='"TotWhExp" or "TotWhImp"')
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


class MonitoringPlan(Declared):
    """What the registered monitoring plan says about measuring a system; a meter that differs is told."""

    option: Literal["B", "C"] = Field(
        default="C", description='"B" (the amount of a transaction, with invoices) or "C" (actual measurement)'
    )
    accuracy_class: Text | None = Field(default=None, description='a class as text, such as "0.5S"')
    maximum_permissible_error_percent: Annotated[Exact, Field(ge=0)] | None = Field(
        default=None, description='the most that the plan allows, a number as text, such as "1.0"'
    )
    reading_interval_s: Annotated[int, Field(gt=0)] | None = Field(
        default=None, description="seconds between two readings, as the plan has it"
    )


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
    monitoring_plan: MonitoringPlan | None = Field(
        default=None, description='{ option = "C", accuracy_class = "0.5S", reading_interval_s = 900 }'
    )

    def category_of(self, day: date) -> str | None:
        """Return the category of a day; None where none is declared for it."""
        fitting = [entry.category for entry in self.day_categories or () if entry.fits(day)]
        return fitting[-1] if fitting else None


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


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
    time_zone: Annotated[str, AfterValidator(zone_name)] | None = Field(
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


class Invoice(Declared):
    """Commercial evidence of an energy; prices are not kept."""

    number: Text = Field(description="the invoice's number")
    issuer: Text = Field(description="who issued it, such as the power company")
    site: str = Field(description="the id of a [[site]] of this file")
    device: str | None = Field(default=None, description="the id of the device it bills; or give pv_system")
    pv_system: str | None = Field(default=None, description="the id of the pv_system it bills; or give device")
    quantity: Literal["generated"] | Quantity = Field(
        default="generated", description='"generated", "sold", "auxiliary", "charged" or "discharged"'
    )
    first_day: date = Field(alias="from", description=_DAY)
    last_day: date = Field(alias="to", description=_DAY)
    energy_kwh: Annotated[Exact, Field(ge=0)] = Field(description='a number as text, such as "48804719"')

    @property
    def name(self) -> str:
        """Number and issuer: what tells one from another."""
        return f"{self.number} of {self.issuer}"


def by_first_day(invoices: tuple[Invoice, ...] | None) -> tuple[Invoice, ...] | None:
    """Put invoices in their order; none at all is None."""
    if not invoices:
        return None
    return tuple(sorted(invoices, key=lambda invoice: (invoice.first_day, invoice.issuer, invoice.number)))


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
    # None and not an empty tuple, as in `PvSystem`: the canonical text stays what it was.
    invoices: Annotated[tuple[Invoice, ...] | None, Strict(strict=False), AfterValidator(by_first_day)] = Field(
        default=None, alias="invoice", description="[[invoice]] tables"
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
        return self.in_place_of(system.site, meter.device)

    def in_place_of(self, site: str, device: str) -> tuple[Device, ...]:
        """List a device and what replaced it, each once, in the order of their ids."""
        return _with_replacements([device], {d.id: d for d in self.devices if d.site == site})


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
