"""Which database is backed up or restored into, and by which logins. None is migrated first, as by other commands."""

from dataclasses import dataclass

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from deploy.keeping.errors import RestoreError
from deploy.local import LocalServers, default_directory, progress_for
from deploy.settings import load_settings
from sql.connection import describe


@dataclass(frozen=True, slots=True)
class Target:
    """Where a backup goes: logins of the owner and of a superuser to the same database. The URLs hold passwords."""

    owner: str
    superuser: str

    @property
    def name(self) -> str:
        """The database, for a person."""
        return describe(self.owner)


def database_url() -> str:
    """Find the database of the settings, or the local one, as it is: a backup before an upgrade has the old schema."""
    settings = load_settings()
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return _local_servers().environment()["JCM_MRV_DATABASE_URL"]


def target_of(into: str | None) -> Target:
    """Find the database to restore into: that of the settings or the local one, or on its server the one that is named.

    Raises
    ------
    RestoreError
        `into` cannot be read or has a password, which `ps` would show.
    """
    settings = load_settings()
    owner = database_url()
    superuser = owner if settings.database_url is not None else _local_servers().superuser_url()
    if settings.database_admin_url is not None:
        superuser = settings.database_admin_url.get_secret_value()
    owner = owner if into is None else _named(owner, into)
    # The superuser's login to the same database, wherever it points.
    where = {
        name: value for name, value in conninfo_to_dict(owner).items() if name in {"host", "hostaddr", "port", "dbname"}
    }
    return Target(owner, make_conninfo(superuser, **where))


def _local_servers() -> LocalServers:
    servers = LocalServers(default_directory())
    if not servers.status().running:
        servers.start(progress_for())
    return servers


def _named(owner: str, into: str) -> str:
    if "://" not in into and "=" not in into:
        return make_conninfo(owner, dbname=into)
    try:
        given = conninfo_to_dict(into)
    except psycopg.ProgrammingError:
        raise RestoreError("--into cannot be read; give a name, or postgresql://user@host:port/name") from None
    if given.get("password"):
        raise RestoreError(
            "--into has a password, which everybody here can see in `ps`; leave it out and put it into "
            "JCM_MRV_DATABASE_URL, PGPASSFILE or PGPASSWORD"
        )
    known = conninfo_to_dict(owner)
    same = all(given.get(name, known.get(name)) == known.get(name) for name in ("host", "port", "user"))
    if same:
        return make_conninfo(owner, **given)
    return into
