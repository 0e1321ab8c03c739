"""The steps of a period's verification under `jcm-mrv period`: diff, submit, statement, attest, notify."""

import json
import sys
from datetime import date
from pathlib import Path

import click

from deploy.commands._steps import author, days, read_file, revision_option, store
from deploy.commands.report import day

_FILE = click.Path(path_type=Path)


@click.command()
@days
@click.option("--from-revision", type=click.IntRange(min=1), metavar="A", help="Compare this one; by default N - 1.")
@click.option("--to-revision", type=click.IntRange(min=1), metavar="B", help="With this one; by default the latest.")
def diff(
    project: str, first: date, last: date, *, as_json: bool, from_revision: int | None, to_revision: int | None
) -> None:
    """Show what changed between two revisions of a period.

    Tonnes, kilograms by system, watt-hours by device and day, the messages that brought late readings, what was
    declared differently, the rules' counts, and what else was found.
    """
    from deploy.difference_view import lines
    from mrv.verification.differences import difference

    with store() as connection:
        found = difference(connection, project, first, last, from_revision, to_revision)
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2, ensure_ascii=False))
        return
    for line in lines(found):
        click.echo(line)


@click.command()
@days
@revision_option
@author
def submit(
    project: str, first: date, last: date, *, as_json: bool, revision: int | None, person: str, organisation: str
) -> None:
    """Submit a frozen revision to the third-party entity; a participant does."""
    from mrv.verification import steps
    from sql.connection import Role

    with store(Role.PARTICIPANT) as connection:
        found = steps.state_of(connection, project, first, last, revision)
        signed = steps.submit(connection, found, steps.Author(person, organisation))
    content = {
        "project": project,
        "from": first.isoformat(),
        "to": last.isoformat(),
        "revision": found.revision,
        "state": "submitted",
        "open_findings": list(found.open_findings),
        **signed.as_json(),
    }
    carried = f"; carried over: {', '.join(found.open_findings)}" if found.open_findings else ""
    _say(content, f"submitted {found.name}{carried}", as_json=as_json)


@click.command()
@days
@revision_option
@click.option("--out", type=_FILE, metavar="PATH", help="The file to write; left out: standard output.")
def statement(project: str, first: date, last: date, *, as_json: bool, revision: int | None, out: Path | None) -> None:
    """Print the bytes that a verifier signs for a revision; docs/verifiers.md specifies them.

    The bytes are JSON and have no line feed at the end; --json indents them for reading, and must not be signed.
    """
    from deploy.files import write_whole
    from mrv.verification.attestation import statement_of
    from mrv.verification.steps import state_of
    from sql.connection import Role

    with store(Role.READER) as connection:
        found = state_of(connection, project, first, last, revision)
        written = statement_of(connection, found)
    if as_json:
        click.echo(json.dumps(json.loads(written), indent=2, ensure_ascii=False))
    elif out is not None:
        write_whole(out, written)
        click.echo(f"{out}: {len(written)} bytes, the statement of {found.name}")
    else:
        sys.stdout.buffer.write(written)
        sys.stdout.buffer.flush()
    unresolved = [name for name in found.open_findings if not name.startswith("FAR-")]
    if found.state != "submitted":
        click.echo(f"{found.name} is {found.state}", err=True)
    elif unresolved:
        click.echo(f"{found.name} cannot be attested yet: {', '.join(unresolved)} not closed", err=True)


@click.command()
@days
@revision_option
@click.option("--statement", "signed", type=_FILE, metavar="FILE", help="The statement as it was signed.")
@click.option("--signature", type=_FILE, metavar="FILE", help="Its detached Ed25519 signature, 64 bytes.")
@click.option("--key", type=_FILE, metavar="FILE", help="Or: sign the statement here, with this private key (PEM).")
@author
def attest(
    project: str,
    first: date,
    last: date,
    *,
    as_json: bool,
    revision: int | None,
    signed: Path | None,
    signature: Path | None,
    key: Path | None,
    person: str,
    organisation: str,
) -> None:
    """Attest a submitted revision with a signed statement; the third-party entity does.

    Give --statement and --signature, made away from here, or --key on the verifier's own machine. The key's public half
    must be registered for the organisation.
    """
    from deploy.commands.attestation import signature_with
    from mrv.verification import attestation, steps
    from sql.connection import Role

    if (key is None) != (signed is not None and signature is not None) or (
        key is not None and (signed is not None or signature is not None)
    ):
        raise click.UsageError("give --statement and --signature, or --key alone")
    with store(Role.VERIFIER) as connection:
        found = steps.state_of(connection, project, first, last, revision)
        if key is not None:
            content = attestation.statement_of(connection, found)
            made = signature_with(key, content)
        else:
            assert signed is not None and signature is not None  # noqa: S101, PT018 - seen above
            content, made = read_file(signed), read_file(signature)
        done = attestation.attest(connection, found, content, made, steps.Author(person, organisation))
    said = f"attested {found.name} for {done.key.third_party_entity} with key {done.key.key_id}"
    _say({**done.as_json(), "state": "verified"}, said, as_json=as_json)


@click.command()
@days
@revision_option
@click.option("--decided", type=day, required=True, metavar="DAY", help="Day of the Joint Committee's decision.")
@click.option(
    "--share",
    "shares",
    multiple=True,
    required=True,
    metavar="YEAR:SIDE:HOLDER=TONNES",
    help="Whole tonnes of a vintage, SIDE host or japan; again for each. They sum to the verified tonnes.",
)
@author
def notify(
    project: str,
    first: date,
    last: date,
    *,
    as_json: bool,
    revision: int | None,
    decided: date,
    shares: tuple[str, ...],
    person: str,
    organisation: str,
) -> None:
    """Declare what each side and holder was notified of a verified revision; a participant does.

    No rounding is assumed: the integers are the decision's own. A period is notified once.
    """
    from mrv.verification import notification, steps
    from sql.connection import Role

    declared = [notification.Share.parse(text) for text in shares]
    with store(Role.PARTICIPANT) as connection:
        found = steps.state_of(connection, project, first, last, revision)
        done = notification.notify(connection, found, decided, declared, steps.Author(person, organisation))
    total = sum(share.tco2 for share in done.shares)
    sides = ", ".join(
        f"{name} {sum(share.tco2 for share in done.shares if share.side == side):,}"
        for side, name in (("host", "host"), ("japan", "Japan"))
    )
    _say({**done.as_json(), "state": "notified"}, f"notified {found.name}: {total:,} tCO2 ({sides})", as_json=as_json)


def _say(content: dict[str, object], line: str, *, as_json: bool) -> None:
    click.echo(json.dumps(content, indent=2, ensure_ascii=False) if as_json else line)


COMMANDS = (diff, submit, statement, attest, notify)
