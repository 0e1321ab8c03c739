"""Logins of people who read the database with SQL of their own, and the projects that each sees (sql/scope.sql).

Each change is put on record by the database. Only the owner of the schema may make one.
"""

import psycopg

from deploy.access.accounts import known_project
from deploy.access.errors import AccessError, UnknownAccountError
from sql.named import load

_QUERIES = load("access")


def logins(connection: psycopg.Connection) -> dict[str, list[str]]:
    """List which login sees which projects."""
    return dict(connection.execute(_QUERIES["logins"]).fetchall())


def allow(connection: psycopg.Connection, login: str, project: str) -> bool:
    """Let a login see a project; tell whether that is new.

    Raises
    ------
    UnknownAccountError
        There is no such login or project.
    AccessError
        The login sees everything anyway, or has no role that sees projects.
    """
    row = connection.execute(_QUERIES["login"], {"login": login}).fetchone()
    if row is None:
        raise UnknownAccountError(
            f"there is no login {login}; make it with `create role {login} login in role jcm_mrv_verifier`"
        )
    sees_all, sees_projects = row
    if sees_all:
        raise AccessError(f"{login} sees every project by its roles; make a login that is a member of one role only")
    if not sees_projects:
        raise AccessError(f"{login} has no role that sees projects; `grant jcm_mrv_verifier to {login}`, say")
    known_project(connection, project)
    return connection.execute(_QUERIES["allow_login"], {"login": login, "project": project}).fetchone() is not None


def forbid(connection: psycopg.Connection, login: str, project: str) -> None:
    """Let a login no longer see a project, from its next statement on.

    Raises
    ------
    UnknownAccountError
        It does not see it.
    """
    if not connection.execute(_QUERIES["forbid_login"], {"login": login, "project": project}).fetchone():
        seen = ", ".join(logins(connection).get(login, [])) or "none"
        raise UnknownAccountError(f"{login} does not see {project}; of the projects it sees {seen}")
