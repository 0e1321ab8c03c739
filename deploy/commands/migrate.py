"""`jcm-mrv migrate`."""

from importlib.metadata import version

import click

from deploy.servers import endpoints
from sql.connection import reported
from sql.migrator import migrate as bring_up_to_date


@click.command()
def migrate() -> None:
    """Bring the schema up to date; refuse a newer schema or a changed migration."""
    with reported():
        applied = bring_up_to_date(endpoints().database_url, code_version=version("jcm-mrv"), tell=click.echo)
    click.echo(f"{len(applied)} migrations applied" if applied else "the schema is up to date")
