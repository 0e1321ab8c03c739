"""(d) What the collector's process holds: idle, at a steady rate, and while it drains backlogs of two lengths."""

import uuid
from pathlib import Path

import psycopg

from tests.bench import load
from tests.bench.drains import backlog, collector
from tests.bench.figures import Figure, Sheet, say
from tests.bench.lab import Lab, committed
from tests.harness import CollectorProcess, wait_until

DEVICES = 1000
_RATE = 100


def measure(lab: Lab, sheet: Sheet, *, steady_s: float, hour: int) -> None:
    """(d); `hour` is how many messages the long backlog has."""
    with lab.database(DEVICES) as url, collector(lab, url, f"bench-{uuid.uuid4().hex[:8]}") as process:
        say(f"(d) idle, then {_RATE} msg/s for {steady_s:.0f} s")
        process.start()
        idle = resident(process)
        count = load.publish(lab.publisher_url, load.singles(round(_RATE * steady_s), DEVICES), rate=_RATE)
        with psycopg.connect(url, autocommit=True) as connection:
            wait_until(lambda: committed(connection)[0] >= count, 60)
        steady = resident(process)
        _end(lab, process)
    sheet.add(Figure("d_memory_idle", idle, "MiB"))
    sheet.add(Figure("d_memory_steady", steady, "MiB", facts={"rate": _RATE, "seconds": steady_s}))
    tenth, whole = (_highest(lab, length) for length in (hour // 10, hour))
    sheet.add(Figure("d_memory_backlog_tenth", tenth, "MiB", facts={"messages": hour // 10, "of": "highest"}))
    ratio = whole / tenth
    sheet.add(
        Figure(
            "d_memory_backlog_hour",
            whole,
            "MiB",
            ratio,
            "d_memory_backlog_tenth",
            "≤ 1.10 (no growth)",
            ratio <= 1.1,
            {"messages": hour},
        )
    )


def _highest(lab: Lab, length: int) -> float:
    say(f"(d) draining {length} messages")
    client_id = f"bench-{uuid.uuid4().hex[:8]}"
    with lab.database(DEVICES) as url, collector(lab, url, client_id) as process:
        backlog(lab, client_id, "3.1.1", load.singles(length, DEVICES))
        process.start()
        with psycopg.connect(url, autocommit=True) as connection:
            wait_until(lambda: committed(connection)[0] >= length, 300)
        highest = resident(process, "VmHWM")
        _end(lab, process)
    return highest


def _end(lab: Lab, process: CollectorProcess) -> None:
    process.send()
    process.wait()
    load.forget(lab.collector_url, process.client_id)


def resident(process: CollectorProcess, what: str = "VmRSS") -> float:
    """Resident memory of the process [MiB]: now, or the highest ever (`VmHWM`)."""
    assert process.process is not None
    for line in Path(f"/proc/{process.process.pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(what)
