"""The database's disk is full: the collector waits without acknowledging and goes on by itself."""

import os
import random
import time

import pytest

from tests.fault.test_faults import assert_held
from tests.fault.world import Result, Servers, World, small_disk
from tests.harness import wait_until

DISK_MB = 300
ROOM_BYTES = 1_000_000
LENGTHS = [pytest.param(False, id="short"), pytest.param(True, id="long", marks=pytest.mark.long)]


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk can only be mounted as root")
@pytest.mark.parametrize("long", LENGTHS)
def test_a_full_disk_of_the_database_is_waited_for(
    fault_servers: Servers, results: list[Result], seed: int, long_readings: int, long: bool
) -> None:
    readings = long_readings // 20 if long else 8_000
    chance = random.Random(f"{seed} disk")
    with small_disk(fault_servers, DISK_MB) as disk:
        world = World(fault_servers, readings, seed, rate=2500, url=fault_servers.new_database("small"), first=0.25)
        try:
            world.begin()
            world.reach(chance.uniform(0.05, 0.2))
            ballast = disk / "ballast"
            free = os.statvfs(disk)
            with ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_bsize - ROOM_BYTES)
            world.allow(1)
            wait_until(lambda: "database_away" in world.collector.events(), 120, "the full disk")
            reasons = [line["reason"] for line in world.collector.lines() if line["event"] == "database_away"]
            assert any("No space left on device" in reason for reason in reasons), reasons
            world.hits += 1
            if chance.random() < 0.5:
                # It has acknowledged nothing of what waits.
                world.collector.kill()
                world.collector.start(connected=False)
            time.sleep(20 if long else 1)
            ballast.unlink()
            # Where the disk is too full for a new connection to the database, a collector ends at its start.
            world.supervise()
            world.settle()
            result = world.account("database's disk full")
            results.append(result)
            assert_held(result, readings)
        finally:
            world.close()
