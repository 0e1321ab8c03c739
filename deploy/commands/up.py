"""`jcm-mrv up`."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta

import click
import structlog

log = structlog.get_logger()


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), help="The pages' port; otherwise JCM_MRV_WEB_PORT.")
def up(*, port: int | None) -> None:
    """Collect, schedule and serve in one process; until SIGTERM or Ctrl-C.

    For one machine. What outgrows it runs as `collect`, `schedule` and `serve`, as many of each as are needed.
    """
    from deploy.signals import Ending

    ending = Ending()

    from deploy import logs
    from deploy.alerts.composition import alerting
    from deploy.commands.collect import is_ready, know_last_readings, make_collector, serve_health, status_of
    from deploy.commands.evidence import time_stamping
    from deploy.commands.schedule import Running, make
    from deploy.notify import Watched
    from deploy.servers import endpoints
    from deploy.settings import load_settings
    from deploy.web.server import WebServer

    settings = load_settings()
    logs.configure(settings.log_format)
    servers = endpoints(settings)
    collector = make_collector(settings, servers)
    url = servers.database_url
    work = make(url, key_file=settings.evidence_key_file, tsa=time_stamping(settings))
    running = Running(work, alerting(settings, url), timedelta(seconds=settings.schedule_interval_s))
    web = WebServer(
        servers, port, live=lambda: [*collector.live(), *running.live()], metrics=[collector.metrics.registry]
    )
    watched = Watched(
        lambda: [*collector.live(), *running.live(), *web.live()],
        ready=lambda: web.started and is_ready(collector),
        status=lambda: status_of(collector),
    )
    ending.stops(watched.ending(collector.stop))
    serving = Serving(web.run, collector.stop)
    with ExitStack() as stack:
        if settings.health_port:
            stack.enter_context(serve_health(settings, collector))
        know_last_readings(url, collector)
        running.start()
        stack.callback(running.stop)
        serving.start()
        stack.callback(serving.join)
        stack.callback(web.stop)
        stack.enter_context(watched)
        collector.run()
    if serving.failed:
        raise serving.failed


class Serving(threading.Thread):
    """The web server beside the collector; when it fails the collector ends too, so that both are started again."""

    def __init__(self, run: Callable[[], None], stop_all: Callable[[], None]) -> None:
        super().__init__(name="jcm-mrv-web")
        self._serve, self._stop_all = run, stop_all
        self.failed: BaseException | None = None

    def run(self) -> None:
        """Answer until it is told to end."""
        try:
            self._serve()
        except BaseException as error:  # noqa: BLE001 - raised again by the command
            self.failed = error
        finally:
            self._stop_all()
