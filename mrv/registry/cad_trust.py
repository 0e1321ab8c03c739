"""Issuances and units as CAD Trust has them: an issuance for each vintage, a unit for each block that was issued.

Field names and picklists are those of CAD Trust's first data model, read in its public source (S). Ids are UUIDs of
version 5, so that the same decision has the same id whoever writes it and whenever: the namespace is `NAMESPACE`, and
the name is the JSON array of what it stands for, compact and in UTF-8:

    issuance  ["issuance", project, vintage, first day, last day]
    unit      ["unit", project, vintage, side, holder, first serial number, last serial number]

CAD Trust gives ids of its own to what is created there; these are for whoever keeps the two apart and never twice.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from mrv.errors import RegistryError
from mrv.registry.handover import Block, CadTrust, Handover, Notification, serial_of
from mrv.registry.tables import Sheet, as_csv

NAMESPACE = uuid5(NAMESPACE_URL, "urn:jcm-mrv:cad-trust:1")
ISSUANCE_FIELDS = ("id", "startDate", "endDate", "verificationApproach", "verificationReportDate", "verificationBody")
UNIT_FIELDS = (
    "warehouseUnitId", "issuanceId", "unitOwner", "countryJurisdictionOfOwner", "unitBlockStart", "unitBlockEnd",
    "unitCount", "vintageYear", "unitType", "unitStatus", "unitRegistryLink", "correspondingAdjustmentDeclaration",
    "correspondingAdjustmentStatus",
)  # fmt: skip
STATUSES = (
    "Held", "Retired", "Cancelled", "Expired", "Inactive", "Buffer", "Exported", "Rejected", "Pending Export",
)  # fmt: skip
UNIT_TYPE = "Reduction - technical"
"""Of its picklist, what displaced electricity is; chosen here (M)."""

Entry = Mapping[str, str | int | None]


@dataclass(frozen=True, slots=True)
class Records:
    """What is handed over."""

    issuances: tuple[Entry, ...]
    units: tuple[Entry, ...]


def stable_id(*name: str | int) -> UUID:
    """Return the id that stands for a name, always the same."""
    return uuid5(NAMESPACE, json.dumps(name, ensure_ascii=False, separators=(",", ":")))


def find(handover: Handover, project: str, first: date, last: date) -> Notification:
    """Find the notification of a period.

    Raises
    ------
    RegistryError
        The file has none.
    """
    known = handover.of_project(project)
    for one in known:
        if (one.first_day, one.last_day) == (first, last):
            return one
    have = ", ".join(f"{one.first_day} to {one.last_day}" for one in known)
    raise RegistryError(f"there is no [[notification]] of {project} {first} to {last}; there is {have}")


def build(handover: Handover, project: str, first: date, last: date) -> Records:
    """Make the records of a monitoring period.

    Raises
    ------
    RegistryError
        The file has no notification of that period, or lacks what CAD Trust asks.
    """
    notification = find(handover, project, first, last)
    given = handover.cad_trust
    if given is None:
        raise RegistryError(
            "there is no [cad_trust] table: give unit_registry_link, countries, declaration, adjustment"
        )
    issuances = {one.vintage: _issuance(notification, one.vintage) for one in notification.verified}
    units = [
        _unit(block, given, issuances[block.vintage])
        for block in handover.blocks
        if block.project == project and block.vintage in issuances
    ]
    return Records(tuple(issuances[year] for year in sorted(issuances)), tuple(units))


def _issuance(notification: Notification, vintage: int) -> Entry:
    first = max(notification.first_day, date(vintage, 1, 1)).isoformat()
    last = min(notification.last_day, date(vintage, 12, 31)).isoformat()
    return {
        "id": str(stable_id("issuance", notification.project, vintage, first, last)),
        "startDate": first,
        "endDate": last,
        "verificationApproach": notification.verification_approach,
        "verificationReportDate": notification.verified_on.isoformat(),
        "verificationBody": notification.verification_body,
    }


def _unit(block: Block, given: CadTrust, issuance: Entry) -> Entry:
    # The underlying units where they are known: CAD Trust tells of units, and an ITMO is what one is authorized as.
    first, last = block.first_unit, block.last_unit
    if first is None or last is None:
        first, last = serial_of(block.first_id), serial_of(block.last_id)
    assert first is not None and last is not None  # noqa: S101, PT018 - `read` has seen to it
    country = given.countries.get(block.side)
    if country is None:
        raise RegistryError(f"cad_trust.countries has no name for {block.side}, the side of block {block.id}")
    if block.status not in STATUSES:
        raise RegistryError(f"block {block.id}: status {block.status!r} is none of: {', '.join(STATUSES)}")
    name = ("unit", block.project, block.vintage, block.side, block.holder, first, last)
    return {
        "warehouseUnitId": str(stable_id(*name)),
        "issuanceId": issuance["id"],
        "unitOwner": block.holder,
        "countryJurisdictionOfOwner": country,
        "unitBlockStart": str(first),
        "unitBlockEnd": str(last),
        "unitCount": last - first + 1,
        "vintageYear": block.vintage,
        "unitType": UNIT_TYPE,
        "unitStatus": block.status,
        "unitRegistryLink": given.unit_registry_link,
        "correspondingAdjustmentDeclaration": given.declaration,
        "correspondingAdjustmentStatus": given.adjustment,
    }


def as_json(records: Records) -> bytes:
    """Write the records as one JSON object: `issuances` and `units`."""
    content: dict[str, Any] = {"issuances": list(records.issuances), "units": list(records.units)}
    return (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode()


def write_csv(records: Records) -> bytes:
    """Write the records as one CSV file of two tables, as `mrv.registry.tables` writes them."""
    return as_csv(
        [
            Sheet(title, fields, tuple(tuple(_text(entry[field]) for field in fields) for entry in entries))
            for title, fields, entries in (
                ("issuances", ISSUANCE_FIELDS, records.issuances),
                ("units", UNIT_FIELDS, records.units),
            )
        ]
    )


def _text(value: str | int | None) -> str:
    return "" if value is None else str(value)
