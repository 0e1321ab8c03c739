"""Merkle trees, canonical bytes, commitments, keys: pure, against RFC 6962's own values and by their laws."""

import hashlib
import json
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrv.basis import canonical_text
from mrv.evidence.canonical import Commitments, Message, Place, Seal, instant, message_leaf, microseconds
from mrv.evidence.documents import public_form, without_commitments
from mrv.evidence.errors import KeyFileError
from mrv.evidence.keys import load_key, load_public_key, make_key
from mrv.evidence.merkle import EMPTY, Hidden, ProofError, Tree, leaf_hash, node_hash, prove, proven_root
from mrv.evidence.rows import Line, Used

# The test vectors of Certificate Transparency's own reference (certificate-transparency, merkletree tests).
LEAVES = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def root_of(leaves) -> bytes:
    tree = Tree()
    for leaf in leaves:
        tree.add(leaf)
    return tree.root()


def by_definition(leaves) -> bytes:
    """RFC 6962, 2.1, word by word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return node_hash(by_definition(leaves[:k]), by_definition(leaves[k:]))


@pytest.mark.parametrize("count", range(1, 9))
def test_roots_are_those_of_certificate_transparency(count):
    assert root_of(leaf_hash(leaf) for leaf in LEAVES[:count]).hex() == ROOTS[count - 1]


hashes = st.binary(min_size=1, max_size=4).map(leaf_hash)


@given(st.lists(hashes, max_size=70))
def test_a_root_that_grows_is_the_one_of_the_definition(leaves):
    assert root_of(leaves) == by_definition(leaves)


@given(st.lists(hashes, min_size=1, max_size=70), st.data())
def test_any_set_of_leaves_is_proven_and_no_other(leaves, data):
    shown = sorted(data.draw(st.sets(st.sampled_from(range(len(leaves))))))
    hidden = prove(leaves, shown)
    given_leaves = {place: leaves[place] for place in shown}
    root = by_definition(leaves)
    assert proven_root(len(leaves), given_leaves, hidden) == root
    covered = sorted([*shown, *(place for one in hidden for place in range(one.first, one.end))])
    assert covered == list(range(len(leaves)))
    if shown:
        place = data.draw(st.sampled_from(shown))
        assert proven_root(len(leaves), given_leaves | {place: leaf_hash(b"another")}, hidden) != root
        with pytest.raises(ProofError):
            proven_root(len(leaves), {key: leaf for key, leaf in given_leaves.items() if key != place}, hidden)
    with pytest.raises(ProofError):
        proven_root(len(leaves), given_leaves | {len(leaves): leaves[0]}, hidden)
    with pytest.raises(ProofError):
        proven_root(len(leaves), given_leaves, [*hidden, Hidden(len(leaves), len(leaves) + 1, EMPTY)])


MESSAGE = Message("roof-1", 1_614_834_000_000_000, 4711, 1_614_833_999_000_000, "jcm/v1/roof-1/inv-1/readings",
                  b"{}", 1, False, True, "stored", 1, "c1", None)  # fmt: skip
SALT = bytes(range(32))


def leaf(message: Message) -> bytes:
    return message_leaf(message, Commitments.of(message, SALT))


@pytest.mark.parametrize(
    "change",
    [{"site": "roof-2"}, {"received_us": 1}, {"message_id": 1}, {"arrived_us": 1}, {"topic": "x"}, {"payload": b"x"},
     {"qos": 0}, {"retained": True}, {"redelivered": False}, {"outcome": "conflict"}, {"readings": 2},
     {"collector": "c2"}, {"note": ""}, {"note": "part"}],
)  # fmt: skip
def test_every_field_of_a_message_is_in_its_leaf(change):
    assert leaf(MESSAGE._replace(**change)) != leaf(MESSAGE)


def test_the_bytes_of_a_message_stay_what_they_are():
    """Sealed bytes cannot change: a change of this value needs a new format name."""
    assert leaf(MESSAGE).hex() == "6db1aa8e67846c924163b30fde667420a03e71be000ae5a389f9678e40264c3e"


@given(st.text(max_size=5), st.text(max_size=5), st.text(max_size=5), st.text(max_size=5))
def test_fields_cannot_flow_into_each_other(one, other, third, fourth):
    messages = [MESSAGE._replace(outcome=first, collector=second) for first, second in ((one, other), (third, fourth))]
    assert (leaf(messages[0]) == leaf(messages[1])) == ((one, other) == (third, fourth))


def test_the_same_message_has_another_commitment_under_another_salt():
    assert Commitments.of(MESSAGE, SALT) != Commitments.of(MESSAGE, bytes(32))
    assert Commitments.of(MESSAGE, SALT).topic != Commitments.of(MESSAGE._replace(message_id=1), SALT).topic


@pytest.mark.parametrize("withheld", [False, True])
def test_a_line_reads_back(withheld):
    committed = Commitments.of(MESSAGE, SALT) if withheld else None
    message = MESSAGE._replace(topic="", payload=b"") if withheld else MESSAGE
    line = Line(3, leaf(MESSAGE), message, committed)
    assert Line.parse("roof-1", line.line()) == line


@given(
    st.builds(
        Used, st.integers(0, 2**60), st.floats(0, 9e12), st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.integers(0, 2**60), st.integers(0, 2**60), st.integers(0, 9999), st.integers(1, 2**60),
    )
)  # fmt: skip
def test_a_reading_reads_back_to_the_bit(used):
    assert repr(Used.parse(used.line().rstrip("\n"))) == repr(used)


def test_a_statement_reads_back_and_only_in_its_canonical_form():
    day = instant(MESSAGE.received_us).date()
    place = Place(MESSAGE.received_us, 4711)
    seal = Seal("roof-1", day, 1, leaf(MESSAGE), place, place, None, None, "1", microseconds(instant(5)), "k")
    assert Seal.from_statement(seal.statement) == seal
    for wrong in (seal.statement.replace(":1,", ": 1,"), seal.statement.replace("seal 1", "seal 2")):
        with pytest.raises(ValueError, match="canonical"):
            Seal.from_statement(wrong)


def test_the_public_form_hides_what_is_confidential_and_nothing_else():
    content = {"site": [{"id": "s", "certificate": "C-7", "address": None}], "serial_number": "1", "x": [1, "2"]}
    shown = public_form("a.json", content, SALT)
    assert set(shown["site"][0]["certificate"]) == {"commitment"}
    assert without_commitments(shown) == {"site": [{"id": "s", "address": None}], "x": [1, "2"]}
    assert shown != public_form("b.json", content, SALT)
    assert shown == public_form("a.json", json.loads(canonical_text(content)), SALT)


def test_a_key_is_made_once_for_its_owner_alone(tmp_path):
    path = tmp_path / "key.pem"
    key = make_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_key(path).public.id == key.public.id
    with pytest.raises(KeyFileError, match="file exists"):
        make_key(path)
    (tmp_path / "public.pem").write_text(key.public.pem)
    assert load_public_key(tmp_path / "public.pem").id == key.public.id
    for wrong in (tmp_path / "public.pem", tmp_path / "none.pem", tmp_path):
        with pytest.raises(KeyFileError):
            load_key(wrong)
    with pytest.raises(KeyFileError, match="no public key"):
        load_public_key(path)
