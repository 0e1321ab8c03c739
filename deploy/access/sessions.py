"""Sessions of browsers: begun by a token or by a provider, ended by leaving, by idling, or by the clock."""

import hmac
import secrets
from datetime import timedelta

import psycopg

from deploy.access import accounts, tokens
from deploy.access.principal import Principal
from sql.named import load

_QUERIES = load("access")
_BYTES = 32


def begin(connection: psycopg.Connection, principal: Principal, lifetime: timedelta) -> str:
    """Begin a session with a principal's scopes; return the cookie's value, which is kept nowhere.

    One that begins with a token expires with it, and ends when it is revoked.
    """
    cookie = secrets.token_urlsafe(_BYTES)
    with connection.transaction():
        connection.execute(_QUERIES["forget_sessions"])
        connection.execute(
            _QUERIES["begin_session"],
            {
                "sha256": tokens.digest(cookie),
                "account": principal.account,
                "token": principal.token,
                "scopes": sorted(scope.value for scope in principal.scopes),
                "csrf": secrets.token_urlsafe(_BYTES),
                "lifetime": lifetime,
            },
        )
    return cookie


def find(connection: psycopg.Connection, cookie: str, idle: timedelta) -> tuple[Principal, str] | None:
    """Find whose session this is, and the token that its forms must send along.

    Parameters
    ----------
    idle
        How long nothing may have been asked; told to the minute.
    """
    sha256 = tokens.digest(cookie)
    row = connection.execute(_QUERIES["session_seen"], {"sha256": sha256, "idle": idle}).fetchone()
    if row is None or not hmac.compare_digest(row[0], sha256):
        return None
    _, scopes, csrf, account, person, organisation, grants = row
    scopes = frozenset(tokens.scopes_of(scopes))
    return Principal(account, person, organisation, accounts.grants_of(grants), scopes), csrf


def end(connection: psycopg.Connection, cookie: str) -> None:
    """End a session; one that ended or never was is let be."""
    connection.execute(_QUERIES["end_session"], {"sha256": tokens.digest(cookie)})
