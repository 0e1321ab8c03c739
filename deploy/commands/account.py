"""`jcm-mrv account`: who may do what, and the tokens and logins with which they do it."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import psycopg

    from deploy.access.accounts import Account
    from deploy.access.tokens import ApiToken
    from sql.connection import Role

_ROLES = ("operator", "participant", "verifier", "administrator")
_SCOPES = ("read", "evidence", "operate", "verify", "administer")


@contextmanager
def _store(role: "Role | None" = None) -> Iterator["psycopg.Connection"]:
    from deploy.servers import endpoints
    from sql.connection import Role, connect, reported
    from sql.migrator import check

    chosen = Role.SERVICE if role is None else role
    with reported(), connect(endpoints().database_url, chosen, application="jcm-mrv account") as connection:
        check(connection)
        yield connection


def _by(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--by", metavar="NAME", help="Who does this, for the record; by default the database's login.")(
        command
    )


def _as_json(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="For scripts.")(command)


def _granted(command: Callable[..., Any]) -> Callable[..., Any]:
    for parameter in (
        click.option("--all-projects", is_flag=True, help="For all projects, also those to come."),
        click.argument("project", required=False),
        click.argument("role", type=click.Choice(_ROLES)),
        click.argument("name"),
    ):
        command = parameter(command)
    return command


@click.group()
def account() -> None:
    """Who may do what: accounts, roles by project, API tokens, logins.

    Nobody has a password here: a person signs in with the OpenID Connect provider, or with an API token.
    """


@account.command()
@click.argument("name")
@click.option("--person", required=True, metavar="NAME", help="As findings and submissions name who acts.")
@click.option("--organisation", default="", metavar="NAME", help="As the declaration names it.")
@click.option("--email", metavar="ADDRESS", help="Where to reach the person.")
@click.option("--oidc-subject", metavar="SUB", help="Who this is at the provider of JCM_MRV_OIDC_ISSUER.")
@_by
@_as_json
def add(
    name: str,
    *,
    person: str,
    organisation: str,
    email: str | None,
    oidc_subject: str | None,
    by: str | None,
    as_json: bool,
) -> None:
    """Add an account, which may do nothing until a role is granted to it."""
    from deploy.access import accounts
    from deploy.errors import ConfigurationError
    from deploy.settings import load_settings

    oidc = None
    if oidc_subject is not None:
        issuer = load_settings().oidc_issuer
        if not issuer:
            raise ConfigurationError("--oidc-subject needs to know whose; set JCM_MRV_OIDC_ISSUER")
        oidc = (issuer, oidc_subject)
    with _store() as connection:
        made = accounts.add(connection, name, person, organisation, email=email, oidc=oidc, by=by)
    _say(_account_as_json(made), f"added {name}, who may do nothing yet; see `jcm-mrv account grant`", as_json=as_json)


@account.command("list")
@_as_json
def list_(*, as_json: bool) -> None:
    """List accounts with what is granted to them."""
    from deploy.access import accounts

    with _store() as connection:
        known = accounts.list_accounts(connection)
    if as_json:
        click.echo(json.dumps([_account_as_json(one) for one in known], indent=2, ensure_ascii=False))
        return
    for one in known:
        held = ", ".join(accounts.describe(grant) for grant in one.grants) or "nothing"
        who = ", ".join(filter(None, (one.person, one.organisation, one.email)))
        how = " (provider)" if one.oidc_subject else ""
        click.echo(f"{one.name}{how}: {who}: {'disabled' if one.disabled_at else held}")
    if not known:
        click.echo("there is no account yet; see `jcm-mrv account add`")


@account.command()
@_granted
@_by
@_as_json
def grant(name: str, role: str, project: str | None, *, all_projects: bool, by: str | None, as_json: bool) -> None:
    """Grant a role for a project, or for all of them."""
    from deploy.access import accounts
    from deploy.access.principal import AccountRole, Grant

    given = Grant(AccountRole(role), _chosen(project, all_projects=all_projects))
    with _store() as connection:
        new = accounts.grant(connection, name, given.role, given.project, by=by)
        found = accounts.find(connection, name)
    held = accounts.describe(given)
    _say(_account_as_json(found), f"{name} is now {held}" if new else f"{name} is {held} already", as_json=as_json)


@account.command()
@_granted
@_by
@_as_json
def revoke(name: str, role: str, project: str | None, *, all_projects: bool, by: str | None, as_json: bool) -> None:
    """Take a role back, from the next request on."""
    from deploy.access import accounts
    from deploy.access.principal import AccountRole, Grant

    given = Grant(AccountRole(role), _chosen(project, all_projects=all_projects))
    with _store() as connection:
        accounts.revoke(connection, name, given.role, given.project, by=by)
        found = accounts.find(connection, name)
    _say(_account_as_json(found), f"{name} is no longer {accounts.describe(given)}", as_json=as_json)


@account.command()
@click.argument("name")
@_by
@_as_json
def disable(name: str, *, by: str | None, as_json: bool) -> None:
    """Let nobody act under an account any more; its tokens and sessions end."""
    from deploy.access import accounts

    with _store() as connection:
        accounts.disable(connection, name, by=by)
        found = accounts.find(connection, name)
    _say(_account_as_json(found), f"disabled {name}", as_json=as_json)


@account.group()
def token() -> None:
    """API tokens: for scripts, and for signing in where there is no provider."""


@token.command("issue")
@click.argument("account_name", metavar="ACCOUNT")
@click.option("--name", required=True, help="What it is for.")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(_SCOPES),
    multiple=True,
    required=True,
    help="What it may be used for, of what is granted to the account; can be given several times.",
)
@click.option("--days", type=click.IntRange(1, 366), default=90, show_default=True, help="How long it is valid.")
@_by
@_as_json
def token_issue(
    account_name: str, *, name: str, scopes: Sequence[str], days: int, by: str | None, as_json: bool
) -> None:
    """Issue a token and write it to standard output, this once."""
    from datetime import timedelta

    from deploy.access import tokens
    from deploy.access.principal import Scope

    with _store() as connection:
        issued = tokens.issue(
            connection, account_name, name, {Scope(scope) for scope in scopes}, timedelta(days=days), by=by
        )
    until = issued.expires_at.isoformat(timespec="seconds")
    if as_json:
        click.echo(json.dumps({"id": issued.token_id, "token": issued.token, "expires_at": until}, indent=2))
        return
    click.echo(issued.token)
    click.echo(f"token {issued.token_id} is valid until {until}; it is shown this once", err=True)


@token.command("list")
@click.argument("account_name", metavar="[ACCOUNT]", required=False)
@_as_json
def token_list(account_name: str | None, *, as_json: bool) -> None:
    """List the tokens of an account, or of all."""
    from deploy.access import accounts, tokens

    with _store() as connection:
        if account_name is not None:
            accounts.find(connection, account_name)
        known = tokens.tokens(connection, account_name)
    if as_json:
        click.echo(json.dumps([_token_as_json(one) for one in known], indent=2, ensure_ascii=False))
        return
    for one in known:
        used = f"{one.last_used_at:%Y-%m-%d %H}h" if one.last_used_at else "never"
        click.echo(
            f"{one.token_id:>5} {one.state:<8} {one.account} {one.name}: {', '.join(one.scopes)};"
            f" until {one.expires_at:%Y-%m-%d}, used {used}"
        )
    if not known:
        click.echo("no token was issued; see `jcm-mrv account token issue`")


@token.command("revoke")
@click.argument("token_id", metavar="ID", type=click.IntRange(1, 2**31 - 1))
@_by
def token_revoke(token_id: int, *, by: str | None) -> None:
    """Revoke a token, from the next request on; the sessions that began with it end too."""
    from deploy.access import tokens

    with _store() as connection:
        tokens.revoke(connection, token_id, by=by)
    click.echo(f"revoked token {token_id}")


@account.group()
def login() -> None:
    """Logins of people who read the database with SQL of their own: the projects that each sees.

    A login is made by the database's administrator as a member of jcm_mrv_verifier, jcm_mrv_participant or
    jcm_mrv_operator. Until a project is allowed it sees none.
    """


@login.command("allow")
@click.argument("name", metavar="LOGIN")
@click.argument("project")
def login_allow(name: str, project: str) -> None:
    """Let a login see a project; the owner of the database does."""
    from deploy.access import logins
    from sql.connection import Role

    with _store(Role.OWNER) as connection:
        new = logins.allow(connection, name, project)
    sees = f"now sees {project}" if new else f"sees {project} already"
    click.echo(f"{name} {sees}, in the views of the schema scoped")


@login.command("forbid")
@click.argument("name", metavar="LOGIN")
@click.argument("project")
def login_forbid(name: str, project: str) -> None:
    """Let a login no longer see a project; the owner of the database does."""
    from deploy.access import logins
    from sql.connection import Role

    with _store(Role.OWNER) as connection:
        logins.forbid(connection, name, project)
    click.echo(f"{name} no longer sees {project}")


@login.command("list")
@_as_json
def login_list(*, as_json: bool) -> None:
    """List which login sees which projects."""
    from deploy.access import logins

    with _store() as connection:
        known = logins.logins(connection)
    if as_json:
        click.echo(json.dumps(known, indent=2, ensure_ascii=False))
        return
    for name, projects in known.items():
        click.echo(f"{name}: {', '.join(projects)}")
    if not known:
        click.echo("no login sees a project; see `jcm-mrv account login allow`")


def _chosen(project: str | None, *, all_projects: bool) -> str | None:
    if (project is None) != all_projects:
        raise click.UsageError("give a PROJECT, or --all-projects")
    return project


def _account_as_json(one: "Account") -> dict[str, Any]:
    return {
        "name": one.name,
        "person": one.person,
        "organisation": one.organisation,
        "email": one.email,
        "oidc_issuer": one.oidc_issuer,
        "oidc_subject": one.oidc_subject,
        "created_at": one.created_at.isoformat(),
        "disabled_at": one.disabled_at.isoformat() if one.disabled_at else None,
        "grants": [{"role": grant.role.value, "project": grant.project} for grant in one.grants],
    }


def _token_as_json(one: "ApiToken") -> dict[str, Any]:
    return {
        "id": one.token_id,
        "account": one.account,
        "name": one.name,
        "scopes": [scope.value for scope in one.scopes],
        "state": one.state,
        "created_at": one.created_at.isoformat(),
        "expires_at": one.expires_at.isoformat(),
        "last_used_at": one.last_used_at.isoformat() if one.last_used_at else None,
        "revoked_at": one.revoked_at.isoformat() if one.revoked_at else None,
    }


def _say(content: dict[str, Any], line: str, *, as_json: bool) -> None:
    click.echo(json.dumps(content, indent=2, ensure_ascii=False) if as_json else line)
