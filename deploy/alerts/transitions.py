"""What becomes of alerts when they are judged again: pending, firing, resolved. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from deploy.alerts.config import AlertsFile
from deploy.alerts.judge import Firing, Judgement
from deploy.alerts.rules import RULES


@dataclass(frozen=True, slots=True)
class Open:
    """An alert that is not resolved."""

    id: int
    rule: str
    subject: str
    first_seen: datetime
    last_seen: datetime
    firing_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Steps:
    """What to write."""

    begun: tuple[Firing, ...]
    """New ones."""
    begun_firing: frozenset[tuple[str, str]]
    """Those of them that fire at once."""
    seen: tuple[tuple[int, Firing], ...]
    """Still so."""
    fired: tuple[int, ...]
    """Pending for long enough."""
    dropped: tuple[int, ...]
    """Pending ones that are over; nobody was told of them."""
    resolved: tuple[int, ...]
    """Fired ones that are over for long enough."""


def step(alerts: Iterable[Open], judged: Judgement, config: AlertsFile, now: datetime) -> Steps:
    """Say what becomes of the open alerts, and which begin.

    What is undecided stays as it is: a device that was silent when the sun set is not well because it is night.
    """
    held = {(one.rule, one.subject): one for one in alerts}
    begun, begun_firing, seen, fired, dropped, resolved = [], set(), [], [], [], []
    for key, firing in judged.firing.items():
        wait = timedelta(seconds=config.thresholds(*key).for_s)
        one = held.get(key)
        if one is None:
            begun.append(firing)
            if not wait:
                begun_firing.add(key)
        else:
            seen.append((one.id, firing))
            if one.firing_since is None and now - one.first_seen >= wait:
                fired.append(one.id)
    for key, one in held.items():
        if key in judged.firing or key in judged.undecided:
            continue
        if one.firing_since is None:
            dropped.append(one.id)
        elif one.rule not in RULES or now - one.last_seen >= timedelta(seconds=config.thresholds(*key).keep_s):
            resolved.append(one.id)
    return Steps(tuple(begun), frozenset(begun_firing), tuple(seen), tuple(fired), tuple(dropped), tuple(resolved))
