"""The life of a monitoring period: computed as a draft, frozen as a revision, computed again to the same byte.

A revision is a cut-off on when readings were received, the declarations and the methodology as they stood, and the
result. The cut-off is drawn and committed before the computation begins, so that a crash in between costs nothing: the
next freeze completes the revision with the same cut-off.
"""

import json
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice

import psycopg

from devices.declarations import ProjectDeclaration
from mrv.basis import Basis, canonical_text
from mrv.calendar import day_bounds
from mrv.computation import Computation, Progress, compute
from mrv.errors import PeriodError, RecomputeError
from mrv.inputs import StoredReadings
from mrv.quality.rules import CURRENT, RuleSet, rule_set
from mrv.result import PeriodResult
from mrv.revisions import Revision, check_order, differences, find_revision, revisions
from mrv.store import add_audit_event, has_account, keep_account, now_of, snapshot, store_days
from sql.named import load

_QUERIES = load("mrv")
_TRACING = load("tracing")
_DIFFERENCES_NAMED = 5


@dataclass(frozen=True)
class Freeze:
    """What a freeze came to."""

    revision: Revision
    new: bool
    """False when nothing had changed since that revision."""
    completed: bool = False
    """True when a revision that a crash left unfinished was completed."""


def current_basis(connection: psycopg.Connection, project: str) -> Basis:
    """Return what holds now for a project.

    Raises
    ------
    PeriodError
        There is no such project.
    CatalogueError
        Its methodology or a factor is not in the catalogue.
    """
    row = connection.execute(_QUERIES["declaration"], {"project": project}).fetchone()
    if row is None:
        known = [name for (name,) in connection.execute(_QUERIES["projects"])]
        have = f"; there is {', '.join(known)}" if known else ""
        raise PeriodError(f"there is no project {project}{have}; `jcm-mrv apply` its declaration first")
    return Basis.of(ProjectDeclaration.model_validate_json(row[0]))


def check_days(declaration: ProjectDeclaration, first: date, last: date) -> None:
    """Refuse days that cannot be a period of the project.

    Raises
    ------
    WrongUseError
        FROM lies after TO.
    PeriodError
        A day lies outside the crediting period.
    """
    check_order(first, last)
    crediting = declaration.project.crediting_period
    where = f"the crediting period of {declaration.project.id}, {crediting.first_day} to {crediting.last_day}"
    if first < crediting.first_day:
        raise PeriodError(f"{first} lies before {where}; choose days within it")
    if last > crediting.last_day:
        raise PeriodError(f"{last} lies after {where}; choose days within it")


def end_of(declaration: ProjectDeclaration, last: date) -> datetime:
    """Return the instant at which a day is over at every site of a project."""
    return max(day_bounds(last, site.time_zone)[1] for site in declaration.sites)


def draft(
    connection: psycopg.Connection,
    project: str,
    first: date,
    last: date,
    *,
    code_version: str,
    progress: Progress | None = None,
) -> PeriodResult:
    """Compute a period from what is there now, and keep the energy of its days.

    Raises
    ------
    WrongUseError, PeriodError, CatalogueError
        The period cannot be computed as asked.
    """
    check_order(first, last)
    basis = current_basis(connection, project)
    return _draft(connection, basis, first, last, code_version, progress).result


def _draft(
    connection: psycopg.Connection, basis: Basis, first: date, last: date, code_version: str, progress: Progress | None
) -> Computation:
    check_days(basis.declaration, first, last)
    now = now_of(connection)
    with snapshot(connection):
        readings = StoredReadings(connection, basis.declaration.project.id)
        computed = compute(
            basis,
            first,
            last,
            readings.read,
            revision=0,
            received_until=None,
            code_version=code_version,
            as_of=now,
            progress=progress,
            read_deliveries=readings.deliveries,
        )
    numbers = {entry.label: readings.number(entry) for entry in basis.credited()}
    zones = {entry.label: entry.site.time_zone for entry in basis.credited()}
    for label, days in computed.days.items():
        store_days(
            connection, numbers[label], [d for d in days if day_bounds(d.energy.day, zones[label])[1] <= now], now
        )
    return computed


def freeze(
    connection: psycopg.Connection,
    project: str,
    first: date,
    last: date,
    *,
    code_version: str,
    actor: str | None = None,
    progress: Progress | None = None,
) -> Freeze:
    """Freeze a period as its next revision, unless nothing changed since the last.

    Parameters
    ----------
    connection
        In autocommit mode, with the role of the MRV module.
    project, first, last
        The project and the period's days, both included.
    code_version
        The version of this code, kept with the revision.
    actor
        Who freezes; None: the login of the database.
    progress
        Told before each device.

    Raises
    ------
    WrongUseError, PeriodError, CatalogueError
        The period cannot be frozen as asked: its days, another frozen period that shares a day, a last day that is not
        over, or an ingestion that does not pause.
    """
    check_order(first, last)
    basis = current_basis(connection, project)
    check_days(basis.declaration, first, last)
    over, now = end_of(basis.declaration, last), now_of(connection)
    if now < over:
        raise PeriodError(
            f"{last} is not over before {over.isoformat()}; freeze it then; `jcm-mrv period compute` shows it now"
        )
    _refuse_overlap(connection, project, first, last)
    existing = revisions(connection, project, first, last)
    if existing and existing[-1].result_text is None:
        finished = _complete(connection, project, (first, last), existing[-1], code_version, progress)
        return Freeze(finished, new=True, completed=True)
    computed = _draft(connection, basis, first, last, code_version, progress)
    if existing and existing[-1].inputs_digest == computed.result.inputs_digest:
        return Freeze(existing[-1], new=False)
    if not _draw_cut_off(connection, basis, (first, last), len(existing), code_version, actor):
        # Somebody else froze it meanwhile: theirs may already say what this one would.
        return freeze(connection, project, first, last, code_version=code_version, actor=actor, progress=progress)
    drawn = revisions(connection, project, first, last)[-1]
    return Freeze(_complete(connection, project, (first, last), drawn, code_version, progress), new=True)


def _refuse_overlap(connection: psycopg.Connection, project: str, first: date, last: date) -> None:
    other = connection.execute(_QUERIES["overlapping"], {"project": project, "first": first, "last": last}).fetchone()
    if other is not None:
        raise PeriodError(
            f"{first} to {last} shares days with {other[0]} to {other[1]}, which is frozen (revision {other[2]}); "
            "its energy would be credited twice, choose days outside it"
        )


def _draw_cut_off(
    connection: psycopg.Connection,
    basis: Basis,
    span: tuple[date, date],
    known: int,
    code_version: str,
    actor: str | None,
) -> bool:
    """Write the next revision without its result; False when there is one that was not known."""
    first, last = span
    project = basis.declaration.project.id
    days = {"project": project, "first": first, "last": last}
    with connection.transaction():
        connection.execute(_QUERIES["freeze_patience"])
        try:
            connection.execute(_QUERIES["freeze_lock"])
        except psycopg.errors.LockNotAvailable:
            raise PeriodError("a batch of readings was being written for over a minute; try again") from None
        # Under the lock nobody else freezes, so what was checked before still holds when the row is written.
        _refuse_overlap(connection, project, first, last)
        connection.execute(_QUERIES["open_period"], days)
        row = connection.execute(_QUERIES["period"], days).fetchone()
        assert row is not None  # noqa: S101 - inserted above, and never deleted
        latest = connection.execute(_QUERIES["latest_revision"], {"period": row[0]}).fetchone()
        if latest is None or latest[0] != known:
            return False
        connection.execute(
            _QUERIES["draw_cut_off"],
            {
                "period": row[0],
                "declarations": basis.declarations_text,
                "methodology": basis.methodology_text,
                "code_version": code_version,
                "actor": actor,
            },
        )
    return True


def _complete(
    connection: psycopg.Connection,
    project: str,
    days: tuple[date, date],
    revision: Revision,
    code_version: str,
    progress: Progress | None,
) -> Revision:
    first, last = days
    computed = _from_cut_off(connection, project, days, revision, code_version, progress, CURRENT)
    result = computed.result
    period = connection.execute(_QUERIES["period"], {"project": project, "first": first, "last": last}).fetchone()
    assert period is not None  # noqa: S101 - the revision has it
    key = {"period": period[0], "revision": revision.number}
    stored = {"digest": result.inputs_digest, "result": canonical_text(result.as_json()), "code_version": code_version}
    with connection.transaction():
        finished = connection.execute(_QUERIES["finish_revision"], {**key, **stored})
        # Somebody else may have completed the same revision meanwhile; it came to the same.
        if finished.rowcount:
            for system in result.systems:
                for year in system.years:
                    row = {"year": year.year, "system": system.id, "eg": year.eg_mwh, "ef": system.factor.value}
                    connection.execute(_QUERIES["add_emission_result"], {**key, **row, "re": year.re_tco2})
            number = StoredReadings(connection, project).number
            keep_account(connection, period[0], revision.number, computed.account, number)
            add_audit_event(
                connection,
                "period.frozen",
                f"{project} {first} {last}",
                {"revision": revision.number, "er_tco2": result.er_tco2, "inputs_digest": result.inputs_digest},
                actor=revision.frozen_by,
            )
    return find_revision(connection, project, first, last, revision.number)


def _from_cut_off(
    connection: psycopg.Connection,
    project: str,
    days: tuple[date, date],
    revision: Revision,
    code_version: str,
    progress: Progress | None,
    rules: RuleSet,
) -> Computation:
    with snapshot(connection):
        readings = StoredReadings(connection, project, revision.received_until)
        return compute(
            revision.basis,
            *days,
            readings.read,
            revision=revision.number,
            received_until=revision.received_until,
            code_version=code_version,
            progress=progress,
            rules=rules,
            read_deliveries=readings.deliveries,
        )


def reported(
    connection: psycopg.Connection,
    project: str,
    first: date,
    last: date,
    revision: int | None = None,
    *,
    code_version: str,
    progress: Progress | None = None,
) -> tuple[PeriodResult, ProjectDeclaration]:
    """Return what a report says about a period, with the declaration it was computed under.

    That is the revision asked for; else the latest finished one; else a draft from what is there now.

    Raises
    ------
    WrongUseError, PeriodError, CatalogueError
        The period cannot be computed as asked, or there is no such revision.
    """
    check_order(first, last)
    if revision is not None:
        asked = find_revision(connection, project, first, last, revision)
        return asked.result, asked.basis.declaration
    finished = [entry for entry in revisions(connection, project, first, last) if entry.result_text is not None]
    if finished:
        return finished[-1].result, finished[-1].basis.declaration
    basis = current_basis(connection, project)
    return _draft(connection, basis, first, last, code_version, progress).result, basis.declaration


def recompute(
    connection: psycopg.Connection,
    project: str,
    first: date,
    last: date,
    number: int | None = None,
    *,
    progress: Progress | None = None,
) -> Revision:
    """Compute a frozen revision again from its cut-off and its declarations, and compare it byte by byte.

    Its days are kept where they are not yet, as of a revision that an older version froze, by who may write them.

    Raises
    ------
    RecomputeError
        It came out differently; the message names what differs.
    PeriodError
        There is no such revision, or it is unfinished.
    """
    revision = find_revision(connection, project, first, last, number)
    stored = revision.result
    # Version and rules are those that froze: what is compared is what they computed.
    rules = rule_set(stored.rule_set)
    again = _from_cut_off(connection, project, (first, last), revision, stored.code_version, progress, rules)
    text = canonical_text(again.result.as_json())
    if text != revision.result_text:
        differing = list(
            islice(differences(json.loads(revision.result_text or ""), json.loads(text)), _DIFFERENCES_NAMED)
        )
        raise RecomputeError(
            f"revision {revision.number} of {project} {first} to {last} does not recompute: {'; '.join(differing)}"
        )
    _keep_missing_days(connection, project, (first, last), revision, again)
    return revision


def _keep_missing_days(
    connection: psycopg.Connection, project: str, days: tuple[date, date], revision: Revision, again: Computation
) -> None:
    given = {"project": project, "first": days[0], "last": days[1], "revision": revision.number}
    with connection.transaction():
        row = connection.execute(_TRACING["lock_days"], given).fetchone()
        if row is None or not row[1] or has_account(connection, row[0], revision.number):
            return
        keep_account(connection, row[0], revision.number, again.account, StoredReadings(connection, project).number)
        kept = {"revision": revision.number, "days": len(again.account.days)}
        add_audit_event(connection, "period.days_kept", f"{project} {days[0]} {days[1]}", kept)
