"""Signing in with an OpenID Connect provider: authorization code with PKCE, state and nonce (OpenID Connect Core 1.0).

What must be remembered between leaving and coming back goes into a cookie of the browser that left, so that any process
of the service can go on, and nobody can be made to come back into somebody else's sign-in.
"""

import base64
import hmac
import json
import secrets
import ssl
import time
from dataclasses import dataclass, field
from functools import cache
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx
from authlib.common.errors import AuthlibBaseError
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from deploy.access.errors import ProviderError, SignInError

_SCOPE = "openid profile email"
# Never `none`, and nothing with a shared key: what the provider publishes would then sign.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
# How far the provider's clock may be from ours.
_LEEWAY_S = 60
_PATIENCE_S = 10.0
_METADATA_FOR_S = 3600.0
# A key that is not known is looked for again, but no flood of wrong tokens becomes one of requests.
_KEYS_AGAIN_AFTER_S = 30.0
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@dataclass(frozen=True, slots=True)
class OidcOptions:
    """Which provider, and who we are to it."""

    issuer: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    organisation_claim: str = ""
    """The claim that names a person's organisation; empty: none does."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who signed in, as the provider says."""

    issuer: str
    subject: str
    person: str
    organisation: str
    email: str | None
    nick: str
    """What an account could be named after."""


class Provider:
    """One provider; its description and keys are fetched when they are first needed, and kept."""

    def __init__(self, options: OidcOptions) -> None:
        self._options = options
        self._lock = Lock()
        self._metadata: tuple[float, dict[str, Any]] | None = None
        self._keys: tuple[float, KeySet] | None = None

    def start(self, callback: str) -> tuple[str, str]:
        """Return where to send the browser, and the handshake that it must bring back (a cookie's value).

        Parameters
        ----------
        callback
            Where the provider sends the browser then; registered there.

        Raises
        ------
        ProviderError
            The provider does not answer, or not as one.
        """
        known = {name: secrets.token_urlsafe(32) for name in ("state", "nonce")}
        known["verifier"] = secrets.token_urlsafe(48)
        where = prepare_grant_uri(
            self._endpoint("authorization_endpoint"),
            self._options.client_id,
            "code",
            redirect_uri=callback,
            scope=_SCOPE,
            state=known["state"],
            nonce=known["nonce"],
            code_challenge=create_s256_code_challenge(known["verifier"]),
            code_challenge_method="S256",
        )
        return str(where), base64.urlsafe_b64encode(json.dumps(known).encode()).decode()

    def finish(self, url: str, handshake: str, callback: str) -> Identity:
        """Take what the browser brought back, and tell who signed in.

        Parameters
        ----------
        url
            The whole address with which the browser came back.
        handshake
            What `start` gave to the same browser.
        callback
            As given to `start`.

        Raises
        ------
        SignInError
            It is not the browser that left, the person was refused, or the ID token is not to be trusted.
        ProviderError
            The provider does not answer, or not as one.
        """
        state, nonce, verifier = _opened(handshake)
        came = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        if not hmac.compare_digest(came.get("state", "").encode(), state.encode()):
            raise SignInError("this is not the sign-in that this browser began; begin again")
        if came.get("iss", self._options.issuer) != self._options.issuer:
            raise SignInError("another provider answered (iss); begin again")
        if "error" in came:
            said = " ".join(came.get("error_description", came["error"]).split())[:200]
            raise SignInError(f"the provider refused: {said}")
        if "code" not in came:
            raise SignInError("the provider sent no code; begin again")
        answer = self._redeem(came["code"], verifier, callback)
        claims = self._claims(answer, nonce)
        return self._identity(claims, answer.get("access_token"))

    def _redeem(self, code: str, verifier: str, callback: str) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": callback,
            "code_verifier": verifier,
        }
        auth, secret = None, self._options.client_secret
        methods = self._described().get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if secret is not None and "client_secret_basic" in methods:
            auth = httpx.BasicAuth(quote(self._options.client_id, safe=""), quote(secret, safe=""))
        else:
            form["client_id"] = self._options.client_id
            if secret is not None:
                form["client_secret"] = secret
        answer = _json("POST", self._endpoint("token_endpoint"), data=form, auth=auth)
        if not isinstance(answer.get("id_token"), str):
            raise ProviderError("the provider's answer has no ID token; see that the client may use the scope openid")
        return answer

    def _claims(self, answer: dict[str, Any], nonce: str) -> dict[str, Any]:
        try:
            token = self._decoded(answer["id_token"])
            claims = CodeIDToken(
                token.claims,
                token.header,
                {
                    "iss": {"essential": True, "value": self._options.issuer},
                    "aud": {"essential": True, "value": self._options.client_id},
                },
                {"nonce": nonce, "client_id": self._options.client_id, "access_token": answer.get("access_token")},
            )
            claims.validate(leeway=_LEEWAY_S)
        except (JoseError, AuthlibBaseError, ValueError, TypeError) as error:
            raise SignInError(f"the provider's ID token is not to be trusted: {_why(error)}") from error
        if not isinstance(claims["sub"], str) or not 0 < len(claims["sub"]) <= 255:
            raise SignInError("the provider's ID token is not to be trusted: sub")
        return dict(claims)

    def _decoded(self, token: str) -> jwt.Token:
        try:
            return jwt.decode(token, self._keyset(), algorithms=_ALGORITHMS)
        except InvalidKeyIdError:
            # Providers change their keys; the new one is published before it is used.
            return jwt.decode(token, self._keyset(again=True), algorithms=_ALGORITHMS)

    def _identity(self, claims: dict[str, Any], access_token: object) -> Identity:
        described = self._described()
        if "name" not in claims and "userinfo_endpoint" in described and isinstance(access_token, str):
            headers = {"Authorization": f"Bearer {access_token}"}
            more = _json("GET", self._endpoint("userinfo_endpoint"), headers=headers)
            if more.get("sub") != claims["sub"]:
                raise SignInError("the provider tells of another person than its ID token")
            claims = {**more, **claims}

        def said(name: str) -> str:
            value = claims.get(name)
            return " ".join(value.split())[:200] if isinstance(value, str) else ""

        email = said("email")
        nick = said("preferred_username") or email or said("name") or claims["sub"]
        organisation = said(self._options.organisation_claim) if self._options.organisation_claim else ""
        return Identity(self._options.issuer, claims["sub"], said("name") or nick, organisation, email or None, nick)

    def _keyset(self, *, again: bool = False) -> KeySet:
        with self._lock:
            if self._keys is not None:
                fetched, keys = self._keys
                if not again or time.monotonic() - fetched < _KEYS_AGAIN_AFTER_S:
                    return keys
        published = _json("GET", self._endpoint("jwks_uri"))
        try:
            signing = [key for key in published["keys"] if key.get("use", "sig") == "sig"]
            keys = KeySet.import_key_set({"keys": signing})
        except (JoseError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ProviderError(f"the provider's keys cannot be read: {_why(error)}") from error
        with self._lock:
            self._keys = (time.monotonic(), keys)
        return keys

    def _endpoint(self, name: str) -> str:
        found = self._described().get(name)
        if not isinstance(found, str) or not is_protected(found):
            raise ProviderError(f"the provider's description has no {name} with https")
        return found

    def _described(self) -> dict[str, Any]:
        with self._lock:
            if self._metadata is not None and time.monotonic() - self._metadata[0] < _METADATA_FOR_S:
                return self._metadata[1]
        issuer = self._options.issuer
        found = _json("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != issuer:
            raise ProviderError(f"the provider calls itself {found.get('issuer')}, not {issuer}; correct the setting")
        with self._lock:
            self._metadata = (time.monotonic(), found)
        return found


def is_protected(url: str) -> bool:
    """Tell whether what is sent there is protected on its way: https, or a port of this machine."""
    parts = urlsplit(url)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    )


def _opened(handshake: str) -> tuple[str, str, str]:
    try:
        known = json.loads(base64.urlsafe_b64decode(handshake.encode()))
        state, nonce, verifier = known["state"], known["nonce"], known["verifier"]
        if not all(isinstance(value, str) and value for value in (state, nonce, verifier)):
            raise ValueError  # noqa: TRY301 - said as one below
    except (ValueError, KeyError, TypeError):
        raise SignInError("this browser began no sign-in, or too long ago; begin again") from None
    return state, nonce, verifier


@cache
def _tls() -> ssl.SSLContext:
    # The machine's own authorities; reading them takes longer than the request.
    return ssl.create_default_context()


def _json(method: str, url: str, **given: Any) -> dict[str, Any]:
    where = urlsplit(url).hostname
    try:
        with httpx.Client(timeout=_PATIENCE_S, headers={"Accept": "application/json"}, verify=_tls()) as client:
            response = client.request(method, url, **given)
        content = response.json()
    except httpx.HTTPError as error:
        raise ProviderError(f"the provider at {where} does not answer: {error}") from error
    except ValueError as error:
        raise ProviderError(f"the provider at {where} does not answer in JSON ({response.status_code})") from error
    if not isinstance(content, dict):
        raise ProviderError(f"the provider at {where} answers with no object")
    if response.status_code != httpx.codes.OK:
        said = str(content.get("error_description", content.get("error", ""))).strip()[:200]
        raise SignInError(f"the provider at {where} refused ({response.status_code}): {said}")
    return content


def _why(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
