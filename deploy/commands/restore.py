"""`jcm-mrv restore`."""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from deploy.keeping.archive import Reader
    from deploy.keeping.places import Target


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--into",
    metavar="DATABASE",
    help="Another database than that of the settings: its name, or a URL without a password.",
)
@click.option("--again", is_flag=True, help="Drop what a restore that did not end has left, and begin anew.")
@click.option("--no-verify", is_flag=True, help="Do not check seals and account, nor compute the revisions again.")
@click.option("--without-keys", is_flag=True, help="Leave the keys in the file.")
@click.option(
    "--passphrase-file", type=click.Path(path_type=Path), metavar="FILE", help="Holds what the keys were sealed with."
)
@click.option(
    "--ca",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder of the certificate authority; default: JCM_MRV_AUTHORITY_DIR.",
)
def restore(
    file: Path,
    *,
    into: str | None,
    again: bool,
    no_verify: bool,
    without_keys: bool,
    passphrase_file: Path | None,
    ca: Path | None,
) -> None:
    """Put a backup into an empty database, made where there is none, and see that it is what was backed up.

    Takes a superuser's login in JCM_MRV_DATABASE_ADMIN_URL; the local servers have their own. The dump runs as that
    user: restore what you trust. Keys are written where none are, never over others.
    """
    from deploy.commands.backup import key_places
    from deploy.keeping.archive import Reader
    from deploy.keeping.keys import read_passphrase, unpack
    from deploy.keeping.places import target_of
    from deploy.keeping.restore import restore as put_back
    from sql.connection import reported

    backup = Reader(file)
    held = backup.manifest.keys if not without_keys else None
    keys = None
    if held is not None:
        # Before the database is touched: a wrong passphrase is told at once.
        keys = unpack(backup.read(held.member), read_passphrase(passphrase_file), sealed=held.encrypted)
    places = key_places(ca) if keys is not None else None
    target = target_of(into)
    with reported():
        put_back(backup, target, again=again, code_version=version("jcm-mrv"), tell=click.echo)
        if not no_verify:
            _verify(target)
    if keys is not None and places is not None:
        _put_keys(keys, *places)
    else:
        click.echo("no keys were restored")
    _end(target, backup, verified=not no_verify)


def _verify(target: "Target") -> None:
    from deploy.keeping.proof import check_account, check_revisions, check_seals
    from sql.connection import Role, connect

    with connect(target.owner, Role.MRV, application="jcm-mrv restore") as connection:
        check_account(connection, click.echo)
        check_seals(connection, click.echo)
        check_revisions(connection, click.echo)


def _put_keys(keys: "dict[str, tuple[bytes, int]]", evidence_key: Path, authority: Path) -> None:
    from deploy.keeping.keys import put

    written, same, other = put(keys, evidence_key, authority)
    for said, paths in (("written", written), ("there already", same), ("left as it is, it is ANOTHER one", other)):
        for path in paths:
            click.echo(f"{path}: {said}")


def _end(target: "Target", backup: "Reader", *, verified: bool) -> None:
    how = "restored and verified" if verified else "restored, not verified"
    click.echo(f"{target.name}: {how}, as of {backup.manifest.made_at}; collectors may go on")
