"""What commands about a period share: its days, who takes a step, and the connection with the role for it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deploy.commands.report import day

if TYPE_CHECKING:
    import psycopg

    from sql.connection import Role

_LARGEST_FILE = 16 * 1024 * 1024


def days(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the arguments PROJECT FROM TO and `--json`."""
    for argument in (
        click.argument("last", metavar="TO", type=day),
        click.argument("first", metavar="FROM", type=day),
        click.argument("project"),
    ):
        command = argument(command)
    return click.option("--json", "as_json", is_flag=True, help="For scripts.")(command)


def author(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--by` and `--organisation`: who takes the step, beside the login."""
    by = click.option("--by", "person", required=True, metavar="NAME", help="Who takes this step; kept with it.")
    of = click.option("--organisation", required=True, metavar="NAME", help="For which organisation.")
    return by(of(command))


def revision_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--revision`."""
    number = click.IntRange(min=1)
    return click.option("--revision", type=number, metavar="N", help="This revision, not the latest.")(command)


@contextmanager
def store(role: "Role | None" = None) -> Iterator["psycopg.Connection"]:
    """Connect with the rights of a role, of the MRV module by default; errors become one line."""
    from deploy.servers import endpoints
    from sql.connection import Role, connect, reported
    from sql.migrator import check

    chosen = Role.MRV if role is None else role
    with reported(), connect(endpoints().database_url, chosen, application="jcm-mrv period") as connection:
        check(connection)
        yield connection


def read_file(path: Path) -> bytes:
    """Read a small file that a person named.

    Raises
    ------
    InputError
        It cannot be read, or is no statement, signature or key by its size.
    """
    from deploy.errors import InputError

    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise InputError(f"{path} is too large for a statement, a signature or a key")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
