"""Asking before something is deleted."""

import click


def confirm(question: str) -> None:
    """Ask a person.

    Raises
    ------
    click.Abort
        The answer was no, or there is nobody to ask; it is said that nothing was done.
    """
    try:
        if click.confirm(question):
            return
    except click.Abort:
        click.echo(err=True)
    click.echo("jcm-mrv: not confirmed, and nothing was done; --yes does not ask", err=True)
    raise click.Abort
