"""Steps of a verification in pages: submission, findings and what is said to them, attestation.

The database takes a step or refuses it; what it refuses is shown on the page, with what was typed.
"""

from collections.abc import Callable
from datetime import date
from typing import Annotated, Any, Literal, cast
from urllib.parse import quote

import psycopg
from fastapi import APIRouter, File, Form, Query, Request, UploadFile
from fastapi.responses import RedirectResponse, Response

from deploy.access.principal import Permission
from deploy.web.answers import ConditionalRoute, attachment
from deploy.web.identity import FromThisPage
from deploy.web.pages import render
from deploy.web.verifier import facts
from deploy.web.verifier.asked import REVISION, Asked, Revision
from deploy.web.verifier.context import of_revision
from mrv.store import now_of
from mrv.tracing.errors import NotThereError
from mrv.tracing.frozen import frozen
from mrv.verification import attestation, findings, keys, steps
from mrv.verification.errors import VerificationError
from sql.connection import Role

router = APIRouter(include_in_schema=False, route_class=ConditionalRoute)
_CONFLICT = 409
# A signature has 64 bytes and a statement a few thousand; nothing larger is read.
_MOST_BYTES = 1024 * 1024
_KINDS = ("CAR", "CL", "FAR")

Text = Annotated[str, Form(max_length=10_000)]
Name = Annotated[str, Form(max_length=200)]
About = Annotated[str, Query(max_length=200)]


@router.get(f"{REVISION}/findings")
def thread(
    request: Request, asked: Revision, system: About = "", device: About = "", day: About = "", rule: About = "",
    message_id: About = "",
) -> Response:  # fmt: skip
    """Show the findings of the period, and the forms of who may say something to them."""
    about = {"system": system, "device": device, "day": day, "rule": rule, "message_id": message_id}
    return _thread(request, asked, typed=about)


@router.post(f"{REVISION}/findings", dependencies=[FromThisPage])
def raise_one(
    request: Request, asked: Revision, kind: Name, text: Text = "", system: Name = "", device: Name = "",
    day: Name = "", rule: Name = "", message_id: Name = "",
) -> Response:  # fmt: skip
    """Raise a finding."""
    asked.need(Permission.RAISE_FINDING)
    typed = {"kind": kind, "text": text, "system": system, "device": device, "day": day, "rule": rule,
             "message_id": message_id}  # fmt: skip

    def step(connection: psycopg.Connection) -> str:
        if kind not in _KINDS:
            raise VerificationError(f"{kind!r} is no kind of finding; it is CAR, CL or FAR")
        about = findings.About(system or None, device or None, _day(day), rule or None, _number(message_id))
        state = facts.revision_state(connection, asked)
        wanted = cast("Literal['CAR', 'CL', 'FAR']", kind)
        return findings.raise_finding(connection, state, wanted, text, about, asked.author).label

    return _take(
        asked, Role.VERIFIER, Permission.RAISE_FINDING, step,
        then=lambda label: f"{asked.path}/findings#{label}",
        refused=lambda said: _thread(request, asked, typed=typed, refused=("raise", said)),
    )  # fmt: skip


@router.post(f"{REVISION}/findings/{{label}}/{{what}}", dependencies=[FromThisPage])
def say(request: Request, asked: Revision, label: str, what: str, text: Text = "") -> Response:
    """Respond to a finding, or close it."""
    known = {
        "response": (Role.PARTICIPANT, Permission.RESPOND, findings.respond),
        "closing": (Role.VERIFIER, Permission.RAISE_FINDING, findings.close),
    }
    if what not in known:
        raise NotThereError(f"nothing is said to a finding as {what}; it is response or closing")
    role, permission, said_by = known[what]
    place = f"{label}-{what}"
    asked.need(permission)

    def step(connection: psycopg.Connection) -> str:
        found = findings.find(connection, asked.project, *asked.days, label)
        return said_by(connection, found, text, asked.author).label

    return _take(
        asked, role, permission, step,
        then=lambda label: f"{asked.path}/findings#{label}",
        refused=lambda said: _thread(request, asked, typed={place: text}, refused=(place, said)),
    )  # fmt: skip


@router.get(f"{REVISION}/submission")
def submission(request: Request, asked: Revision) -> Response:
    """Ask whether the revision shall be submitted."""
    asked.need(Permission.SUBMIT)
    return _submission(request, asked)


@router.post(f"{REVISION}/submission", dependencies=[FromThisPage])
def submit(request: Request, asked: Revision, confirmed: Name = "") -> Response:
    """Submit the revision to the third-party entity."""
    asked.need(Permission.SUBMIT)

    def step(connection: psycopg.Connection) -> str:
        if confirmed != "yes":
            raise VerificationError("nothing was submitted; tick the box to confirm")
        steps.submit(connection, facts.revision_state(connection, asked), asked.author)
        return ""

    return _take(
        asked, Role.PARTICIPANT, Permission.SUBMIT, step,
        then=lambda _: asked.path,
        refused=lambda said: _submission(request, asked, refused=said),
    )  # fmt: skip


@router.get(f"{REVISION}/attestation")
def attested(request: Request, asked: Revision) -> Response:
    """Show the statement, how it is signed, and the attestation where there is one, checked again."""
    return _attestation(request, asked)


@router.get(f"{REVISION}/statement.json")
def statement(asked: Revision) -> Response:
    """Give the bytes that are signed."""
    with asked.state.database.reading(asked.principal) as connection:
        written = attestation.statement_of(connection, facts.revision_state(connection, asked))
    name = f"{_file_name(asked)}-statement.json"
    return Response(written, media_type="application/json", headers=attachment(name))


@router.post(f"{REVISION}/attestation", dependencies=[FromThisPage])
def attest(
    request: Request,
    asked: Revision,
    signature: Annotated[UploadFile, File()],
    signed: Annotated[UploadFile | None, File()] = None,
) -> Response:
    """Take a detached signature over the statement as the attestation."""
    asked.need(Permission.ATTEST)
    made = signature.file.read(_MOST_BYTES)
    given = signed.file.read(_MOST_BYTES) if signed is not None else b""

    def step(connection: psycopg.Connection) -> str:
        state = facts.revision_state(connection, asked)
        content = given or attestation.statement_of(connection, state)
        attestation.attest(connection, state, content, made, asked.author)
        return ""

    return _take(
        asked, Role.VERIFIER, Permission.ATTEST, step,
        then=lambda _: f"{asked.path}/attestation",
        refused=lambda said: _attestation(request, asked, refused=said),
    )  # fmt: skip


def _take(
    asked: Asked,
    role: Role,
    permission: Permission,
    step: Callable[[psycopg.Connection], str],
    *,
    then: Callable[[str], str],
    refused: Callable[[str], Response],
) -> Response:
    """Take a step as a database role; lead to its page, or show why it was refused."""
    try:
        with asked.state.database.writing(asked.principal, role, permission) as connection:
            done = step(connection)
    except VerificationError as error:
        return refused(str(error))
    return RedirectResponse(then(done), 303)


def _thread(
    request: Request, asked: Asked, *, typed: dict[str, str], refused: tuple[str, str] | None = None
) -> Response:
    with asked.state.database.reading(asked.principal) as connection:
        found = frozen(connection, asked.key)
        state = facts.revision_state(connection, asked)
        known = findings.findings(connection, asked.project, *asked.days)
    declaration = found.basis.declaration
    context: dict[str, Any] = {
        **of_revision(asked),
        "state": state,
        "findings": known,
        "typed": typed,
        "refused": refused,
        "kinds": _KINDS,
        "systems": [system.id for system in declaration.pv_systems],
        "devices": sorted(f"{device.site}/{device.id}" for device in declaration.devices),
        "rules": sorted(found.result.rules),
        "third_party_entity": declaration.project.third_party_entity,
        "about_path": lambda about: _about_path(asked, about),
    }
    return render(request, "verifier/findings.html", context, status=_CONFLICT if refused else 200)


def _about_path(asked: Asked, about: dict[str, Any]) -> str | None:
    """Address what a finding is about."""
    if "device" in about and "day" in about:
        site, _, device = str(about["device"]).partition("/")
        return f"{asked.path}/{quote(site, safe='')}/{quote(device, safe='')}/{about['day']}"
    if "day" in about:
        return f"{asked.path}/{str(about['day'])[:7]}"
    return f"{asked.path}#flags" if "rule" in about else None


def _submission(request: Request, asked: Asked, *, refused: str = "") -> Response:
    with asked.state.database.reading(asked.principal) as connection:
        found = frozen(connection, asked.key)
        state = facts.revision_state(connection, asked)
    context = {**of_revision(asked), "state": state, "result": found.result, "refused": refused,
               "third_party_entity": found.basis.declaration.project.third_party_entity}  # fmt: skip
    return render(request, "verifier/submission.html", context, status=_CONFLICT if refused else 200)


def _attestation(request: Request, asked: Asked, *, refused: str = "") -> Response:
    problem = ""
    with asked.state.database.reading(asked.principal) as connection:
        found = frozen(connection, asked.key)
        state = facts.revision_state(connection, asked)
        written = attestation.statement_of(connection, state)
        stored = attestation.attestation_of(connection, state)
        if stored is not None:
            try:
                attestation.check(connection, state)
            except VerificationError as error:
                problem = str(error)
        known, now = keys.keys(connection), now_of(connection)
    entity = found.basis.declaration.project.third_party_entity or ""
    context = {
        **of_revision(asked),
        "state": state,
        "statement": written.decode(),
        "stored": stored,
        "problem": problem,
        "refused": refused,
        "unresolved": [label for label in state.open_findings if not label.startswith("FAR-")],
        "file_name": f"{_file_name(asked)}-statement.json",
        "keys": [key for key in known if key.third_party_entity == entity],
        "now": now,
        "third_party_entity": entity,
    }
    return render(request, "verifier/attestation.html", context, status=_CONFLICT if refused else 200)


def _file_name(asked: Asked) -> str:
    return f"{asked.project}-{asked.first}-{asked.last}-r{asked.revision}"


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise VerificationError(f"{text!r} is not a day; give it as 2021-12-31") from None


def _number(text: str) -> int | None:
    if text and not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise VerificationError(f"{text!r} is no number of a message")
    return int(text) if text else None
