"""Which database a backup is restored into, and by which logins."""

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from deploy.keeping.errors import RestoreError
from deploy.keeping.restore import Target
from deploy.local import LocalServers, default_directory, progress_for
from deploy.settings import load_settings


def target_of(into: str | None) -> Target:
    """Find the database to restore into: that of the settings or the local one, or on its server the one that is named.

    The local database is not migrated first, as other commands do, for it must be empty.

    Raises
    ------
    RestoreError
        `into` cannot be read or has a password, which `ps` would show.
    """
    settings = load_settings()
    if settings.database_url is not None:
        owner = settings.database_url.get_secret_value()
        superuser = owner
    else:
        servers = LocalServers(default_directory())
        if not servers.status().running:
            servers.start(progress_for())
        owner = servers.environment()["JCM_MRV_DATABASE_URL"]
        superuser = servers.superuser_url()
    if settings.database_admin_url is not None:
        superuser = settings.database_admin_url.get_secret_value()
    owner = owner if into is None else _named(owner, into)
    # The superuser's login to the same database, wherever it points.
    where = {
        name: value for name, value in conninfo_to_dict(owner).items() if name in {"host", "hostaddr", "port", "dbname"}
    }
    return Target(owner, make_conninfo(superuser, **where))


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
