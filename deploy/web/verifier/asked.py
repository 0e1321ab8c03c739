"""What an address under `/projects` asks for: the revision, and that whoever asks may see it."""

import re
from dataclasses import dataclass
from datetime import date
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Request

from deploy.access.principal import Permission, Principal
from deploy.web.identity import SignedIn, require
from deploy.web.problems import NotFoundError
from deploy.web.state import State, state_of
from mrv.tracing.frozen import RevisionKey
from mrv.verification.steps import Author

REVISION = "/projects/{project}/{first}/{last}/r{revision:int}"
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_MONTH = re.compile(r"\d{4}-\d{2}")
_LARGEST_REVISION = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Asked:
    """A revision that somebody may see."""

    principal: Principal
    state: State
    project: str
    first: date
    last: date
    revision: int

    @property
    def key(self) -> RevisionKey:
        """As it is traced by."""
        return RevisionKey(self.project, self.first, self.last, self.revision)

    @property
    def days(self) -> tuple[date, date]:
        """The first and the last day."""
        return self.first, self.last

    @property
    def path(self) -> str:
        """The address of its report."""
        return f"{period_path(self.project, self.first, self.last)}/r{self.revision}"

    @property
    def author(self) -> Author:
        """As steps name who takes them."""
        return Author(self.principal.person, self.principal.organisation)

    def may(self, permission: Permission) -> bool:
        """Tell whether this is allowed for its project."""
        return self.principal.may(permission, self.project)

    def need(self, permission: Permission) -> None:
        """Refuse what is not allowed for its project."""
        require(self.principal, permission, self.project)


def asked(request: Request, principal: SignedIn, project: str, first: str, last: str, revision: int) -> Asked:
    """Read the address of a revision.

    Raises
    ------
    NotFoundError
        It is none, or of a project that the principal may not know of.
    """
    require(principal, Permission.READ_PROJECT, project)
    if revision > _LARGEST_REVISION:
        raise NotFoundError(f"there is no revision {revision}")
    days = day_of(first), day_of(last)
    if days[0] > days[1]:
        raise NotFoundError(f"there is no period {first} to {last}")
    return Asked(principal, state_of(request), project, *days, revision)


Revision = Annotated[Asked, Depends(asked)]
"""The revision of a page's address."""


def day_of(text: str) -> date:
    """Read a day of an address.

    Raises
    ------
    NotFoundError
        It is none.
    """
    try:
        return date.fromisoformat(text if _DAY.fullmatch(text) else "")
    except ValueError:
        raise NotFoundError(f"{text} is not a day; days are written as 2021-12-31") from None


def month_of(text: str) -> date:
    """Read a month of an address; return its first day.

    Raises
    ------
    NotFoundError
        It is none.
    """
    try:
        return date.fromisoformat(f"{text}-01" if _MONTH.fullmatch(text) else "")
    except ValueError:
        raise NotFoundError(f"{text} is not a month; months are written as 2021-12") from None


def period_path(project: str, first: date, last: date) -> str:
    """Address a monitoring period."""
    return f"/projects/{quote(project, safe='')}/{first}/{last}"
