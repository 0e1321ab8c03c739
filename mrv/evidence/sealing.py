"""Seals: one statement a site and UTC day of receipt, over a Merkle tree of its messages, chained and signed.

A day is sealed once nothing can be written into it any more: `received_at` is the database's clock under the shared
batch lock (`sql/queries/ingest.sql`), so under the exclusive lock everything before the clock's day is committed.
"""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256

import psycopg

from mrv.evidence.canonical import (
    SALT_BYTES,
    Commitments,
    Message,
    Place,
    Seal,
    instant,
    message_leaf,
    microseconds,
)
from mrv.evidence.errors import EvidenceError
from mrv.evidence.keys import SigningKey
from mrv.evidence.merkle import BLOCK, Blocks
from mrv.store import now_of
from sql.named import load

_QUERIES = load("evidence")
_MRV = load("mrv")
_DAY = timedelta(days=1)
_PAGE = 5000

Tell = Callable[[date, int], None]
"""Told after each day: which, and how many messages it had."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a run sealed."""

    days: int
    seals: int
    messages: int


@dataclass(slots=True)
class _Site:
    tree: Blocks
    salt: bytes
    blocks: list[Place]
    """Where each block begins."""
    last: Place


def seal_due(
    connection: psycopg.Connection,
    key: SigningKey,
    *,
    code_version: str,
    tell: Tell = lambda _day, _messages: None,
    go_on: Callable[[], bool] = lambda: True,
) -> Sealed:
    """Seal every day that is over and not sealed; each day is one transaction, with all its sites.

    Parameters
    ----------
    connection
        In autocommit mode, with the role of the MRV module.
    go_on
        Asked before each day.

    Raises
    ------
    EvidenceError
        A message is not what it was when it was received, or a batch of readings was being written for too long.
    """
    until = _closed_until(connection)
    days = seals = messages = 0
    while go_on():
        with connection.transaction():
            connection.execute(_QUERIES["lock_seal"])
            row = connection.execute(_QUERIES["next_day"], {"until": until}).fetchone()
            if row is None or row[0] is None:
                break
            day: date = row[0]
            written = list(_seal_day(connection, key, day, code_version))
        here = sum(seal.messages for seal in written)
        days, seals, messages = days + 1, seals + len(written), messages + here
        tell(day, here)
    return Sealed(days, seals, messages)


def _closed_until(connection: psycopg.Connection) -> datetime:
    """Return the UTC midnight before which no message can be written any more."""
    try:
        with connection.transaction():
            connection.execute(_MRV["freeze_patience"])
            connection.execute(_MRV["freeze_lock"])
            now = now_of(connection)
    except psycopg.errors.LockNotAvailable:
        raise EvidenceError("a batch of readings was being written for over a minute; try again") from None
    return datetime.combine(now.astimezone(UTC).date(), time(), UTC)


def day_span(day: date) -> tuple[datetime, datetime]:
    """Return start and end of a UTC day."""
    start = datetime.combine(day, time(), UTC)
    return start, start + _DAY


def _seal_day(connection: psycopg.Connection, key: SigningKey, day: date, code_version: str) -> Iterator[Seal]:
    public = key.public
    connection.execute(_QUERIES["add_key"], {"key": public.id, "public": public.raw})
    before = {site: (at, hashed) for site, at, hashed in connection.execute(_QUERIES["last_seals"])}
    created = now_of(connection)
    for site, of_site in sorted(_trees(connection, day).items()):
        previous_day, previous = before.get(site, (None, None))
        seal = Seal(
            site=site,
            day=day,
            messages=of_site.tree.count,
            root=of_site.tree.root(),
            first=of_site.blocks[0],
            last=of_site.last,
            previous=previous,
            previous_day=previous_day,
            code_version=code_version,
            created_us=microseconds(created),
            key=public.id,
        )
        connection.execute(
            _QUERIES["add_seal"],
            {
                "site": site,
                "day": day,
                "messages": seal.messages,
                "statement": seal.statement,
                "sha256": seal.sha256,
                "signature": key.sign(seal.statement.encode()),
                "key": public.id,
                "salt": of_site.salt,
                "created": created,
            },
        )
        _keep_blocks(connection, seal, of_site)
        yield seal


def _keep_blocks(connection: psycopg.Connection, seal: Seal, of_site: _Site) -> None:
    """Keep the roots of the tree's blocks, so that a proof needs the messages of one block only."""
    rows = [
        {
            "site": seal.site,
            "day": seal.day,
            "block": number,
            "received": instant(first.received_us),
            "message": first.message_id,
            "root": root,
        }
        for number, (first, root) in enumerate(zip(of_site.blocks, of_site.tree.roots(), strict=True))
    ]
    connection.cursor().executemany(_QUERIES["add_block"], rows)


def _trees(connection: psycopg.Connection, day: date) -> dict[str, _Site]:
    """Make the tree of each site, in one pass over the day."""
    start, end = day_span(day)
    sites: dict[str, _Site] = {}
    with connection.cursor(name="jcm_mrv_seal", binary=True) as cursor:
        cursor.itersize = _PAGE
        cursor.execute(_QUERIES["messages_of_day"], {"start": start, "end": end})
        for *fields, kept in cursor:
            message = Message(*fields)
            if sha256(message.payload).digest() != kept:
                raise EvidenceError(
                    f"{message.label} is not what was received: its payload does not match its sha-256; "
                    "restore the row from a backup, nothing of that day is sealed before"
                )
            place = Place(message.received_us, message.message_id)
            site = sites.get(message.site)
            if site is None:
                site = sites[message.site] = _Site(Blocks(), secrets.token_bytes(SALT_BYTES), [], place)
            if site.tree.count % BLOCK == 0:
                site.blocks.append(place)
            site.tree.add(message_leaf(message, Commitments.of(message, site.salt)))
            site.last = place
    return sites
