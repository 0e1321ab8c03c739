"""What an instance keeps about itself: ports, passwords and the broker's users, in `state.json` (mode 0600)."""

import os
import random
import re
import secrets
import socket
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deploy.errors import LocalServersError
from deploy.local.place import write_private

COLLECTOR = "collector"
PUBLISHER = "publisher"
"""Writes for any site: who has a shell here replays recordings of all of them."""
_OWN_USERS = frozenset({COLLECTOR, PUBLISHER})
_SITE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Below the range that Linux hands out for outgoing connections (32768 on), so that nothing takes a kept port by chance.
_PORTS = range(20_000, 32_000)


def _secret() -> str:
    return secrets.token_urlsafe(24)


class DamagedStateError(LocalServersError):
    """The file that keeps the state cannot be read as one."""


class State(BaseModel):
    """An instance's ports and passwords."""

    model_config = ConfigDict(extra="forbid")

    # Names the instance in the titles of PostgreSQL's processes, which is how orphans are told from others' servers.
    instance: str = Field(default_factory=lambda: f"jcm-mrv-{secrets.token_hex(4)}")
    postgres_port: int = 0
    mosquitto_port: int = 0
    superuser_password: str = Field(default_factory=_secret)
    owner_password: str = Field(default_factory=_secret)
    collector_password: str = Field(default_factory=_secret)
    publisher_password: str = Field(default_factory=_secret)
    site_passwords: dict[str, str] = Field(default_factory=dict)
    # What a site's devices write beside `jcm/v1/<site>/#`. Left out while there is none: an older version reads it too.
    site_filters: dict[str, list[str]] = Field(default_factory=dict, exclude_if=lambda filters: not filters)

    def broker_users(self) -> dict[str, str]:
        """Return the broker's users and their passwords."""
        return {COLLECTOR: self.collector_password, PUBLISHER: self.publisher_password, **self.site_passwords}

    def add_site(self, site_id: str, filters: Sequence[str] | None = None) -> bool:
        """Give a site a broker user of its name, and exactly these further topics to write; say whether that is new.

        Raises
        ------
        LocalServersError
            The name cannot be a user and a topic level, or is one of our own users'.
        """
        problem = user_problem(site_id)
        if problem is not None:
            raise LocalServersError(problem)
        before = self.site_filters.get(site_id, [])
        after = before if filters is None else list(filters)
        if site_id in self.site_passwords and after == before:
            return False
        self.site_passwords.setdefault(site_id, _secret())
        self.site_filters.pop(site_id, None)
        if after:
            self.site_filters[site_id] = after
        return True


def user_problem(site_id: str) -> str | None:
    """Say why a site's id cannot be a broker user and the name of a certificate, or nothing when it can."""
    if _SITE_ID.fullmatch(site_id) and site_id not in _OWN_USERS:
        return None
    return (
        f"{site_id!r} cannot be a broker user; a site id has letters, digits, '.', '_', '-', is at most "
        f"64 long and none of {', '.join(sorted(_OWN_USERS))}"
    )


def read_state(path: Path) -> State | None:
    """Read the state, or nothing where there is none.

    Raises
    ------
    LocalServersError
        The file is there and cannot be read.
    """
    foreign = f"{path} belongs to somebody else; run as that user or choose another folder with --dir"
    try:
        with path.open("rb") as file:
            # Below /var/tmp anybody may make a folder before we do; what it says is not believed.
            if os.fstat(file.fileno()).st_uid != os.geteuid():
                raise LocalServersError(foreign)
            return State.model_validate_json(file.read())
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise LocalServersError(foreign) from error
    except ValidationError as error:
        said: Any = error.errors(include_input=False)[0]["msg"]
        raise DamagedStateError(f"{path} is damaged ({said}); restore it or run `jcm-mrv local reset`") from error


def write_state(path: Path, state: State) -> None:
    """Write the state, whole or not at all."""
    write_private(path, state.model_dump_json(indent=1) + "\n")


def is_free(port: int) -> bool:
    """Say whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of a server that just ended (TIME_WAIT) do not make its port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port(taken: Collection[int] = ()) -> int:
    """Choose a free loopback port.

    Raises
    ------
    LocalServersError
        None of 200 tries was free.
    """
    for port in random.SystemRandom().sample(_PORTS, 200):
        if port not in taken and is_free(port):
            return port
    raise LocalServersError(f"no free port between {_PORTS.start} and {_PORTS.stop} on the loopback interface")
