"""`jcm-mrv local`: the local servers from the command line."""

import dataclasses
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deploy.commands._confirmation import confirm

if TYPE_CHECKING:
    from deploy.local import LocalServers, LocalStatus, ServerStatus


def _directory_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--dir",
        "directory",
        metavar="DIR",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder of the servers; by default .local in the checkout, else below XDG_DATA_HOME.",
    )(command)


def _servers(directory: Path | None) -> "LocalServers":
    from deploy.local import LocalServers, default_directory

    return LocalServers(directory if directory is not None else default_directory())


@click.group()
def local() -> None:
    """A real TimescaleDB and a real Mosquitto in a folder of their own, without containers or privileges."""


@local.command()
@_directory_option
def start(directory: Path | None) -> None:
    """Start both servers; the first time their packages are downloaded."""
    from deploy.local import progress_for

    status = _servers(directory).start(progress_for())
    for server in (status.postgres, status.mosquitto):
        click.echo(_line(server, status))


@local.command()
@_directory_option
def stop(directory: Path | None) -> None:
    """Stop both servers; what they hold is on disk."""
    _servers(directory).stop()
    click.echo("the local servers are stopped")


@local.command()
@_directory_option
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def status(directory: Path | None, *, as_json: bool) -> None:
    """Say what runs, where and how large it is."""
    found = _servers(directory).status()
    if as_json:
        click.echo(json.dumps({"running": found.running, **dataclasses.asdict(found)}, indent=2))
        return
    for server in (found.postgres, found.mosquitto):
        click.echo(_line(server, found))
    click.echo(f"folder      {found.directory}")
    click.echo(f"packages    {found.packages} ({found.packages_bytes / 1e6:.0f} MB)")


@local.command()
@_directory_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset(directory: Path | None, *, yes: bool) -> None:
    """Delete the servers' data, ports and passwords; the downloaded packages stay."""
    servers = _servers(directory)
    if not yes:
        confirm(f"Delete the database and the broker's queue in {servers.directory}?")
    servers.reset()
    click.echo(f"the data in {servers.directory} is deleted")


@local.command()
@_directory_option
def env(directory: Path | None) -> None:
    """Print the settings as `export` lines, for `eval "$(jcm-mrv local env)"`."""
    servers = _servers(directory)
    for name, value in servers.environment().items():
        click.echo(f"export {name}={_quoted(value)}")
    if not servers.status().running:
        click.echo("the local servers do not run; start them with `jcm-mrv local start`", err=True)


def _quoted(value: str) -> str:
    quoted = shlex.quote(value)
    return quoted if quoted.startswith("'") else f"'{quoted}'"


def _line(server: "ServerStatus", found: "LocalStatus") -> str:
    name = f"{server.name:<10}  {server.version or 'not there'}"
    if server.name == "postgresql" and found.timescaledb_version:
        name += f" with TimescaleDB {found.timescaledb_version}"
    if not server.running:
        return f"{name}: stopped ({server.data_bytes / 1e6:.1f} MB of data)"
    answers = "" if server.answers else ", does not answer yet"
    size = f"{server.data_bytes / 1e6:.1f} MB of data"
    return f"{name}: {server.host}:{server.port}, process {server.pid}, {size}{answers}"
