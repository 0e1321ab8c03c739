"""Telling systemd how a service is: ready, alive, ending (sd_notify(3)); without systemd nothing is told.

A datagram to the socket that `NOTIFY_SOCKET` names. The watchdog is fed by what the service says of its own liveness:
one whose threads hang is not fed, and is started again.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

import structlog

from ingest.liveness import Check

log = structlog.get_logger()

# Half a watchdog's interval is what sd_watchdog_enabled(3) recommends; a third leaves room for a busy machine.
_A_THIRD = 3
_LOOK_S = 0.5


def tell(**states: str | int) -> bool:
    """Send one message, such as `tell(READY=1, STATUS="collecting")`; False where no service manager listens."""
    where = os.environ.get("NOTIFY_SOCKET", "")
    if where[:1] not in {"/", "@"}:
        return False
    # An abstract socket's name begins with a zero byte, which no variable can hold.
    address = "\0" + where[1:] if where[0] == "@" else where
    message = "\n".join(f"{name}={value}" for name, value in states.items())
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.settimeout(_LOOK_S)
            out.sendto(message.encode(), address)
    except OSError as error:
        log.warning("notify_failed", reason=error.strerror or str(error))
        return False
    return True


def watchdog_interval_s() -> float:
    """Say within how many seconds the watchdog wants to hear of this process; 0: it does not."""
    given, process = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not given.isdecimal() or (process and process != str(os.getpid())):
        return 0.0
    return int(given) / 1_000_000


class Watched:
    """Tells the service manager, from a thread of its own while the block lasts, how this process is.

    Parameters
    ----------
    live
        What a restart mends when it does not pass; the watchdog is fed only while all of it passes. Must not wait.
    ready
        Whether the service does its work, asked until it says so once. Must not wait.
    status
        What `systemctl status` shows, in a few words. Must not wait.
    """

    def __init__(
        self,
        live: Callable[[], Iterable[Check]],
        *,
        ready: Callable[[], bool] = lambda: True,
        status: Callable[[], str] = lambda: "",
    ) -> None:
        self._live, self._ready, self._status = live, ready, status
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="jcm-mrv-notify", daemon=True)

    def __enter__(self) -> Self:
        if os.environ.get("NOTIFY_SOCKET"):
            self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(2 * _LOOK_S)

    def ending(self, stop: Callable[[], object]) -> Callable[[], None]:
        """Make of what ends the service one that says so first; its last work is watched still."""

        def end() -> None:
            tell(STOPPING=1)
            stop()

        return end

    def _watch(self) -> None:
        interval_s = watchdog_interval_s()
        # A look twice a second costs nothing and lets the watchdog be fed at a third of any interval in use.
        wait_s = min(_LOOK_S, interval_s / _A_THIRD) if interval_s else _LOOK_S
        ready, told, sick, fed = False, "", False, float("-inf")
        while not self._ended.wait(wait_s):
            states: dict[str, str | int] = {}
            if not ready and self._ready():
                ready, states["READY"] = True, 1
            if interval_s and time.monotonic() - fed >= interval_s / _A_THIRD:
                failed = [f"{check.name}: {check.said}" for check in self._live() if not check.passed]
                if not failed:
                    states["WATCHDOG"], fed = 1, time.monotonic()
                elif not sick:
                    log.error("watchdog_not_fed", checks=failed)
                sick = bool(failed)
            if (said := self._status()) != told:
                states["STATUS"] = told = said
            if states:
                tell(**states)
