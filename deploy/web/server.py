"""The web server of one process: it listens before it says so, and ends when it is told to, from any thread."""

import logging
import socket
import time
from collections.abc import Callable, Sequence

import structlog
import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from deploy.errors import HealthServerError
from deploy.servers import Endpoints
from deploy.settings import Settings
from deploy.web.app import make_app
from deploy.web.composition import make_state
from deploy.web.impatience import ImpatientProtocol
from ingest.liveness import Check
from sql.connection import Role, connect, reported
from sql.migrator import check

log = structlog.get_logger()
# What somebody downloads gets this long to end; streams of live rates are ended at once.
_GRACE_S = 10
# The loop only hands work to threads; where it does not come round in so long, something blocks it.
_BEAT_S = 1
_STUCK_S = 30.0
# Bytes of a request without its body; of connections fewer than the 1,024 files that a process usually may have open.
_MOST_HEADERS = 64 * 1024
_MOST_CONNECTIONS = 700


class WebServer:
    """Listens once it is made; `run` answers until `stop`.

    Parameters
    ----------
    servers
        The settings, and where the database is.
    port
        0: a free one; None: that of the settings.
    live
        Liveness of what else runs in this process.
    metrics
        What else of this process `/metrics` shows.

    Raises
    ------
    StoreError
        The database is not there, or its schema is not this version's.
    HealthServerError
        The address or the port cannot be listened on.
    """

    def __init__(
        self,
        servers: Endpoints,
        port: int | None = None,
        *,
        live: Callable[[], Sequence[Check]] | None = None,
        metrics: Sequence[Collector] = (),
    ) -> None:
        settings = servers.settings
        with reported(), connect(servers.database_url, Role.SERVICE, application="jcm-mrv serve") as connection:
            check(connection)
        self._listener = _listen(settings, settings.web_port if port is None else port)
        self.port = int(self._listener.getsockname()[1])
        registry = CollectorRegistry()
        for one in metrics:
            registry.register(one)
        state = make_state(servers, self.port, registry)
        self.url = state.url
        """How people reach it."""
        self._beat = 0.0
        self._server = uvicorn.Server(
            uvicorn.Config(
                make_app(state, registry=registry, live=live),
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=bool(settings.web_trusted_proxies),
                forwarded_allow_ips=settings.web_trusted_proxies,
                http=ImpatientProtocol,
                ws="none",
                h11_max_incomplete_event_size=_MOST_HEADERS,
                limit_concurrency=_MOST_CONNECTIONS,
                timeout_graceful_shutdown=_GRACE_S,
                lifespan="on",
                callback_notify=self._go_round,
                timeout_notify=_BEAT_S,
            )
        )

    @property
    def started(self) -> bool:
        """Whether requests are answered."""
        return self._server.started

    def live(self) -> list[Check]:
        """Say whether the loop that answers goes round."""
        stuck = time.monotonic() - self._beat if self._beat else 0.0
        return [Check("web", stuck < _STUCK_S, f"last went round {stuck:.0f} s ago")]

    async def _go_round(self) -> None:
        self._beat = time.monotonic()

    def run(self) -> None:
        """Answer until `stop`."""
        logging.getLogger("uvicorn.error").addFilter(_is_news)
        served_at = self.url
        log.info("web_server_started", address=self._listener.getsockname()[0], port=self.port, served_at=served_at)
        self._server.run([self._listener])
        log.info("web_server_stopped")

    def stop(self) -> None:
        """End `run`, from any thread."""
        self._server.should_exit = True


def _is_news(record: logging.LogRecord) -> bool:
    """Leave out what `deploy.web.problems` has logged already, without a traceback that shows more."""
    return "Exception in ASGI application" not in record.getMessage()


def _listen(settings: Settings, port: int) -> socket.socket:
    address = settings.web_address
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # asyncio sends at once (TCP_NODELAY) only where the protocol is said: without it each answer took 44 ms more, until
    # the client's delayed acknowledgement of the headers let the body go.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        raise HealthServerError(
            f"cannot listen on {address}:{port} ({(error.strerror or str(error)).lower()}); "
            "set JCM_MRV_WEB_ADDRESS and JCM_MRV_WEB_PORT to what is free"
        ) from None
    return listener
