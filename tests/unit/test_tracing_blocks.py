"""A tree kept in blocks is the tree over its leaves, and a proof from a block is the proof from all of them."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrv.evidence.merkle import BLOCK, Blocks, Tree, prove, prove_in_block, proven_root
from tests import evidence_reader

LEAVES = [sha256(n.to_bytes(4)).digest() for n in range(5 * BLOCK)]


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, len(LEAVES)))
def test_a_proof_from_a_block(data, count):
    leaves = LEAVES[:count]
    place = data.draw(st.integers(0, count - 1))
    tree, blocks = Tree(), Blocks()
    for leaf in leaves:
        tree.add(leaf)
        blocks.add(leaf)
    assert (blocks.count, blocks.root()) == (count, tree.root())
    start = place // BLOCK * BLOCK
    path = prove_in_block(blocks.roots(), leaves[start : start + BLOCK], place, count)
    assert path == prove(leaves, [place])
    assert proven_root(count, {place: leaves[place]}, path) == tree.root()
    # By the code of another reader, after docs/evidence.md alone.
    hidden = {(one.first, one.end): one.root for one in path}
    assert evidence_reader.root(0, count, {place: leaves[place]}, hidden) == tree.root()
    assert len(path) <= count.bit_length()


@pytest.mark.parametrize("count", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 1, 3 * BLOCK, 4 * BLOCK])
def test_at_the_edges_of_blocks(count):
    tree, blocks = Tree(), Blocks()
    for leaf in LEAVES[:count]:
        tree.add(leaf)
        blocks.add(leaf)
    assert blocks.root() == tree.root()
    assert len(blocks.roots()) == -(-count // BLOCK)
