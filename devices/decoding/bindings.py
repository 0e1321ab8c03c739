"""From what is declared to devices whose messages can be decoded."""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from devices.declarations import fields_from_json
from devices.decoding.catalogue import Catalogue
from devices.decoding.elements import Bound
from devices.time_zones import time_zone
from devices.topics import Topic


class Declared(NamedTuple):
    """A device of a foreign family as the database holds it."""

    site: str
    device: str
    device_id: int
    family: str
    address: str
    """JSON."""
    fields: str
    """JSON."""
    time_zone: str


def bind(declared: Iterable[Declared], catalogue: Catalogue) -> tuple[list[Bound], list[Declared]]:
    """Bind devices to their profiles; gives also those whose family or address this installation does not know.

    They were declared when `apply` knew it: a folder of families (`JCM_MRV_PROFILES`) is not set here, say.
    """
    bounds: list[Bound] = []
    unknown: list[Declared] = []
    for one in declared:
        profile = catalogue.get(one.family)
        try:
            address = profile.parameters(msgspec.json.decode(one.address, type=dict[str, str])) if profile else None
        except ValueError:
            address = None
        if profile is None or address is None:
            unknown.append(one)
            continue
        device = Topic(one.site, one.device)
        fields = fields_from_json(one.fields)
        bounds.append(Bound(device, one.device_id, profile, address, fields, time_zone(one.time_zone)))
    return bounds, unknown
