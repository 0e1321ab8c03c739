"""What a period is computed from besides its readings: the declaration, the methodology and each system's factor.

Both are kept as texts with a frozen revision, so that it recomputes from what held then, whatever the catalogue or the
declaration say by now.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from devices.declarations import (
    Device,
    EmissionFactor,
    ProjectDeclaration,
    PvSystem,
    Register,
    Site,
    SystemMeter,
    canonical_json,
)
from devices.points import POINTS
from mrv.catalogue import Mark, Methodology, factor_for, find
from mrv.errors import CatalogueError, PeriodError
from mrv.formulas.counted import ALLOWED, NEEDED, Quantity
from mrv.register_rules import DeclaredRegister, RegisterSpec
from mrv.result import Factor

DEFAULT_POINT = "TotWhExp"
DEFAULT_BITS = 64
_GENERATED: Quantity = "generated"


@dataclass(frozen=True, slots=True)
class Credited:
    """A register that counts towards EG of a system: what `credited_by` names, or a further meter."""

    system: PvSystem
    site: Site
    device: Device
    meter: SystemMeter | None = None
    """The further meter that this register belongs to; None: it counts as generation."""

    @property
    def label(self) -> str:
        """Site and device, as topics write them."""
        return f"{self.site.id}/{self.device.id}"

    @property
    def quantity(self) -> Quantity:
        """What the register counts as."""
        return _GENERATED if self.meter is None else self.meter.quantity

    @property
    def register(self) -> Register | None:
        """The register as it is declared."""
        own = self.device.energy_register
        return own if self.meter is None else self.meter.energy_register or own

    @property
    def point(self) -> str:
        """The register's point."""
        return DEFAULT_POINT if self.register is None else self.register.point

    @property
    def column(self) -> str:
        """The register's column in `reading`."""
        return POINTS[self.point].column

    @property
    def spec(self) -> RegisterSpec:
        """What is known about the register; a device without a rating may make what its whole system can."""
        power = self.device.rated_power_w or self.system.capacity_kw * 1000
        register = self.register
        if register is None:
            return RegisterSpec.of_bits(DEFAULT_BITS, power)
        return RegisterSpec.of_bits(register.bits, power, register.resolution_wh, register.micro_decrease_wh)

    @property
    def is_own(self) -> bool:
        """Whether it is the device's own register: the one whose opening and closing are declared."""
        own = self.device.energy_register
        return self.point == (DEFAULT_POINT if own is None else own.point)

    @property
    def opening(self) -> DeclaredRegister | None:
        """The register declared when the device was installed."""
        register = self.device.opening_register_wh if self.is_own else None
        return None if register is None else DeclaredRegister(self.device.installed, register)

    @property
    def closing(self) -> DeclaredRegister | None:
        """The register declared when the device was removed."""
        removed = self.device.removed if self.is_own else None
        if removed is None or removed.closing_register_wh is None:
            return None
        return DeclaredRegister(removed.at, removed.closing_register_wh)


@dataclass(frozen=True)
class Basis:
    """The declarations and the methodology of a period, each with the text it is kept as."""

    declaration: ProjectDeclaration
    declarations_text: str
    methodology_text: str
    methodology: str
    version: str
    title: str
    monitored: str
    """What EG counts, as `Methodology.monitored`."""
    factors: Mapping[str, Factor]
    """By system id; for a category of days by `row_id`."""
    notes: tuple[str, ...]

    @classmethod
    def of(cls, declaration: ProjectDeclaration) -> "Basis":
        """Look up the methodology and pick each system's factor, as the catalogue stands.

        Raises
        ------
        CatalogueError
            The methodology or a factor is not in the catalogue.
        PeriodError
            The methodology is not computed from registers of energy, or the declaration lacks what it counts.
        """
        project = declaration.project
        methodology = find(project.methodology, project.methodology_version)
        for problem in what_is_lacking(methodology, declaration):
            raise PeriodError(problem)
        factors: dict[str, Factor] = {}
        notes = _notes_of_methodology(methodology)
        for system in declaration.pv_systems:
            for category, own in _registered_factors(system).items():
                name = row_id(system, category)
                if name in factors:
                    raise PeriodError(f"two rows would be called {name}; rename the system or the category of days")
                try:
                    factors[name] = factor_for(
                        methodology, system.connection, system.grid_region, own, fuel=system.captive_fuel
                    )
                except CatalogueError as error:
                    raise CatalogueError(f"system {name}: {error}") from None
                notes.extend(_notes(methodology, system, name, factors[name]))
        content = {
            "id": methodology.id,
            "version": methodology.version,
            "title": methodology.title,
            "formula": methodology.formula,
            "monitored": methodology.monitored,
            "factors": {
                name: {"value": str(factor.value), "source": factor.source, "confirmed": factor.confirmed}
                for name, factor in factors.items()
            },
            "notes": notes,
        }
        basis = cls.from_texts(canonical_json(declaration), canonical_text(content))
        for label, point in basis.counted_twice():
            raise PeriodError(
                f"register {point} of {label} counts twice: a [[pv_system.meter]] names it, and so does one that it "
                "replaced; name the first of a place only"
            )
        return basis

    @classmethod
    def from_texts(cls, declarations_text: str, methodology_text: str) -> "Basis":
        """Read back what was kept with a revision."""
        content = json.loads(methodology_text)
        return cls(
            declaration=ProjectDeclaration.model_validate_json(declarations_text),
            declarations_text=declarations_text,
            methodology_text=methodology_text,
            methodology=content["id"],
            version=content["version"],
            title=content["title"],
            monitored=content["monitored"],
            factors=MappingProxyType(
                {
                    name: Factor(Decimal(factor["value"]), factor["source"], factor["confirmed"])
                    for name, factor in content["factors"].items()
                }
            ),
            notes=tuple(content["notes"]),
        )

    def credited(self) -> tuple[Credited, ...]:
        """List the credited devices in the order of system and device.

        Raises
        ------
        PeriodError
            There is no system, a system has no credited device, or a device is credited by two systems.
        """
        project = self.declaration.project.id
        if not self.declaration.pv_systems:
            raise PeriodError(f"project {project} declares no PV system; add a [[pv_system]] and apply again")
        found: list[Credited] = []
        owner: dict[str, str] = {}
        for system in self.declaration.pv_systems:
            devices = self.declaration.credited_devices(system)
            if not devices:
                raise PeriodError(
                    f"system {system.id} of {project} has no credited device; declare its inverters, or name meters in "
                    "`credited_by`"
                )
            for device in devices:
                entry = Credited(system, self.declaration.site(device.site), device)
                if entry.label in owner:
                    raise PeriodError(
                        f"device {entry.label} is credited by {owner[entry.label]} and by {system.id}; "
                        "name it in one `credited_by` only"
                    )
                owner[entry.label] = system.id
                found.append(entry)
        return tuple(found)

    def counted_twice(self) -> list[tuple[str, str]]:
        """List registers that count more than once, by device and point: a replacement stands in its place already."""
        generated = {
            (one.label, one.point)
            for system in self.declaration.pv_systems
            for device in self.declaration.credited_devices(system)
            for one in (Credited(system, self.declaration.site(device.site), device),)
        }
        found = Counter(generated)
        found.update((one.label, one.point) for place in self.further() for one in place)
        return sorted(register for register, count in found.items() if count > 1)

    def further(self) -> tuple[tuple[Credited, ...], ...]:
        """List the registers that count besides the generation, in the order of system, device and point.

        Each entry is one place: the meter that is declared and what replaced it there.
        """
        found = []
        for system in self.declaration.pv_systems:
            for meter in system.meters or ():
                devices = self.declaration.metered_devices(system, meter)
                found.append(
                    tuple(Credited(system, self.declaration.site(device.site), device, meter) for device in devices)
                )
        return tuple(sorted(found, key=lambda place: (place[0].system.id, place[0].device.id, place[0].point)))


def row_id(system: PvSystem, category: str | None) -> str:
    """Name a row of the result: a system, or a system on the days of a category."""
    return system.id if category is None else f"{system.id} ({category})"


def categories(system: PvSystem) -> tuple[str | None, ...]:
    """List the categories of days of a system, in the order of their names; (None,) where it has none."""
    named = sorted({entry.category for entry in system.day_categories or ()})
    return tuple(named) or (None,)


def what_is_lacking(methodology: Methodology, declaration: ProjectDeclaration) -> list[str]:
    """List what a period of a project cannot be computed for, each as one message."""
    name = f"{methodology.id} {methodology.version}"
    if methodology.not_computed is not None:
        return [f"{name} is not computed from a declaration: {methodology.not_computed}"]
    allowed = ALLOWED[methodology.monitored] - {_GENERATED}
    said = []
    for system in declaration.pv_systems:
        given: set[Quantity] = {meter.quantity for meter in system.meters or ()}
        said += [
            f"system {system.id}: {name} needs the register of what is {quantity}; add a [[pv_system.meter]] with "
            f'quantity = "{quantity}"'
            for quantity in sorted(NEEDED[methodology.monitored] - {_GENERATED} - given)
        ]
        said += [
            f"system {system.id}: {name} does not count what is {quantity}; leave that [[pv_system.meter]] out"
            for quantity in sorted(given - allowed)
        ]
        by_day = methodology.monitored == "day_category"
        if by_day and not system.day_categories:
            said.append(f"system {system.id}: {name} tells days by category; add [[pv_system.day_category]] entries")
        if system.day_categories and not by_day:
            said.append(f"system {system.id}: {name} has no categories of days; leave [[pv_system.day_category]] out")
        if methodology.monitored == "consumed_or_sold":
            said += [
                f"system {system.id}: {name} counts what was consumed or sold, and inverter {device.id} counts the "
                "gross output; name the meters of the consumption in `credited_by`, of the sale in [[pv_system.meter]]"
                for device in declaration.credited_devices(system)
                if device.kind == "inverter"
            ]
    return said


def registers_of(declaration: ProjectDeclaration) -> tuple[Credited, ...]:
    """List every device with a register that is in a PV system or credited by one, credited or not.

    The energy of each is kept by day, so that inverters can be held against the meter.
    """
    owner = {
        (system.site, device.id): system
        for system in declaration.pv_systems
        for device in declaration.credited_devices(system)
    }
    systems = {system.id: system for system in declaration.pv_systems}
    found = []
    for device in declaration.devices:
        system = owner.get((device.site, device.id)) or systems.get(device.pv_system or "")
        if system is not None and device.kind in ("inverter", "meter"):
            found.append(Credited(system, declaration.site(device.site), device))
    return tuple(found)


def canonical_text(content: Any) -> str:
    """Write JSON as the one text that stands for it: sorted keys, no spaces, text as it is."""
    return json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def registered(factor: EmissionFactor | None) -> Factor | None:
    """Return the factor that the project registered for a system; registration confirmed it."""
    return None if factor is None else Factor(factor.value, factor.source, confirmed=True)


def _registered_factors(system: PvSystem) -> dict[str | None, Factor | None]:
    own = {entry.category: entry.emission_factor for entry in system.day_categories or ()}
    return {name: registered(own.get(name or "") or system.emission_factor) for name in categories(system)}


def _notes_of_methodology(methodology: Methodology) -> list[str]:
    """Say what of the calculation was not read in the primary text; the factors have notes of their own."""
    name = f"{methodology.id} {methodology.version}"
    said = [] if methodology.scope is None else [f"scope of {name} here: {methodology.scope}"]
    unread = [parameter for parameter in methodology.parameters if parameter.mark is Mark.UNCONFIRMED]
    return said + [f"{parameter.name} of {name} is not confirmed: {parameter.description}" for parameter in unread]


def _notes(methodology: Methodology, system: PvSystem, name: str, factor: Factor) -> list[str]:
    default = methodology.default(system.connection, system.grid_region, system.captive_fuel)
    if not factor.confirmed:
        note = (
            f"the factor of {name}, {factor.value} tCO2/MWh, is a default not confirmed in the primary text "
            f"({factor.source}); declare the registered `emission_factor` to replace it"
        )
        return [note]
    if default is not None and default.value is not None and default.value != factor.value:
        note = (
            f"the registered factor of {name}, {factor.value} tCO2/MWh, differs from the default of "
            f"{methodology.id} {methodology.version} for {system.connection}, {default.value} (mark {default.mark})"
        )
        return [note]
    return []
