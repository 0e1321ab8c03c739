"""(c) From the receipt of a message to its acknowledgement, under half the load that can be drained.

Measured inside the collector (`tests.bench.timed`): from the read of a message from the socket to the hand-over of its
PUBACK after COMMIT. A publisher's own PUBACK comes from the broker and says nothing of the collector.
"""

import statistics
import uuid

import psycopg

from tests.bench import load
from tests.bench.drains import collector
from tests.bench.figures import Figure, Sheet, say
from tests.bench.lab import Lab, committed
from tests.harness import wait_until

DEVICES = 1000


def measure(lab: Lab, sheet: Sheet, *, rate: float, seconds: float, rounds: int) -> None:
    """(c) at `rate` messages a second."""
    found = []
    for number in range(rounds):
        say(f"(c) round {number + 1} of {rounds}: {rate:.0f} msg/s for {seconds:.0f} s")
        found.append(_once(lab, rate, round(rate * seconds)))
    facts = {"rate": round(rate), "seconds": seconds, "batches": found[-1]["batches"]}
    median, slow = (statistics.median(one[name] for one in found) for name in ("p50_ms", "p99_ms"))
    each = {name: [round(one[name], 1) for one in found] for name in ("p50_ms", "p99_ms", "most_ms")}
    sheet.add(Figure("c_latency_p50", median, "ms", facts=facts | {"all": each["p50_ms"]}))
    facts |= {"all": each["p99_ms"], "longest": each["most_ms"]}
    sheet.add(Figure("c_latency_p99", slow, "ms", None, "", "≤ 200 ms", slow <= 200, facts))


def _once(lab: Lab, rate: float, count: int) -> dict[str, float]:
    client_id = f"bench-{uuid.uuid4().hex[:8]}"
    with lab.database(DEVICES) as url, collector(lab, url, client_id, module="tests.bench.timed") as process:
        # Made beforehand: on few cores their making would be a load of its own.
        messages = list(load.singles(count, DEVICES))
        process.start()
        load.publish(lab.publisher_url, messages, rate=rate)
        with psycopg.connect(url, autocommit=True) as connection:
            wait_until(lambda: committed(connection)[0] >= count, 60)
        process.send()
        process.wait()
        load.forget(lab.collector_url, client_id)
        return next(line for line in process.lines() if line["event"] == "waits")
