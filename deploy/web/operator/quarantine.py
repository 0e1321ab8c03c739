"""The quarantine in a browser or a script: page by page, entry by entry, and through the collector's way again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import psycopg
import structlog
from fastapi import Request
from fastapi.responses import Response

from deploy.access.principal import Permission, Principal
from deploy.web.operator import models
from deploy.web.operator.watch import replayable
from deploy.web.problems import BadRequestError, ForbiddenError, NotFoundError, RefusedError
from deploy.web.state import state_of
from devices.decoding.catalogue import load as load_families
from ingest.errors import QuarantineEntryUnknownError
from ingest.quarantine import Detail, Selection, show
from ingest.quarantine_replay import Replay
from sql.connection import reported
from sql.errors import SchemaError
from sql.named import load

log = structlog.get_logger()


class Line(NamedTuple):
    """An entry as lists show it."""

    id: int
    received_at: datetime
    site: str
    topic: str
    reason: str
    detail: str
    element: int | None
    released_at: datetime | None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries are asked for; None: whatever."""

    reason: str | None = None
    site: str | None = None
    waiting: bool = True


@contextmanager
def reading(request: Request, principal: Principal) -> Iterator[psycopg.Connection]:
    """Take a connection that sees the quarantine of the sites that somebody operates.

    Raises
    ------
    ForbiddenError
        They operate none.
    """
    if not principal.may_anywhere(Permission.READ_OPERATIONS):
        raise ForbiddenError(f"{principal.account} may not see the quarantine; it takes the role operator")
    with state_of(request).database.reading(principal, Permission.READ_OPERATIONS) as connection:
        yield connection


def page(
    connection: psycopg.Connection, wanted: Filter, limit: int, after: str | None
) -> tuple[list[Line], str | None]:
    """Read a part of the entries, the newest first, and what the next part comes after.

    Raises
    ------
    BadRequestError
        `after` is not what an answer gave.
    """
    if after is not None and not (after.isascii() and after.isdigit() and len(after) < 19):
        raise BadRequestError("`after` is not what an answer gave as `next`")
    given = {"reason": wanted.reason, "site": wanted.site, "waiting": wanted.waiting}
    rows = connection.execute(
        load("operator")["page"], given | {"before": int(after) if after else None, "limit": limit + 1}
    )
    found = [Line(*row) for row in rows]
    return found[:limit], str(found[limit - 1].id) if len(found) > limit else None


def detail(connection: psycopg.Connection, number: int) -> Detail:
    """Read an entry with its message.

    Raises
    ------
    NotFoundError
        There is none, or it is not theirs to see.
    """
    try:
        return show(connection, number)
    except QuarantineEntryUnknownError:
        raise NotFoundError(f"there is no quarantine entry {number}, or it is not yours to see") from None


def project_of(connection: psycopg.Connection, number: int) -> str | None:
    """Tell whose project an entry is of; None: of no declared site."""
    rows = connection.execute(load("operator")["project_of_entries"], {"ids": [number]}).fetchall()
    return rows[0][1] if rows else None


def record(request: Request, principal: Principal, found: Detail, project: str | None) -> None:
    """Put on record that the bytes of an entry's message were read."""
    state = state_of(request)
    subject, detail = f"quarantine {found.entry.quarantine_id}", {"message_id": found.message_id}
    with state.database.service() as connection:
        state.access.record(connection, principal, "evidence.read", subject, detail, project=project)


def payload(request: Request, principal: Principal, number: int) -> Response:
    """Answer with the bytes of an entry's message, and put the access on record.

    Raises
    ------
    NotFoundError, ForbiddenError
        There is none, it is not theirs to see, or payloads are not.
    """
    with reading(request, principal) as connection:
        found = detail(connection, number)
        project = project_of(connection, number)
    if not principal.may(Permission.READ_EVIDENCE, project):
        raise ForbiddenError(f"{principal.account} may not read payloads of {project or 'no project'}")
    record(request, principal, found, project)
    # Never as what a browser would show: a payload is anybody's.
    return Response(
        found.payload,
        media_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="message-{found.message_id}.bin"'},
    )


def replay(request: Request, principal: Principal, order: models.ReplayOrder) -> models.ReplayOutcome:
    """Put entries through the collector's way again, with what is declared now.

    Raises
    ------
    NotFoundError, ForbiddenError
        An entry is not there or not theirs to see; or they may not replay it.
    RefusedError
        The service's login may not write as a collector does.
    """
    state = state_of(request)
    with reading(request, principal) as connection:
        allowed, others = replayable(connection, principal, order.ids)
    if others:
        raise NotFoundError(f"there is no quarantine entry {others[0]} that you may replay")
    again = Replay(
        state.database.url,
        future_tolerance=state.settings.future_tolerance,
        limit_bytes=state.settings.payload_limit_bytes,
        dry_run=order.dry_run,
        catalogue=load_families(state.settings.profiles),
    )
    try:
        with reported():
            done = again.run(Selection(ids=tuple(allowed)))
    except SchemaError as error:
        # It names the database's host, which is the house's business.
        log.warning("replay_refused", reason=str(error))
        raise RefusedError(
            "this service may not write as a collector does; replay with `jcm-mrv quarantine replay`, or have the "
            "database's owner grant jcm_mrv_collector to its login"
        ) from None
    finally:
        again.close()
    if not order.dry_run:
        with state.database.service() as connection:
            state.access.record(
                connection, principal, "quarantine.replayed", f"{len(allowed)} entries", {"ids": allowed[:100]}
            )
    return models.ReplayOutcome(
        dry_run=order.dry_run,
        messages=done.messages,
        written={str(outcome): count for outcome, count in done.outcomes.items() if count},
        readings={str(outcome): count for outcome, count in done.readings.items() if count},
        released=done.released,
        refused=dict(done.refused),
    )
