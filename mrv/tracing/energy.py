"""From the tonnes of a project to the months and days of a revision, with what stands between their sum and EG."""

import calendar
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_DOWN, Decimal
from typing import Any

import psycopg

from mrv.basis import row_id
from mrv.day_account import LEFT_OUT, LINES, sign
from mrv.meters.deduction import EXACT
from mrv.solar_pv import PE_TCO2
from mrv.tracing.errors import NotThereError
from mrv.tracing.exact import Exact
from mrv.tracing.frozen import QUERIES, Frozen, RevisionKey, frozen
from mrv.tracing.rules import rule_text

_FOUR_PLACES = Decimal("0.0001")
RE_ROUNDING, ER_ROUNDING = "re_rounding", "er_rounding"
LINE_TEXTS: Mapping[str, str] = {
    **LINES,
    RE_ROUNDING: "rounding down to a gram of CO2",
    ER_ROUNDING: "rounding down to whole tonnes",
}
"""What a line stands for, by its name."""
DAYS_PAGE = 2000


@dataclass(frozen=True, slots=True)
class VintageTonnes:
    """The tonnes of a calendar year."""

    year: int
    eg_mwh: Exact
    re_tco2: Exact
    er_tco2: int


@dataclass(frozen=True, slots=True)
class RevisionLine:
    """A revision in the overview."""

    revision: int
    state: str
    """unfinished, frozen, submitted, superseded, verified or notified."""
    received_until: datetime
    frozen_at: datetime
    frozen_by: str
    er_tco2: int | None
    """None while it is unfinished."""
    vintages: tuple[VintageTonnes, ...]
    coverage: Exact | None
    has_days: bool
    """Whether its days are kept."""


@dataclass(frozen=True, slots=True)
class PeriodOverview:
    """A monitoring period and its revisions, the oldest first."""

    first_day: date
    last_day: date
    revisions: tuple[RevisionLine, ...]


@dataclass(frozen=True, slots=True)
class ProjectOverview:
    """A project and its monitoring periods."""

    project: str
    title: str
    host_country: str
    methodology: str
    methodology_version: str
    third_party_entity: str | None
    periods: tuple[PeriodOverview, ...]


@dataclass(frozen=True, slots=True)
class QuantityEnergy:
    """A quantity in a month: what its days count for."""

    quantity: str
    sign: int
    """1: it raises EG; -1: it lowers it."""
    credited_wh: Exact
    """Before the permissible error."""
    error_wh: Exact
    """The permissible error on these days [Wh]; in sum it is a line of the year."""


@dataclass(frozen=True, slots=True)
class MonthEnergy:
    """A row of the result in one month."""

    system: str
    """The row's id: a system, or a system on the days of a category."""
    month: date
    """Its first day."""
    quantities: tuple[QuantityEnergy, ...]
    eg_wh: Exact
    """What its days count for, with the signs of their quantities [Wh]."""
    tco2: Exact
    """That times the factor, unrounded."""
    coverage: Exact | None
    """Share of the time owed that has readings and is credited, 4 places; None where nothing was owed."""
    register_days: int
    withheld_days: int
    """Register-days of which a quality rule took energy out."""
    left_out_days: int
    """Register-days that count for something else than they have."""
    rules: Mapping[str, int]

    @property
    def year(self) -> int:
        """Calendar year."""
        return self.month.year


@dataclass(frozen=True, slots=True)
class BetweenLine:
    """What stands between the months of a row's year and what is reported."""

    system: str | None
    """The row's id; None: the vintage, over all rows."""
    year: int
    name: str
    """A key of `LINE_TEXTS`."""
    text: str
    device: str | None
    """Site and device, where it is about one."""
    quantity: str | None
    wh: Exact
    """Its effect on EG [Wh]; 0 for what only rounds tonnes."""
    tco2: Exact
    """Its effect in tonnes, unrounded."""


@dataclass(frozen=True, slots=True)
class YearTotal:
    """A row of the result in a calendar year: what months and lines add up to."""

    system: str
    year: int
    eg_mwh: Exact
    ef_tco2_per_mwh: Exact
    re_tco2: Exact


@dataclass(frozen=True, slots=True)
class Months:
    """The energy of a revision by row, year and month.

    For each row and year, the months' `eg_wh` and the lines' `wh` add up to `eg_mwh` × 10⁶, and their `tco2` to
    `re_tco2`, exactly. Over all rows of a year, `re_tco2` and the vintage's lines add up to its whole tonnes.
    """

    revision: RevisionKey
    months: tuple[MonthEnergy, ...]
    lines: tuple[BetweenLine, ...]
    years: tuple[YearTotal, ...]
    vintages: tuple[VintageTonnes, ...]


@dataclass(frozen=True, slots=True)
class DayEnergyRow:
    """A register on one local day of its site, as the revision counted it."""

    day: date
    system: str
    """The declared system, without a category."""
    site: str
    device: str
    quantity: str
    point: str
    """The register's point, such as TotWhExp."""
    category: str | None
    credited_wh: Exact
    """What counts of it, before the permissible error."""
    within_wh: Exact
    carried_wh: Exact
    carried_from: date | None
    left_out: str | None
    """Why `credited_wh` is not `within_wh` + `carried_wh`."""
    error_wh: Exact
    withheld_wh: Mapping[str, Exact]
    """What quality rules took out, by rule id [Wh]; not in any of the energies."""
    samples: int
    coverage: Exact
    """Share of the day that has readings and is credited, 4 places."""
    owed: bool
    rules: Mapping[str, int]
    inputs_sha256: str

    @property
    def has_withheld(self) -> bool:
        """Whether anything of it was not credited: by a rule, or for the reason in `left_out`."""
        return (
            bool(self.withheld_wh)
            or self.left_out is not None
            or any(count and rule_text(rule).takes for rule, count in self.rules.items())
        )

    @property
    def cursor(self) -> "DayCursor":
        """Where a page that ends with it goes on."""
        return DayCursor(self.day, self.system, self.site, self.device, self.quantity, self.point)


@dataclass(frozen=True, slots=True)
class DayCursor:
    """Place in the list of days."""

    day: date
    system: str
    site: str
    device: str
    quantity: str
    point: str


@dataclass(frozen=True, slots=True)
class Days:
    """A page of the days of a month."""

    rows: tuple[DayEnergyRow, ...]
    next: DayCursor | None
    """Give it as `after` for what follows; None: this is the end."""


def overview(connection: psycopg.Connection, project: str) -> ProjectOverview:
    """Show a project with its periods and their revisions.

    Raises
    ------
    NotThereError
        There is no such project, or it is not seen.
    """
    row = connection.execute(QUERIES["project"], {"project": project}).fetchone()
    if row is None:
        raise NotThereError(f"there is no project {project}; choose one that is listed")
    periods: dict[tuple[date, date], list[RevisionLine]] = {}
    for first, last, number, state, until, at, by, er, vintages, coverage, has_days in connection.execute(
        QUERIES["overview"], {"project": project}
    ):
        lines = periods.setdefault((first, last), [])
        if number is None:
            continue
        years = tuple(
            VintageTonnes(one["year"], Decimal(one["eg_mwh"]), Decimal(one["re_tco2"]), one["er_tco2"])
            for one in vintages or ()
        )
        share = None if coverage is None else Decimal(str(coverage)).quantize(_FOUR_PLACES)
        lines.append(RevisionLine(number, state, until, at, by, er, years, share, has_days))
    found = tuple(PeriodOverview(first, last, tuple(lines)) for (first, last), lines in periods.items())
    name, title, country, methodology, version, entity = row
    return ProjectOverview(name, title, country, methodology, version, entity, found)


def months(connection: psycopg.Connection, key: RevisionKey) -> Months:
    """Show the energy of a revision by row of its result, year and month, and what stands between that and EG.

    Raises
    ------
    NotThereError, NotKeptError
        There is no such revision, or its days are not kept.
    """
    revision = frozen(connection, key)
    revision.need_days()
    factors = {system.id: system.factor.value for system in revision.result.systems}
    rules: dict[tuple[str, date], Counter[str]] = {}
    for system, category, month, rule, count in connection.execute(QUERIES["rules_of_months"], revision.row):
        rules.setdefault((_row(revision, system, category), month), Counter())[rule] = int(count)
    grouped: dict[tuple[str, date], list[tuple[str, Decimal, Decimal, int, int, int, int, int]]] = {}
    for system, category, month, *rest in connection.execute(QUERIES["months"], revision.row):
        quantity, credited, error, covered, length, *counts = rest
        entry = (quantity, credited, error, covered or 0, length or 0, *counts)
        grouped.setdefault((_row(revision, system, category), month), []).append(entry)
    found = []
    for (system, month), parts in grouped.items():
        quantities = tuple(QuantityEnergy(part[0], sign(part[0]), part[1], part[2]) for part in parts)
        eg_wh = sum((one.sign * one.credited_wh for one in quantities), Decimal("0.000"))
        covered, length = sum(part[3] for part in parts), sum(part[4] for part in parts)
        found.append(
            MonthEnergy(
                system=system,
                month=month,
                quantities=quantities,
                eg_wh=eg_wh,
                tco2=_tonnes(eg_wh, factors[system]),
                coverage=_share(covered, length) if length else None,
                register_days=sum(part[5] for part in parts),
                withheld_days=sum(part[6] for part in parts),
                left_out_days=sum(part[7] for part in parts),
                rules=dict(sorted(rules.get((system, month), Counter()).items())),
            )
        )
    lines = [
        BetweenLine(
            system=system,
            year=year,
            name=name,
            text=LINE_TEXTS[name],
            device=None if device is None else f"{site}/{device}",
            quantity=quantity,
            wh=wh,
            tco2=_tonnes(wh, factors[system]),
        )
        for system, year, name, site, device, quantity, wh in connection.execute(QUERIES["lines"], revision.row)
    ]
    totals = tuple(
        YearTotal(system.id, year.year, year.eg_mwh, system.factor.value, year.re_tco2)
        for system in revision.result.systems
        for year in system.years
    )
    return Months(
        revision=revision.key,
        months=tuple(sorted(found, key=lambda one: (one.system, one.month))),
        lines=(*lines, *_roundings(revision, totals)),
        years=totals,
        vintages=tuple(
            VintageTonnes(one.year, one.eg_mwh, one.re_tco2, one.er_tco2) for one in revision.result.vintages
        ),
    )


def _row(revision: Frozen, system: str, category: str | None) -> str:
    declared = next(one for one in revision.basis.declaration.pv_systems if one.id == system)
    return row_id(declared, category)


def _roundings(revision: Frozen, totals: tuple[YearTotal, ...]) -> list[BetweenLine]:
    """List what rounds tonnes: each row's RE, and each vintage's ER."""
    found = []
    for total in totals:
        exact = EXACT.multiply(total.eg_mwh, total.ef_tco2_per_mwh)
        rounded = EXACT.subtract(total.re_tco2, exact)
        if rounded:
            text = LINE_TEXTS[RE_ROUNDING]
            found.append(BetweenLine(total.system, total.year, RE_ROUNDING, text, None, None, Decimal(0), rounded))
    for vintage in revision.result.vintages:
        # PE is zero in what is computed here; ER is never below zero.
        rounded = EXACT.subtract(Decimal(vintage.er_tco2), EXACT.subtract(vintage.re_tco2, PE_TCO2))
        if rounded:
            text = LINE_TEXTS[ER_ROUNDING]
            found.append(BetweenLine(None, vintage.year, ER_ROUNDING, text, None, None, Decimal(0), rounded))
    return found


def days(
    connection: psycopg.Connection,
    key: RevisionKey,
    month: date | None,
    *,
    device: tuple[str, str] | None = None,
    rule: str | None = None,
    limit: int = DAYS_PAGE,
    after: DayCursor | None = None,
) -> Days:
    """Show what each register counts for on each local day of a month, or of the period.

    Parameters
    ----------
    month
        Any day of it; None: the whole period.
    device
        Site and device; None: all.
    rule
        Only the days on which this rule fired.
    limit, after
        Most rows of this page, and where it begins.

    Raises
    ------
    NotThereError, NotKeptError
        There is no such revision or device, or its days are not kept.
    """
    revision = frozen(connection, key)
    revision.need_days()
    first, last = revision.result.first_day, revision.result.last_day
    if month is not None:
        first, last = month.replace(day=1), month.replace(day=calendar.monthrange(month.year, month.month)[1])
    only = None if device is None else device_number(connection, *device)
    begin = {"day": first, "system": "", "device": 0, "quantity": "", "point": ""}
    if after is not None:
        begin = {
            "day": after.day,
            "system": after.system,
            "device": device_number(connection, after.site, after.device),
            "quantity": after.quantity,
            "point": after.point,
        }
    span = {"first": first, "last": last, "only": only, "rule": rule, "limit": limit + 1}
    given = {**revision.row, **begin, **span}
    rows = [_day(row) for row in connection.execute(QUERIES["days"], given)]
    more = len(rows) > limit
    return Days(tuple(rows[:limit]), rows[limit - 1].cursor if more else None)


def stored_days(connection: psycopg.Connection, revision: Frozen, device_id: int, day: date) -> list[DayEnergyRow]:
    """Return what is kept of a device's local day: a row for each of its registers."""
    begin = {"day": day, "system": "", "device": 0, "quantity": "", "point": ""}
    given = {**revision.row, **begin, "first": day, "last": day, "only": device_id, "rule": None, "limit": 100}
    return [_day(row) for row in connection.execute(QUERIES["days"], given)]


def device_number(connection: psycopg.Connection, site: str, device: str) -> int:
    """Return a device's number in the database.

    Raises
    ------
    NotThereError
        There is none, or it is not seen.
    """
    row = connection.execute(QUERIES["device"], {"site": site, "device": device}).fetchone()
    if row is None:
        raise NotThereError(f"there is no device {site}/{device}; choose one that is listed")
    number: int = row[0]
    return number


def left_out_text(reason: str) -> str:
    """Say why a day's energy is not what it counts for."""
    return LEFT_OUT[reason]


def _day(row: tuple[Any, ...]) -> DayEnergyRow:
    (day, system, site, device, _, quantity, point, category, within, carried, carried_from, credited, left_out, error,
     withheld, samples, covered, length, owed, rules, digest) = row  # fmt: skip
    return DayEnergyRow(
        day=day,
        system=system,
        site=site,
        device=device,
        quantity=quantity,
        point=point,
        category=category,
        credited_wh=credited,
        within_wh=within,
        carried_wh=carried,
        carried_from=carried_from,
        left_out=left_out,
        error_wh=error,
        withheld_wh={rule: Decimal(wh) for rule, wh in withheld.items()},
        samples=samples,
        coverage=_share(covered, length),
        owed=owed,
        rules=rules,
        inputs_sha256=bytes(digest).hex(),
    )


def _tonnes(wh: Decimal, factor: Decimal) -> Decimal:
    return EXACT.multiply(EXACT.scaleb(wh, -6), factor)


def _share(part: int, whole: int) -> Decimal:
    return (Decimal(part) / whole).quantize(_FOUR_PLACES, ROUND_DOWN)
