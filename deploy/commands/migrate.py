"""`jcm-mrv migrate`."""

from importlib.metadata import version

import click


@click.command()
def migrate() -> None:
    """Bring the schema up to date; refuse a newer schema or a changed migration."""
    from deploy.servers import endpoints
    from sql.connection import Role, connect, describe, reported
    from sql.migrator import migrate as bring_up_to_date
    from sql.server import require_timescaledb

    url = endpoints().database_url
    with reported():
        applied = bring_up_to_date(url, code_version=version("jcm-mrv"), tell=click.echo)
        with connect(url, Role.OWNER, application="jcm-mrv migrate") as connection:
            server = require_timescaledb(connection, create=False, where=describe(url))
    click.echo(f"{len(applied)} migrations applied" if applied else "the schema is up to date")
    edition = "Community edition" if server.community else "Apache-2 edition, which is enough"
    click.echo(f"PostgreSQL {server.postgresql}, TimescaleDB {server.timescaledb}, {edition}")
