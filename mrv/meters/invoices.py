"""Invoices against meters: monitoring option B, and a cross-check under option C.

Under option B the lower of metered and invoiced energy counts for what raises EG, the higher for what lowers it, and a
day that no invoice covers counts nothing. Under option C an invoice informs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, ROUND_UP, Decimal
from itertools import pairwise
from typing import TypeVar

from devices.declarations import Invoice, ProjectDeclaration, PvSystem
from mrv.basis import Credited
from mrv.calendar import days_between
from mrv.meters.deduction import EXACT, MILLIWATT_HOUR

_FOUR_PLACES = Decimal("0.0001")
_WH_PER_KWH = 1000
_DAY = timedelta(days=1)

Cell = TypeVar("Cell")


@dataclass(frozen=True, slots=True)
class Billed:
    """An invoice, and the registers of a system that it bills."""

    invoice: Invoice
    registers: tuple[int, ...]
    """Positions among the system's registers; none where it bills nothing that counts."""
    inside: bool
    """Whether its days lie within the period."""

    @property
    def wh(self) -> Decimal:
        """The energy on the invoice [Wh]."""
        return self.invoice.energy_kwh * _WH_PER_KWH


def billed(
    declaration: ProjectDeclaration, system: PvSystem, registers: Sequence[Credited], first: date, last: date
) -> list[Billed]:
    """List the invoices of a system that share days with a period."""
    found = []
    for invoice in declaration.invoices or ():
        if invoice.site != system.site or invoice.last_day < first or invoice.first_day > last:
            continue
        if invoice.device is None:
            if invoice.pv_system != system.id:
                continue
            ids = {register.device.id for register in registers}
        else:
            ids = {device.id for device in declaration.in_place_of(system.site, invoice.device)}
            if not ids & {register.device.id for register in registers}:
                continue
        bills = tuple(
            number
            for number, register in enumerate(registers)
            if register.device.id in ids and register.quantity == invoice.quantity
        )
        found.append(Billed(invoice, bills, first <= invoice.first_day and invoice.last_day <= last))
    return found


def covered(invoices: Iterable[Billed], register: int) -> list[tuple[date, date]]:
    """List the days of a register that invoices within the period cover, cut wherever an invoice begins or ends."""
    own = [one.invoice for one in invoices if one.inside and register in one.registers]
    cuts = sorted({day for one in own for day in (one.first_day, one.last_day + _DAY)})
    return [
        (begin, end - _DAY)
        for begin, end in pairwise(cuts)
        if any(one.first_day <= begin and end - _DAY <= one.last_day for one in own)
    ]


def not_covered(runs: Iterable[tuple[date, date]], first: date, last: date) -> list[date]:
    """List the days from first to last that are in none of the runs."""
    inside = {day for begin, end in runs for day in days_between(begin, end)}
    return [day for day in days_between(first, last) if day not in inside]


def overlap(run: tuple[date, date], first: date, last: date) -> tuple[date, date] | None:
    """Return the days that a run shares with others; None for none."""
    begin, end = max(run[0], first), min(run[1], last)
    return None if end < begin else (begin, end)


def difference_percent(metered_wh: Decimal, invoiced_wh: Decimal) -> Decimal | None:
    """By how much metered energy differs from invoiced [% of the invoiced], 4 places; None for an invoice of 0."""
    if invoiced_wh == 0:
        return Decimal("0.0000") if metered_wh == 0 else None
    share = EXACT.divide(EXACT.subtract(metered_wh, invoiced_wh), invoiced_wh)
    return EXACT.multiply(share, Decimal(100)).quantize(_FOUR_PLACES, ROUND_HALF_EVEN, EXACT)


def shared_out(amount_wh: Decimal, cells: Sequence[tuple[Cell, Decimal]]) -> list[tuple[Cell, Decimal]]:
    """Share an energy out over cells by their energies, each part rounded up to a milliwatt-hour.

    Where no cell has any energy the first one takes it all.
    """
    total = sum((wh for _, wh in cells), Decimal(0))
    if total == 0:
        whole = amount_wh.quantize(MILLIWATT_HOUR, ROUND_UP, EXACT)
        return [(cell, whole if n == 0 else Decimal("0.000")) for n, (cell, _) in enumerate(cells)]
    return [
        (
            cell,
            EXACT.divide(EXACT.multiply(amount_wh, wh), total).quantize(MILLIWATT_HOUR, ROUND_UP, EXACT),
        )
        for cell, wh in cells
    ]
