"""Answers that go on until the browser leaves: so many an account, and each only as long as there is a right to it."""

import time
from collections.abc import AsyncIterator, Callable
from functools import partial

import anyio
from fastapi import Request
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from deploy.access.principal import Principal
from deploy.web.identity import is_still
from deploy.web.limits import Slots

# A browser keeps six connections to a host; several people may watch under one account.
_slots = Slots(8, "streams")
AGAIN_S = 5.0
"""A right that was taken back ends a stream after so long."""
# Who reads nothing for so long is gone, or does it on purpose.
_PATIENCE_S = 30.0


class Stream(EventSourceResponse):
    """Server-sent events of what is asked for again and again.

    Parameters
    ----------
    ask
        Makes the data of the next event, in a thread; None: there is nothing new.
    every_s
        The pause between.
    most
        How many events; None: as long as the browser listens.

    Raises
    ------
    TooManyRequestsError
        The account has as many streams as it may.
    """

    def __init__(
        self,
        request: Request,
        principal: Principal,
        ask: Callable[[], str | None],
        *,
        every_s: float,
        most: int | None = None,
    ) -> None:
        self._account = principal.account

        async def told() -> AsyncIterator[ServerSentEvent]:
            sent, looked = 0, time.monotonic()
            while most is None or sent < most:
                if time.monotonic() - looked > AGAIN_S:
                    if not await anyio.to_thread.run_sync(partial(is_still, request, principal)):
                        return
                    looked = time.monotonic()
                data = await anyio.to_thread.run_sync(ask)
                if data is not None:
                    yield ServerSentEvent(data, event="fleet")
                    sent += 1
                if most is None or sent < most:
                    await anyio.sleep(every_s)

        super().__init__(told(), headers={"Cache-Control": "no-store"}, send_timeout=_PATIENCE_S)
        _slots.take(self._account)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and give back the account's place at the end, however it comes."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            _slots.give_back(self._account)
