"""Frozen revisions as they are stored: what they were computed from, what came out, and what differs."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg

from mrv.basis import Basis
from mrv.calendar import day_bounds
from mrv.errors import PeriodError, WrongUseError
from mrv.inputs import StoredReadings
from mrv.result import PeriodResult
from sql.named import load

_QUERIES = load("mrv")


@dataclass(frozen=True)
class Revision:
    """A frozen revision as it is stored; `result_text` is None while its computation was not finished."""

    number: int
    received_until: datetime
    basis: Basis
    code_version: str
    inputs_digest: str | None
    result_text: str | None
    frozen_by: str
    frozen_at: datetime

    @property
    def result(self) -> PeriodResult:
        """The stored result.

        Raises
        ------
        PeriodError
            The computation was not finished.
        """
        if self.result_text is None:
            raise PeriodError(
                f"revision {self.number} was left unfinished; freeze the period again to complete it with its cut-off "
                f"{self.received_until.isoformat()}"
            )
        return PeriodResult.from_json(json.loads(self.result_text))


@dataclass(frozen=True, slots=True)
class PeriodLine:
    """A period and one of its revisions, for a list; without a revision it is open."""

    project: str
    first_day: date
    last_day: date
    revision: int | None
    received_until: datetime | None
    frozen_by: str | None
    er_tco2: int | None


def check_order(first: date, last: date) -> None:
    """Raise WrongUseError when FROM lies after TO."""
    if first > last:
        raise WrongUseError(f"FROM {first} lies after TO {last}; give the first day before the last")


def revisions(connection: psycopg.Connection, project: str, first: date, last: date) -> list[Revision]:
    """List the revisions of a period, oldest first; none if it was never frozen."""
    rows = connection.execute(_QUERIES["revisions"], {"project": project, "first": first, "last": last})
    return [
        Revision(number, until, Basis.from_texts(declarations, methodology), version, digest, result, by, at)
        for number, until, declarations, methodology, version, digest, result, by, at in rows
    ]


def find_revision(
    connection: psycopg.Connection, project: str, first: date, last: date, number: int | None = None
) -> Revision:
    """Find a revision of a period by its number, or the latest.

    Raises
    ------
    WrongUseError
        FROM lies after TO.
    PeriodError
        There is no such revision.
    """
    check_order(first, last)
    found = revisions(connection, project, first, last)
    if not found:
        raise PeriodError(f"{first} to {last} of {project} was never frozen; `jcm-mrv period list` shows what was")
    if number is None:
        return found[-1]
    for revision in found:
        if revision.number == number:
            return revision
    raise PeriodError(f"{first} to {last} of {project} has no revision {number}; its latest is {found[-1].number}")


def arrived_since(connection: psycopg.Connection, revision: Revision) -> int:
    """Count the readings of a revision's period that were received after its cut-off."""
    result = revision.result
    readings = StoredReadings(connection, result.project)
    total = 0
    counted = [*revision.basis.credited(), *(one for place in revision.basis.further() for one in place)]
    # A meter with two registers sends them in the same readings.
    for credited in {one.label: one for one in counted}.values():
        zone = credited.site.time_zone
        start, end = day_bounds(result.first_day, zone)[0], day_bounds(result.last_day, zone)[1]
        total += readings.arrived_after([credited], start, end, revision.received_until)
    return total


def list_periods(connection: psycopg.Connection, project: str | None = None) -> list[PeriodLine]:
    """List the periods of a project, or of all, with their revisions."""
    rows = connection.execute(_QUERIES["list_periods"], {"project": project})
    return [
        PeriodLine(name, first, last, number, until, by, None if text is None else json.loads(text)["er_tco2"])
        for name, first, last, number, until, by, text in rows
    ]


def differences(stored: Any, again: Any, path: str = "") -> Iterator[str]:
    """Name where two JSON values differ, in the order of their keys."""
    if isinstance(stored, Mapping) and isinstance(again, Mapping):
        for key in sorted({*stored, *again}):
            yield from differences(stored.get(key), again.get(key), f"{path}.{key}" if path else key)
    elif isinstance(stored, list) and isinstance(again, list) and len(stored) == len(again):
        for position, (one, other) in enumerate(zip(stored, again, strict=True)):
            yield from differences(one, other, f"{path}[{position}]")
    elif stored != again:
        yield f"{path} was {json.dumps(stored, ensure_ascii=False)}, is {json.dumps(again, ensure_ascii=False)}"
