"""`jcm-mrv schedule`: what is computed without anybody asking."""

import os
import signal
import socket
import threading
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from deploy.alerts.service import Alerting
    from ingest.liveness import Check
    from mrv.evidence.timestamping import Tsa
    from mrv.schedule import Schedule

# Between two devices of a period's report lie seconds; a statement of the database may take minutes.
_STUCK_S = 1800.0


@click.command()
@click.option("--once", is_flag=True, help="Do what is due, and end.")
@click.option(
    "--take-over-after",
    type=click.FloatRange(min=0.5),
    default=300,
    show_default=True,
    metavar="SECONDS",
    help="Age of a heartbeat from which the work of another replica is taken over.",
)
def schedule(*, once: bool, take_over_after: float) -> None:
    """Compute the energy of each local day that is over, and a report at the end of each year.

    Run as many as you like on one database: each piece of work is done by one of them. After downtime the first look
    finds what is missing; a late reading has its day computed again. Where JCM_MRV_EVIDENCE_KEY_FILE is set, each UTC
    day that is over is sealed (`jcm-mrv evidence seal`), and time-stamped where JCM_MRV_TSA_URL is. Beside this the
    alerts are judged, and notices sent (`jcm-mrv alert`). SIGTERM ends it after the device it is at.
    """
    from deploy.alerts.composition import alerting
    from deploy.commands.evidence import time_stamping
    from deploy.health_server import health_of
    from deploy.logs import configure
    from deploy.notify import Watched
    from deploy.servers import endpoints
    from deploy.settings import load_settings
    from sql.connection import Role, connect, reported
    from sql.migrator import check

    settings = load_settings()
    configure(settings.log_format)
    url, tsa = endpoints(settings).database_url, time_stamping(settings)
    with reported(), connect(url, Role.MRV, application="jcm-mrv schedule") as connection:
        check(connection)
    limit = timedelta(seconds=take_over_after)
    alerts = alerting(settings, url)
    work = make(url, take_over_after=limit, key_file=settings.evidence_key_file, tsa=tsa)
    if once:
        signal.signal(signal.SIGTERM, lambda *_: work.stop())
        with reported():
            done = work.run_until_done()
            alerts.evaluate()
            alerts.deliver()
        click.echo(f"{done} jobs finished" if done else "nothing was due")
        return
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    running = Running(work, alerts, timedelta(seconds=settings.schedule_interval_s))
    running.start()
    with (
        health_of(settings, settings.schedule_health_port, running.live),
        Watched(running.live, status=lambda: "at work") as watched,
    ):
        ended.wait()
        watched.ending(running.stop)()


class Running:
    """A replica of the schedule and the judging of alerts, in threads of their own."""

    def __init__(self, work: "Schedule", alerts: "Alerting", interval: timedelta) -> None:
        from deploy.alerts.service import AlertThreads
        from mrv.schedule import Ticker

        self._ticker, self._looking = Ticker(work, interval), AlertThreads(alerts, interval)

    def start(self) -> None:
        """Begin."""
        self._ticker.start()
        self._looking.start()

    def stop(self) -> None:
        """End after the device that is being computed."""
        self._ticker.stop()
        self._looking.stop()

    def live(self) -> "list[Check]":
        """Say whether it goes on."""
        from ingest.liveness import Check

        stuck = self._ticker.stuck_for()
        return [Check("schedule", stuck < _STUCK_S, f"has not gone on for {stuck:.0f} s")]


def make(
    url: str, *, take_over_after: timedelta | None = None, key_file: Path | None = None, tsa: "Tsa | None" = None
) -> "Schedule":
    """Make this process's replica of the schedule; with a key it seals the days that are over."""
    from mrv.evidence.keys import load_key
    from mrv.evidence.stamps import StampedSchedule
    from mrv.schedule import HEARTBEAT_LIMIT, Schedule
    from sql.connection import Role, connect

    return (Schedule if tsa is None else partial(StampedSchedule, tsa=tsa))(
        lambda: connect(url, Role.MRV, application="jcm-mrv schedule"),
        name=f"{socket.gethostname()}:{os.getpid()}",
        code_version=version("jcm-mrv"),
        heartbeat_limit=HEARTBEAT_LIMIT if take_over_after is None else take_over_after,
        sealing_key=None if key_file is None else load_key(key_file),
    )
