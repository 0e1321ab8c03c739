"""How long to wait before the next try."""

import random
from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Waits that double from `first_s` up to `most_s`, each drawn from its upper half.

    The draw keeps a fleet of collectors from coming back in the same instant after a restart of the server.
    """

    first_s: float = 0.5
    most_s: float = 10.0
    attempts: int = 0

    def next(self) -> float:
        """Give the next wait in seconds."""
        # 2**32 × first_s is beyond any ceiling; the exponent is bounded so that the float is.
        ceiling = min(self.most_s, self.first_s * 2.0 ** min(self.attempts, 32))
        self.attempts += 1
        return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - no secret

    def reset(self) -> None:
        """Start again from the shortest wait."""
        self.attempts = 0
