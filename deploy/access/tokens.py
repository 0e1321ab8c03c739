"""API tokens: 256 random bits that are shown once; the database holds their SHA-256 and what they may be used for.

A fast digest suffices because nobody can try 2^256 values, unlike the passwords that slow digests are for.
"""

import hashlib
import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import psycopg

from deploy.access import accounts
from deploy.access.errors import AccessError, UnknownAccountError
from deploy.access.principal import Principal, Scope
from sql.named import load

_QUERIES = load("access")
PREFIX = "jcm_"
"""What a token begins with, so that scanners of source code and logs can find one that was left there."""
_BYTES = 32
_LENGTH = len(PREFIX) + 43
LONGEST = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token; the only place where it stands in clear."""

    token_id: int
    token: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ApiToken:
    """What is known of a token."""

    token_id: int
    account: str
    name: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    """To the hour."""
    revoked_at: datetime | None
    state: str
    """`valid`, `expired`, `revoked`, or `disabled` with its account."""


def issue(
    connection: psycopg.Connection,
    account: str,
    name: str,
    scopes: Collection[Scope],
    lifetime: timedelta,
    *,
    by: str | None = None,
) -> Issued:
    """Issue a token for an account.

    Parameters
    ----------
    name
        What it is for; no two of an account that are not revoked have the same.
    lifetime
        Up to 366 days.

    Raises
    ------
    UnknownAccountError
        There is no such account.
    AccessError
        It is disabled, the name is taken, there is no scope, or the lifetime is none or too long.
    """
    if accounts.find(connection, account).disabled_at is not None:
        raise AccessError(f"{account} is disabled; no token is issued for it")
    if not timedelta(0) < lifetime <= LONGEST:
        raise AccessError(f"a token is valid for 1 to {LONGEST.days} days")
    if not scopes or not name.strip():
        raise AccessError("a token has a name and at least one scope")
    token = PREFIX + secrets.token_urlsafe(_BYTES)
    given = {"account": account, "name": name.strip(), "lifetime": lifetime, "by": by}
    row = connection.execute(
        _QUERIES["issue_token"], {**given, "sha256": digest(token), "scopes": sorted(scope.value for scope in scopes)}
    ).fetchone()
    if row is None:
        raise AccessError(f"{account} has a token {name.strip()} already; revoke it or give another name")
    return Issued(row[0], token, row[2])


def tokens(connection: psycopg.Connection, account: str | None = None) -> list[ApiToken]:
    """List the tokens of an account, or of all, in the order in which they were issued."""
    rows = connection.execute(_QUERIES["tokens"], {"account": account, "token": None})
    return [ApiToken(*(*row[:3], scopes_of(row[3]), *row[4:])) for row in rows]


def revoke(connection: psycopg.Connection, token_id: int, *, by: str | None = None) -> None:
    """Revoke a token, from the next request on; the sessions that began with it end too.

    Raises
    ------
    UnknownAccountError
        There is no such token.
    AccessError
        It is revoked already.
    """
    if connection.execute(_QUERIES["revoke_token"], {"token": token_id, "by": by}).fetchone():
        return
    if connection.execute(_QUERIES["tokens"], {"account": None, "token": token_id}).fetchone():
        raise AccessError(f"token {token_id} is revoked already")
    known = ", ".join(
        f"{one.token_id} ({one.account} {one.name})" for one in tokens(connection) if one.state == "valid"
    )
    raise UnknownAccountError(f"there is no token {token_id}; valid are {known or 'none'}")


def principal_of(connection: psycopg.Connection, token: str) -> Principal | None:
    """Find whose token this is; None when it is unknown, expired, revoked, or its account is disabled."""
    if len(token) != _LENGTH or not token.startswith(PREFIX) or not token.isascii():
        return None
    sha256 = digest(token)
    row = connection.execute(_QUERIES["token_used"], {"sha256": sha256}).fetchone()
    if row is None or not hmac.compare_digest(row[1], sha256):
        return None
    number, _, scopes, account, person, organisation, grants = row
    return Principal(
        account, person, organisation, accounts.grants_of(grants), frozenset(scopes_of(scopes)), token=str(number)
    )


def digest(secret: str) -> bytes:
    """Return what the database holds of a token or a cookie."""
    return hashlib.sha256(secret.encode()).digest()


def scopes_of(names: Collection[str]) -> tuple[Scope, ...]:
    """Read scopes as the database gives them, in the order of their declaration."""
    return tuple(scope for scope in Scope if scope.value in names)
