"""The pages of verifiers and participants: from projects to tonnes, months and a device's day.

One click leads from the report to a month, the second to a device's day, the third to a reading with its raw payload
and the proof that it was sealed (`evidence_pages`). Steps of a verification are in `step_pages`.
"""

import calendar
from datetime import date, timedelta

from fastapi import APIRouter, Request
from fastapi.responses import Response

from deploy.access.principal import Permission
from deploy.web import cursors
from deploy.web.answers import After, ConditionalRoute
from deploy.web.identity import SignedIn, require
from deploy.web.limits import comparisons
from deploy.web.pages import render
from deploy.web.state import state_of
from deploy.web.verifier import bundles, evidence_pages, facts, step_pages, views
from deploy.web.verifier.asked import REVISION, Asked, Revision, day_of, month_of, period_path
from deploy.web.verifier.context import STATES, of_revision
from mrv.methodology_text import unconfirmed
from mrv.periods import current_basis
from mrv.tracing import around, energy
from mrv.tracing.device_days import device_day
from mrv.tracing.energy import left_out_text
from mrv.verification.differences import difference

router = APIRouter(include_in_schema=False, route_class=ConditionalRoute)
router.include_router(evidence_pages.router)
router.include_router(step_pages.router)


@router.get("/projects")
def projects(request: Request, principal: SignedIn) -> Response:
    """List the projects of whoever asks."""
    with state_of(request).database.reading(principal) as connection:
        found = facts.projects(connection)
    return render(request, "verifier/projects.html", {"projects": found, "states": STATES})


@router.get("/projects/{project}")
def one_project(request: Request, principal: SignedIn, project: str) -> Response:
    """Show a project, its methodology, and its periods with their revisions."""
    require(principal, Permission.READ_PROJECT, project)
    with state_of(request).database.reading(principal) as connection:
        found = energy.overview(connection, project)
        declaration = current_basis(connection, project).declaration
    methodology = facts.methodology_of(found.methodology, found.methodology_version)
    return render(
        request,
        "verifier/project.html",
        {
            "project": found,
            "declaration": declaration,
            "methodology": methodology,
            "unconfirmed": unconfirmed(methodology) if methodology else [],
            "period_path": period_path,
            "states": STATES,
        },
    )


@router.get(REVISION)
def report(request: Request, asked: Revision) -> Response:
    """Show the report of a revision."""
    with asked.state.database.reading(asked.principal) as connection:
        found = facts.report(connection, asked)
    months = found.months
    return render(
        request,
        "verifier/report.html",
        {
            **of_revision(asked),
            "report": found,
            "result": found.frozen.result,
            "accounts": views.accounts(months) if months else [],
            "chart": views.energy_by_month(months) if months and months.months else None,
            "unusual": views.unusual,
            "calibration_rows": views.calibration_rows,
            "bundle_command": None if bundles.are_made(asked.state.settings) else bundles.command(asked),
        },
    )


@router.get(f"{REVISION}/differences")
def differences(request: Request, asked: Revision) -> Response:
    """Show what changed since the revision before, with the days of the registers that differ."""
    with (
        comparisons.one(asked.principal.account),
        asked.state.database.reading(asked.principal) as connection,
    ):
        found = difference(connection, asked.project, *asked.days, None, asked.revision)
    return render(request, "verifier/differences.html", {**of_revision(asked), "difference": found})


@router.get(f"{REVISION}/conflicts")
def conflicts(request: Request, asked: Revision, after: After = None) -> Response:
    """List the other values that were offered."""
    with asked.state.database.reading(asked.principal) as connection:
        found = around.conflicts(connection, asked.key, after=cursors.read(after, around.ConflictCursor))
    listed = {"what": "conflicts", "rows": found.rows, "next": cursors.written(found.next)}
    return render(request, "verifier/list.html", {**of_revision(asked), **listed})


@router.get(f"{REVISION}/late")
def late(request: Request, asked: Revision, after: After = None) -> Response:
    """List the messages that came after the cut-off."""
    with asked.state.database.reading(asked.principal) as connection:
        found = around.late(connection, asked.key, after=cursors.read(after, around.LateCursor))
    listed = {"what": "late", "rows": found.rows, "next": cursors.written(found.next)}
    return render(request, "verifier/list.html", {**of_revision(asked), **listed})


@router.get(f"{REVISION}/{{month}}")
def one_month(request: Request, asked: Revision, month: str) -> Response:
    """Show the days of a month, by device."""
    first = month_of(month)
    last = first.replace(day=calendar.monthrange(first.year, first.month)[1])
    with asked.state.database.reading(asked.principal) as connection:
        months = energy.months(connection, asked.key)
        rows = facts.days_of_month(connection, asked, first)
    days = [first + timedelta(n) for n in range((last - first).days + 1)]
    days = [day for day in days if asked.first <= day <= asked.last]
    known = sorted({one.month for one in months.months})
    return render(
        request,
        "verifier/month.html",
        {
            **of_revision(asked),
            "month": first,
            "days": days,
            "accounts": views.month_accounts(months, first),
            "rows": views.device_rows(rows),
            "set_aside": sorted((row for row in rows if row.has_withheld), key=lambda row: not views.is_lost(row)),
            "unusual": views.unusual,
            "chart": views.energy_by_day(rows, days),
            "heat_rows": views.heat_rows,
            "previous": max((one for one in known if one < first), default=None),
            "next": min((one for one in known if one > first), default=None),
            "left_out_text": left_out_text,
        },
    )


@router.get(f"{REVISION}/{{site}}/{{device}}/{{day}}")
def one_day(request: Request, asked: Revision, site: str, device: str, day: str) -> Response:
    """Show a device's day: intervals, readings, what was decided, and what else was offered."""
    with asked.state.database.reading(asked.principal) as connection:
        trace = device_day(connection, asked.key, site, device, day_of(day))
    length = (trace.end - trace.start).total_seconds()
    return render(
        request,
        "verifier/day.html",
        {
            **of_revision(asked),
            "trace": trace,
            "drawn": views.day_charts(trace),
            "unusual": [views.unusual_intervals(register) for register in trace.registers],
            "span": (0.0, length),
            "hours": views.hours(trace),
            "clock": views.clock_of(trace),
            "previous": _inside(asked, trace.day - timedelta(1)),
            "next": _inside(asked, trace.day + timedelta(1)),
            "left_out_text": left_out_text,
            "may_read_evidence": asked.may(Permission.READ_EVIDENCE),
        },
    )


def _inside(asked: Asked, day: date) -> date | None:
    return day if asked.first <= day <= asked.last else None
