"""What Mosquitto cannot promise: its PUBACK is given from memory, its queue is written every five seconds."""

import random
import time

import pytest

from tests.fault.gateways import Plan
from tests.fault.world import Result, Servers, World

# autosave_interval 5, looked at once a second, and the time it takes to write.
FORGOTTEN_S = 7.0


@pytest.mark.long
def test_a_killed_broker_forgets_seconds_of_what_it_acknowledged_and_no_more(
    fault_servers: Servers, results: list[Result], seed: int
) -> None:
    """Gateways that keep nothing after a PUBACK lose readings; those of the other runs do not, and this is why.

    Only what nobody had taken is lost: a collector that lives has it, and stores it. So here none does.
    """
    chance = random.Random(f"{seed} careless")
    world = World(fault_servers, 60_000, seed, rate=1500, careful=False)
    kills = []
    try:
        world.begin()
        for part in (0.05, 0.25, 0.45, 0.65, 0.85):
            world.reach(part)
            world.collector.kill()
            time.sleep(chance.uniform(2, 9))
            kills.append(world.servers.kill_mosquitto())
            world.hits += 1
            world.servers.start()
            world.start_collector()
        world.settle()
        result = world.account("broker killed, careless gateways")
        lost = world.lost()
        assert len(lost) == result.lost
        assert result.published == result.acknowledged == world.plan.readings
        assert (result.conflict, result.quarantined, result.balanced) == (0, 0, True)
        ages = [min(kill - at for kill in kills if kill >= at) for at in lost]
        each = [sum(at <= kill and not any(at <= other < kill for other in kills) for at in lost) for kill in kills]
        result.note = f"lost at each kill {each}, the oldest acknowledged {max(ages, default=0):.1f} s before it"
        results.append(result)
        assert lost, "a broker that forgets nothing any more: take back what docs/faults.md says of it"
        assert max(ages) < FORGOTTEN_S < Plan.resend_s
    finally:
        world.close()
