"""What every step has in common: who takes it, on which revision, what state that is in, and how a refusal is told."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime

import psycopg

from mrv.revisions import check_order
from mrv.verification.errors import VerificationError
from sql.named import load

_QUERIES = load("verification")
_REFUSED = "JV001"


@dataclass(frozen=True, slots=True)
class Author:
    """Who takes a step, beside the login that the database keeps by itself."""

    person: str
    organisation: str

    def as_row(self) -> dict[str, object]:
        """Return what a step's row holds of its author."""
        return {"person": self.person, "organisation": self.organisation}


@dataclass(frozen=True, slots=True)
class Signed:
    """Who took a step, with which login, and when by the database's clock."""

    at: datetime
    login: str
    person: str
    organisation: str

    def as_json(self) -> dict[str, object]:
        """For scripts."""
        return {
            "at": self.at.isoformat(),
            "login": self.login,
            "person": self.person,
            "organisation": self.organisation,
        }


@dataclass(frozen=True, slots=True)
class RevisionState:
    """A revision, and how far its verification is: what its rows say."""

    period_id: int
    project: str
    first_day: date
    last_day: date
    revision: int
    state: str
    """unfinished, frozen, submitted, superseded, verified or notified."""
    open_findings: tuple[str, ...]
    """Labels of the period's findings that are not closed, such as CAR-1."""

    @property
    def name(self) -> str:
        """Name it as messages do."""
        return f"revision {self.revision} of {self.project} {self.first_day} to {self.last_day}"

    @property
    def days(self) -> tuple[date, date]:
        """The first and the last day, both included."""
        return self.first_day, self.last_day

    @property
    def is_verified(self) -> bool:
        """Whether it is attested, also when it was notified since."""
        return self.state in ("verified", "notified")


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what the database refuses as a step into a `VerificationError` with its message."""
    try:
        yield
    except psycopg.Error as error:
        if error.sqlstate != _REFUSED:
            raise
        raise VerificationError(error.diag.message_primary) from None


def states(connection: psycopg.Connection, project: str, first: date, last: date) -> list[RevisionState]:
    """List the revisions of a period with their states, oldest first."""
    given = {"project": project, "first": first, "last": last}
    rows = connection.execute(_QUERIES["states"], given)
    return [
        RevisionState(period, project, first, last, number, state, tuple(labels))
        for period, number, state, labels in rows
    ]


def all_states(connection: psycopg.Connection, project: str | None = None) -> dict[tuple[str, date, date, int], str]:
    """Return the state of every revision, by project, first day, last day and number."""
    rows = connection.execute(_QUERIES["all_states"], {"project": project})
    return {(name, first, last, number): state for name, first, last, number, state in rows}


def state_of(
    connection: psycopg.Connection, project: str, first: date, last: date, revision: int | None = None
) -> RevisionState:
    """Find the state of a revision of a period, or of its latest.

    Raises
    ------
    WrongUseError
        FROM lies after TO.
    VerificationError
        There is no such revision.
    """
    check_order(first, last)
    found = states(connection, project, first, last)
    if not found:
        raise VerificationError(
            f"{first} to {last} of {project} was never frozen; `jcm-mrv period list` shows what was"
        )
    if revision is None:
        return found[-1]
    for entry in found:
        if entry.revision == revision:
            return entry
    raise VerificationError(f"{first} to {last} of {project} has no revision {revision}; its latest is {len(found)}")


def submit(connection: psycopg.Connection, revision: RevisionState, author: Author) -> Signed:
    """Hand a frozen revision to the third-party entity.

    Parameters
    ----------
    connection
        With the role of the participant.

    Raises
    ------
    VerificationError
        It is not frozen, not the latest, or submitted already; or the third-party entity would submit to itself.
    """
    given = {"period": revision.period_id, "revision": revision.revision, **author.as_row()}
    with refusals():
        row = connection.execute(_QUERIES["submit"], given).fetchone()
    assert row is not None  # noqa: S101 - an insert that returns has one row
    return Signed(*row)
