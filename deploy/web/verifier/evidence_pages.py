"""Evidence in pages: a reading with its raw payload and the proof that it was sealed, and what can be taken away.

Each access is put on record before anything of it is sent, and needs the permission to read evidence.
"""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from deploy.access.principal import Permission
from deploy.web.answers import ConditionalRoute, attachment
from deploy.web.pages import render
from deploy.web.problems import NotFoundError
from deploy.web.verifier import bundles, facts
from deploy.web.verifier.asked import REVISION, Asked, Revision
from deploy.web.verifier.context import of_revision
from deploy.web.verifier.payload_text import shown
from mrv.calendar import EPOCH
from mrv.evidence.canonical import microseconds
from mrv.reports import FORMATS
from mrv.reports import render as render_report
from mrv.tracing.frozen import frozen
from mrv.tracing.messages import DecodedReading, ReadingTrace
from mrv.tracing.messages import reading as find_reading

router = APIRouter(include_in_schema=False, route_class=ConditionalRoute)
_MEDIA_TYPES = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_BYTES = "application/octet-stream"
# Microseconds from 1970 that a datetime can hold.
_LAST_US = 253_402_300_799_999_999
_LAST_ID = 2**63 - 1
# Python's own library and nothing of ours; docs/evidence.md says how a leaf is made of a message.
_PATH_COMMAND = (
    'python3 -c \'import json,hashlib,functools as f;p=json.load(open("{name}"));x=bytes.fromhex;'
    'print(f.reduce(lambda n,s:hashlib.sha256(b"\\1"+(x(s["hash"])+n if s["side"]=="left" else n+x(s["hash"])))'
    '.digest(),p["path"],x(p["leaf"])).hex()==p["root"]==json.loads(p["seal"]["statement"])["root"])\''
)
_MESSAGE = f"{REVISION}/message/{{received_us:int}}/{{message_id:int}}"


@router.get(f"{REVISION}/reading/{{site}}/{{device}}/{{ts_us:int}}")
def reading(request: Request, asked: Revision, site: str, device: str, ts_us: int) -> Response:
    """Show a reading, the payload it came in, and the proof that this was sealed."""
    asked.need(Permission.READ_EVIDENCE)
    with asked.state.database.reading(asked.principal, Permission.READ_EVIDENCE) as connection:
        found = find_reading(connection, site, device, _instant(ts_us))
    return _page(request, asked, found.message.received_at, found.message.message_id, found)


@router.get(_MESSAGE)
def message(request: Request, asked: Revision, received_us: int, message_id: int) -> Response:
    """Show a message with its payload, what came of it, and the proof that it was sealed."""
    return _page(request, asked, _instant(received_us), _number(message_id), None)


def _page(
    request: Request, asked: Asked, received_at: datetime, message_id: int, found: ReadingTrace | None
) -> Response:
    families = bundles.families(asked.state.settings)
    payload, proof = facts.message_evidence(asked, received_at, message_id, families, action="evidence.read")
    zone = None if found is None else ZoneInfo(found.time_zone)
    return render(
        request,
        "verifier/message.html",
        {
            **of_revision(asked),
            "reading": found,
            "message": payload,
            "proof": proof,
            "path": facts.steps_of(proof),
            "shown": shown(payload.payload),
            "local": None if zone is None else (lambda at: at.astimezone(zone)),
            "here_base": f"{asked.path}/message/{microseconds(received_at)}/{message_id}",
            "path_command": _PATH_COMMAND.format(name=f"message-{message_id}-proof.json"),
            "decoded_here": _decoded(payload.decoded, found),
        },
    )


def _decoded(decoded: Sequence[DecodedReading], found: ReadingTrace | None) -> list[DecodedReading]:
    """Choose of the readings that the payload holds the one that is shown; without one, all."""
    return [one for one in decoded if found is None or (one.device, one.ts) == (found.device, found.ts)]


@router.get(f"{_MESSAGE}/payload.bin")
def payload_bytes(asked: Revision, received_us: int, message_id: int) -> Response:
    """Give the payload as it was received, byte for byte."""
    families = bundles.families(asked.state.settings)
    found, _ = facts.message_evidence(
        asked, _instant(received_us), _number(message_id), families, action="evidence.payload"
    )
    return _download(found.payload, f"message-{message_id}.bin", _BYTES)


@router.get(f"{_MESSAGE}/proof.json")
def proof_file(asked: Revision, received_us: int, message_id: int) -> Response:
    """Give the message with its proof as one document."""
    families = bundles.families(asked.state.settings)
    found, proof = facts.message_evidence(
        asked, _instant(received_us), _number(message_id), families, action="evidence.proof"
    )
    text = json.dumps(facts.proof_document(found, proof), indent=2, ensure_ascii=False) + "\n"
    return _download(text.encode(), f"message-{message_id}-proof.json", "application/json")


@router.get(f"{_MESSAGE}/{{name}}")
def proof_part(asked: Revision, received_us: int, message_id: int, name: str) -> Response:
    """Give what openssl needs to check a seal: the statement, its signature, and the public key."""
    families = bundles.families(asked.state.settings)
    if name not in {"seal.json", "seal.sig", "seal-key.pem", "seal.tsr"}:
        raise NotFoundError(f"there is no {name} of a message")
    _, proof = facts.message_evidence(
        asked, _instant(received_us), _number(message_id), families, action="evidence.proof"
    )
    if proof.seal is None:
        raise NotFoundError(f"the messages of {proof.day} are not sealed yet")
    if name == "seal.json":
        return _download(proof.seal.statement.encode(), name, "application/json")
    if name == "seal.sig":
        return _download(bytes.fromhex(proof.seal.signature), name, _BYTES)
    if name == "seal-key.pem":
        return _download(bundles.pem(bytes.fromhex(proof.seal.public_key)), name, "application/x-pem-file")
    if proof.seal.timestamp is None:
        raise NotFoundError(f"the seal of {proof.day} has no time stamp")
    return _download(proof.seal.timestamp.token, name, "application/timestamp-reply")


@router.get(f"{REVISION}/report.{{kind}}")
def report_file(asked: Revision, kind: str) -> Response:
    """Give the report as a file."""
    chosen = next((one for one in FORMATS if one == kind), None)
    if chosen is None:
        raise NotFoundError(f"there is no report as {kind}; there is {', '.join(FORMATS)}")
    with asked.state.database.reading(asked.principal) as connection:
        found = frozen(connection, asked.key)
    content = render_report(found.result, found.basis.declaration, chosen)
    name = f"{asked.project}-{asked.first}-{asked.last}-r{asked.revision}.{kind}"
    return _download(content, name, _MEDIA_TYPES[kind])


@router.get(f"{REVISION}/bundle.zip")
def bundle(asked: Revision, redacted: bool = Query(default=False)) -> Response:
    """Give the evidence of the revision as one file."""
    return bundles.answer(asked, redacted=redacted)


def _download(content: bytes, name: str, media_type: str) -> Response:
    # Always a file and never a page: what a device sent is not ours.
    return Response(content, media_type=media_type, headers=attachment(name))


def _instant(microseconds_: int) -> datetime:
    if microseconds_ > _LAST_US:
        raise NotFoundError(f"{microseconds_} is no instant")
    return EPOCH + timedelta(microseconds=microseconds_)


def _number(message_id: int) -> int:
    if message_id > _LAST_ID:
        raise NotFoundError(f"there is no message {message_id}")
    return message_id
