"""The gateway as a whole: a thread for each line, one for the broker, and its own health."""

import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import structlog

from devices.errors import PollError
from devices.gateway.clock import Instant, now
from devices.gateway.config import Configuration, Device
from devices.gateway.forwarder import Forwarder, Options
from devices.gateway.modbus_poll import Bus, Poller, poller
from devices.gateway.spool import Spool
from devices.mqtt_url import BrokerAddress

log = structlog.get_logger()

_RUNNING, _FAULT = 4, 7
"""SunSpec's states of a device, which the gateway's own health is told in."""
# No request waits for longer than a minute (`timeout_s`), and a device is asked a few of them.
_PATIENCE_S = 600.0


@dataclass(slots=True)
class Tally:
    """How the polls of one device went since the start."""

    polls: int = 0
    errors: int = 0
    empty: int = 0
    """Answers in which every point was "not implemented": no reading was made of them."""
    failing: bool = False


class Gateway:
    """Polls, keeps, publishes.

    Parameters
    ----------
    configuration
        What is polled, and where it is kept.
    address
        The broker and the login.
    version
        Of the software, told with the health.

    Raises
    ------
    SpoolError
        The store cannot be opened.
    """

    def __init__(self, configuration: Configuration, address: BrokerAddress, *, version: str = "") -> None:
        self._configuration = configuration
        self._version = version
        given = configuration.gateway
        self.spool = Spool(Path(given.spool), limit_bytes=given.spool_limit_mb * 1_000_000, when_full=given.when_full)
        self.forwarder = Forwarder(
            self.spool,
            Options(address, given.site, given.id, given.mqtt_version, given.backfill_per_s, given.grace_s),
        )
        self.tallies = {device.id: Tally() for device in configuration.devices}
        self._spool_errors = 0
        self._dropped = self.spool.waiting().dropped
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []
        self._round_by: dict[str, float] = {}
        """By when each thread goes round again, by the monotonic clock."""

    def run(self) -> None:
        """Work until `stop`."""
        given = self._configuration.gateway
        self._threads = threads = [
            threading.Thread(target=self._poll_line, args=(bus, pollers), name=f"jcm-mrv-poll-{bus.line}", daemon=True)
            for bus, pollers in lines(self._configuration)
        ]
        threads.append(threading.Thread(target=self.forwarder.run, name="jcm-mrv-forward", daemon=True))
        log.info("gateway_started", site=given.site, gateway=given.id, devices=len(self.tallies))
        for thread in threads:
            thread.start()
        self._goes_round_within(given.health_interval_s)
        while not self._ending.wait(given.health_interval_s):
            self._tell_health()
            self._goes_round_within(given.health_interval_s)
        for thread in threads:
            thread.join()
        waiting = self.spool.waiting()
        self.spool.close()
        log.info("gateway_stopped", published=self.forwarder.counts.published, kept=waiting.readings)

    def stop(self) -> None:
        """End soon; readings that the broker does not surely have stay in the store."""
        self._ending.set()
        self.forwarder.stop()

    def stuck(self) -> list[str]:
        """Name the threads that ended, or have not gone round in their time; a device that is silent stops none."""
        if self._ending.is_set():
            return []
        late = {name for name, by in list(self._round_by.items()) if time.monotonic() > by}
        return sorted(late | {thread.name for thread in self._threads if thread.ident and not thread.is_alive()})

    def _goes_round_within(self, wait_s: float) -> None:
        self._round_by[threading.current_thread().name] = time.monotonic() + wait_s + _PATIENCE_S

    def _poll_line(self, bus: Bus, pollers: list[Poller]) -> None:
        due = {number: time.monotonic() for number in range(len(pollers))}
        while True:
            number = min(due, key=lambda one: due[one])
            wait_s = max(due[number] - time.monotonic(), 0)
            self._goes_round_within(wait_s)
            if self._ending.wait(wait_s):
                break
            self._poll(pollers[number])
            interval_s = pollers[number].device.poll_interval_s
            # Polls that were missed while a device did not answer are not made up for.
            missed = max((time.monotonic() - due[number]) // interval_s, 0)
            due[number] += interval_s * (missed + 1)
        bus.close()

    def _poll(self, one: Poller) -> None:
        tally = self.tallies[one.device.id]
        tally.polls += 1
        # Before the request: a register may have moved on by the time that its answer is here.
        taken = now()
        try:
            points = one.poll()
            if points:
                self._keep(one.device.id, taken, points)
            else:
                tally.empty += 1
        except PollError as error:
            tally.errors += 1
            if not tally.failing:
                log.warning("gateway_device_failing", device=one.device.id, reason=str(error))
            tally.failing = True
        except Exception:
            # A device may answer what nobody thought of; the others are still to be asked.
            tally.errors += 1
            if not tally.failing:
                log.exception("gateway_device_fault", device=one.device.id)
            tally.failing = True
        else:
            if tally.failing:
                log.info("gateway_device_back", device=one.device.id)
            tally.failing = False

    def _keep(self, device: str, taken: Instant, points: dict[str, float | str | bool]) -> None:
        try:
            self.spool.put(device, taken, points)
        except sqlite3.Error as error:
            self._spool_failed(error)

    def _spool_failed(self, error: sqlite3.Error) -> None:
        self._spool_errors += 1
        log.error("gateway_spool_failed", reason=str(error))

    def _tell_health(self) -> None:
        taken = now()
        try:
            waiting = self.spool.waiting()
        except sqlite3.Error as error:
            self._spool_failed(error)
            return
        dropping = waiting.dropped > self._dropped
        if dropping:
            log.warning("gateway_readings_dropped", readings=waiting.dropped - self._dropped)
            self._dropped = waiting.dropped
        failing = sorted(name for name, tally in self.tallies.items() if tally.failing)
        oldest_s = 0.0
        if waiting.oldest_ms is not None and taken.ts_ms is not None:
            oldest_s = max(taken.ts_ms - waiting.oldest_ms, 0) / 1000
        self._keep(
            self._configuration.gateway.id,
            taken,
            {
                "St": float(_FAULT if failing or dropping or self._spool_errors else _RUNNING),
                "queued": float(waiting.readings),
                "oldest_age_s": oldest_s,
                "without_time": float(waiting.without_time),
                "dropped": float(waiting.dropped),
                "spool_errors": float(self._spool_errors),
                "polls": float(sum(tally.polls for tally in self.tallies.values())),
                "poll_errors": float(sum(tally.errors for tally in self.tallies.values())),
                "polls_without_value": float(sum(tally.empty for tally in self.tallies.values())),
                "failing": ", ".join(failing),
                "connections": float(self.forwarder.counts.connections),
                "version": self._version,
            },
        )


def lines(configuration: Configuration) -> list[tuple[Bus, list[Poller]]]:
    """Put devices on one line together: its requests follow one another."""
    by_line: dict[str, list[Device]] = {}
    for device in configuration.devices:
        by_line.setdefault(str(device.line), []).append(device)
    found: list[tuple[Bus, list[Poller]]] = []
    for devices in by_line.values():
        bus = Bus(devices[0].line, max(device.timeout_s for device in devices))
        found.append((bus, [poller(device, bus) for device in devices]))
    return found
