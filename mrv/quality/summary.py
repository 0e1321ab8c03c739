"""What the quality rules tell of a whole period: counts of sites and systems, notes, and what was left open."""

from collections import Counter
from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from devices.declarations import ProjectDeclaration, Site
from mrv.basis import Credited
from mrv.energy import EnergyDay
from mrv.quality import judge, rules
from mrv.quality.judge import Verdict, told_of_site
from mrv.quality.receipts import Deliveries
from mrv.quality.registers import meters_against_inverters
from mrv.quality.rules import QualityRule, RuleSet
from mrv.register_rules import MWH_PER_WH
from mrv.result import NotChecked

NOT_BEHIND_METERS = "no inverters stand behind credited meters"


class Summary:
    """Gathers verdicts device by device.

    Attributes
    ----------
    told
        How often rules decided that belong to no device, by rule id.
    """

    def __init__(self, rule_set: RuleSet, first: date, last: date) -> None:
        self.told: Counter[str] = Counter()
        self._notes: list[str] = []
        self._applied = bool(rule_set.quality)
        self._span = first, last
        self._open: dict[tuple[str, str], list[str]] = {}
        self._credited: list[tuple[Credited, Sequence[EnergyDay]]] = []
        self._checks: list[tuple[Credited, Sequence[EnergyDay]]] = []

    def add(self, credited: Credited, verdict: Verdict, days: Sequence[EnergyDay]) -> None:
        """Take in a credited register."""
        label = credited.label if credited.meter is None else f"{credited.label} ({credited.quantity})"
        for rule, reason in verdict.not_checked.items():
            self._leave_open(rule, reason, label)
        if credited.meter is None:
            self._credited.append((credited, days))
        taken = {rule: mwh for rule, mwh in verdict.taken_mwh.items() if mwh}
        if taken:
            named = ", ".join(f"{Decimal(mwh) / MWH_PER_WH:,.0f} Wh by {rule.id}" for rule, mwh in taken.items())
            self._notes.append(f"not credited of {label}, readings around the period included: {named}")

    def add_check(self, credited: Credited, days: Sequence[EnergyDay]) -> None:
        """Take in an inverter behind credited meters."""
        self._checks.append((credited, days))

    def add_site(self, site: Site, deliveries: Deliveries | None) -> None:
        """Take in a site's messages."""
        if deliveries is None:
            for rule in rules.NEEDS_DELIVERIES:
                self._leave_open(rule, judge.NO_DELIVERIES, site.id)
        told = told_of_site(deliveries, site.time_zone, *self._span)
        self.told.update({rule.id: count for rule, count in told.items()})

    def compare(self, declaration: ProjectDeclaration) -> None:
        """Hold the meters of each system against the inverters behind them."""
        for system in declaration.pv_systems:
            sides = [
                {entry.label: days for entry, days in side if entry.system.id == system.id}
                for side in (self._credited, self._checks)
            ]
            devices = [entry.device for entry, _ in [*self._credited, *self._checks] if entry.system.id == system.id]
            found = meters_against_inverters(sides[0], sides[1], devices)
            if found is None:
                self._leave_open(QualityRule.METER_ABOVE_INVERTERS, NOT_BEHIND_METERS, system.id)
                continue
            self.told[QualityRule.METER_ABOVE_INVERTERS.id] += len(found.above)
            self._notes += found.notes(system)

    def notes(self) -> list[str]:
        """Say what a reader must know."""
        blind = [
            f"not checked for lack of coordinates, {', '.join(entry.rules)}: {', '.join(entry.where)}; declare "
            "`latitude` and `longitude` of the site"
            for entry in self.not_checked()
            if entry.reason == judge.NO_COORDINATES
        ]
        return [*self._notes, *blind]

    def not_checked(self) -> tuple[NotChecked, ...]:
        """List what was left open: one entry for each reason and the rules that share where it holds."""
        if not self._applied:
            return ()
        shared: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for (rule, reason), where in self._open.items():
            shared.setdefault((reason, tuple(sorted(where))), []).append(rule)
        return tuple(NotChecked(reason, where, tuple(sorted(ids))) for (reason, where), ids in sorted(shared.items()))

    def _leave_open(self, rule: QualityRule, reason: str, where: str) -> None:
        self._open.setdefault((rule.id, reason), []).append(where)
