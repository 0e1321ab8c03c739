"""How an answer is written: ETags of what was really sent, pages of a list, files that stream."""

import hashlib
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import quote

from fastapi import Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.types import ASGIApp, Receive, Scope, Send

_OK = 200
_NOT_MODIFIED = 304

Item = TypeVar("Item")


class ConditionalRoute(APIRoute):
    """Answers a GET with an ETag of its bytes, and with 304 where whoever asks has them already."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler that FastAPI makes."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            response = await handle(request)
            if request.method != "GET" or response.status_code != _OK:
                return response
            # Streams and files have no body to tell of beforehand.
            if not hasattr(response, "body"):
                return response
            tag = response.headers.get("etag") or f'"{hashlib.sha256(bytes(response.body)).hexdigest()[:32]}"'
            kept = {"ETag": tag, "Cache-Control": response.headers.get("cache-control", "private, no-cache")}
            if tag in _tags(request.headers.get("if-none-match", "")):
                return Response(status_code=_NOT_MODIFIED, headers=kept)
            response.headers.update(kept)
            return response

        return answer


class HeadAsGet:
    """Answers HEAD as GET (RFC 9110, 9.3.2); the server leaves the content out.

    Starlette's routes do so of themselves, FastAPI's do not.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on what is asked, as GET."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)


def _tags(given: str) -> set[str]:
    return {one.strip().removeprefix("W/") for one in given.split(",")}


def attachment(name: str) -> dict[str, str]:
    """Return the header that makes an answer a file of this name, whatever signs an id has (RFC 6266)."""
    plain = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "-_.") else "_" for sign in name)
    exact = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return {"Content-Disposition": f'attachment; filename="{plain}"{exact}'}


class Page(BaseModel, Generic[Item]):
    """A part of a list; `next` is the `after` of the part that follows, and absent at the end."""

    items: list[Item]
    next: str | None = Field(default=None, description="give it back as `after` for what follows; null at the end")


Limit = Annotated[int, Query(ge=1, le=1000, description="most entries of one answer")]
After = Annotated[
    str | None, Query(max_length=200, description="`next` of the answer before; absent: from the beginning")
]
