"""A small OpenID Connect provider on loopback: it checks for real, and what it says can be made wrong."""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

CLIENT, SECRET = "jcm mrv", "a secret: %&"
CALLBACK = "https://mrv.example.org/sign-in/callback"


@dataclass
class Person:
    """Who signs in at the provider."""

    sub: str
    claims: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] | None = None


@cache
def _keys() -> dict[str, Any]:
    # Once: an RSA key takes a tenth of a second, or more.
    return {
        "rsa": RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"}),
        "ec": ECKey.generate_key("P-256", {"kid": "ec", "use": "sig"}),
    }


class OidcProvider:
    """The provider; its attributes say how the next sign-in goes."""

    def __init__(self) -> None:
        self.keys = dict(_keys())
        self.person = Person("s-1", {"name": "Ada Lovelace", "email": "ada@example.org", "preferred_username": "ada"})
        self.key, self.alg = "rsa", "RS256"
        self.methods = ["client_secret_basic"]
        self.claims: Callable[[dict[str, Any]], dict[str, Any]] = lambda claims: claims
        self.token: Callable[[str], str] = lambda token: token
        self.described: dict[str, Any] = {}
        self.asked: list[str] = []
        self._codes: dict[str, dict[str, str]] = {}
        self.issuer = ""

    def description(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "token_endpoint_auth_methods_supported": self.methods,
            **self.described,
        }

    def authorize(self, query: dict[str, str]) -> str:
        assert query["client_id"] == CLIENT
        assert (query["response_type"], query["code_challenge_method"]) == ("code", "S256")
        assert "openid" in query["scope"].split()
        code = secrets.token_urlsafe(16)
        self._codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state'], 'iss': self.issuer})}"

    def redeem(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        if "client_secret_basic" in self.methods:
            given = base64.b64decode(authorization.removeprefix("Basic ")).decode().split(":")
            client = tuple(unquote(part) for part in given)
        else:
            client = (form["client_id"], form.get("client_secret", ""))
        if client != (CLIENT, SECRET):
            return 401, {"error": "invalid_client"}
        asked = self._codes.pop(form["code"], None)
        verifier = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(verifier).decode().rstrip("=")
        if asked is None or asked["redirect_uri"] != form["redirect_uri"] or asked["code_challenge"] != challenge:
            return 400, {"error": "invalid_grant", "error_description": "code, redirect_uri or code_verifier"}
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": self.person.sub,
            "aud": CLIENT,
            "exp": now + 300,
            "iat": now,
            "nonce": asked["nonce"],
            **self.person.claims,
        }
        key = self.keys[self.key]
        signed = jwt.encode({"alg": self.alg, "kid": key.kid}, self.claims(claims), key, algorithms=[self.alg])
        return 200, {"access_token": "access", "token_type": "Bearer", "id_token": self.token(signed)}

    def answer(self, handler: BaseHTTPRequestHandler, body: str = "") -> None:
        parts = urlsplit(handler.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.asked.append(parts.path)
        status, content, location = 200, {}, None
        match parts.path:
            case "/.well-known/openid-configuration":
                content = self.description()
            case "/jwks":
                content = {"keys": [key.as_dict(private=False) for key in self.keys.values()]}
            case "/authorize":
                status, location = 302, self.authorize(query)
            case "/token":
                form = {name: values[0] for name, values in parse_qs(body).items()}
                status, content = self.redeem(form, handler.headers.get("Authorization", ""))
            case "/userinfo" if handler.headers.get("Authorization") == "Bearer access":
                content = self.person.userinfo or {}
            case _:
                status = 404
        sent = json.dumps(content).encode()
        handler.send_response(status)
        if location:
            handler.send_header("Location", location)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(sent)))
        handler.end_headers()
        handler.wfile.write(sent)

    @staticmethod
    def sign_in(url: str) -> str:
        """Go where the service sent the browser, sign in there, and return the address that leads back."""
        response = httpx.get(url)
        assert response.status_code == 302, response.text
        return response.headers["Location"]


@contextmanager
def running() -> Iterator[OidcProvider]:
    """Run a provider on a free port of this machine."""
    provider = OidcProvider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            provider.answer(self)

        def do_POST(self) -> None:
            provider.answer(self, self.rfile.read(int(self.headers["Content-Length"])).decode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.issuer = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
