"""Findings: CAR (corrective action request), CL (clarification request), FAR (forward action request).

A finding belongs to its period and keeps its number: while it is open it is carried over to every next revision. CAR
and CL must be closed before the attestation; a FAR may stay open, and the statement names it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

import psycopg
from psycopg.types.json import Jsonb

from mrv.revisions import find_revision
from mrv.verification.errors import VerificationError
from mrv.verification.steps import Author, RevisionState, Signed, refusals
from sql.named import load

_QUERIES = load("verification")
_LABEL = re.compile(r"(CAR|CL|FAR)-([1-9]\d{0,8})", re.IGNORECASE)
_ABOUT = ("system", "device", "day", "rule", "message_id")

Kind = Literal["CAR", "CL", "FAR"]


@dataclass(frozen=True, slots=True)
class About:
    """What a finding refers to; nothing named is the whole period."""

    system: str | None = None
    device: str | None = None
    """As site/device."""
    day: date | None = None
    rule: str | None = None
    message_id: int | None = None

    def as_json(self) -> dict[str, Any]:
        """What is named, as it is stored."""
        given = {
            "system": self.system,
            "device": self.device,
            "day": None if self.day is None else self.day.isoformat(),
            "rule": self.rule,
            "message_id": self.message_id,
        }
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Remark:
    """A response to a finding, or its closing; `revision` was the latest when it was written."""

    text: str
    revision: int
    signed: Signed

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {"text": self.text, "revision": self.revision, **self.signed.as_json()}


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding with what was said to it."""

    finding_id: int
    project: str
    first_day: date
    last_day: date
    revision: int
    label: str
    """Such as CAR-1; of its own in the period."""
    kind: str
    state: str
    """raised, responded or closed."""
    text: str
    about: Mapping[str, Any]
    signed: Signed
    responses: tuple[Remark, ...]
    closing: Remark | None

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "finding": self.label,
            "project": self.project,
            "from": self.first_day.isoformat(),
            "to": self.last_day.isoformat(),
            "revision": self.revision,
            "state": self.state,
            "text": self.text,
            "about": dict(self.about),
            "raised": self.signed.as_json(),
            "responses": [remark.as_json() for remark in self.responses],
            "closing": None if self.closing is None else self.closing.as_json(),
        }


def raise_finding(
    connection: psycopg.Connection, revision: RevisionState, kind: Kind, text: str, about: About, author: Author
) -> Finding:
    """Raise a finding on a submitted revision.

    Parameters
    ----------
    connection
        With the role of the verifier.

    Raises
    ------
    VerificationError
        What it refers to is not in the revision, the revision is not under verification, or the author is not of the
        third-party entity that the project declares.
    """
    _check_about(connection, revision, about)
    given = {
        "period": revision.period_id,
        "revision": revision.revision,
        "kind": kind,
        "text": text,
        "about": Jsonb(about.as_json()),
        **author.as_row(),
    }
    with refusals():
        row = connection.execute(_QUERIES["raise_finding"], given).fetchone()
    assert row is not None  # noqa: S101 - an insert that returns has one row
    return _by_id(connection, row[0])


def respond(connection: psycopg.Connection, finding: Finding, text: str, author: Author) -> Finding:
    """Respond to a finding, with the role of the participant.

    Raises
    ------
    VerificationError
        It is closed, or the author is of the third-party entity.
    """
    return _say(connection, "respond", finding, text, author)


def close(connection: psycopg.Connection, finding: Finding, text: str, author: Author) -> Finding:
    """Close a finding that was responded to, with the role of the verifier.

    Raises
    ------
    VerificationError
        Nobody has responded, it is closed already, or the author is not of the third-party entity.
    """
    return _say(connection, "close", finding, text, author)


def findings(
    connection: psycopg.Connection, project: str, first: date | None = None, last: date | None = None
) -> list[Finding]:
    """List the findings of a period, or of all periods of a project, in the order of period, kind and number."""
    rows = connection.execute(_QUERIES["findings"], {"project": project, "first": first, "last": last, "id": None})
    return [_finding(row) for row in rows]


def find(connection: psycopg.Connection, project: str, first: date, last: date, label: str) -> Finding:
    """Find a finding of a period by its label, such as CAR-1.

    Raises
    ------
    VerificationError
        That is no label, or the period has no such finding.
    """
    match = _LABEL.fullmatch(label)
    if match is None:
        raise VerificationError(f"{label!r} is not a finding; name it as CAR-1, CL-2 or FAR-1")
    wanted = f"{match[1].upper()}-{match[2]}"
    known = findings(connection, project, first, last)
    for finding in known:
        if finding.label == wanted:
            return finding
    have = ", ".join(finding.label for finding in known) or "no finding"
    raise VerificationError(f"{first} to {last} of {project} has no {wanted}; it has {have}")


def _say(connection: psycopg.Connection, what: str, finding: Finding, text: str, author: Author) -> Finding:
    with refusals():
        connection.execute(_QUERIES[what], {"finding": finding.finding_id, "text": text, **author.as_row()})
    return _by_id(connection, finding.finding_id)


def _by_id(connection: psycopg.Connection, number: int) -> Finding:
    row = connection.execute(
        _QUERIES["findings"], {"project": None, "first": None, "last": None, "id": number}
    ).fetchone()
    assert row is not None  # noqa: S101 - it was written just before, and is never deleted
    return _finding(row)


def _finding(row: tuple[Any, ...]) -> Finding:
    number, project, first, last, revision, label, kind, state, text, about, *signed, responses, closing = row
    return Finding(
        finding_id=number,
        project=project,
        first_day=first,
        last_day=last,
        revision=revision,
        label=label,
        kind=kind,
        state=state,
        text=text,
        about={name: about[name] for name in _ABOUT if name in about},
        signed=Signed(*signed),
        responses=tuple(_remark(content) for content in responses),
        closing=None if closing is None else _remark(closing),
    )


def _remark(content: Mapping[str, Any]) -> Remark:
    signed = Signed(datetime.fromisoformat(content["at"]), content["login"], content["person"], content["organisation"])
    return Remark(content["text"], content["revision"], signed)


def _check_about(connection: psycopg.Connection, revision: RevisionState, about: About) -> None:
    stored = find_revision(connection, revision.project, *revision.days, revision.revision)
    declaration = stored.basis.declaration
    systems = [system.id for system in declaration.pv_systems]
    if about.system is not None and about.system not in systems:
        raise VerificationError(f"{revision.name} has no system {about.system}; it has {', '.join(systems)}")
    devices = {f"{device.site}/{device.id}" for device in declaration.devices}
    if about.device is not None and about.device not in devices:
        raise VerificationError(f"{revision.name} has no device {about.device}; name it as SITE/DEVICE")
    if about.day is not None and not revision.first_day <= about.day <= revision.last_day:
        raise VerificationError(f"{about.day} is not a day of {revision.name}")
    if about.rule is not None and about.rule not in stored.result.rules:
        raise VerificationError(f"there is no rule {about.rule}; `jcm-mrv period show` lists those that decided")
    if about.message_id is not None:
        row = connection.execute(_QUERIES["message_exists"], {"message": about.message_id}).fetchone()
        if row is None:
            raise VerificationError(f"there is no message {about.message_id}")
