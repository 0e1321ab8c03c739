"""What a request can be refused for: RFC 9457 problem details for scripts, a page for people.

Every problem has a name of its own, which is its `type` (`/problems/<name>`, a page that explains it).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from psycopg_pool import PoolTimeout
from starlette.exceptions import HTTPException

from deploy.errors import DeployError
from devices.errors import DevicesError
from ingest.errors import IngestError
from mrv.errors import MrvError, WrongUseError
from mrv.tracing.errors import NotThereError
from mrv.verification.errors import VerificationError
from sql.errors import DatabaseUnavailableError, StoreError

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
_RETRY_S = 5


class ProblemError(DeployError):
    """The request cannot be answered."""

    status = 500
    name = "failed"
    headers: Mapping[str, str] = {}

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra

    @classmethod
    def title(cls) -> str:
        """Say what kind of problem it is."""
        return (cls.__doc__ or "").strip().rstrip(".")


class BadRequestError(ProblemError):
    """The request is wrong in itself."""

    status = 400
    name = "bad-request"


class NotSignedInError(ProblemError):
    """Nobody is signed in, or the token is not valid."""

    status = 401
    name = "not-signed-in"
    headers: Mapping[str, str] = {"WWW-Authenticate": 'Bearer realm="jcm-mrv"'}


class ForbiddenError(ProblemError):
    """Whoever is signed in may not do this."""

    status = 403
    name = "forbidden"


class NotFoundError(ProblemError):
    """There is no such thing, or it is not for whoever asks."""

    status = 404
    name = "not-found"


class RefusedError(ProblemError):
    """The step may not be taken as things stand."""

    status = 409
    name = "refused"


class TooLargeError(ProblemError):
    """The request is larger than anything that is asked for here."""

    status = 413
    name = "too-large"


class InvalidInputError(ProblemError):
    """A value of the request is not what is expected there."""

    status = 422
    name = "invalid-input"


class TooManyRequestsError(ProblemError):
    """There were too many requests in a short time."""

    status = 429
    name = "too-many-requests"

    def __init__(self, detail: str, *, retry_after_s: int) -> None:
        super().__init__(detail)
        self.headers = {"Retry-After": str(max(1, retry_after_s))}


class UnavailableError(ProblemError):
    """The database does not answer at the moment."""

    status = 503
    name = "unavailable"
    headers: Mapping[str, str] = {"Retry-After": str(_RETRY_S)}


def kinds() -> Iterator[type[ProblemError]]:
    """List every kind of problem."""
    yield ProblemError
    yield from ProblemError.__subclasses__()


def as_problem(error: Exception) -> ProblemError:
    """Tell what an exception means for whoever asked; what is unknown becomes a plain 500 without its words."""
    match error:
        case ProblemError():
            return error
        case RequestValidationError() if _is_no_json(error):
            return InvalidInputError("the body is not taken for JSON; send it with `Content-Type: application/json`")
        case RequestValidationError():
            fields = [
                {"field": ".".join(str(part) for part in one["loc"]), "problem": str(one["msg"])}
                for one in error.errors()
            ]
            said = "; ".join(f"{one['field']}: {one['problem']}" for one in fields)
            return InvalidInputError(said, fields=fields)
        case HTTPException():
            return _of_status(error)
        case psycopg.DataError() if "NUL" in str(error):
            return InvalidInputError("there is a NUL in it, which no text here has")
        case PoolTimeout() | DatabaseUnavailableError() | psycopg.OperationalError():
            return UnavailableError("the database does not answer; try again in a few seconds")
        case NotThereError():
            return NotFoundError(str(error))
        case WrongUseError():
            return BadRequestError(str(error))
        case VerificationError():
            return RefusedError(str(error))
        case MrvError() | DevicesError() | IngestError() | StoreError() | DeployError():
            return RefusedError(str(error))
        case _:
            return ProblemError("something went wrong here; the log of the service has more")


def _is_no_json(error: RequestValidationError) -> bool:
    # What comes without that media type, as from `curl -d`, is handed on as the bytes that it is.
    return any(one["loc"] == ("body",) and isinstance(one.get("input"), bytes) for one in error.errors())


def _of_status(error: HTTPException) -> ProblemError:
    found = next((kind for kind in kinds() if kind.status == error.status_code), None)
    if found is None or found is TooManyRequestsError:
        found = BadRequestError if error.status_code < 500 else ProblemError
    problem = found(str(error.detail))
    problem.status = error.status_code
    problem.headers = {**problem.headers, **(error.headers or {})}
    return problem


def as_json(problem: ProblemError, instance: str) -> JSONResponse:
    """Write problem details (RFC 9457)."""
    content = {
        "type": f"/problems/{problem.name}",
        "title": problem.title(),
        "status": problem.status,
        "detail": problem.detail,
        "instance": instance,
        **problem.extra,
    }
    headers = {**problem.headers, "Cache-Control": "no-store"}
    return JSONResponse(content, problem.status, headers=headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer every refusal of the application in the way of whoever asked."""

    def answer(request: Request, error: Exception) -> Response:
        problem = as_problem(error)
        path = request.url.path  # not the query: it may hold what a provider gives at sign-in
        if problem.status == ProblemError.status:
            log.error("request_failed", path=path, method=request.method, exc_info=error)
        # `/api/v1` itself is the page for people.
        if path.startswith("/api/") and path != "/api/v1":
            return as_json(problem, path)
        from deploy.web.pages import problem_page

        return problem_page(request, problem)

    for kind in (RequestValidationError, HTTPException, PoolTimeout, psycopg.OperationalError, psycopg.DataError,
                 DeployError, MrvError, DevicesError, IngestError, StoreError, Exception):  # fmt: skip
        app.add_exception_handler(kind, answer)
