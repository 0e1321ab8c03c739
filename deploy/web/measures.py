"""How long requests take, by route, for Prometheus."""

import time

from prometheus_client import CollectorRegistry, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0)
NAME = "jcm_mrv_http_request_duration_seconds"
HELP = "how long requests took, by method, route and status; streams count until their end"
LABELS = ("method", "route", "status")
# Whoever sends a method of their own making must not make a series of its own.
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class RequestDurations:
    """Measures every request under the path pattern of its route, never under the path itself."""

    def __init__(self, app: ASGIApp, *, registry: CollectorRegistry) -> None:
        self._app = app
        self._histogram = Histogram(NAME, HELP, LABELS, registry=registry, buckets=_BUCKETS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        begun = time.perf_counter()

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, told)
        finally:
            route = getattr(scope.get("route"), "path", "")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._histogram.labels(method, route or "none", str(status)).observe(time.perf_counter() - begun)
