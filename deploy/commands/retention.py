"""`jcm-mrv retention`: what may go, letting it go, and compressing what is closed."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING

import click

from deploy.commands._confirmation import confirm

if TYPE_CHECKING:
    import psycopg

    from deploy.keeping.retention import Chunk

_QUARANTINED = click.option(
    "--with-quarantined", "quarantined", is_flag=True, help="Also let go what waits in quarantine."
)


@click.group()
def retention() -> None:
    """Let raw messages go that nothing can need any more, and compress what is closed.

    Without JCM_MRV_KEEP_MESSAGES_YEARS everything is kept. Readings, seals and results always are.
    """


@retention.command()
@_QUARANTINED
def plan(*, quarantined: bool) -> None:
    """Show which messages would go, and why the others stay; changes nothing."""
    from deploy.keeping.retention import plan as look

    years = _years()
    if years is None:
        click.echo("everything is kept: JCM_MRV_KEEP_MESSAGES_YEARS is not set")
        return
    with _owner() as connection:
        chunks = look(connection, years, quarantined=quarantined)
    for stays, group in groupby(chunks, key=lambda chunk: chunk.stays):
        _say(list(group), stays)
    going = sum(chunk.messages for chunk in chunks if not chunk.stays)
    click.echo(f"{going:,} of {sum(chunk.messages for chunk in chunks):,} messages would go")


@retention.command()
@_QUARANTINED
@click.option("--yes", is_flag=True, help="Do not ask.")
def apply(*, quarantined: bool, yes: bool) -> None:
    """Drop the messages that may go, a day of receipt at a time, and put each on record.

    The database looks again in the transaction that drops. What is gone is in the bundles and backups only.
    """
    from deploy.errors import ConfigurationError
    from deploy.keeping.retention import apply as let_go
    from deploy.keeping.retention import plan as look

    years = _years()
    if years is None:
        raise ConfigurationError("JCM_MRV_KEEP_MESSAGES_YEARS is not set: everything is kept")
    messages = chunks = 0
    with _owner() as connection:
        if not yes:
            going = sum(chunk.messages for chunk in look(connection, years, quarantined=quarantined) if not chunk.stays)
            if going:
                click.echo(f"{going:,} messages would go")
                confirm("Bundles that are on record are kept elsewhere, and a backup is at hand?")
        for chunk in let_go(connection, years, quarantined=quarantined):
            click.echo(f"{chunk.start:%Y-%m-%d}: {chunk.messages:,} messages are gone")
            messages, chunks = messages + chunk.messages, chunks + 1
    click.echo(f"{messages:,} messages of {chunks} days are gone; `jcm-mrv retention plan` says why the others stay")


@retention.command()
def compress() -> None:
    """Compress chunks that are closed: sealed messages, and readings of frozen periods. Community edition only.

    Older than JCM_MRV_COMPRESS_AFTER_DAYS. A reading that comes late into a compressed chunk is stored, but slowly.
    """
    from deploy.keeping.errors import RetentionError
    from deploy.keeping.retention import compress as pack
    from deploy.keeping.retention import compressed, why_not_compressed
    from deploy.settings import load_settings
    from sql.connection import describe
    from sql.server import require_timescaledb

    days = load_settings().compress_after_days
    with _owner() as connection:
        where = describe(connection.info.dsn)
        problem = why_not_compressed(require_timescaledb(connection, create=False, where=where))
        if problem is not None:
            raise RetentionError(f"{where}: {problem}")
        number = pack(connection, days, click.echo)
        click.echo(f"{number} chunks compressed" if number else f"no closed chunk is older than {days} days")
        for one in compressed(connection):
            click.echo(
                f"{one.hypertable}: {one.chunks} chunks, {one.before_bytes:,} bytes before, {one.after_bytes:,} now"
            )


def _years() -> int | None:
    from deploy.settings import load_settings

    return load_settings().keep_messages_years


@contextmanager
def _owner() -> "Iterator[psycopg.Connection]":
    from deploy.servers import endpoints
    from sql.connection import Role, connect, reported
    from sql.migrator import check

    with reported(), connect(endpoints().database_url, Role.OWNER, application="jcm-mrv retention") as connection:
        check(connection)
        yield connection


def _say(chunks: "list[Chunk]", stays: tuple[str, ...]) -> None:
    first, last = chunks[0].start, chunks[-1].start
    span = f"{first:%Y-%m-%d}" if first == last else f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
    messages = sum(chunk.messages for chunk in chunks)
    click.echo(f"{span}, {messages:,} messages: {'may go' if not stays else 'stay'}")
    for why in stays:
        click.echo(f"  {why}")
