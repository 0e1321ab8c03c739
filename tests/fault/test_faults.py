"""Every fault we can make here, under a load of numbered readings from forty gateways.

After each run every reading that the broker acknowledged to a gateway stands in `reading` exactly once with what the
gateway sent, the account balances and recounts, and nothing was done by hand: what was killed was started again, as a
supervisor does. `docs/faults.md` says what is promised by whom.
"""

import random
import time
from collections.abc import Callable

import pytest

from tests.fault.world import SITES, Result, Servers, World

SHORT = 6_000
_Fault = Callable[[World, random.Random, bool], None]


def collector_killed(world: World, chance: random.Random, long: bool) -> None:
    time.sleep(chance.uniform(0, 0.3))
    world.collector.kill()
    time.sleep(chance.uniform(0, 2 if long else 0.3))
    world.start_collector()


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


def broker_killed_over_a_queue(world: World, chance: random.Random, long: bool) -> None:
    """The broker holds what nobody has taken, and dies between two snapshots of it."""
    world.collector.kill()
    time.sleep(chance.uniform(0, 8 if long else 1))
    world.servers.kill_mosquitto()
    world.servers.start()
    world.start_collector()


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
    world.start_collector()


KINDS: dict[str, tuple[_Fault, int]] = {
    # fault, hits in a long run
    "collector killed": (collector_killed, 8),
    "database killed": (database_killed, 6),
    "database stopped": (database_stopped, 1),
    "broker killed": (broker_killed, 4),
    "broker killed over a queue": (broker_killed_over_a_queue, 4),
    "sessions lost": (sessions_lost, 3),
    "database black hole": (database_black_hole, 1),
    "broker black hole": (broker_black_hole, 1),
    "everything killed": (everything_killed, 4),
}

# After these the gateways send again what they kept, and would make good what a faulty collector lost before. So the
# others have runs of their own, in which everything is sent once.
TO_BROKER = {"broker killed", "broker killed over a queue", "sessions lost", "everything killed"}
QUICK = {
    "all but the broker": [collector_killed, collector_killed, database_killed],
    "with the broker": [broker_killed, broker_killed_over_a_queue, everything_killed],
}


def assert_held(result: Result, readings: int) -> None:
    assert result.published == result.acknowledged == result.stored == readings, result
    assert (result.conflict, result.quarantined, result.lost) == (0, 0, 0), result
    assert result.balanced, result


def _run(
    servers: Servers, results: list[Result], kind: str, seed: int, readings: int, rate: float,
    faults: list[_Fault], chance: random.Random, *, long: bool,
) -> None:  # fmt: skip
    world = World(servers, readings // SITES * SITES, seed, rate=rate)
    try:
        world.begin()
        for part, fault in zip(sorted(chance.uniform(0.02, 0.95) for _ in faults), faults, strict=True):
            world.reach(part)
            print(f"{part:.0%}: {fault.__name__}")
            fault(world, chance, long)
            world.hits += 1
        world.settle()
        result = world.account(kind)
        results.append(result)
        assert_held(result, world.plan.readings)
    finally:
        world.close()


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_loses_nothing_and_repeats_nothing(
    fault_servers: Servers, results: list[Result], seed: int, long_readings: int, kind: str
) -> None:
    fault, hits = KINDS[kind]
    readings = long_readings // 20
    chance = random.Random(f"{seed} {kind}")
    _run(fault_servers, results, kind, seed, readings, 2500, [fault] * hits, chance, long=True)


def _mixed(
    servers: Servers, results: list[Result], seed: int, readings: int, mix: str, *, long: bool
) -> None:  # fmt: skip
    chance = random.Random(f"{seed} {mix}")
    faults = [fault for kind, (fault, _) in KINDS.items() if (kind in TO_BROKER) == (mix == "with the broker")]
    if long:
        faults = [fault for fault in faults if fault is not database_stopped]
        faults += chance.choices(QUICK[mix], k=6 if mix == "with the broker" else 10)
    elif mix != "with the broker":
        # A kill that falls between two batches tells nothing.
        faults += [collector_killed] * 3
    chance.shuffle(faults)
    kind = f"mixed, {mix}"
    _run(servers, results, kind, seed, readings, 3000 if long else 1200, faults, chance, long=long)


@pytest.mark.parametrize("mix", ["all but the broker", "with the broker"])
def test_one_fault_of_each_kind_in_random_order(
    fault_servers: Servers, results: list[Result], seed: int, mix: str
) -> None:
    _mixed(fault_servers, results, seed, SHORT, mix, long=False)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mix", ["all but the broker", "with the broker"])
def test_faults_in_random_order_lose_nothing_and_repeat_nothing(
    fault_servers: Servers, results: list[Result], seed: int, long_readings: int, mix: str
) -> None:
    readings = (long_readings - len(KINDS) * (long_readings // 20)) // 2
    _mixed(fault_servers, results, seed, readings, mix, long=True)
