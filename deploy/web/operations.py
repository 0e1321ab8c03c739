"""What Prometheus and whoever restarts the service ask: `/metrics`, `/livez`, `/readyz`."""

import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from threading import Lock

import psycopg
import structlog
from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from psycopg_pool import PoolTimeout

from deploy.access.principal import Permission
from deploy.web.identity import signed_in
from deploy.web.problems import ForbiddenError
from deploy.web.state import State, state_of
from ingest.liveness import Check
from sql.errors import SchemaError, StoreError
from sql.migrator import check

log = structlog.get_logger()
PATHS = frozenset({"/metrics", "/livez", "/readyz"})
READY_FOR_S = 1.0
"""How long an answer of the database counts."""
_OF_PROXIES = {"forwarded", "via", "x-real-ip"}


def router(registry: CollectorRegistry, further: Callable[[], Sequence[Check]] | None = None) -> APIRouter:
    """Make the routes.

    Parameters
    ----------
    registry
        What `/metrics` shows.
    further
        Liveness of what else runs in this process, as `jcm-mrv up` has a collector.
    """
    made = APIRouter(include_in_schema=False)
    asked = Lock()
    known: tuple[float, Check] | None = None

    def database(request: Request) -> Check:
        # Anybody may ask, as often as they like, and there are few connections.
        nonlocal known
        with asked:
            if known is None or time.monotonic() - known[0] > READY_FOR_S:
                known = (time.monotonic(), _database(request))
            return known[1]

    @made.get("/metrics")
    def metrics(request: Request) -> Response:
        _may_measure(request)
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), media_type=kind)

    @made.get("/livez")
    def live(request: Request) -> Response:
        return _said(further() if further else (), verbose="verbose" in request.query_params)

    @made.get("/readyz")
    def ready(request: Request) -> Response:
        return _said([database(request)], verbose="verbose" in request.query_params)

    return made


def _may_measure(request: Request) -> None:
    """Let in who stands on this machine or in a network that was named, and who may read operations of all projects.

    What a proxy that nobody named passes on comes from anywhere.
    """
    from_here = not any(name in _OF_PROXIES or name.startswith("x-forwarded-") for name in request.headers)
    if from_here and request.client is not None and _is_near(request.client.host, state_of(request)):
        return
    if not signed_in(request).may(Permission.READ_OPERATIONS):
        raise ForbiddenError("this takes a token that may read the operations of all projects")


def _is_near(host: str, state: State) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in state.settings.metrics_from)


def _database(request: Request) -> Check:
    try:
        with state_of(request).database.service() as connection:
            check(connection)
    except SchemaError as error:
        return Check("database", passed=False, said=str(error))
    except (StoreError, psycopg.Error, PoolTimeout) as error:
        # Anybody may ask; where the database is and what it said is for the log.
        log.warning("database_unavailable", reason=" ".join(str(error).split()) or type(error).__name__)
        return Check("database", passed=False, said="does not answer")
    return Check("database", passed=True, said="answers, and its schema is this version's")


def _said(checks: Sequence[Check], *, verbose: bool) -> Response:
    passed = all(one.passed for one in checks)
    lines = [f"[{'+' if one.passed else '-'}]{one.name}: {one.said}" for one in checks if verbose or not one.passed]
    return PlainTextResponse("\n".join([*lines, "ok" if passed else "failed"]) + "\n", 200 if passed else 503)
