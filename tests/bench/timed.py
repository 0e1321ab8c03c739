"""A collector that notes when each message is acknowledged: `jcm-mrv collect` with one line more.

`python -m tests.bench.timed` prints, when it is stopped, the quantiles of the time from the read of a message from
the socket to the hand-over of its acknowledgement, which is after its COMMIT, in milliseconds.
"""

import json
import statistics
import time
from collections.abc import Sequence

from deploy import logs
from deploy.commands.collect import make_collector
from deploy.servers import endpoints
from deploy.settings import load_settings
from deploy.signals import on_end
from ingest.inbox import Received


def main() -> None:
    settings = load_settings()
    logs.configure("json")
    collector = make_collector(settings, endpoints(settings))
    acknowledge = collector.session.acknowledge
    taken: list[tuple[float, list[float]]] = []

    def noting(messages: Sequence[Received]) -> None:
        acknowledge(messages)
        taken.append((time.time(), [message.arrived_at for message in messages]))

    collector.session.acknowledge = noting  # type: ignore[method-assign]
    on_end(collector.stop)
    collector.run()
    waits = [1000 * (at - arrived) for at, batch in taken for arrived in batch]
    cuts = statistics.quantiles(waits, n=1000)
    print(
        json.dumps(
            {
                "event": "waits",
                "count": len(waits),
                "batches": len(taken),
                "p50_ms": cuts[499],
                "p99_ms": cuts[989],
                "most_ms": max(waits),
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    main()
