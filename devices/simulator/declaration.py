"""The declaration of simulated sites and devices, as `jcm-mrv apply` reads it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date

from devices.simulator.unit import SimulatedDevice, SimulatedSite
from devices.simulator.wire.native import FAMILIES as NATIVE

# Every run with the same seed declares the same, whichever days it simulates.
_INSTALLED = date(2020, 1, 1)
_LAST_DAY = date(2039, 12, 31)
_OWN = frozenset(family.name for family in NATIVE)


def project_id(seed: int) -> str:
    """Name the project that a seed's sites belong to."""
    return f"SIM{seed}"


def declaration(devices: Sequence[SimulatedDevice], *, seed: int, first_day: date) -> str:
    """Write the TOML for exactly these devices and their sites.

    One file declares one project and so one host country: the sites are spread over many, for their clocks.
    """
    start = min(_INSTALLED, first_day)
    return "\n".join([*_project(seed, start), *_sites(devices), *_devices(devices, start)]) + "\n"


def _project(seed: int, start: date) -> Iterator[str]:
    yield f"# Made by `jcm-mrv simulate --seed {seed}`: nothing here exists."
    yield ""
    yield "[project]"
    yield f"id = {_text(project_id(seed))}"
    yield f"title = {_text(f'Simulation with seed {seed}')}"
    yield 'host_country = "THA"'
    yield 'methodology = "TH_AM001"'
    yield 'methodology_version = "1.0"'
    yield f"crediting_period = {{ from = {start}, to = {_LAST_DAY} }}"


def _sites(devices: Sequence[SimulatedDevice]) -> Iterator[str]:
    by_site: dict[str, tuple[SimulatedSite, list[SimulatedDevice]]] = {}
    for device in devices:
        by_site.setdefault(device.site.id, (device.site, []))[1].append(device)
    for site, members in by_site.values():
        yield from (
            "",
            "[[site]]",
            f"id = {_text(site.id)}",
            f"name = {_text(site.name)}",
            f"time_zone = {_text(site.zone.key)}",
            f"latitude = {site.latitude}",
            f"longitude = {site.longitude}",
            "",
            "[[pv_system]]",
            f"id = {_text(_system(site))}",
            f"site = {_text(site.id)}",
            f"capacity_kw = {sum(device.rated_w for device in members) / 1000}",
            'connection = "grid"',
            f"credited_by = [{', '.join(_text(device.id) for device in members)}]",
        )


def _devices(devices: Sequence[SimulatedDevice], start: date) -> Iterator[str]:
    for device in devices:
        family = device.family
        yield ""
        yield "[[device]]"
        yield f"id = {_text(device.id)}"
        yield f"site = {_text(device.site.id)}"
        yield f"pv_system = {_text(_system(device.site))}"
        yield f"kind = {_text(family.kind)}"
        yield f"rated_power_w = {device.rated_w}"
        yield f"installed = {start}"
        if family.name not in _OWN:
            yield f"profile = {_text(family.name)}"
            yield f"address = {_table(device.family.connect(device).address)}"
        if family.fields:
            fields = ", ".join(f"{point} = {_table(field)}" for point, field in family.fields.items())
            yield f"fields = {{ {fields} }}"
        if family.name in _OWN or family.fields is not None:
            # Of other families the profile knows the register.
            yield (
                f"register = {{ point = {_text(family.point)}, bits = {family.bits}, "
                f"resolution_wh = {family.resolution_wh} }}"
            )


def _system(site: SimulatedSite) -> str:
    return f"pv-{site.id}"


def _table(content: Mapping[str, str]) -> str:
    return f"{{ {', '.join(f'{key} = {_text(value)}' for key, value in content.items())} }}"


def _text(value: str) -> str:
    # A JSON string of these signs is a TOML string.
    return json.dumps(value, ensure_ascii=False)
