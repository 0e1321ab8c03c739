"""Calibration over a period: which days it covers, and the error to assume on the others.

Rule (`jcm-facts` 4.5): a delayed calibration costs the maximum permissible error over the delay when the later test
finds none or a smaller one [V]; the error that was found, when it is larger [M].
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from itertools import groupby
from zoneinfo import ZoneInfo

from devices.declaration_rules import LARGEST_ERROR_PERCENT
from devices.declarations import Calibration, Device, PvSystem
from mrv.calendar import days_between

_WHOLE = Decimal(100)


class State(Enum):
    """What a meter's calibrations say about a day."""

    VALID = "valid"
    EXPIRED = "expired"
    NOT_YET = "not yet"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Permissible:
    """The maximum permissible error of a meter."""

    percent: Decimal
    source: str
    confirmed: bool
    """False for the default where none is declared."""


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive days of one state, both ends included."""

    first: date
    last: date
    state: State
    percent: Decimal
    """The error to take against the credit on each of its days; 0 where the calibration is valid."""

    @property
    def days(self) -> int:
        """How many there are."""
        return (self.last - self.first).days + 1


def permissible(device: Device) -> Permissible:
    """Return the declared error of a meter, or the largest that can be declared.

    No number is derived from the accuracy class: the sources give none, and a default below what could have been
    declared would raise the credit of a meter whose error is left out.
    """
    declared = device.maximum_permissible_error_percent
    if declared is not None:
        return Permissible(declared, "declared", confirmed=True)
    largest = Decimal(LARGEST_ERROR_PERCENT)
    return Permissible(largest, "default [M]: the largest that can be declared, for none is", confirmed=False)


def is_held(device: Device, system: PvSystem) -> bool:
    """Whether a device is held to calibration: it declares one or an error, or the monitoring plan stands behind it.

    An inverter, and a meter that declares nothing of the kind, has no number that could be applied. The meter is told
    about (`meter.no_calibration_declared@1`); `jcm-mrv apply` keeps an error that was declared once.
    """
    if device.calibrations:
        return True
    planned = system.monitoring_plan is not None or device.maximum_permissible_error_percent is not None
    return device.kind == "meter" and planned


def in_place(device: Device, zone: str, first: date, last: date) -> tuple[date, date] | None:
    """Return the first and last local day of a period on which a device was in its place; None for none."""
    site = ZoneInfo(zone)
    begin = max(first, device.installed.astimezone(site).date())
    end = last
    if device.removed is not None:
        # Removed at midnight: its last day was the one before.
        end = min(last, (device.removed.at - timedelta(microseconds=1)).astimezone(site).date())
    return None if end < begin else (begin, end)


def runs(device: Device, first: date, last: date) -> tuple[Run, ...]:
    """Tell the state of every day from first to last, as runs of equal days."""
    error = permissible(device).percent
    judged = [(day, *_judge(device.calibrations, error, day)) for day in days_between(first, last)]
    found = []
    for (state, percent), run in groupby(judged, key=lambda entry: entry[1:]):
        days = [entry[0] for entry in run]
        found.append(Run(days[0], days[-1], state, percent))
    return tuple(found)


def percents(found: tuple[Run, ...]) -> Mapping[date, Decimal]:
    """Return the error to assume by day, for the days on which there is one."""
    return dict(_percents(found))


def _percents(found: tuple[Run, ...]) -> Iterator[tuple[date, Decimal]]:
    for run in found:
        if run.percent > 0:
            for day in days_between(run.first, run.last):
                yield day, run.percent


def following(calibrations: tuple[Calibration, ...], day: date) -> Calibration | None:
    """Return the next calibration after a day."""
    return min((done for done in calibrations if done.performed > day), key=lambda done: done.performed, default=None)


def found_percent(calibration: Calibration | None) -> Decimal:
    """Return the size of the error that a calibration found [%]; 0 where it states none."""
    if calibration is None or calibration.error_percent is None:
        return Decimal(0)
    return abs(calibration.error_percent)


def _judge(calibrations: tuple[Calibration, ...], error: Decimal, day: date) -> tuple[State, Decimal]:
    before = [done for done in calibrations if done.performed <= day]
    if any(day <= done.valid_until for done in before):
        return State.VALID, Decimal(0)
    state = State.EXPIRED if before else State.NOT_YET if calibrations else State.MISSING
    return state, min(_WHOLE, max(error, found_percent(following(calibrations, day))))
