"""`jcm-mrv evidence`: seals, bundles, and checking a bundle."""

import json
import os
from collections.abc import Mapping
from datetime import date
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploy.commands.report import day

if TYPE_CHECKING:
    from deploy.settings import Settings
    from mrv.evidence.timestamping import Tsa
    from mrv.evidence.verification import Verified


@click.group()
def evidence() -> None:
    """Seal what was received, hand it over with a result, and check what was handed over."""


@evidence.command()
def seal() -> None:
    """Seal every UTC day that is over: one signed statement a site, chained to the one before.

    Idempotent; run it daily. A seal is never written again. The key is that of JCM_MRV_EVIDENCE_KEY_FILE. Where
    JCM_MRV_TSA_URL is set, time stamps that seals do not have yet are fetched; a seal stands without one.
    """
    from deploy.logs import configure
    from deploy.servers import endpoints
    from deploy.settings import load_settings
    from mrv.evidence.keys import load_key
    from mrv.evidence.sealing import seal_due
    from mrv.evidence.stamps import stamp_missing
    from sql.connection import Role, connect, reported
    from sql.migrator import check

    settings = load_settings()
    configure(settings.log_format)
    key, tsa = load_key(key_file(settings)), time_stamping(settings)
    url = endpoints(settings).database_url
    with reported(), connect(url, Role.MRV, application="jcm-mrv evidence seal") as connection:
        check(connection)
        done = seal_due(
            connection,
            key,
            code_version=version("jcm-mrv"),
            tell=lambda at, messages: click.echo(f"{at}: {messages:,} messages", err=True),
        )
        if done.days:
            click.echo(
                f"sealed {done.messages:,} messages of {done.days} days in {done.seals} seals with key {key.public.id}"
            )
        else:
            click.echo("nothing is to be sealed: every day that is over is sealed, or had no message")
        if tsa is not None:
            stamped = stamp_missing(connection, tsa)
            click.echo(f"fetched {stamped.fetched} time stamps from {tsa.host}; {stamped.missing} seals have none yet")


@evidence.command()
@click.argument("project")
@click.argument("first", metavar="FROM", type=day)
@click.argument("last", metavar="TO", type=day)
@click.option("--revision", type=click.IntRange(min=1), metavar="N", help="This revision, not the latest.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", required=True, help="The zip file to write.")
@click.option("--redacted", is_flag=True, help="For the public: commitments stand for what is confidential.")
def export(project: str, first: date, last: date, *, revision: int | None, out: Path, redacted: bool) -> None:
    """Write the evidence of a frozen revision as one file.

    It holds the messages that the readings came from with proofs against the seals of their days, the declarations, the
    methodology, the readings and the result. The same revision gives the same bytes again.
    """
    from rich.console import Console

    from deploy.files import check_writable
    from deploy.keeping.retention import record_bundle
    from deploy.period_view import progress
    from deploy.servers import endpoints
    from deploy.settings import load_settings
    from mrv.evidence.export import export as write
    from mrv.evidence.keys import load_key
    from mrv.revisions import check_order, find_revision
    from sql.connection import Role, connect, reported
    from sql.migrator import check

    check_order(first, last)
    check_writable(out)
    settings = load_settings()
    key, families = load_key(key_file(settings)), family_texts(settings)
    target = out.resolve()
    beside = target.with_name(f".{target.name[:200]}.{os.getpid()}")
    url = endpoints(settings).database_url
    try:
        with reported(), connect(url, Role.MRV, application="jcm-mrv evidence export") as connection:
            check(connection)
            number = find_revision(connection, project, first, last, revision).number
            with progress(Console(stderr=True)) as told:
                done = write(
                    connection,
                    project,
                    (first, last),
                    number,
                    beside,
                    key=key,
                    code_version=version("jcm-mrv"),
                    families=families,
                    redacted=redacted,
                    progress=told,
                )
            beside.replace(target)
            record_bundle(connection, project, (first, last), number, target, redacted=redacted)
    finally:
        beside.unlink(missing_ok=True)
    click.echo(
        f"{out}: {done.er_tco2:,} tCO2 from {done.readings:,} readings of {done.messages:,} messages, "
        f"{done.seals} seals, {target.stat().st_size:,} bytes"
    )


@evidence.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--key",
    "keys",
    type=click.Path(path_type=Path),
    metavar="PUBLIC.pem",
    multiple=True,
    help="A key that may have signed, had from elsewhere; may be given several times.",
)
@click.option(
    "--tsa-ca",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Root certificates (PEM) of the authority of the time stamps; else those of JCM_MRV_TSA_CA_FILE.",
)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def verify(file: Path, *, keys: tuple[Path, ...], tsa_ca: Path | None, as_json: bool) -> None:
    """Check a bundle and compute its tonnes again: no database, no network.

    Without --key the bundle is held against the keys that it brings along: then it fits itself, and whoever made it
    may have made all of it. Exits 1 with the first thing that does not fit, by name.
    """
    from deploy.settings import load_settings
    from mrv.evidence.errors import BundleError
    from mrv.evidence.keys import load_public_key
    from mrv.evidence.timestamping import load_roots
    from mrv.evidence.verification import verify as check

    trusted = [load_public_key(key) for key in keys]
    ca_file = tsa_ca or load_settings().tsa_ca_file
    try:
        done = check(file, trusted, tsa_roots=() if ca_file is None else load_roots(ca_file))
    except BundleError as error:
        if as_json:
            click.echo(json.dumps({"verified": False, "problem": str(error)}, indent=2, ensure_ascii=False))
        raise
    if as_json:
        click.echo(json.dumps({"verified": True, **_as_json(done)}, indent=2, ensure_ascii=False))
        return
    _say(done)


@evidence.command()
@click.option("--make", is_flag=True, help="Make the key; a key that is there is never overwritten.")
def keys(*, make: bool) -> None:
    """Show the public key of this service in PEM, for verifiers; its id goes to standard error."""
    from deploy.settings import load_settings
    from mrv.evidence.keys import load_key, make_key

    path = key_file(load_settings())
    key = make_key(path) if make else load_key(path)
    click.echo(key.public.pem, nl=False)
    click.echo(f"key {key.public.id}{f', made in {path}; keep a copy in a safe place' if make else ''}", err=True)


def key_file(settings: "Settings") -> Path:
    """Find the file of the signing key: that of the settings, or beside the local servers.

    Raises
    ------
    ConfigurationError
        None is set, and the database is not the local one.
    """
    from deploy.errors import ConfigurationError
    from deploy.local import default_directory

    if settings.evidence_key_file is not None:
        return settings.evidence_key_file
    if settings.database_url is not None:
        raise ConfigurationError(
            "JCM_MRV_EVIDENCE_KEY_FILE is not set; name the file of the Ed25519 key that signs seals and bundles"
        )
    return default_directory() / "evidence-key.pem"


def time_stamping(settings: "Settings") -> "Tsa | None":
    """Find the time-stamping authority of the settings; None: there is none.

    Raises
    ------
    ConfigurationError
        It has no root certificate to be held against.
    """
    from deploy.errors import ConfigurationError
    from mrv.evidence.timestamping import Tsa, load_roots

    if settings.tsa_url is None:
        return None
    if settings.tsa_ca_file is None:
        raise ConfigurationError(
            "JCM_MRV_TSA_CA_FILE is not set; name the root certificate (PEM) of the authority of JCM_MRV_TSA_URL"
        )
    return Tsa(settings.tsa_url.get_secret_value(), load_roots(settings.tsa_ca_file))


def family_texts(settings: "Settings") -> Mapping[str, str]:
    """Read the texts of the device families by name, which a bundle brings along."""
    found = {
        entry.name.removesuffix(".toml"): entry.read_text(encoding="utf-8")
        for entry in resources.files("devices").joinpath("profiles").iterdir()
        if entry.name.endswith(".toml")
    }
    own = settings.profiles.glob("*.toml") if settings.profiles is not None else ()
    return found | {path.stem: path.read_text(encoding="utf-8") for path in own}


def _as_json(done: "Verified") -> dict[str, object]:
    return {
        "project": done.project,
        "from": done.first_day,
        "to": done.last_day,
        "revision": done.revision,
        "er_tco2": done.er_tco2,
        "redacted": done.redacted,
        "messages": done.messages,
        "messages_of_these_days": done.sealed,
        "days": done.days,
        "seals": done.seals,
        "time_stamps": done.stamps,
        "first_time_stamp": None if done.first_stamp is None else done.first_stamp.isoformat(),
        "last_time_stamp": None if done.last_stamp is None else done.last_stamp.isoformat(),
        "readings": done.readings,
        "keys": done.keys,
        "trusted": done.trusted,
        "unchecked": done.unchecked,
    }


def _say(done: "Verified") -> None:
    click.echo(f"revision {done.revision} of {done.project} {done.first_day} to {done.last_day}: {done.er_tco2:,} tCO2")
    click.echo(f"{done.seals:,} seals: chained, each signed")
    if done.first_stamp is not None and done.last_stamp is not None:
        click.echo(
            f"{done.stamps:,} of these seals have a time stamp of the given authority: the earliest of "
            f"{done.first_stamp.isoformat()}, the latest of {done.last_stamp.isoformat()}"
        )
    elif not done.stamps:
        click.echo("no seal has a time stamp")
    click.echo(
        f"{done.messages:,} messages of {done.days:,} site days: each is its leaf, and all of them lead to the sealed "
        f"roots; {done.sealed - done.messages:,} further messages of these days are not in the bundle"
    )
    if done.redacted:
        click.echo(f"{done.readings:,} readings: the tonnes recompute from them")
    else:
        click.echo(f"{done.readings:,} readings: each follows from its message; their digest and the tonnes recompute")
    for said in done.unchecked:
        click.echo(f"not checked: {said}")
    named = ", ".join(done.keys)
    if done.trusted:
        click.echo(f"signed by the key that was given: {named}")
    else:
        click.echo(f"signed by {named}: compare this with what the operator told you, or give it with --key")
