"""`jcm-mrv migrate`."""

from importlib.metadata import version

import click


@click.command()
@click.option("--plan", "only_plan", is_flag=True, help="Show what would be applied, and which have a way back.")
@click.option("--rollback-to", type=click.IntRange(min=1), metavar="N", help="Take back what came after migration N.")
def migrate(*, only_plan: bool, rollback_to: int | None) -> None:
    """Bring the schema up to date; refuse a newer schema or a changed migration.

    --rollback-to is for going back to an older version: all or nothing, and refused where it would lose what cannot be
    had again. Stop the services, roll back with this version, install the older one and run its `jcm-mrv migrate`.
    """
    from deploy.keeping.places import database_url
    from sql.connection import Role, connect, describe, reported
    from sql.migrator import migrate as bring_up_to_date
    from sql.migrator import roll_back
    from sql.server import require_timescaledb

    if only_plan and rollback_to is not None:
        raise click.UsageError("--plan and --rollback-to exclude each other")
    url = database_url()
    with reported():
        if only_plan:
            _show(url)
            return
        if rollback_to is not None:
            taken = roll_back(url, rollback_to, tell=click.echo)
            click.echo(f"{len(taken)} migrations taken back; the schema is at {rollback_to:04}")
            return
        applied = bring_up_to_date(url, code_version=version("jcm-mrv"), tell=click.echo)
        with connect(url, Role.OWNER, application="jcm-mrv migrate") as connection:
            server = require_timescaledb(connection, create=False, where=describe(url))
    click.echo(f"{len(applied)} migrations applied" if applied else "the schema is up to date")
    edition = "Community edition" if server.community else "Apache-2 edition, which is enough"
    click.echo(f"PostgreSQL {server.postgresql}, TimescaleDB {server.timescaledb}, {edition}")


def _show(url: str) -> None:
    from sql.migrator import plan

    done, known = plan(url)
    for migration in known:
        state = "applied" if migration.version <= done else "to be applied"
        back = "has a way back" if migration.down is not None else "back by restore only"
        click.echo(f"{migration.version:04} {migration.name:20} {state:13}  {back}")
    click.echo(f"the schema is at {done:04}, this version has {len(known):04}")
