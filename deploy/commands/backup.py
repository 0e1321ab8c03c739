"""`jcm-mrv backup`."""

from importlib.metadata import version
from pathlib import Path

import click


@click.command()
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", required=True, help="The file to write.")
@click.option("--without-keys", is_flag=True, help="Leave out the evidence key and the certificate authority.")
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Seal the keys with the passphrase in this file.",
)
@click.option(
    "--ca",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="FOLDER",
    help="Folder of the certificate authority; default: JCM_MRV_AUTHORITY_DIR.",
)
def backup(out: Path, *, without_keys: bool, passphrase_file: Path | None, ca: Path | None) -> None:
    """Write the database and the keys of this installation into one file.

    Collectors may go on: the file is of one moment. It is readable for its owner alone; without --passphrase-file the
    private keys in it are as they are on disk. `jcm-mrv restore` puts it back.
    """
    from deploy.keeping.backup import KeyFiles
    from deploy.keeping.backup import backup as write
    from deploy.keeping.keys import read_passphrase
    from deploy.keeping.places import database_url
    from sql.connection import reported

    passphrase = read_passphrase(passphrase_file)
    keys = None
    if not without_keys:
        evidence_key, authority = key_places(ca)
        keys = KeyFiles(evidence_key, authority, passphrase)
    with reported():
        manifest = write(
            database_url(),
            out,
            keys=keys,
            code_version=version("jcm-mrv"),
            tell=lambda line: click.echo(line, err=True),
        )
    rows = sum(table.rows for table in manifest.tables.values())
    click.echo(
        f"{out}: {rows:,} rows in {len(manifest.tables)} tables, schema {manifest.schema_version:04}, "
        f"PostgreSQL {manifest.postgresql}, TimescaleDB {manifest.timescaledb}, {out.stat().st_size:,} bytes"
    )
    if manifest.keys is None:
        click.echo("it holds no keys; keep a copy of the evidence key and of the certificate authority elsewhere")
    else:
        how = (
            "sealed with the passphrase"
            if manifest.keys.encrypted
            else "not encrypted: keep this file as a key is kept"
        )
        click.echo(f"it holds private keys, {how}: {', '.join(manifest.keys.files)}")


def key_places(ca: Path | None) -> tuple[Path, Path]:
    """Find the file of the evidence key and the folder of the certificate authority of this installation.

    Raises
    ------
    ConfigurationError
        The database is not the local one, and no file is set for the key.
    """
    from deploy.commands.evidence import key_file
    from deploy.errors import ConfigurationError
    from deploy.local import default_directory
    from deploy.settings import load_settings

    try:
        settings = load_settings()
        evidence_key = key_file(settings)
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}; or say --without-keys") from None
    return evidence_key, ca or settings.authority_dir or default_directory() / "authority"
