"""Compression on a server of TimescaleDB's Community edition, named by JCM_MRV_TEST_DATABASE_URL; else the refusal."""

import json
import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from deploy.keeping import retention
from mrv import periods
from mrv.evidence.keys import make_key
from mrv.evidence.sealing import seal_due
from sql.server import Server, require_timescaledb
from tests.databases import Databases
from tests.forked import run_command
from tests.integration.conftest import Plant
from tests.integration.received import receive

ROOT = Path(__file__).resolve().parents[2]
FIRST, LAST = date(2021, 3, 1), date(2021, 3, 14)
# Read before the tests' own settings take the place of the shell's.
GIVEN = os.environ.get("JCM_MRV_TEST_DATABASE_URL")


community = pytest.mark.skipif(
    GIVEN is None, reason="JCM_MRV_TEST_DATABASE_URL names no server of TimescaleDB's Community edition"
)


@pytest.fixture(scope="module")
def community_databases():
    databases = Databases(str(GIVEN))
    yield databases
    databases.close()


@pytest.fixture
def plant(community_databases):
    url = community_databases.new(migrated=True)
    plant = Plant(url)
    problem = retention.why_not_compressed(require_timescaledb(plant.owner, create=False, where="here"))
    if problem is not None:
        plant.close()
        pytest.skip(f"the server of JCM_MRV_TEST_DATABASE_URL: {problem}")
    plant.apply(plant.toml.replace("from = 2019-01-01", "from = 2021-03-01"))
    number, begin = 1, datetime(2021, 2, 28, 17, tzinfo=UTC)
    # Three weeks, of which two are to be frozen.
    for hours in range(0, 21 * 24, 24):
        said = [
            json.dumps(
                {"ts": (begin + timedelta(hours=hours + h)).isoformat(), "points": {"TotWhExp": 1e5 * (hours + h)}}
            )
            for h in range(24)
        ]
        at = begin + timedelta(hours=hours + 24)
        receive(
            plant.owner, [(f"jcm/v1/{plant.site}/inv-1/readings", one.encode()) for one in said], at, first_id=number
        )
        number += len(said)
    yield plant
    plant.close()
    community_databases.drop(url)


def chunks(plant: Plant, hypertable: str) -> list[tuple[date, bool]]:
    return plant.owner.execute(
        "select range_start::date, is_compressed from timescaledb_information.chunks"
        " where hypertable_name = %s order by 1",
        [hypertable],
    ).fetchall()


def test_the_apache_edition_has_none_and_the_command_says_so(database):
    environment = {**os.environ, "JCM_MRV_DATABASE_URL": database}
    with psycopg.connect(database) as connection:
        edition = connection.execute("select current_setting('timescaledb.license')").fetchone()
    if edition != ("apache",):
        pytest.skip("the local server has the Community edition")
    done = run_command("retention", "compress", environment=environment, cwd=ROOT)
    assert done.returncode == 1
    assert "TimescaleDB's Apache-2 edition has no compression; the Community edition has" in done.stderr


@pytest.mark.parametrize(
    ("version", "usable"),
    [("2.18.2", True), ("2.19.0", False), ("2.19.3", False), ("2.20.0", False), ("2.20.1", True), ("2.21.0-dev", True)],
)
def test_versions_whose_compressed_chunks_cannot_be_restored_are_refused(version, usable):
    said = retention.why_not_compressed(Server("17.5", version, "timescale"))
    assert (said is None) == usable
    assert usable or "upgrade it to 2.20.1 or newer" in said


@community
def test_what_is_closed_is_compressed_and_computes_to_the_same(plant, tmp_path):
    key = make_key(tmp_path / "key.pem")
    told: list[str] = []
    # Nothing is sealed, nothing frozen.
    assert retention.compress(plant.owner, 30, told.append) == 0
    seal_due(plant.connection, key, code_version="1")
    frozen = periods.freeze(plant.connection, "P1", FIRST, LAST, code_version="1")
    # Chunks of readings are of a week: the one that reaches into what is not frozen stays as it is.
    assert retention.compress(plant.owner, 100_000 // 30, told.append) == 0
    number = retention.compress(plant.owner, 30, told.append)
    assert [done for _, done in chunks(plant, "message")] == [True] * 21
    readings = chunks(plant, "reading")
    assert readings[0] == (date(2021, 2, 25), True)
    assert [done for start, done in readings if start >= date(2021, 3, 11)] == [False, False]
    assert number == len(told) == 21 + sum(done for _, done in readings)
    assert retention.compress(plant.owner, 30, told.append) == 0

    assert periods.recompute(plant.connection, "P1", FIRST, LAST).result_text == frozen.revision.result_text
    for one in retention.compressed(plant.owner):
        assert one.chunks > 0
        assert one.after_bytes > 0
    # A reading that comes late, and one that is there already, are stored and refused as ever.
    assert plant.insert([(datetime(2021, 3, 2, 0, 30, tzinfo=UTC), 3_150_000.0)]) == 1
    assert plant.insert([(datetime(2021, 3, 2, 0, 30, tzinfo=UTC), 9.0)]) == 0


@community
def test_compressed_messages_are_sealed_evidence_still_and_may_go(plant, tmp_path):
    from deploy.keeping.proof import check_seals

    seal_due(plant.connection, make_key(tmp_path / "key.pem"), code_version="1")
    retention.compress(plant.owner, 30, lambda _line: None)
    told: list[str] = []
    check_seals(plant.connection, told.append)
    assert f"and {21 * 24} messages lead to their roots" in told[0]
    # Nothing is notified, so all of it stays: the conditions are asked of compressed chunks as well.
    assert all(chunk.stays for chunk in retention.plan(plant.owner, 1, quarantined=False))


@community
def test_the_command_tells_what_it_saved(plant, tmp_path):
    seal_due(plant.connection, make_key(tmp_path / "key.pem"), code_version="1")
    environment = {**os.environ, "JCM_MRV_DATABASE_URL": plant.url}
    done = run_command("retention", "compress", environment=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "21 chunks compressed" in done.stdout
    assert "message: 21 chunks, " in done.stdout


@community
def test_a_backup_of_compressed_chunks_comes_back_compressed(plant, community_databases, tmp_path):
    from deploy.keeping.archive import Reader
    from deploy.keeping.backup import backup
    from deploy.keeping.errors import ToolError
    from deploy.keeping.places import Target
    from deploy.keeping.proof import check_seals
    from deploy.keeping.restore import restore

    if not plant.owner.execute("select rolsuper from pg_roles where rolname = session_user").fetchone()[0]:
        pytest.skip("the login of JCM_MRV_TEST_DATABASE_URL is no superuser")
    seal_due(plant.connection, make_key(tmp_path / "key.pem"), code_version="1")
    retention.compress(plant.owner, 30, lambda _line: None)
    told: list[str] = []
    try:
        backup(plant.url, tmp_path / "b", keys=None, code_version="1", tell=told.append)
    except ToolError as error:
        pytest.skip(str(error))
    there = community_databases.new(migrated=False)
    target = Target(there, there)
    restore(Reader(tmp_path / "b"), target, again=False, code_version="1", tell=told.append)
    with psycopg.connect(there, autocommit=True) as connection:
        check_seals(connection, told.append)
        again = connection.execute(
            "select count(*) from timescaledb_information.chunks where hypertable_name = 'message' and is_compressed"
        ).fetchone()
    community_databases.drop(there)
    assert again == (21,)
    assert f"and {21 * 24} messages lead to their roots" in told[-1]
