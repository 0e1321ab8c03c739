"""The web server as its users reach it, on a free port, with accounts and their tokens."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import httpx

from deploy.access import accounts, tokens
from deploy.access.principal import AccountRole, Scope
from deploy.servers import Endpoints
from deploy.settings import Settings
from deploy.web.server import WebServer
from sql.connection import Role, connect
from tests.harness import wait_until


@dataclass
class Website:
    """A running server and the tokens that were made for it."""

    url: str
    database: str
    tokens: dict[str, str] = field(default_factory=dict)

    def account(
        self,
        name: str,
        role: AccountRole | None,
        project: str | None = None,
        *,
        scopes=tuple(Scope),
        organisation="TPE",
    ) -> str:
        """Add an account with a role for a project, or for all; return a token of it."""
        with connect(self.database, Role.OWNER) as connection:
            accounts.add(connection, name, f"{name} the person", organisation)
            if role is not None:
                accounts.grant(connection, name, role, project)
            issued = tokens.issue(connection, name, "test", scopes, timedelta(days=1))
        self.tokens[name] = issued.token
        return issued.token

    def client(self, name: str | None = None, **given) -> httpx.Client:
        """Return a client with the token of an account, or of nobody."""
        headers = {"Authorization": f"Bearer {self.tokens[name]}"} if name else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, **given)

    def browser(self, name: str) -> httpx.Client:
        """Return a client that signed in on the page, with the session's cookie."""
        answer = httpx.post(f"{self.url}/sign-in", data={"token": self.tokens[name], "next": "/"}, timeout=30)
        assert answer.status_code == 303, answer.text
        return httpx.Client(base_url=self.url, cookies=dict(answer.cookies), timeout=30)


@contextmanager
def serving(database: str, **settings) -> Iterator[Website]:
    """Run the web server of a database in a thread."""
    given = {"database_url": database, "rate_limit": "100000/minute"} | settings
    server = WebServer(Endpoints(Settings(**given)), 0)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: _answers(server.url), what="the server answers")
        yield Website(server.url, database)
    finally:
        server.stop()
        thread.join(30)
        assert not thread.is_alive()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
