"""What a report takes from the project's declaration and not from the computation: who took part, and the meters."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from devices.declarations import Calibration, Device, ProjectDeclaration


@dataclass(frozen=True, slots=True)
class Particulars:
    """What the declaration that held for a revision adds to its report."""

    participants: tuple[str, ...]
    """Name and country of each participant."""
    third_party_entity: str | None
    site_names: Mapping[str, str]
    time_zones: tuple[str, ...]
    """IANA time zones of the sites: a day of the period is the site's own."""
    devices: Mapping[tuple[str, str], Device]
    """By site and device id."""
    by_invoice: frozenset[str] = frozenset()
    """Systems whose monitoring plan has option B."""

    @classmethod
    def of(cls, declaration: ProjectDeclaration) -> "Particulars":
        """Take from a declaration what a report says."""
        return cls(
            participants=tuple(f"{one.name} ({one.country})" for one in declaration.project.participants),
            third_party_entity=declaration.project.third_party_entity,
            site_names={site.id: site.name for site in declaration.sites},
            time_zones=tuple(sorted({site.time_zone for site in declaration.sites})),
            devices={(device.site, device.id): device for device in declaration.devices},
            by_invoice=frozenset(
                system.id
                for system in declaration.pv_systems
                if system.monitoring_plan is not None and system.monitoring_plan.option == "B"
            ),
        )

    def option(self, row: str) -> str:
        """Return the monitoring option of a row of the result, B or C; a row may be a category of a system's days."""
        return "B" if row in self.by_invoice or row.partition(" [")[0] in self.by_invoice else "C"

    def accuracy_class(self, site: str, device: str) -> str | None:
        """Return a device's declared accuracy class, such as 0.5S."""
        declared = self.devices.get((site, device))
        return None if declared is None else declared.accuracy_class

    def maximum_permissible_error_percent(self, site: str, device: str) -> Decimal | None:
        """Return a device's declared maximum permissible error."""
        declared = self.devices.get((site, device))
        return None if declared is None else declared.maximum_permissible_error_percent

    def calibrations(self, site: str, device: str) -> tuple[Calibration, ...]:
        """Return a device's declared calibrations, the oldest first."""
        declared = self.devices.get((site, device))
        return () if declared is None else declared.calibrations
