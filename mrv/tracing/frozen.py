"""A frozen revision as everything is traced from it: found by its key, read once."""

import json
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache

import psycopg

from mrv.basis import Basis, Credited
from mrv.result import PeriodResult
from mrv.revisions import check_order
from mrv.tracing.errors import NotKeptError, NotThereError
from sql.named import load

QUERIES = load("tracing")


@dataclass(frozen=True, slots=True)
class RevisionKey:
    """A revision of a monitoring period."""

    project: str
    first_day: date
    last_day: date
    revision: int | None = None
    """None: the latest that is finished."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """A finished revision as it is stored."""

    period_id: int
    revision: int
    received_until: datetime
    """The cut-off: what was received later does not count."""
    frozen_at: datetime
    frozen_by: str
    state: str
    """frozen, submitted, superseded, verified or notified."""
    basis: Basis
    result: PeriodResult
    has_days: bool
    """Whether its days are kept."""

    @property
    def key(self) -> RevisionKey:
        """Its key, with its number."""
        return RevisionKey(self.result.project, self.result.first_day, self.result.last_day, self.revision)

    @property
    def row(self) -> dict[str, object]:
        """What queries find it by."""
        return {"period": self.period_id, "revision": self.revision}

    @property
    def name(self) -> str:
        """Name it as messages do."""
        result = self.result
        return f"revision {self.revision} of {result.project} {result.first_day} to {result.last_day}"

    def registers(self) -> list[Credited]:
        """List every register that counts, in the order of the computation."""
        return [*self.basis.credited(), *(one for place in self.basis.further() for one in place)]

    def need_days(self) -> None:
        """Raise NotKeptError where its days are not kept."""
        if not self.has_days:
            days = f"{self.result.project} {self.result.first_day} {self.result.last_day}"
            raise NotKeptError(
                f"{self.name} was frozen before its days were kept; "
                f"`jcm-mrv period show {days} --revision {self.revision} --recompute` keeps them"
            )


def frozen(connection: psycopg.Connection, key: RevisionKey) -> Frozen:
    """Find a finished revision.

    Raises
    ------
    WrongUseError
        The first day lies after the last.
    NotThereError
        There is no such revision, or it is unfinished.
    """
    check_order(key.first_day, key.last_day)
    given = {"project": key.project, "first": key.first_day, "last": key.last_day, "revision": key.revision}
    row = connection.execute(QUERIES["frozen"], given).fetchone()
    if row is None:
        which = "was never frozen" if key.revision is None else f"has no finished revision {key.revision}"
        raise NotThereError(f"{key.first_day} to {key.last_day} of {key.project} {which}; choose one that is listed")
    period, number, until, at, by, state, declarations, methodology, result, has_days = row
    return Frozen(
        period, number, until, at, by, state, _basis(declarations, methodology), _result(result), has_days=has_days
    )


# A declaration of fifty devices takes 10 ms to validate, and pages ask for the same revision again and again.
@lru_cache(maxsize=32)
def _basis(declarations: str, methodology: str) -> Basis:
    return Basis.from_texts(declarations, methodology)


@lru_cache(maxsize=32)
def _result(text: str) -> PeriodResult:
    return PeriodResult.from_json(json.loads(text))
