"""Ending on SIGTERM and SIGINT."""

import os
import signal
import threading
from collections.abc import Callable

_ENDING = {signal.SIGTERM, signal.SIGINT}


def on_end(stop: Callable[[], object]) -> None:
    """Call `stop` on the first SIGTERM or SIGINT; the second ends the process at once, with status 128 + its number.

    The signals are awaited in a thread. A handler would run in the middle of whatever the main thread does, and
    `Event.set` inside `Event.wait` never returns. Call this before any other thread is started: threads inherit
    what is blocked.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)

    def wait() -> None:
        signal.sigwait(_ENDING)
        stop()
        os._exit(128 + signal.sigwait(_ENDING))

    threading.Thread(target=wait, name="jcm-mrv-signals", daemon=True).start()


class Ending:
    """What is stopped on the first SIGTERM or SIGINT, whenever it was begun.

    Make it before anything is imported that begins threads of its own (numpy's do): they would take the signals.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stops: list[Callable[[], object]] = []
        self._ended = False
        on_end(self._end)

    def stops(self, stop: Callable[[], object]) -> None:
        """Call `stop` at the end; at once where that has come already."""
        with self._lock:
            self._stops.append(stop)
            late = self._ended
        if late:
            stop()

    def _end(self) -> None:
        with self._lock:
            self._ended = True
            stops = list(self._stops)
        for stop in stops:
            stop()
