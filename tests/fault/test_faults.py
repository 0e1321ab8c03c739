"""Every fault we can make here, under a load of numbered readings from forty gateways.

After each run every reading that the broker acknowledged to a gateway stands in `reading` exactly once with what the
gateway sent, the account balances and recounts, and nothing was done by hand: what was killed was started again, as a
supervisor does. `docs/faults.md` says what is promised by whom.
"""

import random
import time
from collections.abc import Callable

import pytest

from tests.fault.world import Result, Servers, World

SHORT = 6_000
_Fault = Callable[[World, random.Random, bool], None]


def collector_killed(world: World, chance: random.Random, long: bool) -> None:
    time.sleep(chance.uniform(0, 0.3))
    world.collector.kill()
    time.sleep(chance.uniform(0, 2 if long else 0.3))
    world.collector.start()


def database_killed(world: World, chance: random.Random, long: bool) -> None:
    time.sleep(chance.uniform(0, 0.3))
    world.servers.kill_postgres()
    time.sleep(chance.uniform(0, 3 if long else 0.3))
    world.servers.start()


def database_stopped(world: World, chance: random.Random, long: bool) -> None:
    world.servers.stop_postgres()
    time.sleep(chance.uniform(60, 120) if long else 2)
    world.servers.start()


def broker_killed(world: World, chance: random.Random, long: bool) -> None:
    # Anywhere between two of the broker's snapshots, which are five seconds apart.
    time.sleep(chance.uniform(0, 6 if long else 1))
    world.servers.kill_mosquitto()
    time.sleep(chance.uniform(0, 3 if long else 0.3))
    world.servers.start()


def sessions_lost(world: World, chance: random.Random, long: bool) -> None:
    time.sleep(chance.uniform(0, 1))
    world.servers.kill_mosquitto()
    world.servers.lose_sessions()
    time.sleep(chance.uniform(0, 3 if long else 0.3))
    world.servers.start()


def database_black_hole(world: World, chance: random.Random, long: bool) -> None:
    link = world.servers.database_link
    link.cut()
    # Beyond the 30 s after which a connection without an answer is given up; the short one must be sat out.
    time.sleep(chance.uniform(35, 50) if long else 2)
    link.mend(reset=chance.random() < 0.5)


def broker_black_hole(world: World, chance: random.Random, long: bool) -> None:
    link = world.servers.broker_link
    link.cut()
    # Beyond two keep-alives of 20 s.
    time.sleep(chance.uniform(45, 60) if long else 2)
    link.mend(reset=chance.random() < 0.5)


def everything_killed(world: World, chance: random.Random, long: bool) -> None:
    """As by a power cut, but for the disk's cache."""
    time.sleep(chance.uniform(0, 3 if long else 0.5))
    kills = [world.collector.kill, world.servers.kill_postgres, world.servers.kill_mosquitto]
    chance.shuffle(kills)
    for kill in kills:
        kill()
    world.servers.start()
    world.collector.start()


KINDS: dict[str, tuple[_Fault, int, int]] = {
    # fault, hits in a short run, hits in a long one
    "collector killed": (collector_killed, 2, 8),
    "database killed": (database_killed, 1, 6),
    "database stopped": (database_stopped, 1, 1),
    "broker killed": (broker_killed, 1, 6),
    "sessions lost": (sessions_lost, 1, 3),
    "database black hole": (database_black_hole, 1, 2),
    "broker black hole": (broker_black_hole, 1, 2),
    "everything killed": (everything_killed, 1, 4),
}
LENGTHS = [pytest.param(False, id="short"), pytest.param(True, id="long", marks=pytest.mark.long)]


def assert_held(result: Result, readings: int) -> None:
    assert result.published == result.acknowledged == result.stored == readings, result
    assert (result.conflict, result.quarantined, result.lost) == (0, 0, 0), result
    assert result.balanced, result


@pytest.mark.parametrize("long", LENGTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_loses_nothing_and_repeats_nothing(
    fault_servers: Servers, results: list[Result], seed: int, long_readings: int, kind: str, long: bool
) -> None:
    fault, short_hits, long_hits = KINDS[kind]
    hits = long_hits if long else short_hits
    readings = long_readings // 20 if long else SHORT
    chance = random.Random(f"{seed} {kind}")
    world = World(fault_servers, readings, seed, rate=2500)
    try:
        world.begin()
        for part in sorted(chance.uniform(0.05, 0.95) for _ in range(hits)):
            world.reach(part)
            fault(world, chance, long)
            world.hits += 1
        world.settle()
        result = world.account(kind)
        results.append(result)
        assert_held(result, readings)
    finally:
        world.close()


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_faults_of_all_kinds_in_random_order_lose_nothing_and_repeat_nothing(
    fault_servers: Servers, results: list[Result], seed: int, long_readings: int
) -> None:
    chance = random.Random(f"{seed} all")
    # Each kind is hit at least once, the quick ones more often.
    faults = [fault for fault, _, _ in KINDS.values() if fault is not database_stopped]
    faults += chance.choices([collector_killed, database_killed, broker_killed, everything_killed], k=13)
    chance.shuffle(faults)
    readings = long_readings - len(KINDS) * (long_readings // 20)
    world = World(fault_servers, readings, seed, rate=3000)
    try:
        world.begin()
        for part, fault in zip(sorted(chance.uniform(0.02, 0.97) for _ in faults), faults, strict=True):
            world.reach(part)
            fault(world, chance, True)
            world.hits += 1
        world.settle()
        result = world.account("all kinds in random order")
        results.append(result)
        assert_held(result, readings)
    finally:
        world.close()
