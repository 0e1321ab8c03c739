"""Carry declarations into the database: all of them or none, each change with its revision and its audit event."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import psycopg

from deploy.registry_plan import Plan, change_as_json, plan
from devices.declarations import Device, ProjectDeclaration, PvSystem, Site, canonical_json, fields_as_json
from devices.errors import DeclarationError
from sql.named import load

Declarations = Sequence[tuple[str, ProjectDeclaration]]
"""File names with what the files declare."""


def apply(connection: psycopg.Connection, declarations: Declarations, *, dry_run: bool = False) -> list[Plan]:
    """Make what is declared hold, in one transaction; return what that changed.

    What was declared before and is not in the files stays: nothing is ever deleted. Where nothing changes, nothing is
    written.

    Parameters
    ----------
    connection
        As the schema's owner, in autocommit mode.
    dry_run
        Plan only.

    Raises
    ------
    DeclarationError
        A project stands in two files, a site belongs to another project, or a file contradicts what is kept.
    """
    _refuse_twice(declarations)
    queries = load("registry")
    with connection.transaction():
        connection.execute(queries["lock"])
        plans = [_plan(connection, file, declared) for file, declared in declarations]
        if not dry_run:
            for each in plans:
                if each.changes:
                    _write(connection, each)
    return plans


def _refuse_twice(declarations: Declarations) -> None:
    projects: dict[str, str] = {}
    sites: dict[str, str] = {}
    for file, declared in declarations:
        name = declared.project.id
        other = projects.setdefault(name, file)
        if other != file or sum(1 for _, each in declarations if each.project.id == name) > 1:
            raise DeclarationError(
                file, [f'project.id: "{name}" stands in {other} as well: expected one file for a project']
            )
        for site in declared.sites:
            owner = sites.setdefault(site.id, name)
            if owner != name:
                raise DeclarationError(file, [_belongs(site.id, owner)])


def _belongs(site: str, owner: str) -> str:
    return f'site "{site}": id: belongs to project "{owner}": expected an id that no other project\'s site has'


def _plan(connection: psycopg.Connection, file: str, declared: ProjectDeclaration) -> Plan:
    queries = load("registry")
    name = declared.project.id
    others = connection.execute(queries["sites_of_others"], ([site.id for site in declared.sites], name)).fetchall()
    if others:
        raise DeclarationError(file, [_belongs(site, owner) for site, owner in others])
    row = connection.execute(queries["latest"], (name,)).fetchone()
    if row is None:
        return plan(file, declared, None, 0)
    revision, content = row
    return plan(file, declared, ProjectDeclaration.model_validate_json(content), revision)


def _write(connection: psycopg.Connection, each: Plan) -> None:
    queries = load("registry")
    declaration = each.merged
    name = each.project
    devices = [_device_row(name, device) for device in declaration.devices]
    with connection.cursor() as cursor:
        cursor.execute(queries["put_project"], _project_row(declaration))
        for query, rows in (
            ("put_site", [_site_row(name, site) for site in declaration.sites]),
            ("put_pv_system", [_pv_system_row(name, system) for system in declaration.pv_systems]),
            ("put_device", devices),
            ("correct_install", devices),
            ("put_install", devices),
            ("put_calibration", [row for device in declaration.devices for row in _calibration_rows(device)]),
        ):
            if rows:
                cursor.executemany(queries[query], rows)
        text = canonical_json(declaration)
        sha256 = hashlib.sha256(text.encode()).digest()
        cursor.execute(queries["put_declaration"], (name, each.revision, sha256, text))
        detail = {
            "revision": each.revision,
            "sha256": sha256.hex(),
            "changes": [change_as_json(change) for change in each.changes],
        }
        cursor.execute(queries["record"], (name, json.dumps(detail, ensure_ascii=False)))


def _project_row(declaration: ProjectDeclaration) -> dict[str, Any]:
    project = declaration.project
    return {
        "id": project.id,
        "title": project.title,
        "host_country": project.host_country,
        "methodology": project.methodology,
        "methodology_version": project.methodology_version,
        "registered": project.registered,
        "crediting_from": project.crediting_period.first_day,
        "crediting_to": project.crediting_period.last_day,
        "participants": json.dumps([one.model_dump() for one in project.participants], ensure_ascii=False),
        "third_party_entity": project.third_party_entity,
    }


def _site_row(project: str, site: Site) -> dict[str, Any]:
    return {
        "id": site.id,
        "project_id": project,
        "name": site.name,
        "time_zone": site.time_zone,
        "latitude": site.latitude,
        "longitude": site.longitude,
    }


def _pv_system_row(project: str, system: PvSystem) -> dict[str, Any]:
    factor = system.emission_factor
    return {
        "project_id": project,
        "id": system.id,
        "site_id": system.site,
        "capacity_w": system.capacity_kw * 1000,
        "connection": system.connection,
        "grid_region": system.grid_region,
        "credited_by": list(system.credited_by),
        "emission_factor_tco2_per_mwh": None if factor is None else factor.value,
        "emission_factor_source": None if factor is None else factor.source,
    }


def _device_row(project: str, device: Device) -> dict[str, Any]:
    register, removed = device.energy_register, device.removed
    return {
        "site_id": device.site,
        "id": device.id,
        "project_id": project,
        "pv_system_id": device.pv_system,
        "kind": device.kind,
        "profile": device.profile,
        "rated_power_w": device.rated_power_w,
        "register_point": None if register is None else register.point,
        "register_bits": None if register is None else register.bits,
        "register_resolution_wh": None if register is None else register.resolution_wh,
        "register_micro_decrease_wh": None if register is None else register.micro_decrease_wh,
        "address": None if device.address is None else json.dumps(device.address, ensure_ascii=False),
        "fields": None if device.fields is None else fields_as_json(device.fields),
        "time_zone": device.time_zone,
        "serial_number": device.serial_number,
        "accuracy_class": device.accuracy_class,
        "maximum_permissible_error_percent": device.maximum_permissible_error_percent,
        "installed_at": device.installed,
        "opening_register_wh": device.opening_register_wh,
        "removed_at": None if removed is None else removed.at,
        "closing_register_wh": None if removed is None else removed.closing_register_wh,
        "replaced_by": device.replaced_by,
    }


def _calibration_rows(device: Device) -> list[dict[str, Any]]:
    return [{"site_id": device.site, "id": device.id, **one.model_dump()} for one in device.calibrations]
