"""Merkle trees as in RFC 6962, 2.1: leaves led by 0x00, nodes by 0x01; a proof for any set of leaves at once."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

EMPTY = sha256(b"").digest()
"""The root of no leaf."""
BLOCK = 256
"""Leaves of a block: a power of two, so that the tree over the blocks' roots is the tree over the leaves."""


class ProofError(Exception):
    """Leaves and proof do not make a tree."""

    def __init__(self, message: str, places: tuple[int, int]) -> None:
        super().__init__(message)
        self.places = places
        """First place concerned, and the one behind the last."""


def leaf_hash(content: bytes) -> bytes:
    """Hash a leaf."""
    return sha256(b"\x00" + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash a node."""
    return sha256(b"\x01" + left + right).digest()


class Tree:
    """A root over leaves that come one by one; holds as many hashes as their number has binary digits."""

    def __init__(self) -> None:
        self.count = 0
        self._whole: list[bytes] = []
        """Roots of whole subtrees, the largest first."""

    def add(self, leaf: bytes) -> None:
        """Add the hash of the next leaf."""
        carry, count = leaf, self.count
        while count & 1:
            carry = node_hash(self._whole.pop(), carry)
            count >>= 1
        self._whole.append(carry)
        self.count += 1

    def root(self) -> bytes:
        """Return the root over the leaves so far."""
        if not self._whole:
            return EMPTY
        root = self._whole[-1]
        for left in reversed(self._whole[:-1]):
            root = node_hash(left, root)
        return root


class Blocks:
    """A tree over leaves that come one by one, which keeps the root of every `BLOCK` of them."""

    def __init__(self) -> None:
        self._roots: list[bytes] = []
        self._last = Tree()

    @property
    def count(self) -> int:
        """How many leaves there are."""
        return len(self._roots) * BLOCK + self._last.count

    def add(self, leaf: bytes) -> None:
        """Add the hash of the next leaf."""
        if self._last.count == BLOCK:
            self._roots.append(self._last.root())
            self._last = Tree()
        self._last.add(leaf)

    def roots(self) -> list[bytes]:
        """Return the roots of the blocks, the last of which may be smaller."""
        return [*self._roots, self._last.root()] if self._last.count else list(self._roots)

    def root(self) -> bytes:
        """Return the root over the leaves so far."""
        return root_over(self.roots())


def root_over(roots: Iterable[bytes]) -> bytes:
    """Compute a root from those of the blocks."""
    tree = Tree()
    for root in roots:
        tree.add(root)
    return tree.root()


@dataclass(frozen=True, slots=True)
class Hidden:
    """A subtree of which only the root is shown."""

    first: int
    end: int
    root: bytes


def prove(leaves: Sequence[bytes], shown: Sequence[int]) -> list[Hidden]:
    """Give the roots of the largest subtrees that have no shown leaf, from left to right.

    Parameters
    ----------
    leaves
        All leaf hashes.
    shown
        Places of the leaves that the proof is for, rising.
    """

    def root(first: int, end: int) -> bytes:
        tree = Tree()
        for leaf in leaves[first:end]:
            tree.add(leaf)
        return tree.root()

    hidden: list[Hidden] = []
    waiting = [(0, len(leaves))] if leaves else []
    while waiting:
        first, end = waiting.pop()
        some = bisect_left(shown, end) - bisect_left(shown, first)
        if some == 0:
            hidden.append(Hidden(first, end, root(first, end)))
        elif some < end - first:
            middle = first + _left(end - first)
            waiting += [(middle, end), (first, middle)]
    return hidden


def prove_in_block(roots: Sequence[bytes], leaves: Sequence[bytes], place: int, count: int) -> list[Hidden]:
    """Prove one leaf as `prove` does, from the roots of all blocks and the leaves of its own.

    Parameters
    ----------
    roots
        Of every block, in order.
    leaves
        Leaf hashes of the block that the place is in.
    place, count
        The leaf's place among all leaves, and how many these are.
    """
    block = place // BLOCK
    above = [Hidden(one.first * BLOCK, min(one.end * BLOCK, count), one.root) for one in prove(roots, [block])]
    start = block * BLOCK
    beside = [Hidden(start + one.first, start + one.end, one.root) for one in prove(leaves, [place - start])]
    return sorted([*above, *beside], key=lambda one: one.first)


def proven_root(count: int, shown: Mapping[int, bytes], hidden: Iterable[Hidden]) -> bytes:
    """Compute the root of a tree from the leaves that are shown and the subtrees that are not.

    Parameters
    ----------
    count
        How many leaves the tree has.
    shown
        Leaf hashes by place.
    hidden
        What `prove` gave.

    Raises
    ------
    ProofError
        A place has neither, or both.
    """
    if count == 0:
        if shown:
            raise ProofError("the tree has no leaf", (0, 0))
        return EMPTY
    places = sorted(shown)
    if places and not 0 <= places[0] <= places[-1] < count:
        raise ProofError(f"there is no such place among {count}", (places[-1], places[-1] + 1))
    covered = {(one.first, one.end): one.root for one in hidden}

    def root(first: int, end: int) -> bytes:
        some = bisect_left(places, end) - bisect_left(places, first)
        if some == 0:
            try:
                return covered.pop((first, end))
            except KeyError:
                raise ProofError("neither a message nor a hash is given", (first, end)) from None
        if some == end - first:
            tree = Tree()
            for place in range(first, end):
                tree.add(shown[place])
            return tree.root()
        middle = first + _left(end - first)
        return node_hash(root(first, middle), root(middle, end))

    found = root(0, count)
    for first, end in covered:
        raise ProofError("a hash is given that has no place", (first, end))
    return found


def _left(count: int) -> int:
    """The largest power of two below `count`, which is at least 2."""
    return 1 << (count - 1).bit_length() - 1
