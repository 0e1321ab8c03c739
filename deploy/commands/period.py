"""`jcm-mrv period`: monitoring periods and their frozen revisions."""

import json
from datetime import date
from importlib.metadata import version
from typing import TYPE_CHECKING

import click

from deploy.commands import _period_steps
from deploy.commands._steps import days, store
from deploy.commands.report import day

if TYPE_CHECKING:
    from mrv.result import PeriodResult


def _print(result: "PeriodResult", *, as_json: bool, **more: object) -> None:
    if as_json:
        click.echo(json.dumps(result.as_json() | more, indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    from deploy.period_view import show

    show(Console(), result)


@click.group()
def period() -> None:
    """Compute, freeze and show monitoring periods, and have them verified.

    FROM and TO are days of the site, both included, written as 2021-12-31.
    """


for _step in _period_steps.COMMANDS:
    period.add_command(_step)


@period.command()
@days
def compute(project: str, first: date, last: date, *, as_json: bool) -> None:
    """Compute a period from what is there now, as a draft; nothing is frozen."""
    from rich.console import Console

    from deploy.period_view import progress
    from mrv.periods import draft
    from mrv.revisions import check_order

    check_order(first, last)
    with store() as connection, progress(Console(stderr=True)) as told:
        result = draft(connection, project, first, last, code_version=version("jcm-mrv"), progress=told)
    _print(result, as_json=as_json)


@period.command()
@days
def freeze(project: str, first: date, last: date, *, as_json: bool) -> None:
    """Freeze a period: everything received until now, the declarations and the result, as the next revision.

    Where nothing changed since the last revision, that one stands.
    """
    from rich.console import Console

    from deploy.difference_view import summary
    from deploy.period_view import progress
    from mrv import periods
    from mrv.revisions import check_order
    from mrv.verification.differences import difference
    from mrv.verification.steps import states

    check_order(first, last)
    with store() as connection:
        with progress(Console(stderr=True)) as told:
            done = periods.freeze(connection, project, first, last, code_version=version("jcm-mrv"), progress=told)
        verified = [entry for entry in states(connection, project, first, last) if entry.is_verified]
        changed = None
        if done.new and done.revision.number > 1:
            changed = difference(
                connection, project, first, last, done.revision.number - 1, done.revision.number, with_days=False
            )
    after = verified[-1] if verified and verified[-1].revision < done.revision.number else None
    _print(
        done.revision.result,
        as_json=as_json,
        new=done.new,
        **({} if after is None else {"after_verified_revision": after.revision}),
    )
    number = done.revision.number
    if done.completed:
        click.echo(f"completed revision {number}, which was left unfinished, with the cut-off it had", err=True)
    elif done.new:
        click.echo(f"frozen as revision {number}", err=True)
    else:
        click.echo(f"nothing new since revision {number}", err=True)
    if changed is not None:
        click.echo(summary(changed), err=True)
    if after is not None:
        click.echo(
            f"WARNING: revision {after.revision} of this period is {after.state} and stays as it is; "
            f"revision {number} is not verified",
            err=True,
        )


@period.command()
@days
@click.option("--revision", type=click.IntRange(min=1), metavar="N", help="This revision, not the latest.")
@click.option("--recompute", is_flag=True, help="Compute it again and compare every byte.")
def show(project: str, first: date, last: date, *, as_json: bool, revision: int | None, recompute: bool) -> None:
    """Show a frozen revision of a period."""
    from mrv import periods
    from mrv.revisions import arrived_since, find_revision
    from mrv.verification.steps import state_of

    with store() as connection:
        found = find_revision(connection, project, first, last, revision)
        result = found.result
        verification = state_of(connection, project, first, last, found.number)
        late = arrived_since(connection, found)
        if recompute:
            periods.recompute(connection, project, first, last, found.number)
    more = {"state": verification.state, "open_findings": list(verification.open_findings), "arrived_since": late}
    _print(result, as_json=as_json, **more, **({"recomputed": True} if recompute else {}))
    if as_json:
        return
    click.echo(f"frozen at {found.frozen_at.isoformat()} by {found.frozen_by}")
    if verification.state != "frozen":
        said = f"; open: {', '.join(verification.open_findings)}" if verification.open_findings else ""
        click.echo(f"{verification.state}{said}")
    if recompute:
        click.echo("recomputed: the same to the byte")
    if late:
        click.echo(f"{late:,} readings of this period were received after the cut-off; freezing again makes a revision")


@period.command("list")
@click.argument("project", required=False)
@click.argument("first", metavar="[FROM]", type=day, required=False)
@click.argument("last", metavar="[TO]", type=day, required=False)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def list_(project: str | None, first: date | None, last: date | None, *, as_json: bool) -> None:
    """List periods and their revisions, of one project or of all; FROM and TO leave out what lies outside."""
    from mrv.periods import current_basis
    from mrv.revisions import check_order, list_periods
    from mrv.verification.steps import all_states

    if first is not None and last is not None:
        check_order(first, last)
    with store() as connection:
        lines = list_periods(connection, project)
        known = all_states(connection, project)
        if project is not None and not lines:
            current_basis(connection, project)  # says so when there is no such project
    lines = [
        line for line in lines if (first is None or line.first_day >= first) and (last is None or line.last_day <= last)
    ]
    if as_json:
        click.echo(
            json.dumps(
                [
                    {
                        "project": line.project,
                        "from": line.first_day.isoformat(),
                        "to": line.last_day.isoformat(),
                        "revision": line.revision,
                        "received_until": None if line.received_until is None else line.received_until.isoformat(),
                        "frozen_by": line.frozen_by,
                        "er_tco2": line.er_tco2,
                        "state": known.get((line.project, line.first_day, line.last_day, line.revision or 0), "open"),
                    }
                    for line in lines
                ],
                indent=2,
            )
        )
        return
    if not lines:
        click.echo("no period was frozen yet; `jcm-mrv period freeze PROJECT FROM TO` freezes one")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("project", "from", "to", "revision", "ER tCO2", "state", "received until", "by"):
        table.add_column(title, justify="right" if title in ("revision", "ER tCO2") else "left")
    for line in lines:
        table.add_row(
            line.project,
            line.first_day.isoformat(),
            line.last_day.isoformat(),
            "open" if line.revision is None else str(line.revision),
            "unfinished" if line.revision and line.er_tco2 is None else f"{line.er_tco2 or 0:,}",
            known.get((line.project, line.first_day, line.last_day, line.revision or 0), ""),
            "" if line.received_until is None else f"{line.received_until:%Y-%m-%d %H:%M}Z",
            line.frozen_by or "",
        )
    Console().print(table)
