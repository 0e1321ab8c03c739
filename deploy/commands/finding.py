"""`jcm-mrv finding`: what the third-party entity finds, and what the participants say to it."""

import json
from datetime import date
from typing import TYPE_CHECKING

import click

from deploy.commands._steps import author, days, store
from deploy.commands.report import day

if TYPE_CHECKING:
    from mrv.verification.findings import Finding, Kind, Remark

_KINDS = ("CAR", "CL", "FAR")


@click.group()
def finding() -> None:
    """Findings of a verification: CAR, CL and FAR.

    A corrective action request (CAR) and a clarification request (CL) are closed before the attestation; a forward
    action request (FAR) may stay open. An open finding is carried over to the next revision of the period.
    """


@finding.command("raise")
@days
@click.argument("kind", type=click.Choice(_KINDS, case_sensitive=False))
@click.argument("text")
@click.option("--system", metavar="ID", help="The PV system it is about.")
@click.option("--device", metavar="SITE/DEVICE", help="The device it is about.")
@click.option("--day", "on", type=day, metavar="DAY", help="The day it is about.")
@click.option("--rule", metavar="ID", help="The rule it is about, such as register.gap@1.")
@click.option("--message", "message_id", type=int, metavar="ID", help="The message it is about.")
@author
def raise_(
    project: str,
    first: date,
    last: date,
    *,
    as_json: bool,
    kind: "Kind",
    text: str,
    system: str | None,
    device: str | None,
    on: date | None,
    rule: str | None,
    message_id: int | None,
    person: str,
    organisation: str,
) -> None:
    """Raise a finding on the submitted revision; the third-party entity does."""
    from mrv.verification import findings, steps
    from sql.connection import Role

    about = findings.About(system, device, on, rule, message_id)
    with store(Role.VERIFIER) as connection:
        latest = steps.state_of(connection, project, first, last)
        made = findings.raise_finding(connection, latest, kind, text, about, steps.Author(person, organisation))
    _say(made, f"raised {made.label} on {latest.name}", as_json=as_json)


@finding.command()
@days
@click.argument("label", metavar="FINDING")
@click.argument("text")
@author
def respond(
    project: str, first: date, last: date, *, as_json: bool, label: str, text: str, person: str, organisation: str
) -> None:
    """Respond to a finding; a participant does. FINDING is its label, such as CAR-1."""
    from mrv.verification import findings, steps
    from sql.connection import Role

    with store(Role.PARTICIPANT) as connection:
        found = findings.find(connection, project, first, last, label)
        found = findings.respond(connection, found, text, steps.Author(person, organisation))
    _say(found, f"responded to {found.label}", as_json=as_json)


@finding.command()
@days
@click.argument("label", metavar="FINDING")
@click.argument("text")
@author
def close(
    project: str, first: date, last: date, *, as_json: bool, label: str, text: str, person: str, organisation: str
) -> None:
    """Close a finding that was responded to; the third-party entity does. FINDING is its label, such as CAR-1."""
    from mrv.verification import findings, steps
    from sql.connection import Role

    with store(Role.VERIFIER) as connection:
        found = findings.find(connection, project, first, last, label)
        found = findings.close(connection, found, text, steps.Author(person, organisation))
    _say(found, f"closed {found.label}", as_json=as_json)


@finding.command("list")
@click.argument("project")
@click.argument("first", metavar="[FROM]", type=day, required=False)
@click.argument("last", metavar="[TO]", type=day, required=False)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def list_(project: str, first: date | None, last: date | None, *, as_json: bool) -> None:
    """List the findings of a period, or of all periods of a project."""
    from mrv.periods import current_basis
    from mrv.verification import findings
    from sql.connection import Role

    if (first is None) != (last is None):
        raise click.UsageError("give FROM and TO, or neither")
    with store(Role.READER) as connection:
        known = findings.findings(connection, project, first, last)
        if not known:
            current_basis(connection, project)  # says so when there is no such project
    if as_json:
        click.echo(json.dumps([entry.as_json() for entry in known], indent=2, ensure_ascii=False))
        return
    for entry in known:
        about = "".join(f", {name.replace('_id', '')} {value}" for name, value in entry.about.items())
        where = f"{entry.first_day} to {entry.last_day}, revision {entry.revision}"
        click.echo(f"{entry.label:<7} {entry.state:<9} {where}{about}: {entry.text}")
    if not known:
        click.echo("no finding was raised")


@finding.command()
@days
@click.argument("label", metavar="FINDING")
def show(project: str, first: date, last: date, *, as_json: bool, label: str) -> None:
    """Show a finding with what was said to it. FINDING is its label, such as CAR-1."""
    from mrv.verification import findings
    from sql.connection import Role

    with store(Role.READER) as connection:
        found = findings.find(connection, project, first, last, label)
    if as_json:
        _say(found, "", as_json=True)
        return
    about = ", ".join(f"{name.replace('_id', '')} {value}" for name, value in found.about.items()) or "the whole period"
    click.echo(f"{found.label}, {found.state}, raised on revision {found.revision} about {about}")
    click.echo(f"  {found.text}")
    click.echo(f"  {found.signed.person}, {found.signed.organisation}, {found.signed.at.isoformat()}")
    for remark in found.responses:
        _remark("response", remark)
    if found.closing is not None:
        _remark("closed", found.closing)


def _remark(what: str, remark: "Remark") -> None:
    click.echo(f"{what}, at revision {remark.revision}")
    click.echo(f"  {remark.text}")
    click.echo(f"  {remark.signed.person}, {remark.signed.organisation}, {remark.signed.at.isoformat()}")


def _say(found: "Finding", line: str, *, as_json: bool) -> None:
    click.echo(json.dumps(found.as_json(), indent=2, ensure_ascii=False) if as_json else line)
