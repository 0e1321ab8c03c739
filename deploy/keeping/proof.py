"""Seeing that a database is the evidence it says it is: the account, every seal with its messages, every revision."""

from collections.abc import Callable
from datetime import date
from hashlib import sha256

import psycopg

from deploy.keeping.errors import RestoreError
from ingest.health import health
from mrv.evidence.canonical import Commitments, Message, Seal, message_leaf
from mrv.evidence.keys import VerifyKey
from mrv.evidence.merkle import Tree
from mrv.evidence.sealing import day_span
from mrv.periods import recompute
from sql.named import load

_QUERIES = load("keeping")
_PAGE = 5000

Tell = Callable[[str], None]


def check_account(connection: psycopg.Connection, tell: Tell) -> None:
    """See that the account holds over the rows.

    Raises
    ------
    RestoreError
        It does not; the message names the sites.
    """
    found = health(connection, recount=True)
    wrong = [site.site or "no declared site" for site in found.sites if not site.balanced]
    if wrong:
        raise RestoreError(f"the account does not hold for {', '.join(wrong)}; `jcm-mrv status --recount` shows it")
    messages, readings = found.total()
    tell(f"the account holds over {messages.received:,} messages and {readings.received:,} readings, counted again")


def check_seals(connection: psycopg.Connection, tell: Tell) -> None:
    """See that each site's seals are chained and signed, and that the messages of each day lead to its root.

    The payloads of days that retention took are not there to be held against their roots; their seals are.

    Raises
    ------
    RestoreError
        A seal is not what was signed, or messages are not what was sealed.
    """
    dropped: set[tuple[str, date]] = set(connection.execute(_QUERIES["dropped_days"]).fetchall())
    seals = messages = without = 0
    for (site,) in connection.execute(_QUERIES["sites_with_seals"]).fetchall():
        previous: Seal | None = None
        for day, statement, named, signature, salt, public, counted in connection.execute(
            _QUERIES["seals_of_site"], {"site": site}
        ).fetchall():
            seal = Seal.from_statement(statement)
            signed = VerifyKey.from_raw(bytes(public)).signed(bytes(signature), statement.encode())
            if not signed or sha256(statement.encode()).hexdigest() != named or seal.messages != counted:
                raise RestoreError(f"the {seal.label} is not what was signed")
            if (seal.previous, seal.previous_day) != ((previous.sha256, previous.day) if previous else (None, None)):
                raise RestoreError(f"the {seal.label} does not follow the one before it")
            if (site, day) in dropped:
                without += 1
            else:
                _check_day(connection, seal, bytes(salt))
                messages += seal.messages
            seals, previous = seals + 1, seal
    gone = f"; of {without:,} the messages are gone by retention" if without else ""
    tell(f"{seals:,} seals: chained, each signed, and {messages:,} messages lead to their roots{gone}")


def _check_day(connection: psycopg.Connection, seal: Seal, salt: bytes) -> None:
    tree = Tree()
    start, end = day_span(seal.day)
    with connection.transaction(), connection.cursor(name="jcm_mrv_proof", binary=True) as cursor:
        cursor.itersize = _PAGE
        cursor.execute(_QUERIES["messages_of_day"], {"start": start, "end": end, "site": seal.site})
        for fields in cursor:
            message = Message(*fields)
            tree.add(message_leaf(message, Commitments.of(message, salt)))
    if tree.count != seal.messages or tree.root() != seal.root:
        raise RestoreError(
            f"the messages of {seal.day} ({seal.site or 'no declared site'}) are not what was sealed: "
            f"{seal.messages:,} were, {tree.count:,} are there"
        )


def check_revisions(connection: psycopg.Connection, tell: Tell) -> None:
    """Compute every finished revision again and hold it byte by byte against what was frozen.

    Raises
    ------
    RecomputeError
        One came out differently.
    """
    for project, first, last, number, dropped in connection.execute(_QUERIES["finished_revisions"]).fetchall():
        name = f"revision {number} of {project} {first} to {last}"
        if dropped:
            tell(f"{name}: its messages are gone by retention; its bundle is the evidence")
            continue
        recompute(connection, project, first, last, number)
        tell(f"{name}: computed again, the same byte for byte")
