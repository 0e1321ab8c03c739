"""Signing in with a provider that is real, and every way in which what it says is not to be trusted."""

import base64
import hmac
import json
import time
from collections.abc import Iterator
from urllib.parse import parse_qs, urlencode, urlsplit

import psycopg
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from deploy.access import accounts
from deploy.access.errors import ProviderError, SignInError
from deploy.access.facade import Access, AccessOptions
from deploy.access.oidc import OidcOptions
from deploy.access.principal import AccountRole, Grant
from deploy.errors import ConfigurationError
from deploy.settings import Settings
from sql.connection import Role, connect
from tests.integration.oidc_provider import CALLBACK, CLIENT, SECRET, OidcProvider, Person, running


@pytest.fixture
def provider() -> Iterator[OidcProvider]:
    with running() as provider:
        yield provider


@pytest.fixture
def service(shared_database: str) -> Iterator[psycopg.Connection]:
    with connect(shared_database, Role.SERVICE) as connection:
        yield connection


def access(provider: OidcProvider, *, secret: str | None = SECRET, claim: str = "") -> Access:
    return Access(AccessOptions(oidc=OidcOptions(provider.issuer, CLIENT, secret, claim)))


def sign_in(service: psycopg.Connection, one: Access):
    where, handshake = one.oidc_start(CALLBACK)
    return one.oidc_finish(service, OidcProvider.sign_in(where), handshake, CALLBACK)


@pytest.mark.parametrize(
    ("key", "alg", "methods"),
    [
        ("rsa", "RS256", ["client_secret_basic"]),
        ("ec", "ES256", ["client_secret_post"]),
        ("rsa", "PS256", ["client_secret_basic"]),
    ],
)
def test_whoever_signs_in_first_gets_an_account_that_may_do_nothing(service, provider, key, alg, methods) -> None:
    provider.key, provider.alg, provider.methods = key, alg, methods
    one = access(provider, claim="org")
    provider.person.claims["org"] = "Body"
    found = sign_in(service, one)
    assert (found.person, found.organisation, found.grants, found.token) == ("Ada Lovelace", "Body", (), None)
    account = accounts.find(service, found.account)
    assert (account.oidc_issuer, account.oidc_subject, account.email) == (provider.issuer, "s-1", "ada@example.org")
    accounts.grant(service, found.account, AccountRole.VERIFIER, None)
    provider.person.claims |= {"name": "Ada King", "preferred_username": "countess"}
    again = sign_in(service, one)
    # The same person by the subject; what the account says is the administrator's from now on.
    assert (again.account, again.person, again.grants) == (
        found.account, "Ada Lovelace", (Grant(AccountRole.VERIFIER),))  # fmt: skip
    cookie = one.begin_session(service, again)
    principal, csrf = one.principal_of_session(service, cookie)
    assert (principal, len(csrf)) == (again, 43)


def test_a_name_at_the_provider_is_nobody_elses_account(service, provider) -> None:
    accounts.add(service, "boss", "The Boss")
    accounts.grant(service, "boss", AccountRole.ADMINISTRATOR, None)
    provider.person = Person("s-2", {"name": "Mallory", "preferred_username": "Boss"})
    found = sign_in(service, access(provider))
    assert found.account.startswith("boss-")
    assert found.grants == ()


@pytest.mark.parametrize(
    ("claims", "person", "name"),
    [
        ({}, "s-名", "s"),
        ({"email": "x@example.org"}, "x@example.org", "x@example.org"),
        ({"name": " Zoë \n Ño "}, "Zoë Ño", "zo-o"),
        ({"preferred_username": "_" * 300, "name": 7}, "_" * 200, "somebody"),
    ],
)
def test_an_account_is_named_after_whatever_the_provider_tells(service, provider, claims, person, name) -> None:
    provider.person = Person("s-名", claims, {"sub": "s-名"})
    found = sign_in(service, access(provider))
    assert (found.person, found.account) == (person, name)


def test_what_the_id_token_leaves_out_is_asked_for(service, provider) -> None:
    provider.person = Person("s-3", {}, {"sub": "s-3", "name": "Grace Hopper", "iss": "elsewhere"})
    assert sign_in(service, access(provider)).person == "Grace Hopper"
    provider.person.userinfo["sub"] = "s-4"
    with pytest.raises(SignInError, match="another person"):
        sign_in(service, access(provider))


def test_a_disabled_account_does_not_sign_in(service, provider) -> None:
    provider.person = Person("s-5", {"name": "Eve", "preferred_username": "eve"})
    found = sign_in(service, access(provider))
    accounts.disable(service, found.account)
    with pytest.raises(SignInError, match="the account eve is disabled"):
        sign_in(service, access(provider))


NOW = int(time.time())
WRONG_CLAIMS = {
    "nonce": {"nonce": "another"},
    "nonce missing": {"nonce": None},
    "audience": {"aud": "another client"},
    "audience, though we asked for it": {"aud": "another client", "azp": CLIENT},
    "audiences": {"aud": ["another", "and another"]},
    "authorized party": {"aud": [CLIENT, "another"], "azp": "another"},
    "issuer": {"iss": "https://elsewhere.example"},
    "expired": {"exp": NOW - 120, "iat": NOW - 600},
    "no expiry": {"exp": None},
    "from the future": {"iat": NOW + 3600, "exp": NOW + 7200},
    "not yet": {"nbf": NOW + 3600},
    "no subject": {"sub": None},
    "an empty subject": {"sub": ""},
    "another access token": {"at_hash": base64.urlsafe_b64encode(b"0" * 16).decode().rstrip("=")},
}


@pytest.mark.parametrize("what", WRONG_CLAIMS)
def test_a_wrong_id_token_signs_nobody_in(service, provider, what) -> None:
    def changed(claims):
        return {name: value for name, value in (claims | WRONG_CLAIMS[what]).items() if value is not None}

    provider.claims = changed
    with pytest.raises(SignInError, match="is not to be trusted"):
        sign_in(service, access(provider))


@pytest.mark.parametrize("skew_s", [-50, 50])
def test_a_clock_may_be_off_by_less_than_a_minute(service, provider, skew_s) -> None:
    now = int(time.time()) + skew_s
    provider.claims = lambda claims: claims | {"iat": now, "nbf": now, "exp": now + 5}
    assert sign_in(service, access(provider)).person == "Ada Lovelace"


def _parts(token: str) -> tuple[dict, dict]:
    header, payload, _ = (part + "=" * (-len(part) % 4) for part in token.split("."))
    return json.loads(base64.urlsafe_b64decode(header)), json.loads(base64.urlsafe_b64decode(payload))


def _b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


NONE = b'{"alg":"none"}'


def _unsigned(_provider: OidcProvider, token: str) -> str:
    return f"{_b64(NONE)}.{token.split('.')[1]}."


def _by_another_key(_provider: OidcProvider, token: str) -> str:
    header, claims = _parts(token)
    return jwt.encode(header, claims, RSAKey.generate_key(2048, {"kid": "rsa"}))


def _by_an_unpublished_key(_provider: OidcProvider, token: str) -> str:
    return jwt.encode({"alg": "RS256", "kid": "new"}, _parts(token)[1], RSAKey.generate_key(2048, {"kid": "new"}))


def _by_the_public_key(provider: OidcProvider, token: str) -> str:
    """The old confusion: a shared-key digest keyed with what everybody knows."""
    public = provider.keys["rsa"].as_pem(private=False)
    header = _b64(json.dumps({"alg": "HS256", "kid": "rsa"}).encode())
    signed = f"{header}.{token.split('.')[1]}"
    return f"{signed}.{_b64(hmac.new(public, signed.encode(), 'sha256').digest())}"


def _by_the_secret(_provider: OidcProvider, token: str) -> str:
    key = OctKey.import_key(SECRET.ljust(32))
    return jwt.encode({"alg": "HS256", "kid": "rsa"}, _parts(token)[1], key, ["HS256"])


def _altered(_provider: OidcProvider, token: str) -> str:
    header, _, signature = token.split(".")
    claims = _parts(token)[1] | {"sub": "root"}
    return f"{header}.{_b64(json.dumps(claims).encode())}.{signature}"


@pytest.mark.parametrize(
    "forge",
    [_unsigned, _by_another_key, _by_an_unpublished_key, _by_the_public_key, _by_the_secret, _altered,
     lambda _provider, _token: "no token"],
)  # fmt: skip
def test_a_token_that_the_provider_did_not_sign_signs_nobody_in(service, provider, forge) -> None:
    provider.token = lambda token: forge(provider, token)
    with pytest.raises(SignInError, match="is not to be trusted"):
        sign_in(service, access(provider))


def test_a_new_key_is_fetched_but_not_for_every_wrong_token(service, provider) -> None:
    one = access(provider)
    sign_in(service, one)
    provider.keys["rsa"] = RSAKey.generate_key(2048, {"kid": "newer", "use": "sig"})
    with pytest.raises(SignInError):
        sign_in(service, one)  # the keys were fetched just now
    assert provider.asked.count("/jwks") == 1
    one._provider._keys = (time.monotonic() - 60, one._provider._keys[1])
    assert sign_in(service, one).person == "Ada Lovelace"
    assert provider.asked.count("/jwks") == 2
    assert provider.asked.count("/.well-known/openid-configuration") == 1


def test_only_the_browser_that_left_comes_back(service, provider) -> None:
    one = access(provider)
    where, handshake = one.oidc_start(CALLBACK)
    came = OidcProvider.sign_in(where)
    _, another = one.oidc_start(CALLBACK)
    for wrong in (another, "", "x", base64.urlsafe_b64encode(b"[]").decode(), base64.urlsafe_b64encode(b"{}").decode()):
        with pytest.raises(SignInError, match="begin again"):
            one.oidc_finish(service, came, wrong, CALLBACK)
    code = parse_qs(urlsplit(came).query)["code"][0]
    with pytest.raises(SignInError, match="not the sign-in that this browser began"):
        one.oidc_finish(service, f"{CALLBACK}?{urlencode({'code': code})}", handshake, CALLBACK)
    assert one.oidc_finish(service, came, handshake, CALLBACK).person == "Ada Lovelace"
    with pytest.raises(SignInError, match="refused"):
        one.oidc_finish(service, came, handshake, CALLBACK)


def test_a_code_is_of_no_use_without_the_verifier(service, provider) -> None:
    """Somebody who reads the address that leads back cannot redeem the code in a sign-in of their own."""
    one = access(provider)
    came = OidcProvider.sign_in(one.oidc_start(CALLBACK)[0])
    where, handshake = one.oidc_start(CALLBACK)
    own = parse_qs(urlsplit(where).query)["state"][0]
    code = parse_qs(urlsplit(came).query)["code"][0]
    with pytest.raises(SignInError, match="code_verifier"):
        one.oidc_finish(service, f"{CALLBACK}?{urlencode({'code': code, 'state': own})}", handshake, CALLBACK)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"iss": "https://elsewhere.example"}, "another provider answered"),
        ({"error": "access_denied", "error_description": "not\ntoday"}, "the provider refused: not today"),
        ({"code": ""}, "no code"),
    ],
)
def test_what_the_provider_sends_back_is_said(service, provider, changes, said) -> None:
    one = access(provider)
    where, handshake = one.oidc_start(CALLBACK)
    query = {name: values[0] for name, values in parse_qs(urlsplit(OidcProvider.sign_in(where)).query).items()}
    with pytest.raises(SignInError, match=said):
        one.oidc_finish(service, f"{CALLBACK}?{urlencode(query | changes)}", handshake, CALLBACK)


def test_a_wrong_secret_is_said_without_it(service, provider) -> None:
    one = access(provider, secret="wrong")
    assert "wrong" not in repr(one._options)
    with pytest.raises(SignInError, match=r"refused \(401\): invalid_client") as refused:
        sign_in(service, one)
    assert "wrong" not in str(refused.value)


@pytest.mark.parametrize(
    ("described", "said"),
    [
        ({"issuer": "https://elsewhere.example"}, "calls itself https://elsewhere.example"),
        ({"authorization_endpoint": "http://elsewhere.example/authorize"}, "no authorization_endpoint with https"),
        ({"authorization_endpoint": None}, "no authorization_endpoint"),
    ],
)
def test_a_provider_that_describes_itself_wrongly_is_not_used(provider, described, said) -> None:
    provider.described = described
    with pytest.raises(ProviderError, match=said):
        access(provider).oidc_start(CALLBACK)


def test_no_provider_and_none_that_answers(service) -> None:
    with pytest.raises(SignInError, match="no provider is set up here"):
        Access().oidc_start(CALLBACK)
    assert not Access().has_oidc
    away = Access(AccessOptions(oidc=OidcOptions("http://127.0.0.1:9", CLIENT)))
    assert away.has_oidc
    with pytest.raises(ProviderError, match="does not answer"):
        away.oidc_start(CALLBACK)


def test_the_settings_make_it(provider) -> None:
    made = Access.of(Settings(oidc_issuer=provider.issuer, oidc_client_id=CLIENT, oidc_client_secret=SECRET))
    assert made.oidc_start(CALLBACK)[0].startswith(f"{provider.issuer}/authorize?")
    assert not Access.of(Settings()).has_oidc
    with pytest.raises(ConfigurationError, match="without JCM_MRV_OIDC_CLIENT_ID"):
        Access.of(Settings(oidc_issuer=provider.issuer))
