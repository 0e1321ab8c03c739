"""Whether a collector is alive, and whether it is ready: what `/livez` and `/readyz` say.

Alive never asks the database: a collector that waits for it does its work, and restarting it would mend nothing.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from ingest.session import Session

# Both threads go round twice a second; a batch of two megabytes takes less than a second.
STUCK_S = 30.0


class Check(NamedTuple):
    """One thing that was looked at."""

    name: str
    passed: bool
    said: str


@dataclass(slots=True)
class Pulse:
    """What the writing thread lets others see of itself; plain assignments, because it is busy."""

    beat: float = 0.0
    """When it last went round, by the monotonic clock; 0 before the first time."""
    database_up: bool = False
    """Whether the last thing asked of the database was answered."""
    database_asked: float = 0.0
    _at_database: bool = False

    def go_round(self) -> None:
        """Say that the thread goes round."""
        self.beat = time.monotonic()

    def database_is(self, *, up: bool) -> None:
        """Keep whether the database answered just now."""
        self.database_up = up
        self.database_asked = time.monotonic()

    @contextmanager
    def at_database(self) -> Iterator[None]:
        """Say for this block that the thread may wait for the database, for as long as that takes."""
        self._at_database = True
        try:
            yield
        finally:
            self.go_round()
            self._at_database = False

    def stuck_for(self) -> float:
        """Say for how many seconds the thread has not gone round, for another reason than the database."""
        if not self.beat or self._at_database:
            return 0.0
        return time.monotonic() - self.beat


def live(session: Session, pulse: Pulse, *, stuck_s: float = STUCK_S) -> list[Check]:
    """Look whether both threads go round; a restart mends what does not pass."""
    if not session.started:
        network = Check("mqtt_thread", passed=True, said="not started yet")
    elif session.alive(stuck_s):
        network = Check("mqtt_thread", passed=True, said="goes round")
    else:
        network = Check("mqtt_thread", passed=False, said=f"dead, or has not gone round for {stuck_s:g} s")
    stuck = pulse.stuck_for()
    if stuck >= stuck_s:
        writer = Check("writing_thread", passed=False, said=f"has not gone round for {stuck:.0f} s")
    else:
        writer = Check("writing_thread", passed=True, said="goes round" if pulse.beat else "not started yet")
    return [network, writer]


def ready(session: Session, pulse: Pulse, *, standby: bool) -> list[Check]:
    """Look whether messages are taken and committed now."""
    if standby:
        subscribed = "this is a standby: another collector with this client id is at work"
    else:
        subscribed = "the subscription stands" if session.connected else "the broker is away, or did not grant it yet"
    ago = f", asked {time.monotonic() - pulse.database_asked:.0f} s ago" if pulse.database_asked else ""
    return [
        Check("broker", session.connected and not standby, subscribed),
        Check("database", pulse.database_up, f"{'answers' if pulse.database_up else 'does not answer'}{ago}"),
    ]
