"""What every request of an application finds: database, access, limits, and how the service is reached."""

from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from fastapi import Request

from deploy.access.facade import Access
from deploy.settings import Settings
from deploy.web.database import Database
from deploy.web.operator.watch import Watch


class Rates(Protocol):
    """Limits how often somebody may do something."""

    def wait_s(self, key: str) -> float:
        """Count one more, and tell how long to wait before it is allowed [s]; 0: now."""
        ...


@dataclass(frozen=True)
class State:
    """Everything a request needs besides itself."""

    settings: Settings
    url: str
    """How people reach it, as https://host."""
    database: Database
    access: Access
    watch: Watch
    rates: Rates
    failures: Rates

    @property
    def is_secure(self) -> bool:
        """Whether people reach it over https."""
        return urlsplit(self.url).scheme == "https"

    @property
    def cookie(self) -> str:
        """Name the session's cookie; with the prefix, browsers keep it to this host and to https."""
        return "__Host-jcm_mrv_session" if self.is_secure else "jcm_mrv_session"


def state_of(request: Request) -> State:
    """Find the state of the application that a request came to."""
    found = request.app.state.jcm_mrv
    assert isinstance(found, State)  # noqa: S101 - put there by `deploy.web.app.make_app`
    return found
