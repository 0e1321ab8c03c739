"""What each register of a system counts for, after its calibration and the invoices, and what is told about it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import ROUND_UP, Decimal
from typing import Protocol

from devices.declarations import ProjectDeclaration, PvSystem
from mrv.basis import Credited
from mrv.calendar import days_between
from mrv.energy import EnergyDay
from mrv.formulas.counted import SUBTRACTED
from mrv.meters import invoices as billing
from mrv.meters.calibration import Run, in_place, is_held, percents, permissible, runs
from mrv.meters.deduction import EXACT, MILLIWATT_HOUR, Counted, Percents, lowered, raised
from mrv.meters.findings import Held, of_meter, tolerance_percent
from mrv.meters.invoices import Billed
from mrv.meters.result import CalibrationSpan, Finding, InvoiceResult, MeterResult
from mrv.meters.rules import Effect, MeterRule
from mrv.registers import Intervals
from mrv.spans import Key, Span, without

_NOTHING = Decimal("0.000")
_INFORMS = frozenset(rule.id for rule in MeterRule if rule.effect is Effect.INFORMS)


class Register(Protocol):
    """A register as it was read."""

    @property
    def credited(self) -> Credited:
        """What it counts towards."""

    @property
    def days(self) -> Sequence[EnergyDay]:
        """Its days."""

    @property
    def intervals(self) -> Intervals:
        """Its intervals, where it is subtracted."""

    @property
    def interval_s(self) -> float | None:
        """The time between its readings [s], the median; None without two of them."""

    @property
    def rules(self) -> Mapping[str, int]:
        """How often each rule decided."""


@dataclass(frozen=True)
class SystemCredit:
    """What the registers of a system count for."""

    energies: Sequence[Mapping[Key, Decimal]]
    """By register, in the order given, and key [Wh]."""
    meters: tuple[MeterResult, ...]
    invoices: tuple[InvoiceResult, ...]
    counted: Sequence[Mapping[Key, Counted]]
    """By register and key: before rounding and invoices, with its days."""
    doubtful: frozenset[date]
    """Days on which what raises EG does not count: those given, and those that were not invoiced."""
    not_invoiced: Sequence[frozenset[date]]
    """By register: days that no invoice covers where one has to."""

    @property
    def told(self) -> Counter[str]:
        """How often each rule about meters decided, by rule id."""
        total: Counter[str] = Counter()
        for one in self._findings():
            total[one.rule] += one.count
        return total

    def notes(self) -> list[str]:
        """Say what changed the credit."""
        return [one.message for one in self._findings() if one.rule not in _INFORMS]

    def _findings(self) -> list[Finding]:
        meters = [one for meter in self.meters for one in meter.findings]
        return [*meters, *(one for invoice in self.invoices for one in invoice.findings)]


class _System:
    """Gathers the energies of a system's registers."""

    def __init__(
        self,
        declaration: ProjectDeclaration,
        system: PvSystem,
        registers: Sequence[Register],
        spans: Sequence[Span],
        period: tuple[date, date],
        doubtful: frozenset[date],
    ) -> None:
        self.declaration, self.system, self.registers = declaration, system, registers
        self.spans, self.period = spans, period
        self.zone = declaration.site(system.site).time_zone
        self.by_invoice = system.monitoring_plan is not None and system.monitoring_plan.option == "B"
        credited = [register.credited for register in registers]
        self.invoices = billing.billed(declaration, system, credited, *period)
        self.place = [in_place(one.device, self.zone, *period) for one in credited]
        self.runs: list[tuple[Run, ...]] = [
            runs(one.device, *place) if place is not None and is_held(one.device, system) else ()
            for one, place in zip(credited, self.place, strict=True)
        ]
        self.percents: list[Percents] = [percents(found) for found in self.runs]
        self.covered = [billing.covered(self.invoices, number) for number in range(len(registers))]
        self.not_invoiced = [self._not_invoiced(number) for number in range(len(registers))]
        # What lowers EG and is not invoiced is not known: as with a silent meter, its days do not count.
        unknown = {day for number, days in enumerate(self.not_invoiced) if self.subtracts(number) for day in days}
        self.doubtful = doubtful | unknown
        self.counted = [self._count(number) for number in range(len(registers))]
        self.energies: list[dict[Key, Decimal]] = [
            {key: one.rounded(up=self.subtracts(number)).credited_wh for key, one in by_key.items()}
            for number, by_key in enumerate(self.counted)
        ]

    def subtracts(self, number: int) -> bool:
        return self.registers[number].credited.quantity in SUBTRACTED

    def _not_invoiced(self, number: int) -> list[date]:
        place = self.place[number]
        if not self.by_invoice or place is None:
            return []
        return billing.not_covered(self.covered[number], *place)

    def _count(self, number: int) -> dict[Key, Counted]:
        total: dict[Key, Counted] = {}
        for span in self.spans:
            total[span.key] = self._in_span(number, span).plus(total.get(span.key, Counted()))
        return total

    def _in_span(self, number: int, span: Span) -> Counted:
        register, error = self.registers[number], self.percents[number]
        if self.subtracts(number):
            return raised(register.intervals, span, self.zone, error)
        total = Counted()
        for first, last in without(span, self.doubtful):
            cut = [billing.overlap(run, first, last) for run in self.covered[number]] if self.by_invoice else []
            for part in cut if self.by_invoice else [(first, last)]:
                if part is not None:
                    total = total.plus(lowered(register.days, *part, error))
        return total

    # Invoices --------------------------------------------------------------------------------------------------------

    def _on_days(self, number: int, first: date, last: date) -> dict[Key, Counted]:
        """Count a register on some days of the period."""
        found: dict[Key, Counted] = {}
        for span in self.spans:
            part = billing.overlap((first, last), span.first, span.last)
            if part is not None:
                found[span.key] = self._in_span(number, replace(span, first=part[0], last=part[1])).plus(
                    found.get(span.key, Counted())
                )
        return found

    def _metered(self, one: Billed) -> Decimal:
        first, last = one.invoice.first_day, one.invoice.last_day
        total = Decimal(0)
        for number in one.registers:
            register = self.registers[number]
            if self.subtracts(number):
                span = Span(Key(first.year, None), first, last)
                part = raised(register.intervals, span, self.zone, {})
            else:
                part = lowered(register.days, first, last, {})
            total = EXACT.add(total, part.metered_wh)
        return total

    def hold(self, one: Billed) -> InvoiceResult:
        """Hold an invoice against the meters, and apply it where the option says so."""
        invoice = one.invoice
        days = f"{invoice.first_day} to {invoice.last_day}"
        findings: list[Finding] = []
        metered = difference = None
        applied = _NOTHING
        if not one.registers:
            text = f"invoice {invoice.name}: nothing of {self.system.id} counts as {invoice.quantity}"
            findings.append(Finding(MeterRule.INVOICE_DIFFERS.id, text))
        elif not one.inside:
            text = f"invoice {invoice.name}: {days} reaches beyond the period {self.period[0]} to {self.period[1]}"
            findings.append(Finding(MeterRule.INVOICE_OUTSIDE.id, text))
        else:
            metered = self._metered(one)
            difference = billing.difference_percent(metered, one.wh)
            devices = [self.registers[number].credited.device for number in one.registers]
            allowed = tolerance_percent(devices)
            if difference is None or abs(difference) > allowed:
                text = (
                    f"invoice {invoice.name}, {days}: {metered / 1000:,f} kWh metered, {invoice.energy_kwh:,f} kWh "
                    f"invoiced, {'no comparison' if difference is None else f'{difference:+f} %'}, beyond {allowed:f} %"
                )
                findings.append(Finding(MeterRule.INVOICE_DIFFERS.id, text))
            if self.by_invoice:
                applied = self._apply(one)
            if applied:
                which = "added to" if invoice.quantity in SUBTRACTED else "taken from"
                text = f"invoice {invoice.name}, {days}: {applied:,f} Wh {which} what was metered as {invoice.quantity}"
                findings.append(Finding(MeterRule.INVOICE_APPLIED.id, text))
        return InvoiceResult(
            system=self.system.id,
            number=invoice.number,
            issuer=invoice.issuer,
            quantity=invoice.quantity,
            first_day=invoice.first_day,
            last_day=invoice.last_day,
            invoiced_wh=one.wh,
            metered_wh=metered,
            difference_percent=difference,
            applied_wh=applied,
            findings=tuple(findings),
        )

    def _apply(self, one: Billed) -> Decimal:
        first, last = one.invoice.first_day, one.invoice.last_day
        cells = [
            ((number, key), counted.credited_wh)
            for number in one.registers
            for key, counted in self._on_days(number, first, last).items()
        ]
        total = sum((wh for _, wh in cells), Decimal(0))
        raises = one.invoice.quantity in SUBTRACTED
        beyond = EXACT.subtract(one.wh, total) if raises else EXACT.subtract(total, one.wh)
        if beyond <= 0 or not cells:
            return _NOTHING
        for (number, key), part in billing.shared_out(beyond, cells):
            before = self.energies[number][key]
            self.energies[number][key] = before + part if raises else max(_NOTHING, before - part)
        return beyond.quantize(MILLIWATT_HOUR, ROUND_UP, EXACT)

    # What is told ----------------------------------------------------------------------------------------------------

    def tell(self, number: int) -> MeterResult | None:
        """Tell about a register; None where there is nothing to tell."""
        place, register = self.place[number], self.registers[number]
        if place is None:
            return None
        credited, found = register.credited, self.runs[number]
        error = permissible(credited.device) if found else None
        spans = tuple(self._span(number, run) for run in found)
        held = Held(credited, *place, error, found, spans)
        findings = list(of_meter(held, self.declaration, register.rules, register.interval_s, self.period))
        missing = self.not_invoiced[number]
        if missing:
            text = f"{credited.device.id}: no invoice covers {len(missing)} day(s) of what it counts as"
            findings.append(Finding(MeterRule.NOT_INVOICED.id, f"{text} {credited.quantity}", len(missing)))
        if credited.device.kind != "meter" and error is None and not findings:
            return None
        return MeterResult(
            system=self.system.id,
            site=credited.site.id,
            id=credited.device.id,
            quantity=credited.quantity,
            serial_number=credited.device.serial_number,
            accuracy_class=credited.device.accuracy_class,
            error_percent=None if error is None else error.percent,
            error_source="" if error is None else error.source,
            metered_wh=sum((one.metered_wh for one in self.counted[number].values()), _NOTHING),
            credited_wh=sum(self.energies[number].values(), _NOTHING),
            calibration=spans,
            findings=tuple(findings),
        )

    def _span(self, number: int, run: Run) -> CalibrationSpan:
        taken = Decimal(0)
        inside = set(days_between(run.first, run.last))
        for one in self.counted[number].values():
            for day, wh in one.taken_wh.items():
                if day in inside:
                    taken = EXACT.add(taken, wh)
        rounded = taken.quantize(MILLIWATT_HOUR, ROUND_UP, EXACT)
        return CalibrationSpan(run.first, run.last, run.state.value, run.percent, rounded)

    def uncounted(self) -> list[MeterResult]:
        """Tell about the meters of the system that do not count in it."""
        counted = {(one.credited.site.id, one.credited.device.id) for one in self.registers}
        return [
            MeterResult(
                system=self.system.id,
                site=device.site,
                id=device.id,
                quantity="not counted",
                serial_number=device.serial_number,
                accuracy_class=device.accuracy_class,
                error_percent=None,
                error_source="",
                metered_wh=_NOTHING,
                credited_wh=_NOTHING,
                findings=(
                    Finding(MeterRule.NOT_COUNTED.id, f"{device.id} is declared in {self.system.id} and not counted"),
                ),
            )
            for device in self.declaration.devices
            if device.kind == "meter"
            and device.pv_system == self.system.id
            and (device.site, device.id) not in counted
            and in_place(device, self.zone, *self.period) is not None
        ]


def credit(
    declaration: ProjectDeclaration,
    system: PvSystem,
    registers: Sequence[Register],
    spans: Sequence[Span],
    period: tuple[date, date],
    doubtful: frozenset[date],
) -> SystemCredit:
    """Count the registers of a system: less, or more, the error of the days without valid calibration.

    Parameters
    ----------
    declaration
        What holds: calibrations, invoices, the monitoring plan.
    system, registers
        The system and all of its registers.
    spans
        The parts of the period that are summed by themselves.
    period
        First and last day.
    doubtful
        Days on which what raises EG does not count.
    """
    found = _System(declaration, system, registers, spans, period, doubtful)
    invoices = tuple(found.hold(one) for one in found.invoices)
    told = [found.tell(number) for number in range(len(registers))]
    meters = tuple(one for one in (*told, *found.uncounted()) if one is not None)
    return SystemCredit(
        found.energies,
        meters,
        invoices,
        found.counted,
        found.doubtful,
        [frozenset(days) for days in found.not_invoiced],
    )
