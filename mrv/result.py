"""What a computed period says: the one shape that reports, freezing and the schedule share.

Numbers are `Decimal`s that were rounded once, where the methodology says so; `as_json` writes them as strings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from mrv.meters.result import InvoiceResult, MeterResult
from mrv.quality.rules import REGISTER_ONLY


@dataclass(frozen=True, slots=True)
class Factor:
    """The reference emission factor EF_RE,i of a system."""

    value: Decimal
    """tCO2/MWh."""
    source: str
    """Where the value was registered or read."""
    confirmed: bool
    """False for a default that was not read in the primary text; every report shows it as such."""


@dataclass(frozen=True, slots=True)
class DeviceEnergy:
    """What one credited device contributed to a system."""

    site: str
    id: str
    serial_number: str | None
    kind: str
    energy_wh: Decimal
    """To the milliwatt-hour, 3 places."""
    coverage: Decimal
    """Share of the time it was due to be read that has readings and is credited, 0 to 1, rounded down to 4 places."""
    rules: Mapping[str, int]
    """How often each register rule fired, by rule id."""
    quantity: str = "generated"
    """What its register counts as; see `mrv.formulas.counted`."""


@dataclass(frozen=True, slots=True)
class SystemYear:
    """System i in one calendar year of the period."""

    year: int
    eg_mwh: Decimal
    """EG_i,p, rounded down to 6 places (whole watt-hours)."""
    re_tco2: Decimal
    """EG_i,p × EF_RE,i, rounded down to 6 places."""


@dataclass(frozen=True, slots=True)
class SystemResult:
    """System i over the period."""

    id: str
    site: str
    connection: str
    capacity_kw: Decimal
    factor: Factor
    years: tuple[SystemYear, ...]
    devices: tuple[DeviceEnergy, ...]

    @property
    def eg_mwh(self) -> Decimal:
        """EG_i,p: the sum over the years."""
        return sum((year.eg_mwh for year in self.years), Decimal("0.000000"))

    @property
    def re_tco2(self) -> Decimal:
        """RE_i,p: the sum over the years."""
        return sum((year.re_tco2 for year in self.years), Decimal("0.000000"))


@dataclass(frozen=True, slots=True)
class Vintage:
    """One calendar year of the period."""

    year: int
    first_day: date
    last_day: date
    eg_mwh: Decimal
    re_tco2: Decimal
    pe_tco2: Decimal
    er_tco2: int
    """RE_p − PE_p, rounded down to whole tonnes, never below zero."""


@dataclass(frozen=True, slots=True)
class NotChecked:
    """Quality rules that could not be held against some devices or sites, and why."""

    reason: str
    where: tuple[str, ...]
    """Devices, sites or systems, as messages write them."""
    rules: tuple[str, ...]
    """Rule ids."""


@dataclass(frozen=True, slots=True)
class PeriodResult:
    """A monitoring period p of a project, computed."""

    project: str
    title: str
    host_country: str
    methodology: str
    methodology_version: str
    methodology_title: str
    first_day: date
    last_day: date
    revision: int
    """0 for a draft that was computed from what is there now."""
    received_until: datetime | None
    """The revision's cut-off; None for a draft."""
    systems: tuple[SystemResult, ...]
    vintages: tuple[Vintage, ...]
    coverage: Decimal
    rules: Mapping[str, int]
    inputs_digest: str
    code_version: str
    notes: tuple[str, ...] = ()
    """What a reader must know, such as an unconfirmed default factor."""
    rule_set: str = REGISTER_ONLY.name
    """Name of the rules that it was computed with; the register rules alone where a result names none."""
    not_checked: tuple[NotChecked, ...] = ()
    """What was left open; a rule that is not named here was held against everything."""
    meters: tuple[MeterResult, ...] = ()
    """Calibration of the meters that count, and what was found about them."""
    invoices: tuple[InvoiceResult, ...] = ()

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "PeriodResult":
        """Read back what `as_json` wrote."""
        until = content["received_until"]
        return cls(
            project=content["project"],
            title=content["title"],
            host_country=content["host_country"],
            methodology=content["methodology"]["id"],
            methodology_version=content["methodology"]["version"],
            methodology_title=content["methodology"]["title"],
            first_day=date.fromisoformat(content["period"]["from"]),
            last_day=date.fromisoformat(content["period"]["to"]),
            revision=content["revision"],
            received_until=None if until is None else datetime.fromisoformat(until),
            systems=tuple(_system_from(system) for system in content["systems"]),
            vintages=tuple(
                Vintage(
                    year=vintage["year"],
                    first_day=date.fromisoformat(vintage["from"]),
                    last_day=date.fromisoformat(vintage["to"]),
                    eg_mwh=Decimal(vintage["eg_mwh"]),
                    re_tco2=Decimal(vintage["re_tco2"]),
                    pe_tco2=Decimal(vintage["pe_tco2"]),
                    er_tco2=vintage["er_tco2"],
                )
                for vintage in content["vintages"]
            ),
            coverage=_coverage(content["quality"]["coverage"]),
            rules=content["quality"]["rules"],
            inputs_digest=content["inputs_digest"],
            code_version=content["code_version"],
            notes=tuple(content["notes"]),
            rule_set=content["quality"].get("rule_set", REGISTER_ONLY.name),
            not_checked=tuple(
                NotChecked(entry["reason"], tuple(entry["where"]), tuple(entry["rules"]))
                for entry in content["quality"].get("not_checked", ())
            ),
            meters=tuple(MeterResult.from_json(entry) for entry in content.get("meters", ())),
            invoices=tuple(InvoiceResult.from_json(entry) for entry in content.get("invoices", ())),
        )

    @property
    def er_tco2(self) -> int:
        """ER_p: whole tonnes, the sum over the vintages."""
        return sum(vintage.er_tco2 for vintage in self.vintages)

    def as_json(self) -> dict[str, Any]:
        """The report in the shape of the command line's contract; exact numbers are strings."""
        return {
            "project": self.project,
            "title": self.title,
            "host_country": self.host_country,
            "methodology": {
                "id": self.methodology,
                "version": self.methodology_version,
                "title": self.methodology_title,
            },
            "period": {"from": self.first_day.isoformat(), "to": self.last_day.isoformat()},
            "revision": self.revision,
            "received_until": None if self.received_until is None else self.received_until.isoformat(),
            "systems": [_system(system) for system in self.systems],
            "vintages": [
                {
                    "year": vintage.year,
                    "from": vintage.first_day.isoformat(),
                    "to": vintage.last_day.isoformat(),
                    "eg_mwh": str(vintage.eg_mwh),
                    "re_tco2": str(vintage.re_tco2),
                    "pe_tco2": str(vintage.pe_tco2),
                    "er_tco2": vintage.er_tco2,
                }
                for vintage in self.vintages
            ],
            "er_tco2": self.er_tco2,
            "quality": {
                "coverage": float(self.coverage),
                "rules": dict(sorted(self.rules.items())),
                **self._rule_set(),
            },
            # Left out where there are none: what was frozen before they were looked at stays the same.
            **({"meters": [meter.as_json() for meter in self.meters]} if self.meters else {}),
            **({"invoices": [invoice.as_json() for invoice in self.invoices]} if self.invoices else {}),
            "notes": list(self.notes),
            "inputs_digest": self.inputs_digest,
            "code_version": self.code_version,
        }

    def _rule_set(self) -> dict[str, Any]:
        # Left out where it is the register rules alone: a revision frozen before there were others stays the same.
        if self.rule_set == REGISTER_ONLY.name:
            return {}
        not_checked = [
            {"reason": entry.reason, "where": list(entry.where), "rules": list(entry.rules)}
            for entry in self.not_checked
        ]
        return {"rule_set": self.rule_set, "not_checked": not_checked}


def _system(system: SystemResult) -> dict[str, Any]:
    return {
        "id": system.id,
        "site": system.site,
        "connection": system.connection,
        "capacity_kw": str(system.capacity_kw),
        "eg_mwh": str(system.eg_mwh),
        "ef_tco2_per_mwh": str(system.factor.value),
        "ef_source": system.factor.source,
        "ef_confirmed": system.factor.confirmed,
        "re_tco2": str(system.re_tco2),
        "years": [
            {"year": year.year, "eg_mwh": str(year.eg_mwh), "re_tco2": str(year.re_tco2)} for year in system.years
        ],
        "devices": [
            {
                "site": device.site,
                "id": device.id,
                "serial_number": device.serial_number,
                "kind": device.kind,
                "energy_wh": str(device.energy_wh),
                "coverage": float(device.coverage),
                "rules": dict(sorted(device.rules.items())),
                # Left out where it is the generation: a revision frozen before there was anything else stays the same.
                **({} if device.quantity == "generated" else {"quantity": device.quantity}),
            }
            for device in system.devices
        ],
    }


def _system_from(content: Mapping[str, Any]) -> SystemResult:
    return SystemResult(
        id=content["id"],
        site=content["site"],
        connection=content["connection"],
        capacity_kw=Decimal(content["capacity_kw"]),
        factor=Factor(Decimal(content["ef_tco2_per_mwh"]), content["ef_source"], content["ef_confirmed"]),
        years=tuple(
            SystemYear(year["year"], Decimal(year["eg_mwh"]), Decimal(year["re_tco2"])) for year in content["years"]
        ),
        devices=tuple(
            DeviceEnergy(
                site=device["site"],
                id=device["id"],
                serial_number=device["serial_number"],
                kind=device["kind"],
                energy_wh=Decimal(device["energy_wh"]),
                coverage=_coverage(device["coverage"]),
                rules=device["rules"],
                quantity=device.get("quantity", "generated"),
            )
            for device in content["devices"]
        ),
    )


def _coverage(value: float) -> Decimal:
    return Decimal(str(value)).quantize(Decimal("0.0001"))
