"""`jcm-mrv collect`."""

import gc
import threading
from contextlib import ExitStack
from importlib.metadata import version

import click
import structlog

from deploy import logs
from deploy.health_server import HealthServer
from deploy.notify import Watched
from deploy.servers import Endpoints, endpoints
from deploy.settings import Settings, load_settings
from deploy.signals import on_end
from devices.decoding.catalogue import load as load_families
from devices.mqtt_url import parse
from ingest.collector import Collector, CollectorOptions
from ingest.health import last_readings
from ingest.self_check import Risk
from ingest.session import SessionOptions
from sql.connection import Role, connect, reported
from sql.errors import StoreError

log = structlog.get_logger()


def make_collector(settings: Settings, servers: Endpoints) -> Collector:
    """Put a collector together from the settings."""
    return Collector(
        SessionOptions(
            address=parse(servers.mqtt_url, settings.mqtt_tls),
            client_id=settings.mqtt_client_id,
            version=settings.mqtt_version,
            window=settings.mqtt_window,
            session_expiry_s=settings.mqtt_session_expiry_s,
            share_group=settings.mqtt_share_group,
            accept_qos_0=Risk.QOS_0 in settings.accepted_risks,
            sparkplug_host_id=settings.sparkplug_host_id,
        ),
        servers.database_url,
        CollectorOptions(
            batch_messages=settings.batch_messages,
            batch_linger_ms=settings.batch_linger_ms,
            future_tolerance=settings.future_tolerance,
            payload_limit_bytes=settings.payload_limit_bytes,
            catalogue=load_families(settings.profiles),
            accepted_risks=settings.accepted_risks,
            code_version=version("jcm-mrv"),
        ),
    )


@click.command()
def collect() -> None:
    """Take readings from the broker, commit them, acknowledge them; until SIGTERM or Ctrl-C."""
    settings = load_settings()
    logs.configure(settings.log_format)
    servers = endpoints(settings)
    collector = make_collector(settings, servers)
    watched = Watched(collector.live, ready=lambda: is_ready(collector), status=lambda: status_of(collector))
    on_end(watched.ending(collector.stop))
    # A batch is made of thousands of objects, none of them in a cycle. With Python's own thresholds the search for
    # cycles cost a fifth: 11.8 µs of CPU a message with them, 9.6 with these (draining 200,000, twice each in turn).
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
    with ExitStack() as stack:
        if settings.health_port:
            stack.enter_context(serve_health(settings, collector))
            know_last_readings(servers.database_url, collector)
        stack.enter_context(watched)
        collector.run()


def is_ready(collector: Collector) -> bool:
    """Tell whether a collector takes messages, or stands by."""
    return collector.standby or all(check.passed for check in collector.ready())


def status_of(collector: Collector) -> str:
    """Say in a few words what a collector does."""
    if collector.standby:
        return "standby: another collector with this client id is at work"
    missing = [check.name for check in collector.ready() if not check.passed]
    return f"waiting for: {', '.join(missing)}" if missing else "collecting"


def serve_health(settings: Settings, collector: Collector) -> HealthServer:
    """Make the health server of a collector."""
    server = HealthServer(
        settings.health_address,
        settings.health_port,
        registry=collector.metrics.registry,
        live=collector.live,
        ready=collector.ready,
    )
    log.info("health_server_started", address=settings.health_address, port=server.port)
    return server


def know_last_readings(database_url: str, collector: Collector) -> None:
    """Let the metrics know each site's last reading from before the start; looked up beside the collecting."""

    def look_up() -> None:
        try:
            with reported(), connect(database_url, Role.READER, application="jcm-mrv collect metrics") as connection:
                collector.metrics.know_last_readings(last_readings(connection))
        except StoreError as error:
            log.warning("last_readings_unknown", reason=str(error))

    threading.Thread(target=look_up, name="jcm-mrv-last-readings", daemon=True).start()
