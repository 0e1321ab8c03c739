"""The attestation of a revision: a signed statement, checked when it is given and whenever it is relied on.

The service holds public keys only, so it can check an attestation and make none.
"""

from dataclasses import dataclass
from typing import Any

import psycopg

from mrv.revisions import find_revision
from mrv.store import now_of
from mrv.verification import keys, statement
from mrv.verification.errors import SignatureError, VerificationError
from mrv.verification.keys import VerifierKey
from mrv.verification.steps import Author, RevisionState, Signed, refusals
from sql.named import load

_QUERIES = load("verification")


@dataclass(frozen=True, slots=True)
class Attestation:
    """A statement as it was signed, and by whom."""

    revision: RevisionState
    statement: bytes
    signature: bytes
    key: VerifierKey
    signed: Signed

    def as_json(self) -> dict[str, Any]:
        """For scripts; the statement as text, the signature in hexadecimal digits."""
        return {
            "project": self.revision.project,
            "from": self.revision.first_day.isoformat(),
            "to": self.revision.last_day.isoformat(),
            "revision": self.revision.revision,
            "statement": self.statement.decode(),
            "signature": self.signature.hex(),
            "key": self.key.key_id,
            "third_party_entity": self.key.third_party_entity,
            **self.signed.as_json(),
        }


def statement_of(connection: psycopg.Connection, revision: RevisionState) -> bytes:
    """Return the statement of a revision: the one that was signed, else the one that would be signed now.

    Raises
    ------
    PeriodError
        The revision is unfinished.
    """
    stored = attestation_of(connection, revision)
    if stored is not None:
        return stored.statement
    return _written(connection, revision, [name for name in revision.open_findings if name.startswith("FAR-")])


def attest(
    connection: psycopg.Connection, revision: RevisionState, signed: bytes, signature: bytes, author: Author
) -> Attestation:
    """Take a signed statement as the attestation of a revision.

    Parameters
    ----------
    connection
        With the role of the verifier.
    revision
        A submitted revision without an open CAR or CL.
    signed, signature
        The statement as it was signed, and the detached signature, 64 bytes.
    author
        The organisation is the third-party entity that the key is registered for.

    Raises
    ------
    SignatureError
        No registered key of that entity made the signature, or what was signed is another statement.
    VerificationError
        The key is expired, withdrawn or not valid yet, a CAR or CL is open, or the revision is not under verification.
    """
    key = _signer(connection, signed, signature, author.organisation)
    statement.compare(signed, statement_of(connection, revision), revision.name)
    given = {
        "period": revision.period_id,
        "revision": revision.revision,
        "key": key.key_id,
        "statement": signed,
        "signature": signature,
        **author.as_row(),
    }
    with refusals():
        connection.execute(_QUERIES["attest"], given)
    return check(connection, revision)


def attestation_of(connection: psycopg.Connection, revision: RevisionState) -> Attestation | None:
    """Find the stored attestation of a revision, unchecked."""
    given = {"period": revision.period_id, "revision": revision.revision}
    row = connection.execute(_QUERIES["attestation"], given).fetchone()
    if row is None:
        return None
    text, signature, key, *signed = row
    return Attestation(revision, bytes(text), bytes(signature), keys.find(connection, key), Signed(*signed))


def check(connection: psycopg.Connection, revision: RevisionState) -> Attestation:
    """Check the stored attestation of a revision again: signature, key, and that the result is still what was signed.

    Raises
    ------
    VerificationError
        There is none.
    SignatureError
        The signature does not hold, or the stored result is not the one that was signed.
    """
    found = attestation_of(connection, revision)
    if found is None:
        raise VerificationError(f"{revision.name} is not attested; it is {revision.state}")
    if not found.key.signed(found.statement, found.signature):
        raise SignatureError(f"the signature stored for {revision.name} was not made by {found.key.key_id} over it")
    said = statement.read(found.statement)
    statement.compare(found.statement, _written(connection, revision, said["open_far"]), revision.name)
    ends = min(filter(None, (found.key.valid_until, found.key.withdrawn_at)))
    if not found.key.valid_from <= found.signed.at < ends:
        raise SignatureError(f"{revision.name} was attested while key {found.key.key_id} was not valid")
    return found


def _written(connection: psycopg.Connection, revision: RevisionState, open_far: list[str]) -> bytes:
    stored = find_revision(connection, revision.project, *revision.days, revision.revision)
    stored.result  # noqa: B018 - refuses an unfinished revision
    return statement.write(stored.result_text or "", stored.inputs_digest or "", open_far)


def _signer(connection: psycopg.Connection, signed: bytes, signature: bytes, organisation: str) -> VerifierKey:
    if len(signature) != keys.SIGNATURE_BYTES:
        raise SignatureError(
            f"a signature has {keys.SIGNATURE_BYTES} bytes, this one {len(signature)}; sign with "
            "`openssl pkeyutl -sign -rawin -inkey KEY -in STATEMENT -out SIGNATURE`"
        )
    known = keys.keys(connection)
    made = [key for key in known if key.signed(signed, signature)]
    if made:
        return made[0]
    now = now_of(connection)
    own = [key for key in known if _plain(key.third_party_entity) == _plain(organisation)]
    if not own:
        raise SignatureError(f"no key is registered for {organisation}; the owner registers one")
    named = ", ".join(f"{key.key_id[:20]}… ({key.state(now)})" for key in own)
    raise SignatureError(
        f"the signature was not made over this statement by a key of {organisation}: wrong key, or another statement "
        f"was signed; registered: {named}"
    )


def _plain(name: str) -> str:
    return " ".join(name.split()).lower()
