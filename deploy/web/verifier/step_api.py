"""The steps of a verification in the API: submission, findings, attestation."""

from enum import Enum
from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import Response

from deploy.access.principal import Permission
from deploy.web.answers import ConditionalRoute
from deploy.web.verifier import api_models as models
from deploy.web.verifier import facts
from deploy.web.verifier.api import REVISION, Revision
from mrv.verification import attestation, findings, steps
from mrv.verification.findings import About
from sql.connection import Role

router = APIRouter(prefix="/api/v1", route_class=ConditionalRoute)
_STEPS: list[str | Enum] = ["verification"]
Label = Annotated[str, Path(pattern=r"^(CAR|CL|FAR)-[1-9]\d{0,8}$", description="as CAR-1")]


@router.get(f"{REVISION}/state", tags=_STEPS, summary="How far the verification of a revision is")
def state(asked: Revision) -> steps.RevisionState:
    """Frozen, submitted, superseded, verified or notified; and which findings are open."""
    with asked.state.database.reading(asked.principal) as connection:
        return facts.revision_state(connection, asked)


@router.post(
    f"{REVISION}/submission", tags=_STEPS, summary="Hand a revision to the third-party entity", status_code=201
)
def submit(asked: Revision) -> dict[str, Any]:
    """A participant's step."""
    asked.need(Permission.SUBMIT)
    with asked.state.database.writing(asked.principal, Role.PARTICIPANT, Permission.SUBMIT) as connection:
        return steps.submit(connection, facts.revision_state(connection, asked), asked.author).as_json()


@router.get(f"{REVISION}/findings", tags=_STEPS, summary="The findings of the period")
def list_findings(asked: Revision) -> list[dict[str, Any]]:
    """With their responses and closings, of all revisions."""
    with asked.state.database.reading(asked.principal) as connection:
        return [one.as_json() for one in findings.findings(connection, asked.project, *asked.days)]


@router.post(f"{REVISION}/findings", tags=_STEPS, summary="Raise a finding", status_code=201)
def raise_finding(asked: Revision, given: models.NewFinding) -> dict[str, Any]:
    """A verifier's step, on a submitted revision."""
    asked.need(Permission.RAISE_FINDING)
    about = About(given.system, given.device, given.day, given.rule, given.message_id)
    with asked.state.database.writing(asked.principal, Role.VERIFIER, Permission.RAISE_FINDING) as connection:
        revision = facts.revision_state(connection, asked)
        return findings.raise_finding(connection, revision, given.kind, given.text, about, asked.author).as_json()


@router.post(f"{REVISION}/findings/{{label}}/responses", tags=_STEPS, summary="Respond to a finding", status_code=201)
def respond(asked: Revision, label: Label, given: models.Remark) -> dict[str, Any]:
    """A participant's step."""
    asked.need(Permission.RESPOND)
    with asked.state.database.writing(asked.principal, Role.PARTICIPANT, Permission.RESPOND) as connection:
        found = findings.find(connection, asked.project, *asked.days, label)
        return findings.respond(connection, found, given.text, asked.author).as_json()


@router.post(f"{REVISION}/findings/{{label}}/closing", tags=_STEPS, summary="Close a finding", status_code=201)
def close(asked: Revision, label: Label, given: models.Remark) -> dict[str, Any]:
    """A verifier's step, after a response."""
    asked.need(Permission.RAISE_FINDING)
    with asked.state.database.writing(asked.principal, Role.VERIFIER, Permission.RAISE_FINDING) as connection:
        found = findings.find(connection, asked.project, *asked.days, label)
        return findings.close(connection, found, given.text, asked.author).as_json()


@router.get(
    f"{REVISION}/statement",
    tags=_STEPS,
    summary="The bytes to be signed",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}},
)
def statement(asked: Revision) -> Response:
    """Sign them away from here: `jcm-mrv attestation sign statement.json --key KEY --out statement.sig`."""
    with asked.state.database.reading(asked.principal) as connection:
        content = attestation.statement_of(connection, facts.revision_state(connection, asked))
    headers = {"Content-Disposition": 'attachment; filename="statement.json"'}
    return Response(content, media_type="application/octet-stream", headers=headers)


@router.post(f"{REVISION}/attestation", tags=_STEPS, summary="Hand in a signed statement", status_code=201)
def attest(asked: Revision, given: models.NewAttestation) -> dict[str, Any]:
    """A verifier's step: the signature is checked against the key that is registered for the third-party entity."""
    asked.need(Permission.ATTEST)
    with asked.state.database.writing(asked.principal, Role.VERIFIER, Permission.ATTEST) as connection:
        revision = facts.revision_state(connection, asked)
        return attestation.attest(connection, revision, given.statement, given.signature, asked.author).as_json()


@router.get(f"{REVISION}/attestation", tags=_STEPS, summary="The attestation, checked again")
def show_attestation(asked: Revision) -> dict[str, Any]:
    """The signature over the result as it is stored now."""
    with asked.state.database.reading(asked.principal) as connection:
        return attestation.check(connection, facts.revision_state(connection, asked)).as_json()
