"""What parts of a declaration may not say about each other."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from devices.declarations import (
    Device,
    EmissionFactor,
    Invoice,
    Project,
    ProjectDeclaration,
    PvSystem,
    Site,
    credited_devices,
)
from devices.declared_values import EVERY_INVERTER

LARGEST_ERROR_PERCENT = 5
"""No device that a credit rests on measures energy worse; a larger number was written in another unit."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a declaration that are right in themselves, and the ids of those that are not."""

    project: Project | None
    sites: Sequence[Site]
    pv_systems: Sequence[PvSystem]
    devices: Sequence[Device]
    invoices: Sequence[Invoice] = ()
    other_sites: frozenset[str] = frozenset()
    other_pv_systems: frozenset[str] = frozenset()
    other_devices: frozenset[str] = frozenset()

    @classmethod
    def of(cls, declaration: ProjectDeclaration) -> "Parts":
        """Take a whole declaration."""
        return cls(
            declaration.project,
            declaration.sites,
            declaration.pv_systems,
            declaration.devices,
            declaration.invoices or (),
        )


def contradictions(parts: Parts) -> list[str]:
    """List what cannot hold together, each as `table "id": key: what is wrong`."""
    return [
        *_project(parts),
        *_repeated(parts),
        *_systems(parts),
        *_credits(parts),
        *_meters(parts),
        *_categories(parts),
        *_devices(parts),
        *_places(parts),
        *_invoices(parts),
    ]


def _project(parts: Parts) -> Iterator[str]:
    if parts.project is not None:
        period = parts.project.crediting_period
        if period.last_day < period.first_day:
            yield (
                f"project.crediting_period.to: {period.last_day} is before {period.first_day}: "
                "expected the last day of the period"
            )


def _repeated(parts: Parts) -> Iterator[str]:
    for table, ids in (("site", [site.id for site in parts.sites]), ("pv_system", [s.id for s in parts.pv_systems])):
        for name, count in Counter(ids).items():
            if count > 1:
                yield f'{table} "{name}": id: declared {count} times: expected each id once'
    for (site, name), count in Counter((device.site, device.id) for device in parts.devices).items():
        if count > 1:
            yield f'device "{name}": id: declared {count} times at site "{site}": expected each id once at a site'


def _systems(parts: Parts) -> Iterator[str]:
    sites = {site.id for site in parts.sites} | parts.other_sites
    at_site = {(device.site, device.id) for device in parts.devices}
    for system in parts.pv_systems:
        label = f'pv_system "{system.id}"'
        if sites and system.site not in sites:
            yield f'{label}: site: there is no site "{system.site}": expected {_one_of(sites)}'
            continue
        if EVERY_INVERTER in system.credited_by and len(system.credited_by) > 1:
            yield f'{label}: credited_by: "*" stands alone: expected ["*"] or a list of device ids'
        for name, count in Counter(system.credited_by).items():
            if count > 1:
                yield f'{label}: credited_by: "{name}" stands {count} times: expected each device once'
            if name != EVERY_INVERTER and (system.site, name) not in at_site and name not in parts.other_devices:
                known = [device for site, device in at_site if site == system.site]
                yield (
                    f'{label}: credited_by: there is no device "{name}" at site "{system.site}": '
                    f"expected {_one_of(known)}"
                )


def _credits(parts: Parts) -> Iterator[str]:
    by: dict[tuple[str, str], str] = {}
    for system in parts.pv_systems:
        label = f'pv_system "{system.id}"'
        credited = credited_devices(system, parts.devices)
        if EVERY_INVERTER in system.credited_by and not credited and not parts.other_devices:
            yield (
                f'{label}: credited_by: "*" finds no inverter of this system: '
                "expected a [[device]] of kind inverter with this pv_system, or a list of device ids"
            )
        for device in credited:
            if device.energy_register is None:
                yield (
                    f'device "{device.id}": register is missing, and {label} is credited by it: '
                    'expected { point = "TotWhExp", bits = 32 }'
                )
            other = by.setdefault((device.site, device.id), system.id)
            if other != system.id:
                yield (
                    f'{label}: credited_by: device "{device.id}" is credited to pv_system "{other}" already: '
                    "expected a device that counts once"
                )


def _meters(parts: Parts) -> Iterator[str]:
    """A register counts once, whatever it counts as."""
    at_site = {(device.site, device.id): device for device in parts.devices}
    counted = {
        (device.site, device.id, device.energy_register.point)
        for system in parts.pv_systems
        for device in credited_devices(system, parts.devices)
        if device.energy_register is not None
    }
    for system in parts.pv_systems:
        for meter in system.meters or ():
            label = f'pv_system "{system.id}": meter "{meter.device}"'
            device = at_site.get((system.site, meter.device))
            if device is None:
                if meter.device not in parts.other_devices:
                    known = [name for site, name in at_site if site == system.site]
                    yield f'{label}: there is no such device at site "{system.site}": expected {_one_of(known)}'
                continue
            register = meter.energy_register or device.energy_register
            if register is None:
                yield f'{label}: register is missing: expected {{ point = "TotWhImp", bits = 32 }}'
                continue
            key = (device.site, device.id, register.point)
            if key in counted:
                yield (
                    f"{label}: register: {register.point} counts already: expected a register that counts once, "
                    'such as { point = "TotWhImp", bits = 32 }'
                )
            counted.add(key)


def _categories(parts: Parts) -> Iterator[str]:
    for system in parts.pv_systems:
        factors: dict[str, EmissionFactor | None] = {}
        for entry in system.day_categories or ():
            label = f'pv_system "{system.id}": day_category "{entry.category}"'
            if entry.last_day < entry.first_day:
                yield f"{label}: to: {entry.last_day} is before {entry.first_day}: expected the last of its days"
            if factors.setdefault(entry.category, entry.emission_factor) != entry.emission_factor:
                yield f"{label}: emission_factor: differs between its entries: expected one factor for a category"


def _devices(parts: Parts) -> Iterator[str]:
    sites = {site.id for site in parts.sites} | parts.other_sites
    system_sites = {system.id: system.site for system in parts.pv_systems}
    for device in parts.devices:
        label = f'device "{device.id}"'
        if sites and device.site not in sites:
            yield f'{label}: site: there is no site "{device.site}": expected {_one_of(sites)}'
        if device.pv_system is not None and device.pv_system not in parts.other_pv_systems:
            if device.pv_system not in system_sites:
                yield (
                    f'{label}: pv_system: there is no pv_system "{device.pv_system}": expected {_one_of(system_sites)}'
                )
            elif system_sites[device.pv_system] != device.site:
                yield (
                    f'{label}: pv_system: "{device.pv_system}" is at site "{system_sites[device.pv_system]}": '
                    f'expected a system of site "{device.site}"'
                )
        yield from _registers(device, label)
        yield from _calibrations(device, label)


def _registers(device: Device, label: str) -> Iterator[str]:
    if device.removed is not None and device.removed.at <= device.installed:
        yield (
            f"{label}: removed.at: {device.removed.at.isoformat()} is not after installed "
            f"{device.installed.isoformat()}: expected a later time"
        )
    if device.energy_register is None:
        return
    limit = 2**device.energy_register.bits * device.energy_register.resolution_wh
    closing = None if device.removed is None else device.removed.closing_register_wh
    for key, value in (("opening_register_wh", device.opening_register_wh), ("removed.closing_register_wh", closing)):
        if value is not None and value >= limit:
            yield (
                f"{label}: {key}: {value} Wh is more than a register of {device.energy_register.bits} bits shows: "
                f"expected less than {limit}"
            )


def _calibrations(device: Device, label: str) -> Iterator[str]:
    error = device.maximum_permissible_error_percent
    # "±0.2 %" was once applied as 0.2, which is 20 % (CDM request for issuance, jcm-facts 4.5, finding 3).
    if error is not None and error > LARGEST_ERROR_PERCENT:
        yield (
            f"{label}: maximum_permissible_error_percent: {error} % is no meter's: expected 0 to "
            f'{LARGEST_ERROR_PERCENT}, in percent ("0.2" means 0.2 %)'
        )
    for performed, count in Counter(calibration.performed for calibration in device.calibrations).items():
        if count > 1:
            yield f"{label}: calibration.performed: {performed} stands {count} times: expected each calibration once"
    for calibration in device.calibrations:
        if calibration.valid_until < calibration.performed:
            yield (
                f"{label}: calibration.valid_until: {calibration.valid_until} is before performed "
                f"{calibration.performed}: expected the same day or a later one"
            )


def _invoices(parts: Parts) -> Iterator[str]:
    """An invoice bills what is declared, and no two bill the same days of the same thing."""
    devices = {(device.site, device.id) for device in parts.devices}
    systems = {(system.site, system.id) for system in parts.pv_systems}
    billed: dict[tuple[str, str | None, str | None, str], list[Invoice]] = {}
    seen: set[str] = set()
    for invoice in sorted(parts.invoices, key=lambda one: (one.first_day, one.name)):
        label = f'invoice "{invoice.number}"'
        if invoice.name in seen:
            yield f"{label}: number: declared twice for {invoice.issuer}: expected each invoice once"
        seen.add(invoice.name)
        if (invoice.device is None) == (invoice.pv_system is None):
            yield f"{label}: device: expected either device or pv_system"
            continue
        if invoice.device is not None and (invoice.site, invoice.device) not in devices:
            if invoice.device not in parts.other_devices:
                yield f'{label}: device: there is no device "{invoice.device}" at site "{invoice.site}"'
        elif (
            invoice.pv_system is not None
            and (invoice.site, invoice.pv_system) not in systems
            and invoice.pv_system not in parts.other_pv_systems
        ):
            yield f'{label}: pv_system: there is no pv_system "{invoice.pv_system}" at site "{invoice.site}"'
        if invoice.last_day < invoice.first_day:
            yield f"{label}: to: {invoice.last_day} is before {invoice.first_day}: expected the last of its days"
            continue
        others = billed.setdefault((invoice.site, invoice.device, invoice.pv_system, invoice.quantity), [])
        for other in others:
            if invoice.first_day <= other.last_day and other.first_day <= invoice.last_day:
                yield (
                    f"{label}: from: {invoice.first_day} to {invoice.last_day} shares days with invoice "
                    f'"{other.number}", {other.first_day} to {other.last_day}: expected each day billed once'
                )
        others.append(invoice)


def _places(parts: Parts) -> Iterator[str]:
    """Two devices are never in one place at the same time: their registers would count the same energy."""
    devices = {(device.site, device.id): device for device in parts.devices}
    replaced: dict[tuple[str, str], str] = {}
    for device in parts.devices:
        if device.replaced_by is None:
            continue
        label = f'device "{device.id}": replaced_by'
        if device.removed is None:
            yield f'{label}: "{device.replaced_by}", but removed is missing: expected removed = {{ at = … }} as well'
        following = devices.get((device.site, device.replaced_by))
        if following is None or following is device:
            if device.replaced_by not in parts.other_devices:
                yield (
                    f'{label}: "{device.replaced_by}" is no other device of site "{device.site}": '
                    "expected the id of one that is declared"
                )
            continue
        if following.pv_system != device.pv_system:
            yield f'{label}: "{following.id}" belongs to another pv_system: expected a device of the same one'
        if device.removed is not None and following.installed < device.removed.at:
            yield (
                f'{label}: "{following.id}" was installed {following.installed.isoformat()}, before this one was '
                f"removed {device.removed.at.isoformat()}: expected no overlap"
            )
        first = replaced.setdefault((device.site, following.id), device.id)
        if first != device.id:
            yield f'{label}: "{following.id}" replaces "{first}" already: expected one device in one place'


def _one_of(names: object) -> str:
    listed = sorted(map(str, names)) if isinstance(names, set | frozenset | list | dict) else []
    if not listed:
        return "one to be declared in this file"
    shown = ", ".join(f'"{name}"' for name in listed[:6])
    return shown if len(listed) <= 6 else f"{shown} or one of {len(listed) - 6} more"
