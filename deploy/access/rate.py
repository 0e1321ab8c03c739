"""How often somebody may ask: a moving window, counted in this process."""

import time

from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter


class Rates:
    """One limit for many keys, such as a token's, a session's or an address's.

    Counted in memory: a service of several processes allows each of them as much.

    Parameters
    ----------
    limit
        As `600/minute` or `10 per 5 minutes`.

    Raises
    ------
    ValueError
        `limit` is none.
    """

    def __init__(self, limit: str) -> None:
        self._limit = parse(limit)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def wait_s(self, key: str) -> float:
        """Count one more of a key; tell how long to wait before it is allowed [s], 0 when it is.

        What is refused is not counted.
        """
        if self._limiter.hit(self._limit, key):
            return 0.0
        # At least a millisecond: the window may have moved on meanwhile, and 0 would mean that it was allowed.
        return max(0.001, self._limiter.get_window_stats(self._limit, key).reset_time - time.time())
