"""That a message is in the seal of its site and day: leaf, path and root, in the published form (docs/evidence.md)."""

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import psycopg

from mrv.evidence.canonical import Commitments, Message, Place, Seal, instant, message_leaf, message_salt, microseconds
from mrv.evidence.errors import TimestampError
from mrv.evidence.keys import VerifyKey
from mrv.evidence.merkle import BLOCK, Hidden, prove, prove_in_block, proven_root, root_over
from mrv.evidence.rows import proof_json
from mrv.evidence.sealing import day_span
from mrv.evidence.timestamping import check_token
from mrv.tracing.errors import NotThereError
from mrv.tracing.frozen import QUERIES


@dataclass(frozen=True, slots=True)
class SealTrace:
    """The seal of a site and day."""

    statement: str
    """The bytes that are signed, in UTF-8."""
    sha256: str
    signature: str
    """Hexadecimal."""
    signature_holds: bool
    key: str
    public_key: str
    """Hexadecimal. It says nothing of who holds it: have it from the operator on another way."""
    root: str
    messages: int
    previous: str | None
    """SHA-256 of the statement of the site's seal before this one."""
    previous_day: date | None
    chain_holds: bool
    """Whether the seal of that day is the one that this one names."""
    created_at: datetime
    timestamp: "TimestampTrace | None"


@dataclass(frozen=True, slots=True)
class TimestampTrace:
    """A time stamp of a seal (RFC 3161)."""

    time: datetime
    """By the authority's clock."""
    policy: str
    token: bytes
    covers: bool
    """Whether it is over this statement. Who signed it is not looked at: that needs the authority's root."""


@dataclass(frozen=True, slots=True)
class InclusionTrace:
    """Where a message stands in the sealed tree of its day; or when it will."""

    site: str
    day: date
    """UTC day of receipt."""
    sealed: bool
    due: datetime
    """When the day is over and can be sealed."""
    seal: SealTrace | None
    place: int | None
    """From 0, among `seal.messages`."""
    leaf: str | None
    """Hexadecimal."""
    salt: str | None
    """The message's own salt in hexadecimal, from which its commitments and leaf can be made; it tells nothing of other
    messages."""
    path: tuple[Hidden, ...]
    """Roots of the subtrees beside it, from left to right, as bundles write proofs."""
    holds: bool
    """Whether leaf and path come to the sealed root."""
    problem: str | None
    """What does not hold, in a sentence."""

    def proof_json(self) -> list[dict[str, Any]]:
        """Write the path as bundles do."""
        return proof_json(list(self.path))


def inclusion(connection: psycopg.Connection, received_at: datetime, message_id: int) -> InclusionTrace:
    """Prove that a message is in the seal of its site and day; or say when it will be.

    Raises
    ------
    NotThereError
        There is no such message, or it is not seen.
    """
    row = connection.execute(QUERIES["message_site"], {"received_at": received_at, "message_id": message_id}).fetchone()
    if row is None:
        raise NotThereError(f"there is no message {message_id} received at {received_at.isoformat()}")
    site: str = row[0]
    day = received_at.astimezone(UTC).date()
    due = day_span(day)[1]
    stored = connection.execute(QUERIES["seal"], {"site": site, "day": day}).fetchone()
    if stored is None:
        return InclusionTrace(site, day, False, due, None, None, None, None, (), False, None)
    statement, signature, salt, public, token, stamped, policy, before = stored
    seal = Seal.from_statement(statement)
    trace = _seal(seal, bytes(signature), bytes(public), before, token, stamped, policy)
    place = Place(microseconds(received_at), message_id)
    proof = _prove(connection, seal, bytes(salt), place)
    problems = [] if trace.signature_holds else ["the signature over the seal does not hold"]
    if (seal.site, seal.day) != (site, day):
        problems.append("the seal is one of another site or day")
    if not trace.chain_holds:
        problems.append("the seal before it is not the one that it names")
    if proof.problem:
        problems.append(proof.problem)
    return InclusionTrace(
        site=site,
        day=day,
        sealed=True,
        due=due,
        seal=trace,
        place=proof.place,
        leaf=None if proof.leaf is None else proof.leaf.hex(),
        salt=message_salt(bytes(salt), *place).hex(),
        path=proof.path,
        holds=not problems,
        problem="; ".join(problems) or None,
    )


class _Proof(NamedTuple):
    place: int | None = None
    leaf: bytes | None = None
    path: tuple[Hidden, ...] = ()
    problem: str | None = None


def _prove(connection: psycopg.Connection, seal: Seal, salt: bytes, wanted: Place) -> _Proof:
    """Prove a message from those of its block; from all of the day where the blocks do not make the sealed root."""
    start, end = day_span(seal.day)
    given = {"site": seal.site, "day": seal.day}
    blocks = [
        (Place(microseconds(received_at), number), bytes(root))
        for received_at, number, root in connection.execute(QUERIES["blocks"], given)
    ]
    if len(blocks) == -(-seal.messages // BLOCK) and root_over(root for _, root in blocks) == seal.root:
        firsts = [first for first, _ in blocks]
        number = bisect_right(firsts, wanted) - 1
        if number < 0:
            return _Proof(problem="it lies before the first message that was sealed")
        last = firsts[number + 1] if number + 1 < len(firsts) else Place(microseconds(end), 0)
        leaves, at = _leaves(connection, seal.site, salt, firsts[number], last, wanted)
        if at is None or root_over(leaves) != blocks[number][1]:
            return _Proof(problem="this message, or one of the 255 around it, is not what was sealed")
        place = number * BLOCK + at
        path = tuple(prove_in_block([root for _, root in blocks], leaves, place, seal.messages))
    else:
        leaves, at = _leaves(
            connection, seal.site, salt, Place(microseconds(start), 0), Place(microseconds(end), 0), wanted
        )
        if at is None or len(leaves) != seal.messages:
            return _Proof(problem=f"{seal.messages} messages of the day were sealed, {len(leaves)} are there now")
        place, path = at, tuple(prove(leaves, [at]))
    # The check that a reader of one's own makes: leaf and path, against the root that was signed.
    holds = proven_root(seal.messages, {place: leaves[at]}, path) == seal.root
    return _Proof(place, leaves[at], path, None if holds else "the messages of the day are not what was sealed")


def _leaves(
    connection: psycopg.Connection, site: str, salt: bytes, first: Place, end: Place, wanted: Place
) -> tuple[list[bytes], int | None]:
    """Hash the messages of a site from one to before another; say where the wanted one stands among them."""
    given = {
        "site": site,
        "start": instant(first.received_us),
        "end": instant(end.received_us),
        "first_id": first.message_id,
        "end_id": end.message_id,
    }
    leaves: list[bytes] = []
    at = None
    for fields in connection.cursor(binary=True).execute(QUERIES["leaves"], given):
        message = Message(*fields)
        if (message.received_us, message.message_id) == wanted:
            at = len(leaves)
        leaves.append(message_leaf(message, Commitments.of(message, salt)))
    return leaves, at


def _seal(
    seal: Seal,
    signature: bytes,
    public: bytes,
    before: str | None,
    token: bytes | None,
    stamped: datetime | None,
    policy: str | None,
) -> SealTrace:
    key = VerifyKey.from_raw(public)
    return SealTrace(
        statement=seal.statement,
        sha256=seal.sha256,
        signature=signature.hex(),
        signature_holds=key.id == seal.key and key.signed(signature, seal.statement.encode()),
        key=seal.key,
        public_key=public.hex(),
        root=seal.root.hex(),
        messages=seal.messages,
        previous=seal.previous,
        previous_day=seal.previous_day,
        chain_holds=seal.previous == before,
        created_at=instant(seal.created_us),
        timestamp=None
        if token is None or stamped is None or policy is None
        else TimestampTrace(stamped, policy, bytes(token), _covers(bytes(token), seal)),
    )


def _covers(token: bytes, seal: Seal) -> bool:
    try:
        check_token(token, seal.statement.encode(), ())
    except TimestampError:
        return False
    return True
