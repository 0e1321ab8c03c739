"""What the web asks: who this token, this cookie, this person back from the provider is.

Each `connection` has the rights of the service or the owner (`Database.service()` in `deploy/web`).
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg

from deploy.access import accounts, audit, sessions, tokens
from deploy.access.accounts import Account
from deploy.access.errors import SignInError
from deploy.access.oidc import Identity, OidcOptions, Provider
from deploy.access.principal import Principal
from deploy.errors import ConfigurationError
from deploy.settings import Settings
from sql.named import load

_QUERIES = load("access")


@dataclass(frozen=True, slots=True)
class AccessOptions:
    """How long sessions last, and who else knows people."""

    session_idle: timedelta = timedelta(hours=1)
    session_lifetime: timedelta = timedelta(hours=12)
    oidc: OidcOptions | None = None


class Access:
    """Who somebody is; one object for all requests and threads."""

    def __init__(self, options: AccessOptions | None = None) -> None:
        self._options = options or AccessOptions()
        self._provider = Provider(self._options.oidc) if self._options.oidc else None

    @classmethod
    def of(cls, settings: Settings) -> "Access":
        """Make it as the settings say.

        Raises
        ------
        ConfigurationError
            A provider is named, but not what this service is called there.
        """
        if settings.oidc_issuer and not settings.oidc_client_id:
            raise ConfigurationError("JCM_MRV_OIDC_ISSUER is given without JCM_MRV_OIDC_CLIENT_ID; give both")
        secret = settings.oidc_client_secret
        oidc = None
        if settings.oidc_issuer:
            oidc = OidcOptions(
                settings.oidc_issuer,
                settings.oidc_client_id,
                secret.get_secret_value() if secret is not None else None,
                settings.oidc_organisation_claim,
            )
        idle, lifetime = (timedelta(seconds=s) for s in (settings.session_idle_s, settings.session_lifetime_s))
        return cls(AccessOptions(idle, lifetime, oidc))

    @property
    def has_oidc(self) -> bool:
        """Whether a provider is set up."""
        return self._provider is not None

    def principal_of_token(self, connection: psycopg.Connection, token: str) -> Principal | None:
        """Find whose token this is; None when it is unknown, expired, revoked, or its account is disabled."""
        return tokens.principal_of(connection, token)

    def principal_of_session(self, connection: psycopg.Connection, cookie: str) -> tuple[Principal, str] | None:
        """Find whose session this is, and the token that its forms must send along (CSRF).

        None when it is unknown, ended, idle for too long or too old, when its account is disabled, or when the token
        that it began with is revoked.
        """
        return sessions.find(connection, cookie, self._options.session_idle)

    def begin_session(self, connection: psycopg.Connection, principal: Principal) -> str:
        """Begin a session with the principal's scopes; return the cookie's value, which is kept nowhere."""
        return sessions.begin(connection, principal, self._options.session_lifetime)

    def end_session(self, connection: psycopg.Connection, cookie: str) -> None:
        """End a session, also for whoever else has its cookie; one that is not there is let be."""
        sessions.end(connection, cookie)

    def oidc_start(self, callback: str) -> tuple[str, str]:
        """Return where to send the browser, and the handshake to keep in a cookie of it for some minutes.

        Raises
        ------
        SignInError
            No provider is set up, or it does not answer.
        """
        return self._required().start(callback)

    def oidc_finish(self, connection: psycopg.Connection, url: str, handshake: str, callback: str) -> Principal:
        """Tell who came back from the provider.

        Whoever was never here gets an account that may do nothing; an administrator sees it in the list and grants
        what is due. Name and organisation are taken from the provider then, and afterwards are the administrator's.

        Parameters
        ----------
        url
            The whole address with which the browser came back.
        handshake
            What `oidc_start` gave to this browser, from its cookie.
        callback
            As given to `oidc_start`.

        Raises
        ------
        SignInError
            No provider is set up, it does not vouch for anybody, or the account is disabled.
        """
        return self.oidc_principal(connection, self.oidc_identity(url, handshake, callback))

    def oidc_identity(self, url: str, handshake: str, callback: str) -> Identity:
        """Ask the provider who came back, which may take long; the first half of `oidc_finish`.

        Raises
        ------
        SignInError
            No provider is set up, or it does not vouch for anybody.
        """
        return self._required().finish(url, handshake, callback)

    def oidc_principal(self, connection: psycopg.Connection, identity: Identity) -> Principal:
        """Find or make the account of whom the provider vouched for; the second half.

        Raises
        ------
        SignInError
            The account is disabled.
        """
        account = _account_of(connection, identity)
        if account.disabled_at is not None:
            raise SignInError(f"the account {account.name} is disabled; ask an administrator")
        return Principal(account.name, account.person, account.organisation, account.grants)

    def record(
        self,
        connection: psycopg.Connection,
        principal: Principal,
        action: str,
        subject: str,
        detail: Mapping[str, Any] | None = None,
        *,
        project: str | None = None,
    ) -> None:
        """Put on record what somebody does; see `deploy.access.audit.record`."""
        audit.record(connection, principal, action, subject, detail, project=project)

    def _required(self) -> Provider:
        if self._provider is None:
            raise SignInError("no provider is set up here (JCM_MRV_OIDC_ISSUER); sign in with an API token")
        return self._provider


def _account_of(connection: psycopg.Connection, identity: Identity) -> Account:
    known = accounts.find_by_subject(connection, identity.issuer, identity.subject)
    if known is not None:
        return known
    # Never an account that is there: the provider's nicknames are not ours, and anybody may have chosen one.
    nick = re.sub(r"[^a-z0-9._@+-]+", "-", identity.nick.lower()).strip("._@+-")[:80] or "somebody"
    digest = hashlib.sha256(f"{identity.issuer} {identity.subject}".encode()).hexdigest()
    for name in (nick, f"{nick}-{digest[:8]}", f"{nick[:30]}-{digest}"):
        connection.execute(
            _QUERIES["add_account"],
            {
                "name": name,
                "person": identity.person,
                "organisation": identity.organisation,
                "email": identity.email,
                "issuer": identity.issuer,
                "subject": identity.subject,
                "by": name,
            },
        )
        made = accounts.find_by_subject(connection, identity.issuer, identity.subject)
        if made is not None:
            return made
    raise SignInError(f"no account can be named after {nick}; ask an administrator for one")
