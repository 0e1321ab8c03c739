"""What a period is computed from besides its readings: the declaration, the methodology and each system's factor.

Both are kept as texts with a frozen revision, so that it recomputes from what held then, whatever the catalogue or the
declaration say by now.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from devices.declarations import Device, ProjectDeclaration, PvSystem, Site, canonical_json
from devices.points import POINTS
from mrv.catalogue import Methodology, factor_for, find
from mrv.errors import CatalogueError, PeriodError
from mrv.register_rules import DeclaredRegister, RegisterSpec
from mrv.result import Factor

DEFAULT_POINT = "TotWhExp"
DEFAULT_BITS = 64
_VARIANTS = {
    "consumed_or_sold": "the electricity consumed or sold, not the gross output",
    "day_category": "generation by the category of the day",
}


@dataclass(frozen=True, slots=True)
class Credited:
    """A device whose register counts towards EG of a system."""

    system: PvSystem
    site: Site
    device: Device

    @property
    def label(self) -> str:
        """Site and device, as topics write them."""
        return f"{self.site.id}/{self.device.id}"

    @property
    def point(self) -> str:
        """The register's point."""
        register = self.device.energy_register
        return DEFAULT_POINT if register is None else register.point

    @property
    def column(self) -> str:
        """The register's column in `reading`."""
        return POINTS[self.point].column

    @property
    def spec(self) -> RegisterSpec:
        """What is known about the register; a device without a rating may make what its whole system can."""
        power = self.device.rated_power_w or self.system.capacity_kw * 1000
        register = self.device.energy_register
        if register is None:
            return RegisterSpec.of_bits(DEFAULT_BITS, power)
        return RegisterSpec.of_bits(register.bits, power, register.resolution_wh, register.micro_decrease_wh)

    @property
    def opening(self) -> DeclaredRegister | None:
        """The register declared when the device was installed."""
        register = self.device.opening_register_wh
        return None if register is None else DeclaredRegister(self.device.installed, register)

    @property
    def closing(self) -> DeclaredRegister | None:
        """The register declared when the device was removed."""
        removed = self.device.removed
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
    factors: Mapping[str, Factor]
    """By system id."""
    notes: tuple[str, ...]

    @classmethod
    def of(cls, declaration: ProjectDeclaration) -> "Basis":
        """Look up the methodology and pick each system's factor, as the catalogue stands.

        Raises
        ------
        CatalogueError
            The methodology or a factor is not in the catalogue.
        PeriodError
            The methodology counts something that this version does not compute.
        """
        project = declaration.project
        methodology = find(project.methodology, project.methodology_version)
        if methodology.monitored != "gross_output":
            raise PeriodError(
                f"{methodology.id} {methodology.version} credits {_VARIANTS[methodology.monitored]}; "
                "this version of jcm-mrv does not compute that"
            )
        factors: dict[str, Factor] = {}
        notes: list[str] = []
        for system in declaration.pv_systems:
            try:
                factors[system.id] = factor_for(methodology, system.connection, system.grid_region, registered(system))
            except CatalogueError as error:
                raise CatalogueError(f"system {system.id}: {error}") from None
            notes.extend(_notes(methodology, system, factors[system.id]))
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
        return cls.from_texts(canonical_json(declaration), canonical_text(content))

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


def registered(system: PvSystem) -> Factor | None:
    """Return the factor that the project registered for a system; registration confirmed it."""
    factor = system.emission_factor
    return None if factor is None else Factor(factor.value, factor.source, confirmed=True)


def _notes(methodology: Methodology, system: PvSystem, factor: Factor) -> list[str]:
    default = methodology.default(system.connection, system.grid_region)
    if not factor.confirmed:
        note = (
            f"the factor of {system.id}, {factor.value} tCO2/MWh, is a default not confirmed in the primary text "
            f"({factor.source}); declare the registered `emission_factor` to replace it"
        )
        return [note]
    if default is not None and default.value != factor.value:
        note = (
            f"the registered factor of {system.id}, {factor.value} tCO2/MWh, differs from the default of "
            f"{methodology.id} {methodology.version} for {system.connection}, {default.value} (mark {default.mark})"
        )
        return [note]
    return []
