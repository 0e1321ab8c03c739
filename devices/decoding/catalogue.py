"""The families that there are: the files of `devices/profiles`, and those of a folder of one's own."""

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from devices.declarations import NATIVE, Device, Register
from devices.decoding.profile import Profile, check_field
from devices.errors import ProfileError

Catalogue = Mapping[str, Profile]


@cache
def built_in() -> Catalogue:
    """Read the families of this version, in the order of their names."""
    files = (
        entry for entry in resources.files("devices").joinpath("profiles").iterdir() if entry.name.endswith(".toml")
    )
    return MappingProxyType(
        {
            entry.name.removesuffix(".toml"): parse(entry.read_text(encoding="utf-8"), entry.name)
            for entry in sorted(files, key=lambda entry: entry.name)
        }
    )


def load(folder: Path | None = None) -> Catalogue:
    """Read the families of this version and those of a folder.

    Raises
    ------
    ProfileError
        The folder or a file in it cannot be read, says what cannot be, or takes the name of a built-in family.
    """
    found = dict(built_in())
    if folder is None:
        return MappingProxyType(found)
    if not folder.is_dir():
        raise ProfileError(f"{folder}: is not a folder; correct JCM_MRV_PROFILES")
    for file in sorted(folder.glob("*.toml")):
        if file.stem in found:
            raise ProfileError(f"{file}: there is a family {file.stem} already; give the file another name")
        try:
            found[file.stem] = parse(file.read_text(encoding="utf-8"), file.name)
        except OSError as error:
            raise ProfileError(f"{file}: cannot be read: {(error.strerror or str(error)).lower()}") from None
        except UnicodeDecodeError:
            raise ProfileError(f"{file}: is not UTF-8 text") from None
    return MappingProxyType(found)


def parse(text: str, file: str) -> Profile:
    """Read the text of a profile file; its name is the family's.

    Raises
    ------
    ProfileError
        It says what cannot be; the message names the key.
    """
    try:
        content = tomllib.loads(text, parse_float=Decimal)
        return Profile.model_validate({"name": file.removesuffix(".toml")} | content)
    except (tomllib.TOMLDecodeError, ArithmeticError) as error:
        raise ProfileError(f"{file}: this is not TOML: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ProfileError(f"{file}: {where + ': ' if where else ''}{first['msg']}") from None


def complete(device: Device, catalogue: Catalogue) -> tuple[Device, list[str]]:
    """Hold a declared device against its family, and take the family's register where it declares none.

    The register is written into the declaration, so that a later version of the profile changes no old result.

    Returns
    -------
    tuple
        The device, and what is wrong with it.
    """
    profile = catalogue.get(device.profile)
    if profile is None:
        return device, [f'profile: there is no family "{device.profile}": expected one of {", ".join(catalogue)}']
    problems = []
    try:
        profile.parameters(device.address or {})
    except ValueError as error:
        problems.append(f"address: {error}")
    if device.profile == NATIVE and device.fields:
        problems.append("fields: the native payload names its points itself: expected no fields")
    for name, one in (device.fields or {}).items():
        try:
            check_field(name, one)
        except ValueError as error:
            problems.append(f"fields: {error}")
    if device.profile != NATIVE and device.kind != "gateway" and not profile.fields and not device.fields:
        problems.append(
            f"fields: the family {device.profile} has none of its own: expected what is read, such as "
            '{ TotWhExp = { names = ["total_energy"], unit = "kWh" } }'
        )
    defaults = profile.register_defaults
    if defaults is None or device.energy_register is not None or device.kind not in {"inverter", "meter"}:
        return device, problems
    register = Register(
        point=defaults.point,
        bits=defaults.bits,
        resolution_wh=defaults.resolution_wh,
        micro_decrease_wh=defaults.micro_decrease_wh or None,
    )
    return device.model_copy(update={"energy_register": register}), problems
