"""`jcm-mrv attestation`: verifiers' public keys, signing away from the database, and checking what was attested."""

import json
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploy.commands._steps import author, days, read_file, revision_option, store
from deploy.commands.report import day

if TYPE_CHECKING:
    from mrv.verification.keys import VerifierKey

_FILE = click.Path(path_type=Path)


@click.group()
def attestation() -> None:
    """Keys of third-party entities, and what was signed with them.

    The service keeps public keys only: it can check an attestation, and make none.
    """


@attestation.command("register-key")
@click.argument("public_key", metavar="FILE", type=_FILE)
@click.option("--entity", required=True, metavar="NAME", help="The third-party entity, as the project declares it.")
@click.option("--from", "valid_from", type=day, required=True, metavar="DAY", help="First day it is valid (UTC).")
@click.option("--until", "valid_until", type=day, required=True, metavar="DAY", help="Last day it is valid (UTC).")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@author
def register_key(
    public_key: Path,
    *,
    entity: str,
    valid_from: date,
    valid_until: date,
    as_json: bool,
    person: str,
    organisation: str,
) -> None:
    """Register a third-party entity's Ed25519 public key (PEM); the owner of the database does."""
    from mrv.verification import keys
    from mrv.verification.steps import Author
    from sql.connection import Role

    content = keys.read_public(read_file(public_key))
    begins, ends = _midnight(valid_from), _midnight(valid_until + timedelta(days=1))
    with store(Role.OWNER) as connection:
        key = keys.register(connection, content, entity, begins, ends, Author(person, organisation))
    said = f"registered {key.key_id} for {key.third_party_entity}, valid {valid_from} to {valid_until}"
    click.echo(json.dumps(_key(key), indent=2, ensure_ascii=False) if as_json else said)


@attestation.command("withdraw-key")
@click.argument("key_id", metavar="KEY")
@click.option("--reason", required=True, metavar="TEXT", help="Why; kept with it.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@author
def withdraw_key(key_id: str, *, reason: str, as_json: bool, person: str, organisation: str) -> None:
    """End the use of a key before its time; what was attested with it before stands."""
    from mrv.verification import keys
    from mrv.verification.steps import Author
    from sql.connection import Role

    with store(Role.OWNER) as connection:
        key = keys.withdraw(connection, key_id, reason, Author(person, organisation))
    said = f"withdrew {key.key_id} of {key.third_party_entity}"
    click.echo(json.dumps(_key(key), indent=2, ensure_ascii=False) if as_json else said)


@attestation.command("keys")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def keys_(*, as_json: bool) -> None:
    """List the registered keys."""
    from mrv.store import now_of
    from mrv.verification import keys
    from sql.connection import Role

    with store(Role.READER) as connection:
        known, now = keys.keys(connection), now_of(connection)
    if as_json:
        click.echo(json.dumps([{**_key(key), "state": key.state(now)} for key in known], indent=2, ensure_ascii=False))
        return
    for key in known:
        last = (key.valid_until - timedelta(microseconds=1)).date()
        click.echo(f"{key.key_id} {key.third_party_entity}: {key.state(now)}, {key.valid_from.date()} to {last}")
    if not known:
        click.echo("no key is registered; `jcm-mrv attestation register-key` registers one")


@attestation.command()
@click.argument("statement", metavar="STATEMENT", type=_FILE)
@click.option("--key", type=_FILE, required=True, metavar="FILE", help="The verifier's private key (PEM).")
@click.option("--out", type=_FILE, required=True, metavar="PATH", help="The signature's file, 64 bytes.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def sign(statement: Path, *, key: Path, out: Path, as_json: bool) -> None:
    """Sign a statement with one's own key, away from any database.

    The same as `openssl pkeyutl -sign -rawin -inkey KEY -in STATEMENT -out PATH`, and says what is being signed.
    """
    from deploy.files import write_whole
    from mrv.verification.statement import read

    content = read_file(statement)
    said = read(content)
    made = signature_with(key, content)
    write_whole(out, made)
    if as_json:
        click.echo(json.dumps({"statement": said, "signature": made.hex()}, indent=2, ensure_ascii=False))
        return
    period = said["period"]
    click.echo(
        f"{out}: signed revision {said['revision']} of {said['project']} {period['from']} to {period['to']}, "
        f"{said['er_tco2']:,} tCO2"
    )


@attestation.command()
@days
@revision_option
def show(project: str, first: date, last: date, *, as_json: bool, revision: int | None) -> None:
    """Check the attestation of a revision again, and show it.

    Without --revision it is that of the latest verified one.
    """
    from mrv.verification import attestation, steps
    from sql.connection import Role

    with store(Role.READER) as connection:
        latest = steps.state_of(connection, project, first, last, revision)
        verified = [entry for entry in steps.states(connection, project, first, last) if entry.is_verified]
        found = verified[-1] if revision is None and verified else latest
        checked = attestation.check(connection, found)
    if as_json:
        click.echo(json.dumps({**checked.as_json(), "state": found.state, "checked": True}, indent=2))
        return
    click.echo(f"{found.name} is {found.state}")
    click.echo(
        f"attested by {checked.signed.person} for {checked.key.third_party_entity} at {checked.signed.at.isoformat()}"
    )
    click.echo(f"the signature holds: key {checked.key.key_id}, over the result as it is stored")


def signature_with(key: Path, statement: bytes) -> bytes:
    """Sign with a private key in a file; asks for its password where it has one."""
    from mrv.verification import keys

    content = read_file(key)
    password = None
    if b"ENCRYPTED" in content:
        password = click.prompt("password of the key", hide_input=True, err=True).encode()
    return keys.sign(content, statement, password)


def _midnight(on: date) -> datetime:
    return datetime.combine(on, time(), UTC)


def _key(key: "VerifierKey") -> dict[str, object]:
    return {
        "key": key.key_id,
        "third_party_entity": key.third_party_entity,
        "valid_from": key.valid_from.isoformat(),
        "valid_until": key.valid_until.isoformat(),
        "withdrawn_at": None if key.withdrawn_at is None else key.withdrawn_at.isoformat(),
        "withdrawn_because": key.withdrawn_because,
        "registered": key.registered.as_json(),
    }
