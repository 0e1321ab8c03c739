"""Clocks that step: the collector's, and the database's."""

import shutil
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from deploy.errors import PackagesUnavailableError
from deploy.local import QuietProgress, postgres
from deploy.local.apt import PrivateApt, machine_archives
from tests.fault.world import Result, Servers, World
from tests.harness import one, wait_until

STEPPED = Path(__file__).parent / "stepped_clock"


def test_a_collector_whose_clock_steps_stores_everything_once(
    fault_servers: Servers, results: list[Result], seed: int, tmp_path: Path
) -> None:
    offset = tmp_path / "offset"
    offset.write_text("0")
    settings = {"PYTHONPATH": str(STEPPED), "STEPPED_CLOCK": str(offset)}
    world = World(fault_servers, 3000, seed, rate=1500, settings=settings, first=0.4)
    spread_of_arrivals = "select coalesce(max(arrived_at) - min(arrived_at), '0') from message"
    try:
        world.begin()
        # A day ahead, a day behind, as by a clock that is set under a load; the load is of last January.
        for part, seconds, days in ((0.3, 86_400, 0.9), (0.6, -86_400, 1.9)):
            world.reach(part)
            step(offset, str(seconds))
            world.hits += 1
            # However slow the machine, some come by each clock.
            world.allow(part + 0.4)
            wait_until(lambda days=days: one(world.url, spread_of_arrivals) > timedelta(days=days), what="the step")
        world.settle()
        result = world.account("collector's clock stepped")
        results.append(result)
        assert result.acknowledged == result.stored == 3000
        assert (result.conflict, result.quarantined, result.lost, result.balanced) == (0, 0, 0, True)
        # What the collector believed is kept as it was; when the database received it is another column.
        assert one(world.url, spread_of_arrivals) > timedelta(days=1.9)
        assert one(world.url, "select max(received_at) - min(received_at) from message") < timedelta(minutes=5)
    finally:
        world.close()


def step(clock: Path, offset: str) -> None:
    # In one step: libfaketime ends the process that finds the file empty.
    following = clock.with_suffix(".new")
    following.write_text(f"{offset}\n")
    following.chmod(0o644)
    following.replace(clock)


@pytest.fixture
def database_clock(fault_servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that says how far PostgreSQL's clock is off, for libfaketime of the same Debian as PostgreSQL's."""
    folder = fault_servers.local.directory / "clock"
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("apt", "scratch", "debs"):
        (folder / part).mkdir(parents=True)
    try:
        apt = PrivateApt(folder / "apt")
        apt.update(machine_archives(folder / "scratch"))
        packages = [package for package in apt.closure(["libfaketime"]) if package.name == "libfaketime"]
        [deb] = apt.download(packages, folder / "debs", QuietProgress())
    except PackagesUnavailableError as error:
        pytest.skip(f"libfaketime cannot be had: {error}")
    subprocess.run(["dpkg-deb", "-x", deb, folder / "root"], check=True)
    [library] = folder.glob("root/usr/lib/*/faketime/libfaketime.so.1")
    offset = folder / "offset"
    offset.write_text("+0\n")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    spawn = postgres.spawn

    def spawn_with_clock(user, argv, **keywords):
        faked = [
            "/usr/bin/env", f"LD_PRELOAD={library}", f"FAKETIME_TIMESTAMP_FILE={offset}", "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1",
        ]  # fmt: skip
        spawn(user, [*faked, *argv], **keywords)

    monkeypatch.setattr(postgres, "spawn", spawn_with_clock)
    fault_servers.stop_postgres()
    fault_servers.start()
    yield offset
    monkeypatch.undo()
    fault_servers.stop_postgres()
    fault_servers.start()
    shutil.rmtree(folder)


def test_a_database_whose_clock_is_set_back_receives_nothing_behind_a_cut_off(
    fault_servers: Servers, results: list[Result], seed: int, database_clock: Path
) -> None:
    world = World(fault_servers, 3000, seed, rate=1500, first=0.4)
    receptions = "select max(received_at) - min(received_at) from message"
    try:
        world.begin()
        world.reach(0.3)
        wait_until(world.stored, what="the first readings")
        step(database_clock, "+2d")
        world.hits += 1
        world.allow(0.7)
        wait_until(lambda: one(world.url, receptions) > timedelta(days=1.9), what="the step ahead")
        with psycopg.connect(world.url) as freeze:
            freeze.execute("select pg_advisory_xact_lock(hashtext('jcm-mrv batch'))")
            freeze.execute(
                "insert into period (project_id, first_day, last_day) values ('P', '2026-01-01', '2026-01-31')"
            )
            [(cut_off,)] = freeze.execute(
                "insert into period_revision"
                " (period_id, revision, received_until, declarations, methodology, code_version)"
                " select period_id, 1, clock_timestamp(), '', '', '' from period returning received_until"
            ).fetchall()
            [(seen,)] = freeze.execute("select count(*) from message").fetchall()
        step(database_clock, "-1d")
        world.hits += 1
        world.allow(1)
        world.settle()
        result = world.account("database's clock stepped")
        results.append(result)
        assert result.acknowledged == result.stored == 3000
        assert (result.conflict, result.quarantined, result.lost, result.balanced) == (0, 0, 0, True)
        assert 0 < seen < one(world.url, "select count(*) from message")
        # What the revision is made of is what was there when it was frozen, whatever the clock did afterwards.
        assert one(world.url, "select count(*) from message where received_at <= %s", cut_off) == seen
        # Nothing after the cut-off was received a day before all.
        assert timedelta(days=1.9) < one(world.url, receptions) < timedelta(days=2.1)
    finally:
        world.close()
