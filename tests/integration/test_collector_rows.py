"""What PostgreSQL keeps of a row is what the row says."""

import hashlib
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devices.points import POINTS
from devices.reading import Reading, Rejection, in_columns
from ingest import rows
from ingest.batch import Outcome, Planned
from ingest.errors import UnstorableError
from ingest.inbox import Received
from ingest.store import Store
from sql.named import load

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
readings = st.builds(
    Reading,
    ts=st.integers(-(10**15), 4 * 10**15).map(lambda us: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)),
    columns=st.dictionaries(st.sampled_from(sorted(POINTS)), st.floats(allow_nan=False, allow_infinity=False)).map(
        in_columns
    ),
    extra=st.dictionaries(texts, st.floats(allow_nan=False, allow_infinity=False) | texts | st.booleans(), max_size=3),
    seq=st.none() | st.integers(-(2**63), 2**63 - 1),
)


@pytest.fixture(scope="module")
def connection(shared_database):
    with psycopg.connect(shared_database, autocommit=True, options="-c timezone=UTC") as opened:
        opened.execute(load("ingest")["create_staged"].replace("on commit delete rows", ""))
        yield opened


def planned(elements, **changes):
    received = Received(1, 1, "jcm/v1/s/d/readings", b"{}", 1, False, False, 0.0)._replace(**changes)
    return Planned(received, "s", 7, list(enumerate(elements)))


def copy_in(connection, statement, types, given):
    with connection.cursor().copy(load("ingest")[statement]) as copy:
        copy.set_types(types)
        for row in given:
            copy.write_row(row)


@given(st.lists(st.lists(readings, max_size=5), max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_readings_arrive_bit_for_bit(connection, batch):
    at = datetime(2026, 11, 22, tzinfo=UTC)
    given = rows.readings([planned(elements) for elements in batch], range(100, 100 + len(batch)), at)
    expected = []
    for number, elements in enumerate(batch):
        for element, reading in enumerate(elements):
            values = [reading.values.get(name) for name in POINTS]
            extra = dict(reading.extra) or None
            expected.append((7, reading.ts, at, 100 + number, element, reading.seq, *values, extra, len(expected)))
    connection.execute("truncate staged")
    copy_in(connection, "copy_staged", rows.STAGED_TYPES, rows.numbered(given))
    found = connection.execute("select * from staged order by ordinal", binary=True).fetchall()
    # The bits of floats count, also of -0.0; a number in jsonb is a numeric, which has other digits for the same value.
    assert repr([(*row[:-2], row[-1]) for row in found]) == repr([(*row[:-2], row[-1]) for row in expected])
    assert [_floats(row[-2]) for row in found] == [row[-2] for row in expected]


def _floats(extra):
    """Read numbers as they were written: 1e16 comes back as the whole number with the same shortest digits."""
    return extra and {name: float(value) if type(value) is int else value for name, value in extra.items()}


@pytest.mark.parametrize(
    "changes",
    [{"seq": 2**63}, {"columns": in_columns({"W": "x"})}, {"extra": {"x": "\ud800"}}, {"extra": {"x": object()}}],
)
def test_what_fits_no_column_spoils_nothing_but_its_transaction(shared_database, changes):
    reading = Reading(**({"ts": datetime.now(UTC), "columns": in_columns({"W": 1.0})} | changes))
    store = Store(shared_database, "test")
    with pytest.raises((UnstorableError, psycopg.DataError)):
        store.write([planned([reading])])
    bare = Planned(planned([]).received, None, None, [], [Rejection("unstorable", "why")])
    assert store.write([bare]).outcomes == [Outcome.QUARANTINED]
    store.close()


def test_messages_arrive_as_they_were(connection):
    at = datetime(2026, 11, 22, 7, 0, 0, 123456, UTC)
    batch = [
        planned(
            [Reading(at, in_columns({"W": 1.0}))], payload=b"\0\xff", qos=0, retained=True, arrived_at=at.timestamp()
        ),
        Planned(Received(1, 1, "jcm/v1/é", b"", 1, False, True, 0.5), None, None, [], [Rejection("r", "d", 0)]),
    ]
    given = rows.messages(batch, [1, 2], [Outcome.STORED, Outcome.QUARANTINED], received_at=at, collector="c")
    with connection.transaction(force_rollback=True):
        copy_in(connection, "copy_message", rows.MESSAGE_TYPES, given)
        found = connection.execute(
            "select received_at, message_id, arrived_at, topic, payload, sha256, qos, retained, redelivered,"
            " collector, site_id, outcome, readings from message where collector = 'c' order by message_id"
        ).fetchall()
    early = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=0.5)
    first, second = (hashlib.sha256(data).digest() for data in (b"\0\xff", b""))
    assert found == [
        (at, 1, at, "jcm/v1/s/d/readings", b"\0\xff", first, 0, True, False, "c", "s", "stored", 1),
        (at, 2, early, "jcm/v1/é", b"", second, 1, False, True, "c", None, "quarantined", 1),
    ]


def test_what_is_there_already_goes_another_way_for_ever_more_batches(shared_database):
    at = datetime(2025, 3, 1, tzinfo=UTC)
    store = Store(shared_database, "twice")

    def write(*seconds, w=1.0):
        readings = [Reading(at + timedelta(seconds=second), in_columns({"W": w})) for second in seconds]
        return store.write([planned([reading]) for reading in readings]).outcomes

    stored, duplicate, conflict = Outcome.STORED, Outcome.DUPLICATE, Outcome.CONFLICT
    assert write(1, 2) == [stored, stored]
    assert write(2, 3) == [duplicate, stored]
    assert write(4, 4) == [stored, duplicate]
    assert write(5) == [stored]
    assert store._staged_batches == 0
    assert write(5, 6, 6, w=2.0) == [conflict, stored, duplicate]
    assert store._staged_batches == store._staging == 1
    assert write(7) == [stored]
    assert write(1) == [duplicate]
    assert store._staged_batches == 3
    store.close()
    with psycopg.connect(shared_database) as connection:
        found = connection.execute(
            "select count(*), count(distinct message_id) from reading where device_id = 7 and ts between %s and %s",
            [at, at + timedelta(minutes=1)],
        ).fetchone()
    assert found == (7, 7)


def test_more_messages_than_a_block_of_ids_have_each_its_own(shared_database):
    store = Store(shared_database, "blocks")
    batch = [planned([], topic=f"jcm/v1/s/d/{number}") for number in range(2001)]
    for one in batch:
        one.rejections.append(Rejection("unstorable", "why"))
    store.write(batch)
    store.close()
    with psycopg.connect(shared_database) as connection:
        found = connection.execute(
            "select topic from message where collector = 'blocks' group by message_id, topic order by message_id"
        ).fetchall()
    assert found == [(one.received.topic,) for one in batch]


def test_nothing_is_received_behind_a_seal_when_the_database_s_clock_was_set_back(database):
    sealed_at = datetime.now(UTC) + timedelta(hours=3)
    with psycopg.connect(database) as connection:
        connection.execute("insert into signing_key (key_id, public_key) values ('k', %s)", [bytes(32)])
        connection.execute(
            "insert into seal (site_id, day, messages, statement, sha256, signature, key_id, salt, created_at)"
            " values ('s', %s, 1, '{}', 'x', '', 'k', %s, %s)",
            [sealed_at.date(), bytes(32), sealed_at],
        )
    store = Store(database, "late")
    try:
        reading = Reading(datetime(2025, 3, 1, tzinfo=UTC), in_columns({"W": 1.0}))
        assert store.write([planned([reading])]).received_at >= sealed_at
    finally:
        store.close()
