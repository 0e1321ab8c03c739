"""The laws of the store: nothing taken is lost but by its bound, which counts; order; numbers; dates."""

import json
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices import native
from devices.errors import SpoolError
from devices.gateway.clock import Instant, now
from devices.gateway.spool import Spool

NOON = int(datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp() * 1000)
BIG = 2**62
AT = Instant(NOON, "boot-1", 5_000)


def spool(folder: Path, **changes) -> Spool:
    return Spool(folder / "spool.sqlite", **({"limit_bytes": 10_000_000, "when_full": "drop-oldest"} | changes))


def later(seconds: float, at: Instant = AT) -> Instant:
    ms = int(seconds * 1000)
    return replace(at, ts_ms=None if at.ts_ms is None else at.ts_ms + ms, boot_ms=at.boot_ms + ms)


def test_a_payload_is_native_and_always_the_same(tmp_path):
    with closing(spool(tmp_path)) as store:
        store.put("a", AT, {"W": 0.1, "TotWhExp": 1234567000.0, "SN": 'x"y'})
        first, second = store.pending(0, BIG, "boot-1", 9), store.pending(0, BIG, "boot-1", 9)
    assert first[0].payload() == second[0].payload()
    [(_, reading)], rejected = native.decode(first[0].payload(), latest=datetime(2030, 1, 1, tzinfo=UTC))
    assert (rejected, reading.seq, dict(reading.extra)) == ([], 1, {"SN": 'x"y'})
    assert reading.ts == datetime(2026, 6, 1, 12, tzinfo=UTC)
    assert dict(reading.values) == {"W": 0.1, "TotWhExp": 1234567000.0}


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(["a", "b"])),
        st.tuples(st.just("delete"), st.integers(0, 30)),
        st.tuples(st.just("reopen"), st.none()),
    ),
    max_size=30,
)


@settings(max_examples=25, deadline=None)
@given(OPERATIONS)
def test_what_was_put_and_not_deleted_is_there_in_order_and_numbered(operations):
    expected: list[tuple[int, str, int]] = []
    seqs = {"a": 0, "b": 0}
    with tempfile.TemporaryDirectory() as folder:
        store = spool(Path(folder))
        for what, given_ in operations:
            if what == "put":
                seqs[given_] += 1
                place = store.put(given_, AT, {"W": 1.0})
                assert place is not None
                assert all(place > known for known, _, _ in expected)
                expected.append((place, given_, seqs[given_]))
            elif what == "delete" and expected:
                store.delete([expected.pop(given_ % len(expected))[0]])
            elif what == "reopen":
                store.close()
                store = spool(Path(folder))
        assert [(kept.id, kept.device, kept.seq) for kept in store.pending(0, BIG, "boot-1", 99)] == expected
        assert (store.waiting().readings, store.waiting().dropped) == (len(expected), 0)
        store.close()


@pytest.mark.parametrize("policy", ["drop-oldest", "drop-newest"])
def test_at_the_bound_every_reading_given_up_is_counted_and_leaves_a_gap(tmp_path, policy):
    with closing(spool(tmp_path, limit_bytes=65_536, when_full=policy)) as store:
        for number in range(200):
            store.put("a", later(number), {"W": float(number), "text": "x" * 1000})
        seqs = [kept.seq for kept in store.pending(0, BIG, "boot-1", 9999)]
        waiting = store.waiting()
        assert waiting.readings == len(seqs)
    assert waiting.readings + waiting.dropped == 200
    assert waiting.dropped > 0
    size = len(seqs)
    assert seqs == (list(range(1, size + 1)) if policy == "drop-newest" else list(range(201 - size, 201)))
    assert (tmp_path / "spool.sqlite").stat().st_size <= 80_000


def test_what_the_broker_has_goes_first_and_is_no_loss(tmp_path):
    with closing(spool(tmp_path, limit_bytes=65_536, when_full="drop-newest")) as store:
        while store.put("a", AT, {"text": "x" * 1000}) is not None:
            pass
        assert store.waiting().dropped == 1
        store.acknowledge(store.pending(0, BIG, "boot-1", 1)[0].id)
        for kept in store.pending(0, BIG, "boot-1", 40):
            store.acknowledge(kept.id)
        assert store.put("a", AT, {"W": 1.0}) is not None
        assert store.waiting().dropped == 1


def test_after_a_doubt_nothing_goes_first(tmp_path):
    with closing(spool(tmp_path, limit_bytes=65_536, when_full="drop-newest")) as store:
        while store.put("a", AT, {"text": "x" * 1000}) is not None:
            pass
        for kept in store.pending(0, BIG, "boot-1", 40):
            store.acknowledge(kept.id)
        store.doubt()
        assert store.put("a", AT, {"W": 1.0}) is None


def test_numbers_go_on_when_the_store_was_emptied(tmp_path):
    with closing(spool(tmp_path)) as store:
        first = store.put("a", AT, {"W": 1.0})
        store.delete([first])
    with closing(spool(tmp_path)) as store:
        assert store.put("a", AT, {"W": 1.0}) > first
        assert store.pending(0, BIG, "boot-1", 9)[0].seq == 2


def test_a_reading_from_before_the_clock_was_set_is_held_back_and_dated_afterwards(tmp_path):
    unset = replace(AT, ts_ms=None)
    with closing(spool(tmp_path)) as store:
        store.put("a", unset, {"W": 1.0})
        store.put("a", later(60, unset), {"W": 2.0})
        assert store.pending(0, BIG, "boot-1", 9) == []
        assert store.waiting().without_time == 2
        assert store.date_held(later(80, unset)) is None
        # 90 s after the first one the clock is set, to noon.
        assert store.date_held(replace(later(90), ts_ms=NOON)) == 1
        assert [kept.ts_ms for kept in store.pending(0, BIG, "boot-1", 9)] == [NOON - 90_000, NOON - 30_000]
        assert store.date_held(later(100)) is None


def test_a_reading_that_nobody_can_date_is_sent_without_a_time(tmp_path):
    with closing(spool(tmp_path)) as store:
        store.put("a", replace(AT, ts_ms=None), {"W": 1.0})
        after = replace(AT, boot="boot-2")
        assert store.date_held(after) is None
        [kept] = store.pending(0, BIG, "boot-2", 9)
        assert "ts" not in json.loads(kept.payload())
        _, [rejection] = native.decode(kept.payload(), latest=datetime(2030, 1, 1, tzinfo=UTC))
        assert rejection.reason == "time_missing"


def test_this_machines_clock_is_set():
    at = now()
    assert at.ts_ms is not None
    assert abs(datetime.fromtimestamp(at.ts_ms / 1000, UTC) - datetime.now(UTC)) < timedelta(seconds=5)


def test_it_is_synchronous_and_bounded_in_its_journal(tmp_path):
    with closing(spool(tmp_path)) as store:
        pragma = lambda name: store._database.execute(f"pragma {name}").fetchone()[0]  # noqa: E731
        assert (pragma("journal_mode"), pragma("synchronous"), pragma("locking_mode")) == ("wal", 2, "exclusive")


def test_what_put_returned_for_is_there_after_a_kill(tmp_path):
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        "from devices.gateway.spool import Spool\nfrom devices.gateway.clock import now\n"
        f"store = Spool(Path({str(tmp_path / 'spool.sqlite')!r}), limit_bytes=10**7, when_full='drop-oldest')\n"
        "for number in range(50): store.put('a', now(), {'W': 1.0})\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == -9
    with closing(spool(tmp_path)) as store:
        assert [kept.seq for kept in store.pending(0, BIG, now().boot, 99)] == list(range(1, 51))


def test_two_gateways_do_not_share_a_store(tmp_path, monkeypatch):
    with closing(spool(tmp_path)), pytest.raises(SpoolError, match="another gateway"):
        spool(tmp_path)


def test_a_file_that_is_no_store(tmp_path):
    (tmp_path / "spool.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(SpoolError, match="cannot be used"):
        spool(tmp_path)
    with pytest.raises(SpoolError, match="its folder"):
        spool(tmp_path / "none")


def test_a_full_disk_costs_what_it_refused_and_nothing_else(tmp_path):
    """The file system refuses to grow the files, as a full one does, and takes writes again later."""
    code = (
        "import resource, sqlite3, sys\nfrom pathlib import Path\n"
        "from devices.gateway.spool import Spool\nfrom devices.gateway.clock import now\n"
        f"store = Spool(Path({str(tmp_path / 'spool.sqlite')!r}), limit_bytes=10**7, when_full='drop-oldest')\n"
        "put = lambda: store.put('a', now(), {'text': 'x' * 3000})\n"
        "for number in range(5): put()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))\n"
        "refused = 0\n"
        "for number in range(50):\n"
        "    try: put()\n"
        "    except sqlite3.Error: refused += 1\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
        "for number in range(5): put()\n"
        "print(refused, store.waiting().readings)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    refused, kept = map(int, done.stdout.split())
    assert refused > 0
    assert kept == 60 - refused
    with closing(spool(tmp_path)) as store:
        assert [one.seq for one in store.pending(0, BIG, now().boot, 99)] == list(range(1, kept + 1))


def test_a_failed_put_keeps_nothing_and_takes_no_number(tmp_path):
    with closing(spool(tmp_path)) as store:
        store._database.execute("pragma max_page_count=8")
        with pytest.raises(sqlite3.OperationalError, match="full"):
            store.put("a", AT, {"text": "x" * 100_000})
        store.put("a", AT, {"W": 1.0})
        assert [kept.seq for kept in store.pending(0, BIG, "boot-1", 9)] == [1]
