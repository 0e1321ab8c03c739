"""Read a declaration file, and say everything that is wrong with it at once."""

import difflib
import tomllib
import typing
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from devices.declaration_rules import Parts, contradictions
from devices.declarations import Declared, Device, Invoice, Project, ProjectDeclaration, PvSystem, Site
from devices.decoding.catalogue import Catalogue, built_in, complete
from devices.errors import DeclarationError
from devices.time_zones import time_zone

_Part = TypeVar("_Part", bound=Declared)
_Table = dict[str, Any]


def load(path: Path, catalogue: Catalogue | None = None) -> ProjectDeclaration:
    """Read one declaration file.

    Parameters
    ----------
    catalogue
        The device families that there are; None: those of this version.

    Raises
    ------
    DeclarationError
        The file cannot be read or declares what cannot be; every problem names its key and what is expected.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DeclarationError(path, [f"cannot be read: {(error.strerror or str(error)).lower()}"]) from None
    except UnicodeDecodeError as error:
        raise DeclarationError(path, [f"is not UTF-8 text: byte {error.start} is wrong"]) from None
    return parse(text, path, catalogue)


def parse(text: str, file: Path | str, catalogue: Catalogue | None = None) -> ProjectDeclaration:
    """Read the text of a declaration file; see `load`."""
    try:
        # A TOML number is kept as it was written: "0.319" never becomes the nearest binary fraction.
        content = tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, ArithmeticError) as error:
        raise DeclarationError(file, [f"this is not TOML: {error}"]) from None
    _days_to_instants(content)
    problems: list[str] = []
    unknown = [key for key in content if key not in _fields(ProjectDeclaration)]
    problems += [_unknown_key(key, ProjectDeclaration, "") for key in unknown]
    projects = _read(content, "project", Project, problems)
    sites = _read(content, "site", Site, problems)
    systems = _read(content, "pv_system", PvSystem, problems)
    devices = []
    for declared in _read(content, "device", Device, problems):
        device, wrong = complete(declared, built_in() if catalogue is None else catalogue)
        problems += [f'device "{device.id}": {line}' for line in wrong]
        devices.append(device)
    invoices = _read(content, "invoice", Invoice, problems)
    parts = Parts(
        project=projects[0] if projects else None,
        sites=sites,
        pv_systems=systems,
        devices=devices,
        invoices=invoices,
        other_sites=_ids(content, "site") - {site.id for site in sites},
        other_pv_systems=_ids(content, "pv_system") - {system.id for system in systems},
        other_devices=_ids(content, "device") - {device.id for device in devices},
    )
    problems += contradictions(parts)
    if problems:
        raise DeclarationError(file, problems)
    return ProjectDeclaration.model_validate(
        {
            "project": parts.project,
            "site": sites,
            "pv_system": systems,
            "device": devices,
            "invoice": invoices or None,
        }
    )


def _tables(content: _Table, key: str) -> list[_Table]:
    found = content.get(key)
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _ids(content: _Table, key: str) -> frozenset[str]:
    return frozenset(entry["id"] for entry in _tables(content, key) if isinstance(entry.get("id"), str))


def _read(content: _Table, key: str, model: type[_Part], problems: list[str]) -> list[_Part]:
    """Read the entries of one table, and add what is wrong with them to `problems`."""
    single = key == "project"
    found = content.get(key)
    expected = _fields(ProjectDeclaration)[key]
    if found is None:
        if expected.is_required():
            problems.append(f"{key} is missing: expected {expected.description}")
        return []
    entries = [found] if single else found
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        problems.append(f"{key}: expected {expected.description}, not {_shown(found)}")
        return []
    read = []
    for index, entry in enumerate(entries):
        try:
            read.append(model.model_validate(entry))
        except ValidationError as error:
            name = entry.get("number" if model is Invoice else "id")
            if single:
                label = f"{key}."
            elif isinstance(name, str):
                label = f'{key} "{name}": '
            else:
                label = f"{key}[{index}]."
            # A misspelt key first: that another one is missing follows from it.
            errors = sorted(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")
            said = [problem(dict(one), model, label) for one in errors]
            # A day that could not be placed is the fault of the site or its time zone, which is named already.
            problems += [line for line in said if line]
    return read


def problem(error: dict[str, Any], model: type[BaseModel], label: str) -> str:
    """Put one of pydantic's errors into a line: where, what is wrong, what is expected."""
    *above, key = error["loc"]
    owner = model
    for step in above:
        if isinstance(step, str):
            owner = _model_in(_fields(owner)[step].annotation) or owner
    where = label + _path(error["loc"])
    if error["type"] == "extra_forbidden":
        return _unknown_key(str(key), owner, label + _path(above))
    if error["type"] == "value_error":
        return f"{where}: {error['ctx']['error']}"
    value = error["input"]
    if error["type"] == "datetime_type" and isinstance(value, date):
        return ""
    names = [step for step in error["loc"] if isinstance(step, str)]
    field = _fields(owner).get(names[-1]) if names else None
    expected = error["msg"] if field is None else field.description
    if error["type"] == "missing":
        return f"{where} is missing: expected {expected}"
    return f"{where}: expected {expected}, not {_shown(value)}"


def _unknown_key(key: str, model: type[BaseModel], where: str) -> str:
    known = list(_fields(model))
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    hint = f'did you mean "{near[0]}"?' if near else f"expected {', '.join(known)}"
    joint = "" if not where or where[-1] in ". " else "."
    return f"{where}{joint}{key}: unknown key: {hint}"


def _fields(model: type[BaseModel]) -> Mapping[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Find the model that an annotation such as `tuple[Calibration, ...]` or `Register | None` speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(argument) for argument in typing.get_args(annotation))
    return next((model for model in found if model is not None), None)


def _path(steps: Sequence[str | int]) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return text.removeprefix(".")


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, date | time):
        return value.isoformat()
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _days_to_instants(content: _Table) -> None:
    """Replace a day by the instant it means: the site's midnight.

    A replacement that was installed on the very day its predecessor was removed begins at the removal: the two are in
    one place, and the day alone does not say that they ever were so together.
    """
    zones: dict[str, ZoneInfo] = {}
    for site in _tables(content, "site"):
        try:
            zones[str(site["id"])] = time_zone(str(site["time_zone"]))
        except (KeyError, ValueError):
            continue  # said when the site itself is read
    placed = [
        (device, zones[str(device.get("site"))])
        for device in _tables(content, "device")
        if str(device.get("site")) in zones
    ]
    removals: dict[tuple[str, str], datetime] = {}
    for device, zone in placed:
        removed = device.get("removed")
        if isinstance(removed, dict) and "at" in removed:
            removed["at"] = at = _instant(removed["at"], zone)
            if isinstance(at, datetime) and at.tzinfo is not None:
                place = str(device["site"]), str(device.get("replaced_by"))
                removals[place] = max(at, removals.get(place, at))
    for device, zone in placed:
        installed = device.get("installed")
        start = _instant(installed, zone)
        if start is not installed:
            removal = removals.get((str(device["site"]), str(device.get("id"))))
            same_day = removal is not None and removal.astimezone(zone).date() == installed
            device["installed"] = removal if same_day else start


def _instant(value: Any, zone: ZoneInfo) -> Any:
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime.combine(value, time(), zone)
    return value
