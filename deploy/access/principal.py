"""Who asks, and what they may do: pure, decided from what was granted.

A role is granted for one project or for all. An API token is narrower still: it carries scopes, so that a script that
pulls reports cannot raise a finding. A session of the browser has all scopes.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class AccountRole(StrEnum):
    """What somebody is to a project."""

    OPERATOR = "operator"
    PARTICIPANT = "participant"
    VERIFIER = "verifier"
    ADMINISTRATOR = "administrator"


class Scope(StrEnum):
    """What a token may be used for."""

    READ = "read"
    EVIDENCE = "evidence"
    """Raw payloads, proofs and bundles; each access is put on record."""
    OPERATE = "operate"
    """Replay of quarantine, acknowledging and muting alerts."""
    VERIFY = "verify"
    """Findings, responses, submissions, attestations."""
    ADMINISTER = "administer"
    """Accounts, tokens and grants."""


class Permission(StrEnum):
    """What a page or a call needs."""

    READ_PROJECT = "read_project"
    READ_EVIDENCE = "read_evidence"
    READ_OPERATIONS = "read_operations"
    OPERATE = "operate"
    RAISE_FINDING = "raise_finding"
    ATTEST = "attest"
    RESPOND = "respond"
    SUBMIT = "submit"
    ADMINISTER = "administer"


_ALLOWS: dict[AccountRole, frozenset[Permission]] = {
    AccountRole.OPERATOR: frozenset(
        {Permission.READ_PROJECT, Permission.READ_EVIDENCE, Permission.READ_OPERATIONS, Permission.OPERATE}
    ),
    AccountRole.PARTICIPANT: frozenset(
        {Permission.READ_PROJECT, Permission.READ_EVIDENCE, Permission.RESPOND, Permission.SUBMIT}
    ),
    AccountRole.VERIFIER: frozenset(
        {Permission.READ_PROJECT, Permission.READ_EVIDENCE, Permission.RAISE_FINDING, Permission.ATTEST}
    ),
    # Whoever hands out rights sees operations, but takes no step of a verification.
    AccountRole.ADMINISTRATOR: frozenset(
        {Permission.READ_PROJECT, Permission.READ_OPERATIONS, Permission.OPERATE, Permission.ADMINISTER}
    ),
}

_NEEDS: dict[Permission, Scope] = {
    Permission.READ_PROJECT: Scope.READ,
    Permission.READ_EVIDENCE: Scope.EVIDENCE,
    Permission.READ_OPERATIONS: Scope.READ,
    Permission.OPERATE: Scope.OPERATE,
    Permission.RAISE_FINDING: Scope.VERIFY,
    Permission.ATTEST: Scope.VERIFY,
    Permission.RESPOND: Scope.VERIFY,
    Permission.SUBMIT: Scope.VERIFY,
    Permission.ADMINISTER: Scope.ADMINISTER,
}


@dataclass(frozen=True, slots=True)
class Grant:
    """A role, for one project or, with `project` None, for all of them."""

    role: AccountRole
    project: str | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who signed in, or whose token was given."""

    account: str
    """The account's name; what the record of access names."""
    person: str
    """As findings and submissions name who acts."""
    organisation: str
    """As the declaration names participants and the third-party entity."""
    grants: tuple[Grant, ...]
    scopes: frozenset[Scope] = field(default_factory=lambda: frozenset(Scope))
    token: str | None = None
    """The id of the API token that was given; None for a session of the browser."""

    def may(self, permission: Permission, project: str | None = None) -> bool:
        """Tell whether this is allowed for a project; None asks whether it is allowed for every project."""
        return _NEEDS[permission] in self.scopes and any(
            permission in _ALLOWS[grant.role] and grant.project in {None, project} for grant in self.grants
        )

    def may_anywhere(self, permission: Permission) -> bool:
        """Tell whether this is allowed for at least one project."""
        return _NEEDS[permission] in self.scopes and any(permission in _ALLOWS[grant.role] for grant in self.grants)

    def projects(self, permission: Permission) -> frozenset[str] | None:
        """Name the projects that this is allowed for; None stands for all, also those that are declared later."""
        if self.may(permission):
            return None
        if _NEEDS[permission] not in self.scopes:
            return frozenset()
        return frozenset(
            grant.project for grant in self.grants if permission in _ALLOWS[grant.role] and grant.project is not None
        )
