"""The API of verifiers and participants: projects, revisions, and the way down to a payload and its proof."""

from contextlib import nullcontext
from dataclasses import asdict
from datetime import date
from enum import Enum
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from pydantic import AwareDatetime, TypeAdapter

from deploy.access.principal import Permission
from deploy.web import cursors
from deploy.web.answers import After, ConditionalRoute, Limit, Page, attachment
from deploy.web.identity import SignedInApi, require
from deploy.web.limits import comparisons
from deploy.web.problems import BadRequestError, NotFoundError
from deploy.web.state import state_of
from deploy.web.verifier import api_models as models
from deploy.web.verifier import bundles, facts
from deploy.web.verifier.asked import Asked, asked, month_of
from deploy.web.verifier.bundles import families
from mrv.reports import Format, render
from mrv.tracing import around, device_days, energy, messages
from mrv.tracing.frozen import frozen
from mrv.verification import differences

router = APIRouter(prefix="/api/v1", route_class=ConditionalRoute)
_PROJECTS: list[str | Enum] = ["projects"]
_TRACING: list[str | Enum] = ["tracing"]
_EVIDENCE: list[str | Enum] = ["evidence"]
REVISION = "/projects/{project}/periods/{first}/{last}/revisions/{revision}"
_MESSAGE = f"{REVISION}/messages/{{received_at}}/{{message_id}}"
_MEDIA: dict[Format, str] = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}

Project = Annotated[str, Path(max_length=100, description="the project's id")]
Name = Annotated[str, Path(max_length=100)]
ReceivedAt = Annotated[AwareDatetime, Path(description="when the database received it, to the microsecond")]
MessageId = Annotated[int, Path(ge=1, le=2**63 - 1)]
Row = TypeVar("Row")


def asked_of_api(
    request: Request,
    principal: SignedInApi,
    project: Project,
    first: Annotated[date, Path(description="the period's first day")],
    last: Annotated[date, Path(description="the period's last day")],
    revision: Annotated[int, Path(ge=1, le=2**31 - 1)],
) -> Asked:
    """Find the revision that a call is about, as somebody may see it."""
    return asked(request, principal, project, first.isoformat(), last.isoformat(), revision)


Revision = Annotated[Asked, Depends(asked_of_api)]


@router.get("/projects", tags=_PROJECTS, summary="The projects that whoever asks may see")
def projects(request: Request, principal: SignedInApi) -> list[energy.ProjectOverview]:
    """With their periods, revisions and tonnes."""
    with state_of(request).database.reading(principal) as connection:
        return facts.projects(connection)


@router.get("/projects/{project}", tags=_PROJECTS, summary="A project with its periods and revisions")
def project(request: Request, principal: SignedInApi, project: Project) -> energy.ProjectOverview:
    """Tonnes by calendar year for each frozen revision, and how far its verification is."""
    require(principal, Permission.READ_PROJECT, project)
    with state_of(request).database.reading(principal) as connection:
        return energy.overview(connection, project)


@router.get(
    REVISION,
    tags=_PROJECTS,
    summary="The report of a revision",
    response_class=Response,
    responses={200: {"content": {"application/json": {"schema": {"type": "object"}}}}},
)
def report(asked: Revision) -> Response:
    """As `jcm-mrv report --format json` writes it, to the byte."""
    return download(asked, "json", attached=False)


@router.get(
    f"{REVISION}/report.{{report_format}}",
    tags=_PROJECTS,
    summary="The report as a file",
    response_class=Response,
    responses={
        200: {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in _MEDIA.values()}}
    },
)
def report_file(asked: Revision, report_format: Format) -> Response:
    """The workbook is the JCM Monitoring Report Sheet; the same revision gives the same bytes."""
    return download(asked, report_format)


def download(asked: Asked, report_format: Format, *, attached: bool = True) -> Response:
    """Write a report as a file."""
    with asked.state.database.reading(asked.principal) as connection:
        found = frozen(connection, asked.key)
    content = render(found.result, found.basis.declaration, report_format)
    name = f"{asked.project}-{asked.first}-{asked.last}-r{asked.revision}.{report_format}"
    headers = attachment(name) if attached else None
    return Response(content, media_type=_MEDIA[report_format], headers=headers)


@router.get(f"{REVISION}/months", tags=_TRACING, summary="Energy by system and month, and what lies between it and EG")
def months(asked: Revision) -> energy.Months:
    """The months and the lines add up to EG of each system and year exactly; the lines have their reasons."""
    with asked.state.database.reading(asked.principal) as connection:
        return energy.months(connection, asked.key)


@router.get(f"{REVISION}/days", tags=_TRACING, summary="Energy by device and local day")
def days(
    asked: Revision,
    month: Annotated[str | None, Query(max_length=10, description="as 2021-03; absent: the whole period")] = None,
    device: Annotated[str | None, Query(max_length=201, description="as site/device")] = None,
    rule: Annotated[str | None, Query(max_length=100, description="only days on which this rule decided")] = None,
    limit: Limit = 500,
    after: After = None,
) -> Page[energy.DayEnergyRow]:
    """What each register counts for on each local day of its site."""
    site, slash, name = (device or "").partition("/")
    if device and not slash:
        raise BadRequestError("`device` is written as site/device")
    begun = month_of(month) if month else None
    with asked.state.database.reading(asked.principal) as connection:
        found = energy.days(
            connection,
            asked.key,
            begun,
            device=(site, name) if device else None,
            rule=rule,
            limit=limit,
            after=cursors.read(after, energy.DayCursor),
        )
    return Page(items=list(found.rows), next=cursors.written(found.next))


@router.get(
    f"{REVISION}/devices/{{site}}/{{device}}/days/{{day}}",
    tags=_TRACING,
    summary="Every interval and reading of a device's local day",
)
def device_day(asked: Revision, site: Name, device: Name, day: date) -> device_days.DeviceDayTrace:
    """As the computation made them at the revision's cut-off, each with the rule that decided it."""
    with asked.state.database.reading(asked.principal) as connection:
        return device_days.device_day(connection, asked.key, site, device, day)


@router.get(f"{REVISION}/flags", tags=_TRACING, summary="Every rule that decided something, and its effect")
def flags(asked: Revision) -> around.Flags:
    """With where, how often, and how much energy was not credited for it."""
    with asked.state.database.reading(asked.principal) as connection:
        return around.flags(connection, asked.key)


@router.get(f"{REVISION}/calibrations", tags=_TRACING, summary="The meters that count, and their calibrations")
def calibrations(asked: Revision) -> list[around.MeterLine]:
    """With what was taken from the credit where a calibration was late."""
    with asked.state.database.reading(asked.principal) as connection:
        return list(around.calibrations(connection, asked.key))


@router.get(f"{REVISION}/late", tags=_TRACING, summary="Readings of the period that came after the cut-off")
def late(asked: Revision, limit: Limit = 100, after: After = None) -> Page[around.LateLine]:
    """By the message they came in; the next revision takes them into account."""
    with asked.state.database.reading(asked.principal) as connection:
        found = around.late(connection, asked.key, limit=limit, after=cursors.read(after, around.LateCursor))
    return Page(items=list(found.rows), next=cursors.written(found.next))


@router.get(f"{REVISION}/conflicts", tags=_TRACING, summary="Other values that were offered for a device and time")
def conflicts(asked: Revision, limit: Limit = 100, after: After = None) -> Page[device_days.ConflictLine]:
    """The first value stands; the others are kept as evidence."""
    with asked.state.database.reading(asked.principal) as connection:
        found = around.conflicts(connection, asked.key, limit=limit, after=cursors.read(after, around.ConflictCursor))
    return Page(items=list(found.rows), next=cursors.written(found.next))


@router.get(f"{REVISION}/differences", tags=_TRACING, summary="What changed since another revision")
def difference(
    asked: Revision,
    since: Annotated[int, Query(ge=1, le=2**31 - 1, description="the earlier revision")],
    with_days: Annotated[bool, Query(description="also day by day; this reads every reading")] = False,
) -> dict[str, Any]:
    """Tonnes, energies, rules, declarations, and the messages that came in between."""
    if since >= asked.revision:
        raise BadRequestError("`since` is an earlier revision")
    alone = comparisons.one(asked.principal.account) if with_days else nullcontext()
    with alone, asked.state.database.reading(asked.principal) as connection:
        found = differences.difference(
            connection, asked.project, *asked.days, since, asked.revision, with_days=with_days
        )
    return found.as_json()


@router.get(
    f"{REVISION}/devices/{{site}}/{{device}}/readings/{{ts}}",
    tags=_EVIDENCE,
    summary="A reading with all of its points and its message",
)
def reading(
    asked: Revision, site: Name, device: Name, ts: Annotated[AwareDatetime, Path(description="its own time")]
) -> messages.ReadingTrace:
    """Which message it came in, at which place, and what else was offered for the same instant."""
    _site_of(asked, site)
    with asked.state.database.reading(asked.principal) as connection:
        return messages.reading(connection, site, device, ts)


@router.get(_MESSAGE, tags=_EVIDENCE, summary="A message, what it decodes to, and what became of it")
def message(asked: Revision, received_at: ReceivedAt, message_id: MessageId) -> models.Message:
    """The bytes as they were received. Each access is put on record."""
    found, _ = _evidence(asked, received_at, message_id)
    return models.Message.of(
        found, {"decoded": _rows(found.decoded), "stored": _rows(found.stored), "quarantined": _rows(found.quarantined)}
    )


@router.get(
    f"{_MESSAGE}/payload",
    tags=_EVIDENCE,
    summary="The bytes of a message",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}},
)
def payload(asked: Revision, received_at: ReceivedAt, message_id: MessageId) -> Response:
    """As they were received. Each access is put on record."""
    found, _ = _evidence(asked, received_at, message_id)
    return Response(
        found.payload, media_type="application/octet-stream", headers=attachment(f"message-{message_id}.bin")
    )


@router.get(f"{_MESSAGE}/proof", tags=_EVIDENCE, summary="That a message was sealed on its day")
def proof(asked: Revision, received_at: ReceivedAt, message_id: MessageId) -> models.Proof:
    """The path from the message's leaf to the signed root, checked here and to be checked anywhere."""
    found, held = _evidence(asked, received_at, message_id)
    return models.Proof.of(held, facts.proof_document(found, held))


@router.get(
    f"{REVISION}/bundle.zip",
    tags=_EVIDENCE,
    summary="The evidence of a revision as one file",
    response_class=Response,
    responses={200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}},
)
def bundle(
    asked: Revision,
    redacted: Annotated[bool, Query(description="commitments stand for what is confidential")] = False,
) -> Response:
    """Messages, proofs, seals, declarations and the result, for `jcm-mrv evidence verify`. Each access is on record."""
    return bundles.answer(asked, redacted=redacted)


def _evidence(asked: Asked, received_at: AwareDatetime, message_id: int) -> tuple[Any, Any]:
    texts = families(asked.state.settings)
    return facts.message_evidence(asked, received_at, message_id, texts, action="evidence.read")


def _site_of(asked: Asked, site: str) -> None:
    with asked.state.database.reading(asked.principal) as connection:
        if site not in {one.id for one in frozen(connection, asked.key).basis.declaration.sites}:
            raise NotFoundError(f"there is no site {site} in {asked.project}")


def _rows(rows: tuple[Row, ...]) -> list[dict[str, Any]]:
    kind: TypeAdapter[Any] = TypeAdapter(dict[str, Any])
    return [kind.dump_python(asdict(row), mode="json") for row in rows]  # type: ignore[call-overload]
