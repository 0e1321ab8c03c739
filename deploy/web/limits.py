"""How much one request may bring, and how many answers that take long one account may have at a time."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deploy.web.problems import TooLargeError, TooManyRequestsError, as_json

MOST_BYTES = 1024 * 1024
"""Of a body: a finding has 10,000 characters, a signed statement some thousand bytes."""
BODY_S = 60
"""From a request's head to the end of its body."""
_MOST_ADDRESS = 4096
# `next` of the sign-in page holds an address, quoted again.
_MOST_QUERY = 16 * 1024
_RETRY_S = 10


class Limits:
    """Refuses endless addresses and bodies before anybody reads them; who asks is not known yet."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if len(scope.get("raw_path") or b"") > _MOST_ADDRESS or len(scope["query_string"]) > _MOST_QUERY:
            problem = TooLargeError("the address is longer than any there is")
            problem.status = 414
            await as_json(problem, "/")(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"content-length", b"")
        come = int(said) if said.isdigit() and len(said) < 20 else 0
        until, whole = anyio.current_time() + BODY_S, False

        async def counted() -> Message:
            nonlocal come, whole
            if whole:
                return await receive()
            if come > MOST_BYTES:
                # As the parsers of bodies let through; a ProblemError becomes their 400.
                raise HTTPException(413, f"a request has at most {MOST_BYTES:,} bytes")
            with anyio.move_on_at(until):
                return count(await receive())
            raise HTTPException(408, f"the request did not come within {BODY_S} seconds")

        def count(message: Message) -> Message:
            nonlocal come, whole
            whole = not message.get("more_body", False)
            if message["type"] == "http.request" and not said:
                come += len(message.get("body", b""))
                if come > MOST_BYTES:
                    raise HTTPException(413, f"a request has at most {MOST_BYTES:,} bytes")
            return message

        await self._app(scope, counted, send)


class Slots:
    """So many at a time of each account, so that one that asks for much takes no page from the others.

    Parameters
    ----------
    each
        How many.
    what
        What they are, for who is refused.
    """

    def __init__(self, each: int, what: str) -> None:
        self._each = each
        self._what = what
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()

    def take(self, account: str) -> None:
        """Take one, to be given back.

        Raises
        ------
        TooManyRequestsError
            The account has all of its own.
        """
        with self._lock:
            if self._taken[account] >= self._each:
                raise TooManyRequestsError(
                    f"{account} has {self._each} {self._what} at a time, and no more; end one, or wait",
                    retry_after_s=_RETRY_S,
                )
            self._taken[account] += 1

    def give_back(self, account: str) -> None:
        """Give one back."""
        with self._lock:
            self._taken[account] -= 1
            if not self._taken[account]:
                del self._taken[account]

    @contextmanager
    def one(self, account: str) -> Iterator[None]:
        """Hold one while the block lasts.

        Raises
        ------
        TooManyRequestsError
            The account has all of its own.
        """
        self.take(account)
        try:
            yield
        finally:
            self.give_back(account)


# Reads every reading of two revisions, and computes with them for as long as that takes.
comparisons = Slots(1, "comparison day by day")
