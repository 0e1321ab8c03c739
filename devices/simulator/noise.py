"""Numbers that look random and are a function of a seed and an index, in any order and from any index on.

A generator with a state would make a value depend on how many were drawn before it: on the length of a window, on the
number of sites, on the version of numpy, whose distributions may change. These are SplitMix64's (Steele, Lea, Flood:
"Fast splittable pseudorandom number generators", 2014).
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MASK = 2**64 - 1
_STEP = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB
_UNIT = 2.0**-53


def key(*parts: object) -> int:
    """Make a key of 64 bits from a seed and the names of what it is for."""
    text = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def chance(stream: int, index: int = 0) -> float:
    """Draw a number from [0, 1)."""
    x = (stream + (index + 1) * _STEP) & _MASK
    x = ((x ^ (x >> 30)) * _FIRST) & _MASK
    x = ((x ^ (x >> 27)) * _SECOND) & _MASK
    return ((x ^ (x >> 31)) >> 11) * _UNIT


def between(low: float, high: float, stream: int, index: int = 0) -> float:
    """Draw a number from [low, high)."""
    return low + (high - low) * chance(stream, index)


def uniform(streams: NDArray[np.uint64], index: Ints) -> Floats:
    """Draw what `chance` does, for arrays of keys and indices that broadcast."""
    x = streams + (index.astype(np.uint64) + np.uint64(1)) * np.uint64(_STEP)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(_FIRST)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(_SECOND)
    drawn: Floats = ((x ^ (x >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * _UNIT
    return drawn


def smooth(streams: NDArray[np.uint64], seconds: Ints, period_s: int) -> Floats:
    """Draw values in [0, 1) that wander: one every `period_s`, and a smooth way from each to the next."""
    index, rest = np.divmod(seconds, period_s)
    share = rest / period_s
    weight = share * share * (3.0 - 2.0 * share)
    before, after = uniform(streams, index), uniform(streams, index + 1)
    return before + (after - before) * weight
