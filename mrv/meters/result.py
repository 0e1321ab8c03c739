"""What a computed period says about its meters and invoices."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule tells, in a sentence."""

    rule: str
    message: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class CalibrationSpan:
    """Consecutive days of one state of a meter's calibration."""

    first_day: date
    last_day: date
    state: str
    """valid, expired, not yet, missing."""
    error_percent: Decimal
    """Taken against the credit on these days; 0 where valid."""
    taken_wh: Decimal
    """What that came to [Wh], 3 places: taken from what raises EG, added to what lowers it."""


@dataclass(frozen=True, slots=True)
class MeterResult:
    """A register that counts, and what a verifier asks about its meter."""

    system: str
    site: str
    id: str
    quantity: str
    """What it counts as; `not counted` for a meter of the system that does not count."""
    serial_number: str | None
    accuracy_class: str | None
    error_percent: Decimal | None
    """Maximum permissible error that holds for it; None where it is not held to calibration."""
    error_source: str
    metered_wh: Decimal
    """As metered, over the days that count [Wh]."""
    credited_wh: Decimal
    """As it counts in EG [Wh], 3 places."""
    calibration: tuple[CalibrationSpan, ...] = ()
    """Every day of the period on which the device was in its place; none where it is not held to calibration."""
    findings: tuple[Finding, ...] = ()

    @property
    def taken_wh(self) -> Decimal:
        """What delayed calibration cost [Wh]."""
        return sum((span.taken_wh for span in self.calibration), Decimal("0.000"))

    def as_json(self) -> dict[str, Any]:
        """Write it in the shape of the report."""
        return {
            "system": self.system,
            "site": self.site,
            "id": self.id,
            "quantity": self.quantity,
            "serial_number": self.serial_number,
            "accuracy_class": self.accuracy_class,
            "maximum_permissible_error_percent": None if self.error_percent is None else f"{self.error_percent:f}",
            "error_source": self.error_source,
            "metered_wh": f"{self.metered_wh:f}",
            "credited_wh": f"{self.credited_wh:f}",
            "calibration": [
                {
                    "from": span.first_day.isoformat(),
                    "to": span.last_day.isoformat(),
                    "state": span.state,
                    "error_percent": f"{span.error_percent:f}",
                    "taken_wh": f"{span.taken_wh:f}",
                }
                for span in self.calibration
            ],
            "findings": [_finding(finding) for finding in self.findings],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "MeterResult":
        """Read back what `as_json` wrote."""
        return cls(
            system=content["system"],
            site=content["site"],
            id=content["id"],
            quantity=content["quantity"],
            serial_number=content["serial_number"],
            accuracy_class=content["accuracy_class"],
            error_percent=_decimal(content["maximum_permissible_error_percent"]),
            error_source=content["error_source"],
            metered_wh=Decimal(content["metered_wh"]),
            credited_wh=Decimal(content["credited_wh"]),
            calibration=tuple(
                CalibrationSpan(
                    date.fromisoformat(span["from"]),
                    date.fromisoformat(span["to"]),
                    span["state"],
                    Decimal(span["error_percent"]),
                    Decimal(span["taken_wh"]),
                )
                for span in content["calibration"]
            ),
            findings=tuple(_finding_from(finding) for finding in content["findings"]),
        )


@dataclass(frozen=True, slots=True)
class InvoiceResult:
    """An invoice held against the energy that was metered on its days."""

    system: str
    number: str
    issuer: str
    quantity: str
    first_day: date
    last_day: date
    invoiced_wh: Decimal
    metered_wh: Decimal | None
    """None where the meter cannot be held against it."""
    difference_percent: Decimal | None
    """Metered less invoiced, of the invoiced [%], 4 places."""
    applied_wh: Decimal
    """What the invoice took from the credit, or added to what lowers it [Wh], 3 places; 0 where it only informs."""
    findings: tuple[Finding, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Write it in the shape of the report."""
        return {
            "system": self.system,
            "number": self.number,
            "issuer": self.issuer,
            "quantity": self.quantity,
            "from": self.first_day.isoformat(),
            "to": self.last_day.isoformat(),
            "invoiced_wh": f"{self.invoiced_wh:f}",
            "metered_wh": None if self.metered_wh is None else f"{self.metered_wh:f}",
            "difference_percent": None if self.difference_percent is None else f"{self.difference_percent:f}",
            "applied_wh": f"{self.applied_wh:f}",
            "findings": [_finding(finding) for finding in self.findings],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "InvoiceResult":
        """Read back what `as_json` wrote."""
        return cls(
            system=content["system"],
            number=content["number"],
            issuer=content["issuer"],
            quantity=content["quantity"],
            first_day=date.fromisoformat(content["from"]),
            last_day=date.fromisoformat(content["to"]),
            invoiced_wh=Decimal(content["invoiced_wh"]),
            metered_wh=_decimal(content["metered_wh"]),
            difference_percent=_decimal(content["difference_percent"]),
            applied_wh=Decimal(content["applied_wh"]),
            findings=tuple(_finding_from(finding) for finding in content["findings"]),
        )


def _finding(finding: Finding) -> dict[str, Any]:
    return {"rule": finding.rule, "message": finding.message, "count": finding.count}


def _finding_from(content: Mapping[str, Any]) -> Finding:
    return Finding(content["rule"], content["message"], content["count"])


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
