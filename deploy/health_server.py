"""`/metrics`, `/livez` and `/readyz` of one process, for Prometheus and for whoever restarts it.

Status 200 or 503 for machines, text for people; `?verbose` names each check. `/livez` never asks the database, so that
a database that is away restarts no collector.
"""

import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder

from deploy.errors import HealthServerError
from deploy.settings import Settings
from ingest.liveness import Check

log = structlog.get_logger()
_TEXT = "text/plain; charset=utf-8"
# Whoever connects and then says nothing holds a thread no longer than this.
_PATIENCE_S = 10.0


class HealthServer:
    """Answers in threads of its own while the block lasts.

    Parameters
    ----------
    address, port
        Where to listen; port 0 takes a free one.
    registry
        What `/metrics` shows.
    live, ready
        Asked at each request; must not wait.
    """

    def __init__(
        self,
        address: str,
        port: int,
        *,
        registry: CollectorRegistry,
        live: Callable[[], Sequence[Check]],
        ready: Callable[[], Sequence[Check]],
    ) -> None:
        handler = type("_Handler", (_Handler,), {"registry": registry, "live": staticmethod(live),
                                                 "ready": staticmethod(ready)})  # fmt: skip
        try:
            self._server = _Server((address, port), handler)
        except (OSError, OverflowError) as error:
            said = getattr(error, "strerror", None) or str(error)
            raise HealthServerError(
                f"cannot listen on {address}:{port} ({said.lower()}); "
                "set JCM_MRV_HEALTH_ADDRESS and JCM_MRV_HEALTH_PORT to what is free, or the port to 0 for none"
            ) from None
        self._thread = threading.Thread(target=self._server.serve_forever, name="jcm-mrv-health", daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def health_of(
    settings: Settings, port: int, live: Callable[[], Sequence[Check]]
) -> AbstractContextManager[HealthServer | None]:
    """Answer for a process that has no readiness and no metrics but its own memory and time; on port 0 nobody."""
    if not port:
        return nullcontext()
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    server = HealthServer(settings.health_address, port, registry=registry, live=live, ready=live)
    log.info("health_server_started", address=settings.health_address, port=server.port)
    return server


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A request that hangs must not hold up the end of the process.
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that hang up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "jcm-mrv"
    sys_version = ""
    timeout = _PATIENCE_S

    registry: CollectorRegistry
    live: Callable[[], Sequence[Check]]
    ready: Callable[[], Sequence[Check]]

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        verbose = "verbose" in parse_qs(asked.query, keep_blank_values=True)
        if asked.path == "/metrics":
            encode, kind = choose_encoder(self.headers.get("Accept") or "")
            self._answer(200, kind, encode(self.registry))
        elif asked.path == "/livez":
            self._say(self.live(), verbose=verbose)
        elif asked.path == "/readyz":
            self._say(self.ready(), verbose=verbose)
        else:
            self._answer(404, _TEXT, b"there are /metrics, /livez and /readyz\n")

    do_HEAD = do_GET  # noqa: N815 - the base class looks for this name

    def _say(self, checks: Sequence[Check], *, verbose: bool) -> None:
        passed = all(check.passed for check in checks)
        # As Kubernetes' own endpoints say it; what fails is named without being asked for.
        lines = [
            f"[{'+' if check.passed else '-'}]{check.name}: {check.said}"
            for check in checks
            if verbose or not check.passed
        ]
        lines.append("ok" if passed else "failed")
        self._answer(200 if passed else 503, _TEXT, ("\n".join(lines) + "\n").encode())

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Write no line for a request: Prometheus asks every few seconds."""
