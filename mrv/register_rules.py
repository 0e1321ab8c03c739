"""What a register is and what can happen to it: the rules by name, and the numbers they are decided with.

Registers are int64 milliwatt-hours: every sum and difference is exact, and 2^53 mWh (9 TWh) is more than any meter of a
project counts. Each rule has an id with a version, so that a frozen result says which rule decided.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import cached_property
from math import ceil

import numpy as np
from numpy.typing import NDArray

from mrv.calendar import MICROSECOND
from mrv.errors import RegisterSpecError

MWH_PER_WH = 1000
# Above 2^53 a float64 no longer tells neighbouring integers apart.
LARGEST_MWH = 2**53
INVALID_MWH = int(np.iinfo(np.int64).min)
_US_PER_HOUR = 3_600_000_000


class Effect(Enum):
    """What a rule does to the credit."""

    CREDITS = "credits"
    EXCLUDES = "excludes"


class Rule(Enum):
    """What was decided about an interval between two retained readings, or about a reading that was set aside."""

    NORMAL = (0, "normal", Effect.CREDITS, "the register rose by what the device can make in that time")
    GAP = (1, "gap", Effect.CREDITS, "readings are missing; the register counted on and bridges them")
    CATCH_UP = (2, "catch_up", Effect.CREDITS, "the register stood still while power was made, then caught up")
    ROLLOVER = (3, "rollover", Effect.CREDITS, "the register passed its declared width and began again at zero")
    REPLACEMENT = (4, "replacement", Effect.CREDITS, "one end is the opening or closing register of a device")
    FROZEN = (5, "frozen", Effect.EXCLUDES, "the register stood still while power was being made")
    RESET = (6, "reset", Effect.EXCLUDES, "the register fell and stayed down; nothing is credited across it")
    STEP_ABOVE_MAXIMUM = (
        7, "step_above_maximum", Effect.EXCLUDES,
        "the register rose by more than the device can make and stayed there; nothing is credited across it",
    )  # fmt: skip
    LATE = (9, "late", Effect.CREDITS, "too much for one step, but not since the reading before: its clock was late")
    OPENING = (8, "opening", Effect.EXCLUDES, "the first reading opens the register; nothing is credited before it")
    DIP = (10, "dip", Effect.EXCLUDES, "the reading lies below readings before and after it")
    SPIKE = (11, "spike", Effect.EXCLUDES, "the reading lies above readings that come after it")
    ZERO = (12, "zero", Effect.EXCLUDES, "zero is no reading of this register")
    INVALID = (13, "invalid", Effect.EXCLUDES, "not a number, negative, or beyond the register's width")
    DUPLICATE = (14, "duplicate", Effect.EXCLUDES, "a reading of that instant was there before; the first stands")
    MICRO_DECREASE = (15, "micro_decrease", Effect.EXCLUDES, "lower by no more than the register's own jitter")
    UNRESOLVED = (16, "unresolved", Effect.EXCLUDES, "it fits nothing before it and too little follows to confirm it")
    OUTSIDE = (17, "outside", Effect.EXCLUDES, "taken before the device was installed or after it was removed")

    def __init__(self, code: int, label: str, effect: Effect, reason: str) -> None:
        self.code = code
        self.id = f"register.{label}@1"
        self.effect = effect
        self.reason = reason


@dataclass(frozen=True)
class RegisterSpec:
    """What is known about a register before looking at its readings.

    Parameters
    ----------
    maximum_power_w
        Rated power of the device [W], or the capacity of its PV system where the device declares none.
    width_wh
        Energy at which the register begins again at zero [Wh]: 2^bits × resolution. None: it cannot roll over in
        practice (64 bit).
    resolution_wh
        The register's smallest step [Wh]; a step may exceed the maximum by one of these.
    margin
        How far above its rated power a device is believed. The EBRD's D-MRV protocol asks for a theoretical maximum;
        1.2 is the usual reserve for cold cells and bright cloud edges.
    micro_decrease_wh
        Decrease that is jitter and not an event [Wh]; GoodWe 42255.67 → 42255.63 kWh is a real one.
    zero_is_reading
        Whether 0 is a value. SunSpec's acc32 says 0 is "not accumulated", and at least nine device families publish 0
        at dawn or after a restart.
    confirm_samples, confirm_for
        A new level is believed when so many readings over so long agree with it and none with the level before.
    gap_after
        A longer step is flagged as a gap, and still credited.
    frozen_after
        A register that stands still for so long while power is made is flagged.
    rollover_within
        After a longer silence a fall is not taken for a rollover: given enough time every fall could be one.

    Raises
    ------
    RegisterSpecError
        If a number is not positive, the margin is below 1, or the width lies beyond 2^53 mWh.
    """

    maximum_power_w: Decimal
    width_wh: Decimal | None = None
    resolution_wh: Decimal = Decimal(1)
    margin: Decimal = Decimal("1.2")
    micro_decrease_wh: Decimal = Decimal(0)
    zero_is_reading: bool = False
    confirm_samples: int = 3
    confirm_for: timedelta = timedelta(hours=24)
    gap_after: timedelta = timedelta(hours=1)
    frozen_after: timedelta = timedelta(hours=3)
    rollover_within: timedelta = timedelta(days=7)

    def __post_init__(self) -> None:
        positive = {
            "maximum_power_w": self.maximum_power_w,
            "resolution_wh": self.resolution_wh,
            "width_wh": Decimal(1) if self.width_wh is None else self.width_wh,
        }
        for name, value in positive.items():
            if not (value.is_finite() and value > 0):
                raise RegisterSpecError(f"{name} is {value}: give a number above 0")
        if not (self.margin.is_finite() and self.margin >= 1):
            raise RegisterSpecError(f"margin is {self.margin}: give 1 or more, 1.2 is usual")
        if not (self.micro_decrease_wh.is_finite() and self.micro_decrease_wh >= 0):
            raise RegisterSpecError(f"micro_decrease_wh is {self.micro_decrease_wh}: give 0 or more")
        if self.width_wh is not None and self.width_wh * MWH_PER_WH > LARGEST_MWH:
            raise RegisterSpecError(
                f"width_wh is {self.width_wh}, above 2^53 mWh: leave it out, such a register does not roll over"
            )
        if self.confirm_samples < 1:
            raise RegisterSpecError(f"confirm_samples is {self.confirm_samples}: give 1 or more")
        spans = ("confirm_for", "gap_after", "frozen_after", "rollover_within")
        for name in spans:
            if getattr(self, name) < timedelta(0):
                raise RegisterSpecError(f"{name} is {getattr(self, name)}: give a span of 0 or more")

    @classmethod
    def of_bits(
        cls,
        bits: int,
        maximum_power_w: Decimal,
        resolution_wh: Decimal = Decimal(1),
        micro_decrease_wh: Decimal | None = None,
    ) -> "RegisterSpec":
        """Describe a register by its width in bits; one wider than 2^53 mWh is taken as one that never rolls over."""
        if bits < 1:
            raise RegisterSpecError(f"a register of {bits} bits cannot be: give 16, 32, 48 or 64")
        width = Decimal(2) ** min(bits, 128) * resolution_wh
        narrow = width * MWH_PER_WH <= LARGEST_MWH
        return cls(
            maximum_power_w,
            width_wh=width if narrow else None,
            resolution_wh=resolution_wh,
            micro_decrease_wh=micro_decrease_wh or Decimal(0),
        )

    @cached_property
    def mwh_per_us(self) -> Fraction:
        """The most a microsecond can add to the register [mWh/µs], margin included, exactly."""
        return Fraction(self.maximum_power_w) * Fraction(self.margin) * MWH_PER_WH / _US_PER_HOUR

    @cached_property
    def resolution_mwh(self) -> int:
        """One step of the register [mWh], rounded up to a whole one."""
        return ceil(self.resolution_wh * MWH_PER_WH)

    @cached_property
    def micro_decrease_mwh(self) -> int:
        """The decrease that is jitter [mWh], rounded down."""
        return int(self.micro_decrease_wh * MWH_PER_WH)

    @cached_property
    def width_mwh(self) -> int | None:
        """The register's modulus [mWh], or None."""
        return None if self.width_wh is None else int(self.width_wh * MWH_PER_WH)

    @cached_property
    def confirm_us(self) -> int:
        """Span of `confirm_for` [µs]."""
        return self.confirm_for // MICROSECOND

    def largest_step_mwh(self, elapsed_us: int) -> int:
        """The most the register can have risen in a time [mWh]: power × margin × time, and one step of its own."""
        most = self.mwh_per_us
        return elapsed_us * most.numerator // most.denominator + self.resolution_mwh


@dataclass(frozen=True, slots=True)
class DeclaredRegister:
    """A register that a person read and declared when a device was installed or removed."""

    at: datetime
    register_wh: Decimal


def to_mwh(register_wh: NDArray[np.float64]) -> NDArray[np.int64]:
    """Turn telemetry in Wh into exact integers.

    Parameters
    ----------
    register_wh
        Readings [Wh], shape (n,); NaN where the reading has none.

    Returns
    -------
    NDArray of int64
        The same [mWh], rounded to the nearest; `INVALID_MWH` for what is no finite number below 2^53 mWh.
    """
    with np.errstate(over="ignore"):
        scaled = np.rint(np.asarray(register_wh, dtype=np.float64) * MWH_PER_WH)
    usable = np.abs(scaled) <= LARGEST_MWH  # False for NaN
    if usable.all():
        return scaled.astype(np.int64)
    result = np.full(scaled.shape, INVALID_MWH, dtype=np.int64)
    result[usable] = scaled[usable].astype(np.int64)
    return result
