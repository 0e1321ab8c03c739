"""Connections for requests: a pool under the service's login, each taken with the role and the projects of who asks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import psycopg
from psycopg_pool import ConnectionPool

from deploy.access.principal import AccountRole, Permission, Principal
from sql.connection import Role, acting

# A page asks for one connection at a time; uvicorn's threads are 40, and PostgreSQL's usual limit is 100.
_MOST = 16
_PATIENCE_S = 5.0
# Nobody waits longer for a page, and a query that nobody waits for must not hold one of the few connections. What may
# take longer, bundles and replay, has connections of its own.
_LONGEST_MS = 30_000


class Database:
    """The pool, open while the block lasts.

    Parameters
    ----------
    url
        The database with the login of the service: the owner's on a small installation, else a member of
        `jcm_mrv_service`.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._pool = ConnectionPool(
            url,
            min_size=1,
            max_size=_MOST,
            timeout=_PATIENCE_S,
            open=False,
            check=ConnectionPool.check_connection,
            kwargs={
                "autocommit": True,
                "application_name": "jcm-mrv serve",
                "connect_timeout": 5,
                "options": f"-c timezone=UTC -c datestyle=ISO -c statement_timeout={_LONGEST_MS}",
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 4,
                "tcp_user_timeout": 30_000,
            },
            name="jcm-mrv serve",
        )

    def __enter__(self) -> Self:
        self._pool.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    @contextmanager
    def service(self) -> Iterator[psycopg.Connection]:
        """Take a connection with the service's own rights: accounts, tokens, sessions."""
        with self._pool.connection() as connection, acting(connection, Role.SERVICE, None, read_only=False):
            yield connection

    @contextmanager
    def reading(
        self, principal: Principal, permission: Permission = Permission.READ_PROJECT
    ) -> Iterator[psycopg.Connection]:
        """Take a connection that reads what the principal may see, and writes nothing."""
        with (
            self._pool.connection() as connection,
            acting(connection, database_role(principal), principal.projects(permission), read_only=True),
        ):
            yield connection

    @contextmanager
    def writing(self, principal: Principal, role: Role, permission: Permission) -> Iterator[psycopg.Connection]:
        """Take a connection for a step, with the database role that may take it, on the principal's projects."""
        with (
            self._pool.connection() as connection,
            acting(connection, role, principal.projects(permission), read_only=False),
        ):
            yield connection


def database_role(principal: Principal) -> Role:
    """Name the role that reads for a principal: that of a step-taker where there is one, else the operator's."""
    roles = {grant.role for grant in principal.grants}
    if AccountRole.VERIFIER in roles:
        return Role.VERIFIER
    return Role.PARTICIPANT if AccountRole.PARTICIPANT in roles else Role.OPERATOR
