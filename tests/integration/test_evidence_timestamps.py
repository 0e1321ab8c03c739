"""Time stamps on seals, by a TSA of the test's own: kept only when they hold, found when they do not."""

import base64
import json
import shutil
import zipfile
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from types import SimpleNamespace

import psycopg
import pytest

from mrv import periods
from mrv.basis import canonical_text
from mrv.evidence.errors import BundleError, TimestampError
from mrv.evidence.export import export
from mrv.evidence.keys import make_key
from mrv.evidence.sealing import seal_due
from mrv.evidence.stamps import StampedSchedule, stamp_missing
from mrv.evidence.timestamping import Tsa, check_token, load_roots
from mrv.evidence.verification import verify
from sql.connection import Role, connect
from tests import evidence_reader
from tests.integration.conftest import Plant
from tests.integration.received import receive
from tests.integration.tsa import LocalTsa, unusable

pytestmark = pytest.mark.skipif(unusable() is not None, reason=unusable() or "")
DAYS = date(2021, 3, 1), date(2021, 3, 2)
STATEMENT = b'{"format":"jcm-mrv seal 1"}'


@pytest.fixture(scope="module")
def tsas(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tsas")
    made = SimpleNamespace(one=LocalTsa(folder, "one"), other=LocalTsa(folder, "other"))
    for tsa in vars(made).values():
        tsa.start()
    yield made
    for tsa in vars(made).values():
        tsa.stop()


@pytest.fixture
def local(tsas):
    """The first TSA, honest again after each test."""
    tsa = tsas.one
    yield tsa
    tsa.answer, tsa.status, tsa.kind = tsa.reply, 200, "application/timestamp-reply"
    if tsa.server is None:
        tsa.start()


def client(local, roots=None) -> Tsa:
    return Tsa(local.url, load_roots(local.ca) if roots is None else roots)


# --- one time stamp --------------------------------------------------------------------------------------------------


def test_a_time_stamp_is_had_and_openssl_agrees(local, tmp_path):
    before = datetime.now(UTC)
    stamp = client(local).stamp(STATEMENT)
    assert stamp.policy == "1.3.6.1.4.1.99999.1"
    assert before - timedelta(seconds=2) < stamp.time <= datetime.now(UTC)
    (tmp_path / "token").write_bytes(stamp.token)
    (tmp_path / "statement").write_bytes(STATEMENT)
    local.openssl("ts", "-verify", "-token_in", "-in", str(tmp_path / "token"), "-data", str(tmp_path / "statement"),
                  "-CAfile", "ca.pem")  # fmt: skip
    assert check_token(stamp.token, STATEMENT, load_roots(local.ca)) == stamp


def test_the_login_is_sent_and_never_told(local):
    address = local.url.replace("://", "://me:s%40cret@")
    assert Tsa(address, load_roots(local.ca)).stamp(STATEMENT)
    assert local.headers["Authorization"] == "Basic " + base64.b64encode(b"me:s@cret").decode()
    local.status = 403
    with pytest.raises(TimestampError) as said:
        Tsa(address, load_roots(local.ca)).stamp(STATEMENT)
    assert str(said.value) == "127.0.0.1 answers with HTTP status 403"


def another_query(local):
    """An honest answer to a question of somebody else's: over the same bytes, with another nonce."""
    kept = []
    local.answer = lambda query: kept.append(local.reply(query)) or kept[-1]
    client(local).stamp(STATEMENT)
    local.answer = lambda _query: kept[0]


def other_bytes(local):
    """The digest exchanged in the query, the nonce kept."""
    local.answer = lambda query: local.reply(query.replace(sha256(STATEMENT).digest(), sha256(b"x").digest()))


def rejection(local):
    local.answer = lambda _query: bytes.fromhex("30053003020102")


def nonsense(local):
    local.answer = lambda _query: b"<html>"


def empty(local):
    local.answer = lambda _query: b""


def too_long(local):
    local.answer = lambda _query: bytes(70_000)


def a_page(local):
    local.kind = "text/html"


def redirected(local):
    local.status = 302


def failing(local):
    local.status = 503


def gone(local):
    local.stop()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (another_query, "the answer of 127.0.0.1 does not have the nonce that was asked with"),
        (other_bytes, "the answer of 127.0.0.1 is over other bytes than this seal's statement"),
        (rejection, "127.0.0.1 granted no time stamp (status 2)"),
        (nonsense, "the answer of 127.0.0.1 cannot be decoded"),
        (empty, "the answer of 127.0.0.1 cannot be decoded"),
        (too_long, "the answer of 127.0.0.1 is longer than 65,536 bytes"),
        (a_page, "127.0.0.1 answers with text/html, not with application/timestamp-reply"),
        (redirected, "127.0.0.1 answers with HTTP status 302"),
        (failing, "127.0.0.1 answers with HTTP status 503"),
        (gone, "127.0.0.1 cannot be reached: connection refused"),
    ],
)
def test_an_answer_that_is_none_is_refused(local, wrong, said):
    wrong(local)
    with pytest.raises(TimestampError) as found:
        client(local).stamp(STATEMENT)
    assert said in str(found.value)


def test_a_tsa_of_another_authority_is_refused(tsas, local):
    with pytest.raises(TimestampError, match="is not signed by a TSA of the given authority: unable to get"):
        client(local, load_roots(tsas.other.ca)).stamp(STATEMENT)


@pytest.mark.parametrize(
    ("usage", "said"),
    [("critical,clientAuth", "unsuitable"), ("timeStamping", "unsuitable"), ("critical,timeStamping", None)],
)
def test_a_certificate_that_is_not_for_time_stamps_is_refused(local, usage, said):
    """`openssl ts` would not sign with one, so what it said is signed anew as plain CMS."""
    # Before the time stamp: a certificate holds from the second that it was made in.
    local.certificate("signer", usage)
    (local.folder / "honest").write_bytes(client(local).stamp(STATEMENT).token)
    local.openssl("cms", "-verify", "-noverify", "-inform", "DER", "-in", "honest", "-out", "info", "-binary")
    local.openssl("cms", "-sign", "-econtent_type", "1.2.840.113549.1.9.16.1.4", "-nodetach", "-binary", "-in", "info",
                  "-signer", "signer.pem", "-inkey", "signer.key", "-outform", "DER", "-out", "signed")  # fmt: skip
    token, roots = (local.folder / "signed").read_bytes(), load_roots(local.ca)
    if said is None:
        assert check_token(token, STATEMENT, roots)
        return
    with pytest.raises(TimestampError, match=said):
        check_token(token, STATEMENT, roots)


def test_every_flipped_byte_of_a_token_is_found_or_says_the_same(local):
    stamp = client(local).stamp(STATEMENT)
    roots, unseen = load_roots(local.ca), 0
    for at in range(len(stamp.token)):
        changed = stamp.token[:at] + bytes([stamp.token[at] ^ 1]) + stamp.token[at + 1 :]
        try:
            found = check_token(changed, STATEMENT, roots)
        except TimestampError:
            continue
        unseen += 1
        assert (found.time, found.policy) == (stamp.time, stamp.policy)
    assert unseen < len(stamp.token) // 5


@pytest.mark.parametrize(("content", "said"), [(None, "cannot be read"), ("?", "holds no certificate in PEM")])
def test_a_file_of_roots_that_is_none_is_named(tmp_path, content, said):
    if content is not None:
        (tmp_path / "ca.pem").write_text(content)
    with pytest.raises(TimestampError, match=said):
        load_roots(tmp_path / "ca.pem")


# --- of the seals ----------------------------------------------------------------------------------------------------


def deliver(plant) -> None:
    for number, (ts, wh) in enumerate(plant.days(*DAYS, hourly_wh=100_000.0)):
        said = json.dumps({"ts": ts.isoformat(), "points": {"TotWhExp": wh}}).encode()
        receive(plant.owner, [(f"jcm/v1/{plant.site}/inv-1/readings", said)], ts, first_id=number + 1)


def kept(plant) -> list[tuple]:
    return plant.owner.execute(
        "select site_id, day, token, tsa_time, policy from seal_timestamp order by day"
    ).fetchall()


def test_a_seal_stands_without_the_tsa_and_is_stamped_when_it_is_back(plant, local, tmp_path):
    deliver(plant)
    assert seal_due(plant.connection, make_key(tmp_path / "key.pem"), code_version="test").seals == 3
    local.stop()
    done = stamp_missing(plant.connection, client(local))
    assert (done.fetched, done.missing, done.failure) == (0, 3, "127.0.0.1 cannot be reached: connection refused")
    assert kept(plant) == []
    local.start()
    done = stamp_missing(plant.connection, client(local), most=1)
    assert (done.fetched, done.missing, done.failure) == (1, 2, None)
    assert [row[1] for row in kept(plant)] == [date(2021, 3, 2)], "the newest covers the others"
    assert stamp_missing(plant.connection, client(local)).fetched == 2
    asked = local.asked
    assert (stamp_missing(plant.connection, client(local)).fetched, local.asked) == (0, asked)
    for (site, day, token, at, policy), (statement,) in zip(
        kept(plant), plant.owner.execute("select statement from seal order by day"), strict=True
    ):
        checked = check_token(token, statement.encode(), load_roots(local.ca))
        assert (checked.time, checked.policy, site, day.year) == (at, policy, plant.site, 2021)


def test_a_wrong_answer_is_not_kept(plant, local, tmp_path):
    receive(plant.owner, [("strange", b"1")], datetime(2021, 3, 1, tzinfo=UTC), first_id=1)
    seal_due(plant.connection, make_key(tmp_path / "key.pem"), code_version="test")
    another_query(local)
    done = stamp_missing(plant.connection, client(local))
    assert (done.missing, kept(plant)) == (1, [])
    assert "is over other bytes" in done.failure


def test_two_at_once_ask_once(plant, local, tmp_path):
    receive(plant.owner, [("strange", b"1")], datetime(2021, 3, 1, tzinfo=UTC), first_id=1)
    seal_due(plant.connection, make_key(tmp_path / "key.pem"), code_version="test")
    with connect(plant.url, Role.MRV) as other:
        local.answer = lambda query: seen.append(stamp_missing(other, client(local))) or local.reply(query)
        seen: list = []
        assert stamp_missing(plant.connection, client(local)).fetched == 1
        assert [one.fetched for one in seen] == [0]


def test_the_schedule_fetches_what_is_missing_and_leaves_a_failing_tsa_alone(plant, local, tmp_path):
    receive(plant.owner, [("strange", b"1")], datetime(2021, 3, 1, tzinfo=UTC), first_id=1)
    key = make_key(tmp_path / "key.pem")

    def work():
        return StampedSchedule(
            lambda: connect(plant.url, Role.MRV), name="a", code_version="test", sealing_key=key, tsa=client(local)
        )

    failing(local)
    asked, replica = local.asked, work()
    assert (replica.run_until_done(), kept(plant), local.asked) == (1, [], asked + 1)
    local.status = 200
    assert (replica.tick(), local.asked) == (0, asked + 1)
    work().run_until_done()
    assert len(kept(plant)) == 1


@pytest.mark.parametrize("statement", ["delete from {}", "truncate {}", "update {} set policy = policy"])
def test_time_stamps_are_append_only_for_the_owner_too(plant, statement):
    with pytest.raises(psycopg.Error, match="append-only"):
        plant.owner.execute(statement.format("seal_timestamp"))


# --- in a bundle -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(shared_database, tsas, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stamped")
    plant, key = Plant(shared_database), make_key(folder / "key.pem")
    plant.apply(plant.toml)
    deliver(plant)
    seal_due(plant.connection, key, code_version="test")
    periods.freeze(plant.connection, "P1", *DAYS, code_version="test")

    def write(name, *, redacted=False):
        export(plant.connection, "P1", DAYS, None, folder / name, key=key, code_version="test", families={},
               redacted=redacted)  # fmt: skip
        return folder / name

    write("bare.zip")
    stamp_missing(plant.connection, Tsa(tsas.one.url, load_roots(tsas.one.ca)))
    paths = {"full": write("full.zip"), "redacted": write("redacted.zip", redacted=True)}
    yield SimpleNamespace(folder=folder, key=key, roots=load_roots(tsas.one.ca), **paths)
    plant.close()


@pytest.mark.parametrize("name", ["full", "redacted"])
def test_a_bundle_brings_the_time_stamps_along(made, name):
    path = getattr(made, name)
    done = verify(path, [made.key.public], tsa_roots=made.roots)
    assert (done.stamps, done.seals) == (3, 3)
    assert abs(datetime.now(UTC) - done.first_stamp) < timedelta(minutes=5)
    assert done.first_stamp <= done.last_stamp
    assert not [said for said in done.unchecked if "time stamps" in said]
    evidence_reader.check(path, made.key.public.raw)


def test_without_a_root_they_are_not_checked_and_said_to_be_so(made):
    done = verify(made.full, [made.key.public])
    assert (done.stamps, done.first_stamp) == (3, None)
    assert done.unchecked == [
        "who made the time stamps of 3 seals, and when; give the root of their authority with --tsa-ca"
    ]


def test_a_bundle_without_time_stamps_is_whole(made):
    done = verify(made.folder / "bare.zip", [made.key.public], tsa_roots=made.roots)
    assert (done.stamps, done.first_stamp, done.unchecked) == (0, None, [])
    with zipfile.ZipFile(made.folder / "bare.zip") as file:
        assert "timestamps.jsonl" not in file.namelist()


def tokens_of_each_other(rows):
    rows[0]["token"], rows[1]["token"] = rows[1]["token"], rows[0]["token"]


def flipped_bit(rows):
    """Within the signature, which is the last of the token."""
    token = base64.b64decode(rows[1]["token"])
    rows[1]["token"] = base64.b64encode(token[:-9] + bytes([token[-9] ^ 4]) + token[-8:]).decode()


def no_base64(rows):
    rows[1]["token"] = "?"


def cut_off(rows):
    rows[1]["token"] = rows[1]["token"][:400]


def of_no_seal(rows):
    rows[1]["day"] = "2020-01-01"


def twice(rows):
    rows[1] = rows[0]


def dropped(rows):
    rows.pop()


@pytest.mark.parametrize(
    ("tamper", "said", "needs_root"),
    [
        (tokens_of_each_other, "the time stamp of the seal of 2021-02-28 (s-P1) is over other bytes than this", False),
        (flipped_bit, "the time stamp of the seal of 2021-03-01 (s-P1) is not signed by a TSA of the given", True),
        (no_base64, "timestamps.jsonl, line 2: is no time stamp", False),
        (cut_off, "the time stamp of the seal of 2021-03-01 (s-P1) cannot be decoded", False),
        (of_no_seal, "line 2: time stamp of the seal of 2020-01-01: there is no such seal", False),
        (twice, "line 2: time stamp of the seal of 2021-02-28: there are two", False),
        (dropped, "timestamps.jsonl was changed: its bytes are not those that the manifest names", False),
    ],
)
def test_tampering_is_found_and_named(made, tmp_path, tamper, said, needs_root):
    path = tmp_path / "bundle.zip"
    shutil.copy(made.full, path)
    with zipfile.ZipFile(path) as file:
        content = {name: file.read(name) for name in file.namelist()}
    rows = [json.loads(line) for line in content["timestamps.jsonl"].splitlines()]
    tamper(rows)
    content["timestamps.jsonl"] = "".join(canonical_text(row) + "\n" for row in rows).encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, data in content.items():
            file.writestr(name, data)
    for roots in (made.roots,) if needs_root else (made.roots, ()):
        with pytest.raises(BundleError) as found:
            verify(path, [made.key.public], tsa_roots=roots)
        assert said in str(found.value)


def test_another_authority_is_found_and_named(made, tsas):
    with pytest.raises(BundleError, match=r"the time stamp of the seal of .* is not signed by a TSA of the given"):
        verify(made.full, [made.key.public], tsa_roots=load_roots(tsas.other.ca))
