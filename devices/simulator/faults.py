"""What goes wrong with devices and their links, on demand; when it does is decided by the seed.

None of it changes what is really generated. A fault works on a device's samples, before its family's payload is made of
them, or on its messages, after.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from math import ceil
from types import MappingProxyType
from typing import NamedTuple

from devices.simulator.noise import between, chance, key
from devices.simulator.sample import Sample
from devices.simulator.unit import SimulatedDevice
from devices.simulator.wire.family import Family

_HOUR = 3600
_OFTEN = 0.03  # of the samples, for faults that happen now and then


class Message(NamedTuple):
    """A message on its way."""

    at: float
    """When it is sent, s since 1970 UTC."""
    topic: str
    payload: bytes
    retain: bool = False


class Fault:
    """Nothing goes wrong."""

    def __init__(self, device: SimulatedDevice) -> None:
        self.device = device
        self.stream = key(device.stream, type(self).__name__)

    def samples(self, s: Sample) -> list[Sample]:
        """Give what the device makes of a sample: nothing, itself, or it with others that it kept."""
        return [s]

    def messages(self, s: Sample, sent: list[Message]) -> list[Message]:
        """Give what becomes of a sample's messages."""
        del s
        return sent

    def now_and_then(self, s: Sample) -> bool:
        """Decide whether it happens at a sample."""
        return chance(self.stream, s.at) < _OFTEN

    def hours(self, s: Sample, first: float, last: float, shortest: float, longest: float) -> bool:
        """Decide whether a sample lies in the day's hours of it, which begin between `first` and `last` o'clock."""
        begin = between(first, last, self.stream, 2 * s.day)
        length = between(shortest, longest, self.stream, 2 * s.day + 1)
        return begin * _HOUR <= s.second < (begin + length) * _HOUR


class Outage(Fault):
    """The link is away for half an hour to three, by day; what was kept follows in the order of time."""

    def __init__(self, device: SimulatedDevice) -> None:
        super().__init__(device)
        self._kept: list[Sample] = []
        self._away = False

    def samples(self, s: Sample) -> list[Sample]:
        """Keep it while the link is away, and give it back afterwards."""
        if self.hours(s, 7, 13, 0.5, 3):
            self._away = True
            self._kept.append(s)
            return []
        if not self._away:
            return [s]
        kept = self._kept if self.device.family.timestamps else []
        self._away, self._kept = False, []
        return [*(one._replace(historical=True, at=s.at) for one in kept), s]


class ClockSkew(Fault):
    """The clock is wrong by one to ten minutes, always by as much."""

    def samples(self, s: Sample) -> list[Sample]:
        """Move its clock."""
        sign = 1 if chance(self.stream, 1) < 0.5 else -1
        return [s._replace(clock=s.clock + sign * int(between(60, 600, self.stream, 2)))]


class ClockFrozen(Fault):
    """The clock stands still for one to seven hours while the values go on."""

    _since: int | None = None

    def samples(self, s: Sample) -> list[Sample]:
        """Stop its clock."""
        if not self.hours(s, 7, 10, 1, 7):
            self._since = None
            return [s]
        self._since = s.clock if self._since is None else self._since
        return [s._replace(clock=self._since)]


class WrongCentury(Fault):
    """Half an hour carries the year 2001, as from a clock that was set only half."""

    def samples(self, s: Sample) -> list[Sample]:
        """Put its clock into the year 2001."""
        if not self.hours(s, 9, 15, 0.5, 0.5):
            return [s]
        shown = datetime.fromtimestamp(s.clock, UTC)
        day = min(shown.day, 28) if shown.month == 2 else shown.day
        return [s._replace(clock=int(shown.replace(year=2001, day=day).timestamp()))]


class RegisterReset(Fault):
    """The lifetime register begins again, once, on the first day."""

    _lost: int | None = None

    def samples(self, s: Sample) -> list[Sample]:
        """Count from the reset on."""
        if self._lost is None and s.second >= between(9, 15, self.stream) * _HOUR and s.w > 0:
            self._lost = s.total_mwh
        return [s if self._lost is None else s._replace(total_mwh=max(s.total_mwh - self._lost, 0))]


class RegisterDipZero(Fault):
    """At dawn the registers show 0 for up to three samples."""

    _left = 0
    _asleep = True

    def samples(self, s: Sample) -> list[Sample]:
        """Show 0 for the first samples of the morning."""
        if s.w <= 0:
            self._asleep = True
            return [s]
        if self._asleep:
            self._asleep = False
            self._left = ceil(between(0.01, 3, self.stream, s.day))
        if self._left == 0:
            return [s]
        self._left -= 1
        return [s._replace(total_mwh=0, today_mwh=0, asleep_zero=True)]


class Sentinel(Fault):
    """A read fails now and then: the family's own sign stands in its place."""

    def samples(self, s: Sample) -> list[Sample]:
        """Mark it as one that could not be read."""
        return [s._replace(sentinel=True) if self.now_and_then(s) else s]


class MicroDecrease(Fault):
    """The register falls by one count and comes back."""

    def samples(self, s: Sample) -> list[Sample]:
        """Take one count away."""
        count = round(self.device.family.resolution_wh * 1000)
        fallen = self.now_and_then(s) and s.total_mwh > count
        return [s._replace(total_mwh=s.total_mwh - count) if fallen else s]


class Duplicate(Fault):
    """The same messages come again."""

    def messages(self, s: Sample, sent: list[Message]) -> list[Message]:
        """Add them again, 0.2 s later."""
        if not self.now_and_then(s):
            return sent
        return sent + [one._replace(at=one.at + 0.2) for one in sent]


class RetainedStale(Fault):
    """Once a day a bridge comes back and publishes what it had kept, an hour old, as retained."""

    def __init__(self, device: SimulatedDevice) -> None:
        super().__init__(device)
        self._kept: tuple[int, list[Message]] | None = None

    def messages(self, s: Sample, sent: list[Message]) -> list[Message]:
        """Keep the first of the day, and put them before those of an hour later."""
        if s.w <= 0:
            self._kept = None
            return sent
        if self._kept is None:
            self._kept = s.at, [one for one in sent if one.retain]
            return sent
        since, kept = self._kept
        if s.at - since < _HOUR or not kept:
            return sent
        self._kept = since, []
        return [one._replace(at=s.at) for one in kept] + sent


class LateField(Fault):
    """One field of a sample comes seconds after the others."""

    def messages(self, s: Sample, sent: list[Message]) -> list[Message]:
        """Let one of them come last."""
        if len(sent) < 2 or not self.now_and_then(s):
            return sent
        late = sent[int(chance(self.stream + 1, s.at) * len(sent))]
        rest = [one for one in sent if one is not late]
        return [*rest, late._replace(at=late.at + between(3, 20, self.stream + 2, s.at))]


class Reordered(Fault):
    """Messages overtake each other: those of one sample among themselves, or one sample's message the next one's."""

    def __init__(self, device: SimulatedDevice) -> None:
        super().__init__(device)
        self._held: list[Message] = []

    def messages(self, s: Sample, sent: list[Message]) -> list[Message]:
        """Turn them around, or hold them until after the next."""
        held = [one._replace(at=s.at + 0.5) for one in self._held]
        self._held = []
        if not sent or held or s.historical or s.w <= 0 or not self.now_and_then(s):
            return sent + held
        if len(sent) > 1:
            return [one._replace(at=other.at) for one, other in zip(reversed(sent), sent, strict=True)]
        self._held = sent
        return []


class Kind(NamedTuple):
    """A fault by name."""

    make: type[Fault]
    shown_by: Callable[[Family], bool]
    needs: str
    """What a family that cannot show it lacks."""


def _always(family: Family) -> bool:
    del family
    return True


def _has_time(family: Family) -> bool:
    return family.timestamps


# In the order in which they work: a clock is wrong before a link is away, and a link before messages overtake.
FAULTS: Mapping[str, Kind] = MappingProxyType(
    {
        "clock_skew": Kind(ClockSkew, _has_time, "a time in its payload"),
        "clock_frozen": Kind(ClockFrozen, _has_time, "a time in its payload"),
        "wrong_century": Kind(WrongCentury, lambda family: family.calendar, "a calendar date in its payload"),
        "register_reset": Kind(RegisterReset, _always, ""),
        "register_dip_zero": Kind(RegisterDipZero, _always, ""),
        "micro_decrease": Kind(MicroDecrease, lambda family: family.jitters, "a register that jitters"),
        "sentinel": Kind(Sentinel, lambda family: family.sentinel, "a sign for a value that could not be read"),
        "outage": Kind(Outage, _always, ""),
        "retained_stale": Kind(RetainedStale, lambda family: family.retains, "retained messages"),
        "late_field": Kind(LateField, lambda family: family.scalar, "a message for each field"),
        "reordered": Kind(Reordered, _always, ""),
        "duplicate": Kind(Duplicate, _always, ""),
    }
)
"""Every fault."""

ALL = "all"


def faults_of(names: Sequence[str], device: SimulatedDevice) -> list[Fault]:
    """Make a device's faults; of `all`, those that its family can show."""
    return [
        kind.make(device)
        for name, kind in FAULTS.items()
        if name in names or (ALL in names and kind.shown_by(device.family))
    ]


def check(names: Iterable[str], families: Iterable[Family]) -> None:
    """See that each family can show each fault that is named.

    Raises
    ------
    ValueError
        There is no such fault, or a family cannot show it; the message says what it lacks.
    """
    chosen = list(families)
    for name in names:
        if name == ALL:
            continue
        if name not in FAULTS:
            raise ValueError(f'there is no fault "{name}": expected {ALL} or one of {", ".join(FAULTS)}')
        unable = [family.name for family in chosen if not FAULTS[name].shown_by(family)]
        if unable:
            raise ValueError(
                f'{", ".join(unable)} cannot show the fault "{name}", which needs {FAULTS[name].needs}: '
                "leave either out, or take the fault `all` for those that each family can show"
            )
