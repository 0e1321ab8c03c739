"""What a declaration changes: the difference against what was declared before, and the two of them merged."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel

from devices.declaration_rules import Parts, contradictions
from devices.declarations import (
    Calibration,
    Declared,
    Device,
    Invoice,
    ProjectDeclaration,
    PvSystem,
    Site,
    by_first_day,
)
from devices.errors import DeclarationError

_Entry = TypeVar("_Entry", bound=Declared)


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a plan."""

    action: Literal["add", "change"]
    table: str
    """The table of the declaration file."""
    name: str
    """The entry's id; for what belongs to a site, site and id."""
    key: str | None = None
    old: str | None = None
    new: str | None = None

    def __str__(self) -> str:
        if self.action == "add":
            return f"+ {self.table} {self.name}"
        return f"~ {self.table} {self.name}: {self.key}: {_said(self.old)} → {_said(self.new)}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What applying a declaration does; `merged` is what holds afterwards."""

    file: str
    merged: ProjectDeclaration
    changes: Sequence[Change]
    unchanged: int
    """How many entries were declared before just as they are in the file."""
    kept: Sequence[str]
    """What was declared before and is not in the file: it stays."""
    revision: int
    """The revision that holds afterwards."""

    @property
    def project(self) -> str:
        """The project's id."""
        return self.merged.project.id

    def as_json(self) -> dict[str, Any]:
        """The plan for scripts."""
        return {
            "project": self.project,
            "file": self.file,
            "changed": bool(self.changes),
            "revision": self.revision,
            "changes": [change_as_json(change) for change in self.changes],
            "unchanged": self.unchanged,
            "kept": list(self.kept),
        }


def change_as_json(change: Change) -> dict[str, str | None]:
    """Write a change for scripts and for the audit trail."""
    said: dict[str, str | None] = {"action": change.action, "table": change.table, "name": change.name}
    return said if change.action == "add" else {**said, "key": change.key, "old": change.old, "new": change.new}


def plan(file: str, declared: ProjectDeclaration, before: ProjectDeclaration | None, revision: int) -> Plan:
    """Compare a declaration with the last one of its project.

    Parameters
    ----------
    file
        The file's name, for messages.
    declared
        What the file says.
    before
        What holds now; None for a new project.
    revision
        The revision that holds now; 0 for a new project.

    Raises
    ------
    DeclarationError
        The file contradicts what was declared before and is kept.
    """
    comparison = _Comparison()
    if before is None:
        comparison.compare("project", declared.project.id, None, declared.project)
        old_sites: Mapping[str, Site] = {}
        old_systems: Mapping[str, PvSystem] = {}
        old_devices: Mapping[str, Device] = {}
    else:
        comparison.compare("project", declared.project.id, before.project, declared.project)
        old_sites, old_systems, old_devices = _named(before)
    new_sites, new_systems, new_devices = _named(declared)
    sites = comparison.merge("site", old_sites, new_sites)
    new_systems = {
        name: comparison.with_monitoring_plan(name, old_systems.get(name), system)
        for name, system in new_systems.items()
    }
    systems = comparison.merge("pv_system", old_systems, new_systems)
    new_devices = {
        name: comparison.with_evidence(name, old_devices.get(name), device) for name, device in new_devices.items()
    }
    devices = comparison.merge("device", old_devices, new_devices)
    invoices = tuple(comparison.merge("invoice", _invoices(before), _invoices(declared)))
    merged = declared.model_copy(
        update={
            "sites": tuple(sorted(sites, key=lambda site: site.id)),
            "pv_systems": tuple(sorted(systems, key=lambda system: system.id)),
            "devices": tuple(sorted(devices, key=lambda device: (device.site, device.id))),
            "invoices": by_first_day(invoices),
        }
    )
    problems = contradictions(Parts.of(merged))
    if problems:
        raise DeclarationError(file, [f"{line}; what was declared before stays in force" for line in problems])
    return Plan(
        file=file,
        merged=merged,
        changes=tuple(comparison.changes),
        unchanged=comparison.unchanged,
        kept=tuple(comparison.kept),
        revision=revision + bool(comparison.changes),
    )


def _named(
    declaration: ProjectDeclaration,
) -> tuple[Mapping[str, Site], Mapping[str, PvSystem], Mapping[str, Device]]:
    return (
        {site.id: site for site in declaration.sites},
        {system.id: system for system in declaration.pv_systems},
        {f"{device.site}/{device.id}": device for device in declaration.devices},
    )


def _invoices(declaration: ProjectDeclaration | None) -> Mapping[str, Invoice]:
    return {} if declaration is None else {invoice.name: invoice for invoice in declaration.invoices or ()}


class _Comparison:
    """Collects the lines of a plan while the entries are gone through."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.unchanged = 0
        self.kept: list[str] = []

    def merge(self, table: str, old: Mapping[str, _Entry], new: Mapping[str, _Entry]) -> Iterable[_Entry]:
        merged = dict(new)
        for name, entry in new.items():
            self.compare(table, name, old.get(name), entry)
        for name, was in old.items():
            if name not in new:
                self.kept.append(f"{table} {name}")
                merged[name] = was
        return merged.values()

    def with_monitoring_plan(self, name: str, was: PvSystem | None, system: PvSystem) -> PvSystem:
        """Keep the registered monitoring plan, also where the file leaves it out."""
        if was is None or was.monitoring_plan is None or system.monitoring_plan is not None:
            return system
        self.kept.append(f"monitoring_plan {name}")
        return system.model_copy(update={"monitoring_plan": was.monitoring_plan})

    def with_evidence(self, name: str, was: Device | None, device: Device) -> Device:
        """Keep what speaks about a meter's errors, also where the file leaves it out."""
        if was is None:
            return device
        given: dict[object, Calibration] = {one.performed: one for one in device.calibrations}
        for calibration in was.calibrations:
            if calibration.performed not in given:
                self.kept.append(f"calibration {name} {calibration.performed}")
                given[calibration.performed] = calibration
        kept: dict[str, object] = {
            "calibrations": tuple(sorted(given.values(), key=lambda calibration: calibration.performed))
        }
        # A meter whose error is no longer declared would be held to nothing.
        if was.maximum_permissible_error_percent is not None and device.maximum_permissible_error_percent is None:
            self.kept.append(f"maximum_permissible_error_percent {name}")
            kept["maximum_permissible_error_percent"] = was.maximum_permissible_error_percent
        return device.model_copy(update=kept)

    def compare(self, table: str, name: str, was: BaseModel | None, entry: BaseModel) -> None:
        if was is None:
            self.changes.append(Change("add", table, name))
            return
        if was == entry:
            self.unchanged += 1
            return
        old, new = _flat(was), _flat(entry)
        for key in sorted(old.keys() | new.keys()):
            # Compared as values, shown as text: "0.10" and "0.1" are one number.
            if old.get(key) != new.get(key):
                self.changes.append(Change("change", table, name, key, _text(old.get(key)), _text(new.get(key))))


def _flat(model: BaseModel, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, field in type(model).model_fields.items():
        key = prefix + (field.alias or name)
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            flat |= _flat(value, f"{key}.")
        elif isinstance(value, Mapping):
            for entry, one in value.items():
                flat |= _flat(one, f"{key}.{entry}.") if isinstance(one, BaseModel) else {f"{key}.{entry}": one}
        elif isinstance(value, tuple) and value and isinstance(value[0], Calibration):
            for one in value:
                flat |= _flat(one, f"{key} {one.performed}.")
        elif value is not None and value != ():
            flat[key] = value
    return flat


def _text(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, tuple):
        return ", ".join(
            " ".join(map(str, part.model_dump().values())) if isinstance(part, BaseModel) else str(part)
            for part in value
        )
    return str(value)


def _said(value: str | None) -> str:
    return "not given" if value is None else value
