"""The record of who looked at what: rows of `audit_event`, which nobody changes (docs/access.md)."""

import json
import re
from collections.abc import Mapping
from typing import Any

import psycopg

from deploy.access.principal import Principal
from sql.named import load

_QUERIES = load("access")
_ACTION = re.compile(r"[a-z_]+\.[a-z_]+")


def record(
    connection: psycopg.Connection,
    principal: Principal,
    action: str,
    subject: str,
    detail: Mapping[str, Any] | None = None,
    *,
    project: str | None = None,
) -> None:
    """Put on record what somebody does, before it is done, so that nothing is seen without a record.

    Parameters
    ----------
    connection
        With the rights of the service or the owner: outside of `acting` with a role that sees projects.
    action
        Such as `evidence.read`.
    subject
        What it is done to, such as `message 4711`. Never a secret, nor `detail`.
    project
        Whose project it is; who may see that project may then see this record. None: nobody but the house.
    """
    if not _ACTION.fullmatch(action):
        raise ValueError(f"{action!r} is no name of an action, such as evidence.read")
    known = {**(detail or {}), "person": principal.person, "organisation": principal.organisation}
    known |= {name: value for name, value in (("project", project), ("token", principal.token)) if value is not None}
    given = {"actor": principal.account, "action": action, "subject": subject}
    connection.execute(_QUERIES["record"], {**given, "detail": json.dumps(known, ensure_ascii=False)})
