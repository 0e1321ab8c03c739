"""The pages of operators: all sites at a glance, one site, quarantine, alerts, health."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated
from urllib.parse import urlencode

import anyio
from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import Response
from markupsafe import Markup
from sse_starlette import EventSourceResponse

from deploy.access.principal import Permission, Principal
from deploy.alerts import state as alerts
from deploy.web.answers import ConditionalRoute
from deploy.web.charts.heat import Cell, heat
from deploy.web.identity import FromThisPage, SignedIn
from deploy.web.operator import models, quarantine
from deploy.web.operator.api import Number, SiteId, changing_alert, fleet_of, site_of
from deploy.web.operator.fleet import SiteState
from deploy.web.operator.gaps import DeviceHours, Gaps, clocks, gaps
from deploy.web.operator.services import collector_rows, database_status
from deploy.web.operator.watch import FLEET_S
from deploy.web.pages import back_to, render
from deploy.web.problems import ForbiddenError
from deploy.web.state import state_of
from deploy.web.streams import Stream
from ingest.quarantine import REASONS, Selection, waiting
from mrv.store import now_of
from sql.named import load

router = APIRouter(include_in_schema=False, route_class=ConditionalRoute)

_SHOWN = 50
_GAP_DAYS = 7
_PAYLOAD_SHOWN = 4096
_HOURS = 24
_SKEW_S = 60.0
_MUTES = {"1": timedelta(hours=1), "8": timedelta(hours=8), "24": timedelta(days=1), "168": timedelta(days=7)}


@router.get("/sites")
def sites(request: Request, principal: SignedIn) -> Response:
    """All sites by state, silence first."""
    return render(request, "operator/sites.html", _fleet(request, principal))


@router.get("/sites/live")
async def live(request: Request, principal: SignedIn) -> EventSourceResponse:
    """Send the part of the page that changes, whenever it did."""
    before = ""

    def told() -> str | None:
        nonlocal before
        now = bytes(render(request, "operator/fleet.html", _fleet(request, principal)).body).decode()
        if now == before:
            return None
        before = now
        return now

    # The first is read before the answer begins, so that a refusal has its status.
    await anyio.to_thread.run_sync(fleet_of, request, principal)
    return Stream(request, principal, told, every_s=FLEET_S)


def _fleet(request: Request, principal: Principal) -> dict[str, object]:
    found = fleet_of(request, principal)
    with state_of(request).database.reading(principal, Permission.READ_OPERATIONS) as connection:
        firing = alerts.open_alerts(connection, principal.projects(Permission.READ_OPERATIONS))
    by_site: dict[str, int] = {}
    for one in firing:
        if one.state == "firing" and one.site:
            by_site[one.site] = by_site.get(one.site, 0) + 1
    return {
        "fleet": found,
        "firing": [one for one in firing if one.state == "firing"],
        "alerts_of": by_site,
        "SiteState": SiteState,
        "now": found.at,
    }


@router.get("/sites/{site}")
def one_site(request: Request, principal: SignedIn, site: SiteId) -> Response:
    """One site: its devices, their gaps, their clocks."""
    line = site_of(request, principal, site)
    projects = principal.projects(Permission.READ_OPERATIONS)
    with state_of(request).database.reading(principal, Permission.READ_OPERATIONS) as connection:
        now = now_of(connection)
        found = gaps(connection, site, now, _GAP_DAYS)
        context = {
            "site": line,
            "now": now,
            "gaps": found,
            "week_ago": now - timedelta(days=_GAP_DAYS, hours=1),
            "picture": _picture,
            "devices": connection.execute(load("operator")["devices"], {"site": site}).fetchall(),
            "clocks": {one.device: one for one in clocks(connection, site)},
            "skew_s": _SKEW_S,
            "firing": [one for one in alerts.open_alerts(connection, projects) if one.site == site],
            "waiting": waiting(connection, Selection(site=site)),
        }
    return render(request, "operator/site.html", context)


def _picture(found: Gaps, device: DeviceHours, caption: str, corner: str, cell: str) -> Markup:
    """Draw a device's hours: a row a UTC day, a column an hour; `cell` says {count} and {usual} of one."""
    days: dict[str, list[Cell | None]] = {}
    for index, count in enumerate(device.counts):
        at = found.hour(index)
        row = days.setdefault(f"{at:%Y-%m-%d}", [None] * _HOURS)
        name = f"{device.device}, {at:%Y-%m-%d %H}:00Z: {cell.format(count=count, usual=device.usual)}"
        flag = "!" if count and not device.is_whole(index) else ""
        row[at.hour] = Cell(device.share(index) * 100, name, flag=flag, text=str(count) if count else "·")
    rows: Sequence[tuple[str, str | None, list[Cell | None]]] = [(day, None, cells) for day, cells in days.items()]
    hours = [f"{hour:02}" for hour in range(_HOURS)]
    return heat(f"{caption} (UTC)", corner, hours, rows, highest=100.0)


@router.get("/quarantine")
def entries(
    request: Request,
    principal: SignedIn,
    reason: Annotated[str, Query(max_length=100)] = "",
    site: Annotated[str, Query(max_length=100)] = "",
    after: Annotated[str | None, Query(max_length=20)] = None,
    released: bool = False,
) -> Response:
    """What is no reading, and why."""
    wanted = quarantine.Filter(reason or None, site or None, waiting=not released)
    with quarantine.reading(request, principal) as connection:
        counts = waiting(connection, Selection())
        found, following = quarantine.page(connection, wanted, _SHOWN, after)
    return render(
        request,
        "operator/quarantine.html",
        {
            "counts": counts,
            "entries": found,
            "next": following,
            "query": urlencode({"reason": reason, "site": site, "released": "true" if released else "false"}) + "&",
            "reasons": REASONS,
            "reason": reason,
            "site": site,
            "released": released,
            "may_replay": principal.may_anywhere(Permission.OPERATE),
        },
    )


@router.get("/quarantine/{number}")
def entry(request: Request, principal: SignedIn, number: Number) -> Response:
    """One entry, and the beginning of its message."""
    return _entry(request, principal, number)


def _entry(
    request: Request, principal: Principal, number: int, outcome: models.ReplayOutcome | None = None
) -> Response:
    with quarantine.reading(request, principal) as connection:
        found = quarantine.detail(connection, number)
        project = quarantine.project_of(connection, number)
    may_read = principal.may(Permission.READ_EVIDENCE, project)
    if may_read:
        quarantine.record(request, principal, found, project)
    shown = found.payload[:_PAYLOAD_SHOWN]
    context = {
        "found": found,
        "entry": found.entry,
        "text": shown.decode("utf-8", "replace") if may_read else None,
        "hex": shown[:512].hex(" ") if may_read else None,
        "whole": len(shown) == len(found.payload),
        "outcome": outcome,
        "may_replay": principal.may(Permission.OPERATE, project),
    }
    return render(request, "operator/entry.html", context)


@router.get("/quarantine/{number}/payload")
def payload(request: Request, principal: SignedIn, number: Number) -> Response:
    """The bytes, as a file."""
    return quarantine.payload(request, principal, number)


@router.post("/quarantine/replay", dependencies=[FromThisPage])
def replay(
    request: Request,
    principal: SignedIn,
    number: Annotated[list[int], Form(max_length=1000)],
    how: Annotated[str, Form(max_length=10)] = "try",
) -> Response:
    """Put entries through again, or say what would become of them; one alone is shown on its page."""
    order = models.ReplayOrder(ids=number, dry_run=how != "do")
    outcome = quarantine.replay(request, principal, order)
    if len(number) == 1:
        return _entry(request, principal, number[0], outcome)
    return render(request, "operator/replayed.html", {"outcome": outcome, "ids": number})


@router.get("/alerts")
def list_alerts(request: Request, principal: SignedIn) -> Response:
    """What fires, what is acknowledged or muted, what is over."""
    if not principal.may_anywhere(Permission.READ_OPERATIONS):
        raise ForbiddenError(f"{principal.account} may not see alerts; it takes the role operator")
    projects = principal.projects(Permission.READ_OPERATIONS)
    with state_of(request).database.reading(principal, Permission.READ_OPERATIONS) as connection:
        context = {
            "now": now_of(connection),
            "open": alerts.open_alerts(connection, projects),
            "over": alerts.history(connection, projects, limit=_SHOWN),
            "may_change": lambda project: principal.may(Permission.OPERATE, project),
        }
    return render(request, "operator/alerts.html", context)


@router.post("/alerts/{number}", dependencies=[FromThisPage])
def change_alert(
    request: Request,
    principal: SignedIn,
    number: Number,
    step: Annotated[str, Form(pattern="^(acknowledge|mute|unmute)$")],
    note: Annotated[str, Form(max_length=2000)] = "",
    hours: Annotated[str, Form(max_length=5)] = "8",
) -> Response:
    """Acknowledge, mute or unmute an alert."""
    given: models.Acknowledgement | models.Mute | None = None
    if step == "acknowledge":
        given = models.Acknowledgement(note=note.replace("\0", ""))
    elif step == "mute":
        with state_of(request).database.reading(principal, Permission.READ_OPERATIONS) as connection:
            given = models.Mute(until=now_of(connection) + _MUTES.get(hours, _MUTES["8"]))
    changing_alert(request, principal, number, step, given)
    return back_to(f"/alerts#alert-{number}")


@router.get("/health")
def health(request: Request, principal: SignedIn) -> Response:
    """Collectors and their windows, broker, database, schedule, and whether every message is accounted for."""
    state = state_of(request)
    fleet = fleet_of(request, principal)
    if not principal.may(Permission.READ_OPERATIONS):
        raise ForbiddenError("the health of the whole installation is for operators of all projects")
    with state.database.reading(principal, Permission.READ_OPERATIONS) as connection:
        database, rows = database_status(connection), collector_rows(connection)
    context = {
        "fleet": fleet,
        "database": database,
        "rows": rows,
        "collectors": state.watch.collectors(),
        "broker": state.watch.broker(),
        "now": fleet.at,
    }
    return render(request, "operator/health.html", context)
