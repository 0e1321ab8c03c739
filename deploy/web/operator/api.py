"""The API of operators: sites and their rates, gaps, clocks, quarantine, alerts."""

from datetime import timedelta
from enum import Enum
from typing import Annotated

import anyio
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from sse_starlette import EventSourceResponse

from deploy.access.principal import Permission, Principal
from deploy.alerts import state as alerts
from deploy.web.answers import After, ConditionalRoute, Limit, Page
from deploy.web.identity import SignedInApi
from deploy.web.operator import models, quarantine
from deploy.web.operator.fleet import Fleet, SiteLine
from deploy.web.operator.gaps import clocks, gaps
from deploy.web.operator.watch import FLEET_S
from deploy.web.problems import BadRequestError, ForbiddenError, NotFoundError
from deploy.web.state import state_of
from deploy.web.streams import Stream
from ingest.quarantine import REASONS
from mrv.store import now_of
from sql.connection import Role

router = APIRouter(prefix="/api/v1", route_class=ConditionalRoute)
_SITES: list[str | Enum] = ["sites"]
_QUARANTINE: list[str | Enum] = ["quarantine"]
_ALERTS: list[str | Enum] = ["alerts"]

SiteId = Annotated[str, Path(max_length=100, description="the site's id")]
Number = Annotated[int, Path(ge=1, le=2**63 - 1, description="the entry's number")]


def fleet_of(request: Request, principal: Principal) -> Fleet:
    """Return how the sites stand that somebody may see.

    Raises
    ------
    ForbiddenError
        They may see the operations of no project.
    """
    if not principal.may_anywhere(Permission.READ_OPERATIONS):
        raise ForbiddenError(f"{principal.account} may not see operations; it takes the role operator")
    state = state_of(request)
    return state.watch.fleet(state.database, principal)


def site_of(request: Request, principal: Principal, site: str) -> SiteLine:
    """Find a site that somebody may see.

    Raises
    ------
    NotFoundError
        There is none.
    """
    found = next((one for one in fleet_of(request, principal).sites if one.id == site), None)
    if found is None:
        raise NotFoundError(f"there is no site {site}, or it is not yours to see")
    return found


@router.get("/sites", tags=_SITES, summary="All sites, silence first, and whether every message is accounted for")
def sites(request: Request, principal: SignedInApi) -> models.FleetNow:
    """What was received of each site and what became of it; `received` is the sum of the four outcomes."""
    return models.FleetNow.of(fleet_of(request, principal))


@router.get("/sites/{site}", tags=_SITES, summary="One site")
def one_site(request: Request, principal: SignedInApi, site: SiteId) -> models.Site:
    """How the ingestion of a site stands."""
    return models.Site.of(site_of(request, principal, site))


@router.get("/sites/{site}/gaps", tags=_SITES, summary="Readings by device and hour")
def site_gaps(
    request: Request,
    principal: SignedInApi,
    site: SiteId,
    days: Annotated[int, Query(ge=1, le=31, description="how many days back")] = 7,
) -> models.SiteGaps:
    """Readings by their own time, up to the hour that is going on."""
    site_of(request, principal, site)
    with state_of(request).database.reading(principal, Permission.READ_OPERATIONS) as connection:
        found = gaps(connection, site, now_of(connection), days)
    return models.SiteGaps(
        start=found.start,
        hours=found.hours,
        devices=[models.DeviceGaps(device=d.device, readings=list(d.counts), usual=d.usual) for d in found.devices],
    )


@router.get("/sites/{site}/clocks", tags=_SITES, summary="How far each device's clock seems to be off")
def site_clocks(request: Request, principal: SignedInApi, site: SiteId) -> list[models.DeviceClock]:
    """From the newest readings: one that comes before its own time has a clock that is ahead."""
    site_of(request, principal, site)
    with state_of(request).database.reading(principal, Permission.READ_OPERATIONS) as connection:
        return [models.DeviceClock.model_validate(one, from_attributes=True) for one in clocks(connection, site)]


@router.get(
    "/live",
    tags=_SITES,
    summary="The sites as they change, as server-sent events",
    response_class=EventSourceResponse,
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "`fleet` events"}
    },
)
async def live(
    request: Request,
    principal: SignedInApi,
    events: Annotated[int | None, Query(ge=1, le=10_000, description="end after so many; absent: never")] = None,
) -> EventSourceResponse:
    """Send an event `fleet` whenever it was read again, every few seconds; its data is the answer of `/sites`."""

    def told() -> str:
        return models.FleetNow.of(fleet_of(request, principal)).model_dump_json()

    # The first is read before the answer begins, so that a refusal has its status.
    await anyio.to_thread.run_sync(fleet_of, request, principal)
    return Stream(request, principal, told, every_s=FLEET_S, most=events)


@router.get("/quarantine", tags=_QUARANTINE, summary="What is no reading, and why; the newest first")
def entries(
    request: Request,
    principal: SignedInApi,
    reason: Annotated[str | None, Query(max_length=100, description="only this reason")] = None,
    site: Annotated[str | None, Query(max_length=100, description="only this site, declared or not")] = None,
    waiting: Annotated[bool, Query(description="only what nobody has released")] = True,
    limit: Limit = 100,
    after: After = None,
) -> Page[models.Entry]:
    """Entries of the sites that whoever asks may see."""
    if reason and reason not in REASONS:
        raise BadRequestError(f"there is no reason {reason}; there are {', '.join(REASONS)}")
    with quarantine.reading(request, principal) as connection:
        found, following = quarantine.page(
            connection, quarantine.Filter(reason or None, site or None, waiting=waiting), limit, after
        )
    items = [models.Entry(**one._asdict()) for one in found]
    return Page(items=items, next=following)


@router.get("/quarantine/{number}", tags=_QUARANTINE, summary="An entry with its message")
def entry(request: Request, principal: SignedInApi, number: Number) -> models.EntryDetail:
    """What is known of an entry; the bytes of its message are at `/payload`."""
    with quarantine.reading(request, principal) as connection:
        found = quarantine.detail(connection, number)
    one = found.entry
    return models.EntryDetail(
        id=one.quarantine_id,
        received_at=one.received_at,
        site=one.site,
        topic=one.topic,
        reason=one.reason,
        detail=one.detail,
        element=one.element,
        released_at=found.released_at,
        message_id=found.message_id,
        arrived_at=found.arrived_at,
        qos=found.qos,
        retained=found.retained,
        redelivered=found.redelivered,
        collector=found.collector,
        outcome=found.outcome,
        sha256=found.sha256.hex(),
        payload_bytes=len(found.payload),
    )


@router.get(
    "/quarantine/{number}/payload",
    tags=_QUARANTINE,
    summary="The bytes of its message",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}},
)
def payload(request: Request, principal: SignedInApi, number: Number) -> Response:
    """As they were received. Each access is put on record."""
    return quarantine.payload(request, principal, number)


@router.post("/quarantine/replay", tags=_QUARANTINE, summary="Put entries through the collector's way again")
def replay(request: Request, principal: SignedInApi, order: models.ReplayOrder) -> models.ReplayOutcome:
    """With what is declared now; what is refused again stays as it was."""
    return quarantine.replay(request, principal, order)


@router.get("/alerts", tags=_ALERTS, summary="Alerts that are open, or were")
def list_alerts(
    request: Request,
    principal: SignedInApi,
    over: Annotated[bool, Query(description="those that are over, instead of the open ones")] = False,
    limit: Limit = 100,
) -> list[models.Alert]:
    """The critical first; of those that are over, the latest."""
    if not principal.may_anywhere(Permission.READ_OPERATIONS):
        raise ForbiddenError(f"{principal.account} may not see alerts; it takes the role operator")
    projects = principal.projects(Permission.READ_OPERATIONS)
    with state_of(request).database.reading(principal, Permission.READ_OPERATIONS) as connection:
        if over:
            return [_alert(one) for one in alerts.history(connection, projects, limit=limit)]
        return [_alert(one) for one in alerts.open_alerts(connection, projects)[:limit]]


@router.post("/alerts/{number}/acknowledge", tags=_ALERTS, summary="Say that somebody sees to it", status_code=204)
def acknowledge(request: Request, principal: SignedInApi, number: Number, given: models.Acknowledgement) -> None:
    """Kept with the name of whoever says it."""
    changing_alert(request, principal, number, "acknowledge", given)


@router.post("/alerts/{number}/mute", tags=_ALERTS, summary="Send nothing of it for a while", status_code=204)
def mute(request: Request, principal: SignedInApi, number: Number, given: models.Mute) -> None:
    """At most 30 days ahead."""
    changing_alert(request, principal, number, "mute", given)


@router.post("/alerts/{number}/unmute", tags=_ALERTS, summary="Let notices of it be sent again", status_code=204)
def unmute(request: Request, principal: SignedInApi, number: Number) -> None:
    """One that fires and was not told of is told then."""
    changing_alert(request, principal, number, "unmute", None)


_LONGEST_MUTE = timedelta(days=30)


def changing_alert(
    request: Request,
    principal: Principal,
    number: int,
    step: str,
    given: models.Acknowledgement | models.Mute | None,
) -> None:
    """Acknowledge, mute or unmute an alert.

    Raises
    ------
    NotFoundError, ForbiddenError
        The alert is not there, or not theirs to see or to change.
    BadRequestError
        It would be muted for too long.
    AlertError
        The alert is over, or not muted.
    """
    database = state_of(request).database
    with database.reading(principal, Permission.READ_OPERATIONS) as connection:
        found = alerts.alerts_by_id(connection, [number])
    if not found or not principal.may(Permission.READ_OPERATIONS, found[0].project):
        raise NotFoundError(f"there is no alert {number}, or it is not yours to see")
    if not principal.may(Permission.OPERATE, found[0].project):
        raise ForbiddenError(f"{principal.account} may not change this alert; it takes the role operator")
    by = f"{principal.person} ({principal.account})"
    with database.writing(principal, Role.OPERATOR, Permission.OPERATE) as connection:
        if isinstance(given, models.Mute):
            if given.until > now_of(connection) + _LONGEST_MUTE:
                raise BadRequestError(f"an alert is muted for at most {_LONGEST_MUTE.days} days at a time")
            alerts.mute(connection, number, by, given.until)
        elif step == "unmute":
            alerts.unmute(connection, number, by)
        else:
            alerts.acknowledge(connection, number, by, given.note if given else "")


def _alert(one: alerts.Alert) -> models.Alert:
    return models.Alert(
        id=one.id,
        rule=one.rule,
        subject=one.subject,
        severity=str(one.severity),
        said=one.said,
        state=one.state,
        since=one.since,
        resolved_at=one.resolved_at,
        acknowledged_by=one.acknowledged_by,
        acknowledged_at=one.acknowledged_at,
        note=one.acknowledged_note,
        muted_until=one.muted_until,
    )
