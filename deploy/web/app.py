"""The application: routes, refusals, headers, and what every request finds."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from ipaddress import ip_address
from urllib.parse import urlsplit

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from deploy.web import home, operations, problems, signing_in
from deploy.web.answers import HeadAsGet
from deploy.web.headers import SecurityHeaders
from deploy.web.limits import Limits
from deploy.web.measures import RequestDurations
from deploy.web.operator import api as operator_api
from deploy.web.operator import pages as operator_pages
from deploy.web.pages import STATIC
from deploy.web.state import State
from deploy.web.verifier import api as verifier_api
from deploy.web.verifier import pages as verifier_pages
from deploy.web.verifier import step_api
from ingest.liveness import Check

OPENAPI = "/api/v1/openapi.json"
_DESCRIPTION = """\
Monitoring reports of JCM projects, traced from the tonne to the raw payload, and the health of their ingestion.

Sign in with an API token (`Authorization: Bearer …`, made by `jcm-mrv account token issue`). Tonnes, factors and
energies are strings, because they are exact; times are UTC (RFC 3339); days are the site's own. Lists come in parts:
give `next` back as `after`. Refusals are problem details (RFC 9457). Answers carry an `ETag`.
"""


def make_app(
    state: State, *, registry: CollectorRegistry, live: Callable[[], Sequence[Check]] | None = None
) -> FastAPI:
    """Put the application together; the database's pool is open while it runs.

    Parameters
    ----------
    state
        What every request finds.
    registry
        What `/metrics` shows, beside the durations of requests.
    live
        Liveness of what else runs in this process.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        with state.database:
            yield

    app = FastAPI(
        title="jcm-mrv",
        version=version("jcm-mrv"),
        description=_DESCRIPTION,
        license_info={"name": "Apache-2.0"},
        openapi_url=OPENAPI,
        docs_url=None,  # they come from another host
        redoc_url=None,
        lifespan=lifespan,
        responses=dict.fromkeys((400, 401, 403, 404, 409, 413, 422, 429, 503), _PROBLEM),
    )
    app.state.jcm_mrv = state
    problems.install(app)
    for router in (
        operations.router(registry, live), signing_in.router, home.router,
        verifier_api.router, step_api.router, operator_api.router, verifier_pages.router, operator_pages.router,
    ):  # fmt: skip
        app.include_router(router)
    app.mount("/static", _Static(directory=STATIC), name="static")
    host = urlsplit(state.url).hostname
    app.add_middleware(HeadAsGet)
    app.add_middleware(GZipMiddleware, minimum_size=2048, compresslevel=5)
    app.add_middleware(_Hosts, allowed_hosts=["localhost", "127.0.0.1", "[::1]", *([host] if host else [])])
    app.add_middleware(Limits)
    app.add_middleware(SecurityHeaders, https=state.is_secure)
    app.add_middleware(RequestDurations, registry=registry)
    return app


_PROBLEM = {
    "description": "problem details (RFC 9457)",
    "content": {
        problems.MEDIA_TYPE: {
            "schema": {
                "type": "object",
                "required": ["type", "title", "status", "detail", "instance"],
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                    "instance": {"type": "string"},
                },
            },
            "example": {
                "type": "/problems/not-found",
                "title": "There is no such thing, or it is not for whoever asks",
                "status": 404,
                "detail": "there is no project TH014, or it is not yours to see",
                "instance": "/api/v1/projects/TH014",
            },
        }
    },
}


class _Hosts(TrustedHostMiddleware):
    """Answers under our own names only; what watches the service asks it under its address or its name in the cluster.

    Such names nobody else can hold, who would have a browser beside this service ask it under a name of theirs.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watching = scope["type"] == "http" and scope["path"] in operations.PATHS
        if watching and _is_inner(Headers(scope=scope).get("host", "")):
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def _is_inner(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if "." in name:
            ip_address(name)
    except ValueError:
        return False
    return True


class _Static(StaticFiles):
    """Our own style and script, addressed by their content (`deploy.web.pages.static_path`)."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        if scope["query_string"].startswith(b"v="):
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response
