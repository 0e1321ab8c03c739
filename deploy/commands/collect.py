"""`jcm-mrv collect`."""

import click

from deploy import logs
from deploy.servers import Endpoints, endpoints
from deploy.settings import Settings, load_settings
from deploy.signals import on_end
from devices.mqtt_url import parse
from ingest.collector import Collector, CollectorOptions
from ingest.session import SessionOptions


def make_collector(settings: Settings, servers: Endpoints) -> Collector:
    """Put a collector together from the settings."""
    return Collector(
        SessionOptions(
            address=parse(servers.mqtt_url),
            client_id=settings.mqtt_client_id,
            version=settings.mqtt_version,
            window=settings.mqtt_window,
            session_expiry_s=settings.mqtt_session_expiry_s,
            share_group=settings.mqtt_share_group,
        ),
        servers.database_url,
        CollectorOptions(
            batch_messages=settings.batch_messages,
            batch_linger_ms=settings.batch_linger_ms,
            future_tolerance=settings.future_tolerance,
            payload_limit_bytes=settings.payload_limit_bytes,
        ),
    )


@click.command()
def collect() -> None:
    """Take readings from the broker, commit them, acknowledge them; until SIGTERM or Ctrl-C."""
    settings = load_settings()
    logs.configure(settings.log_format)
    collector = make_collector(settings, endpoints(settings))
    on_end(collector.stop)
    collector.run()
