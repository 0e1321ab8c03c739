"""What pages and the API both gather: the projects of somebody, a report with all that stands around it, evidence."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg

from deploy.access.principal import Permission
from deploy.web.problems import NotFoundError
from deploy.web.verifier.asked import Asked
from deploy.web.verifier.views import audit_path
from mrv.catalogue import Methodology, all_methodologies
from mrv.evidence.canonical import microseconds
from mrv.tracing import around, energy
from mrv.tracing.errors import NotKeptError, NotThereError
from mrv.tracing.frozen import Frozen, frozen
from mrv.tracing.inclusion import InclusionTrace, inclusion
from mrv.tracing.messages import PayloadTrace, payload
from mrv.verification import attestation, differences, findings, steps
from sql.named import load

_QUERIES = load("mrv")
_LISTED = 25
PROOF_FORMAT = "jcm-mrv proof 1"


@dataclass(frozen=True)
class Report:
    """A frozen revision and what stands around its tonnes."""

    frozen: Frozen
    state: steps.RevisionState
    months: energy.Months | None
    without_days: str
    """Why there are no months; empty where there are."""
    flags: around.Flags
    meters: tuple[around.MeterLine, ...]
    late: around.Late
    """The first of them."""
    conflicts: around.Conflicts
    """The first of them."""
    difference: differences.RevisionDifference | None
    """To the revision before, without days."""
    findings: tuple[findings.Finding, ...]
    """Of the period."""
    attestation: attestation.Attestation | None
    """As it is stored; it is checked on its own page."""
    latest: int
    """Number of the period's latest revision."""


def projects(connection: psycopg.Connection) -> list[energy.ProjectOverview]:
    """List the projects that the connection sees."""
    return [energy.overview(connection, project) for (project,) in connection.execute(_QUERIES["projects"]).fetchall()]


def methodology_of(name: str, version: str) -> Methodology | None:
    """Find a methodology; None where this version of the code has it no more."""
    return all_methodologies().get((name, version))


def report(connection: psycopg.Connection, asked: Asked) -> Report:
    """Gather a report.

    Raises
    ------
    NotThereError
        There is no such revision, or it is unfinished.
    """
    key = asked.key
    found = frozen(connection, key)
    months, without = None, ""
    try:
        months = energy.months(connection, key)
    except NotKeptError as error:
        without = str(error)
    all_states = steps.states(connection, asked.project, *asked.days)
    state = next(one for one in all_states if one.revision == found.revision)
    return Report(
        frozen=found,
        state=state,
        months=months,
        without_days=without,
        flags=around.flags(connection, key),
        meters=around.calibrations(connection, key),
        late=around.late(connection, key, limit=_LISTED),
        conflicts=around.conflicts(connection, key, limit=_LISTED),
        difference=differences.difference(
            connection, asked.project, *asked.days, found.revision - 1, found.revision, with_days=False
        )
        if found.revision > 1
        else None,
        findings=tuple(findings.findings(connection, asked.project, *asked.days)),
        attestation=attestation.attestation_of(connection, state),
        latest=all_states[-1].revision,
    )


def revision_state(connection: psycopg.Connection, asked: Asked) -> steps.RevisionState:
    """Tell how far the verification of a revision is.

    Raises
    ------
    NotThereError
        There is no such revision.
    """
    for one in steps.states(connection, asked.project, *asked.days):
        if one.revision == asked.revision:
            return one
    raise NotThereError(f"{asked.first} to {asked.last} of {asked.project} has no revision {asked.revision}")


def message_evidence(
    asked: Asked, received_at: datetime, message_id: int, families: Mapping[str, str], *, action: str
) -> tuple[PayloadTrace, InclusionTrace]:
    """Read a message with its payload and its proof, and put on record that it was read.

    Parameters
    ----------
    asked
        A revision of the project that the message's site belongs to.
    action
        What the record says was done, such as `evidence.read`.

    Raises
    ------
    ForbiddenError
        The principal may not read evidence of the project.
    NotFoundError, NotThereError
        There is no such message, or it is of another project.
    """
    asked.need(Permission.READ_EVIDENCE)
    with asked.state.database.reading(asked.principal, Permission.READ_EVIDENCE) as connection:
        sites = {site.id for site in frozen(connection, asked.key).basis.declaration.sites}
        found = payload(connection, received_at, message_id, families=families)
        if found.site not in sites:
            raise NotFoundError(f"there is no message {message_id} received then of {asked.project}")
        proof = inclusion(connection, received_at, message_id)
    record(asked, action, f"message {message_id}", {"received_at": received_at.isoformat(), "sha256": found.sha256})
    return found, proof


def record(asked: Asked, action: str, subject: str, detail: Mapping[str, Any]) -> None:
    """Put an access to evidence on record, before anything of it is sent."""
    said = {**detail, "from": asked.first.isoformat(), "to": asked.last.isoformat(), "revision": asked.revision}
    with asked.state.database.service() as connection:
        asked.state.access.record(connection, asked.principal, action, subject, said, project=asked.project)


def proof_document(found: PayloadTrace, proof: InclusionTrace) -> dict[str, Any]:
    """Write a message and its proof as one document that can be checked away from here (docs/evidence.md)."""
    seal = proof.seal
    return {
        "format": PROOF_FORMAT,
        "site": proof.site,
        "day": proof.day.isoformat(),
        "message": {
            "received_us": microseconds(found.message.received_at),
            "message_id": found.message.message_id,
            "arrived_us": microseconds(found.arrived_at),
            "topic": found.topic,
            "payload": base64.b64encode(found.payload).decode(),
            "payload_sha256": found.sha256,
            "qos": found.qos,
            "retained": found.retained,
            "redelivered": found.redelivered,
            "outcome": found.outcome,
            "readings": found.readings_count,
            "collector": found.collector,
            "note": found.note,
            "salt": proof.salt,
        },
        "place": proof.place,
        "leaf": proof.leaf,
        "path": steps_of(proof),
        "root": None if seal is None else seal.root,
        "messages": None if seal is None else seal.messages,
        "seal": None
        if seal is None
        else {
            "statement": seal.statement,
            "signature": seal.signature,
            "key": seal.key,
            "public_key": seal.public_key,
            "timestamp": None if seal.timestamp is None else base64.b64encode(seal.timestamp.token).decode(),
        },
        "holds": proof.holds,
        "problem": proof.problem,
    }


def steps_of(proof: InclusionTrace) -> list[dict[str, str]]:
    """List the hashes from the leaf up to the root, each with its side; none where there is no proof."""
    if proof.seal is None or proof.place is None or (not proof.path and proof.seal.messages > 1):
        return []
    return audit_path(proof.place, proof.seal.messages, [(one.first, one.end, one.root.hex()) for one in proof.path])


def days_of_month(connection: psycopg.Connection, asked: Asked, month: date) -> list[energy.DayEnergyRow]:
    """Read all register-days of a month."""
    rows: list[energy.DayEnergyRow] = []
    after = None
    while True:
        page = energy.days(connection, asked.key, month, after=after)
        rows += page.rows
        after = page.next
        if after is None:
            return rows
