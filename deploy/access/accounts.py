"""Accounts, and the roles that are granted to them: each change is put on record by the database (0010_access.sql)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from deploy.access.errors import AccessError, UnknownAccountError
from deploy.access.principal import AccountRole, Grant
from sql.named import load

_QUERIES = load("access")
_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,99}")


@dataclass(frozen=True, slots=True)
class Account:
    """An account as it stands, with the grants that hold."""

    name: str
    person: str
    organisation: str
    email: str | None
    oidc_issuer: str | None
    oidc_subject: str | None
    created_at: datetime
    disabled_at: datetime | None
    grants: tuple[Grant, ...]


def add(
    connection: psycopg.Connection,
    name: str,
    person: str,
    organisation: str = "",
    *,
    email: str | None = None,
    oidc: tuple[str, str] | None = None,
    by: str | None = None,
) -> Account:
    """Add an account, which may do nothing until something is granted to it.

    Parameters
    ----------
    name
        Lower case letters, digits and `._@+-`; never given to anybody else.
    person, organisation
        As findings and submissions shall name who acts.
    oidc
        Issuer and subject at the provider; None: signs in with tokens only.
    by
        Who adds it; None: the database's login.

    Raises
    ------
    AccessError
        The name cannot be one, or it or the provider's subject is taken.
    """
    if not _NAME.fullmatch(name):
        raise AccessError(f"{name!r} cannot be an account's name; use up to 100 of a-z, 0-9 and ._@+-, no other first")
    if not person.strip():
        raise AccessError("an account is a person's; give the person's name")
    issuer, subject = oidc or (None, None)
    given = {"name": name, "person": person, "organisation": organisation, "email": email}
    if not connection.execute(
        _QUERIES["add_account"], {**given, "issuer": issuer, "subject": subject, "by": by}
    ).fetchone():
        taken = f"there is an account {name} already" if _select(connection, name=name) else f"{subject} has an account"
        raise AccessError(f"{taken}; `jcm-mrv account list` shows all")
    return find(connection, name)


def list_accounts(connection: psycopg.Connection) -> list[Account]:
    """List all accounts by name, the disabled ones too."""
    return _select(connection)


def find(connection: psycopg.Connection, name: str) -> Account:
    """Find an account, also a disabled one.

    Raises
    ------
    UnknownAccountError
        There is none; the message names those there are.
    """
    found = _select(connection, name=name)
    if not found:
        known = [account.name for account in _select(connection)]
        raise UnknownAccountError(f"there is no account {name}; {_there_are('account', known)}")
    return found[0]


def find_by_subject(connection: psycopg.Connection, issuer: str, subject: str) -> Account | None:
    """Find the account of a provider's subject, also a disabled one."""
    found = _select(connection, issuer=issuer, subject=subject)
    return found[0] if found else None


def grant(
    connection: psycopg.Connection, account: str, role: AccountRole, project: str | None, *, by: str | None = None
) -> bool:
    """Grant a role for a project, or with None for all; tell whether that is new.

    Raises
    ------
    UnknownAccountError
        There is no such account or project.
    """
    find(connection, account)
    known_project(connection, project)
    given = {"account": account, "role": role.value, "project": project, "by": by}
    return connection.execute(_QUERIES["grant"], given).fetchone() is not None


def revoke(
    connection: psycopg.Connection, account: str, role: AccountRole, project: str | None, *, by: str | None = None
) -> None:
    """Take a grant back, from the next request on; None is the grant for all projects.

    Raises
    ------
    UnknownAccountError
        There is no such account, or the role is not granted to it for that.
    """
    found = find(connection, account)
    given = {"account": account, "role": role.value, "project": project, "by": by}
    if not connection.execute(_QUERIES["revoke"], given).fetchone():
        held = ", ".join(describe(one) for one in found.grants) or "nothing"
        raise UnknownAccountError(f"{account} is not {describe(Grant(role, project))}; granted is {held}")


def disable(connection: psycopg.Connection, account: str, *, by: str | None = None) -> None:
    """Let nobody act under an account any more: its tokens and sessions end with it.

    Raises
    ------
    UnknownAccountError
        There is no such account.
    AccessError
        It is disabled already.
    """
    with connection.transaction():
        find(connection, account)
        if not connection.execute(_QUERIES["disable_account"], {"name": account, "by": by}).fetchone():
            raise AccessError(f"{account} is disabled already")
        connection.execute(_QUERIES["end_sessions_of"], {"account": account})


def known_project(connection: psycopg.Connection, project: str | None) -> None:
    """See that a project is declared; None stands for all.

    Raises
    ------
    UnknownAccountError
        It is not; the message names those that are.
    """
    known = [name for (name,) in connection.execute(_QUERIES["projects"])]
    if project is not None and project not in known:
        raise UnknownAccountError(f"there is no project {project}; {_there_are('project', known)}")


def describe(given: Grant) -> str:
    """Say a grant in words."""
    return f"{given.role.value} of {given.project or 'all projects'}"


def grants_of(rows: Sequence[Mapping[str, Any]]) -> tuple[Grant, ...]:
    """Read grants as the queries give them."""
    return tuple(Grant(AccountRole(row["role"]), row["project"]) for row in rows)


def _select(
    connection: psycopg.Connection, *, name: str | None = None, issuer: str | None = None, subject: str | None = None
) -> list[Account]:
    rows = connection.execute(_QUERIES["accounts"], {"name": name, "issuer": issuer, "subject": subject})
    return [Account(*(*row[:-1], grants_of(row[-1]))) for row in rows]


def _there_are(what: str, known: Sequence[str]) -> str:
    return f"there are {', '.join(known)}" if known else f"there is no {what} yet"
