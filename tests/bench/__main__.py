"""`make bench`: all figures in one run; `python -m tests.bench --help` for parts of it.

One JSON line a figure on standard output; what is being done, and a table in the end, on standard error.
"""

import argparse
import os
import platform
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench import arrays, drains, latency, memory, mrv_year, telegraf
from tests.bench.figures import Figure, Sheet, say
from tests.bench.lab import Lab


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    backlog: int
    rounds: int
    arrays: int
    array_rounds: int
    latency_s: float
    steady_s: float
    hour: int
    fleets: tuple[int, ...]
    plant: tuple[int, int]
    """Devices and days of (m)."""


FULL = Size(100_000, 3, 8_000, 3, 20, 30, 360_000, (10, 1_000, 100_000), (50, 365))
SMOKE = Size(2_000, 1, 40, 1, 1, 1, 5_000, (10, 200), (2, 3))
FIGURES = "abcdefg"
# Not among the figures that come unasked: a year of readings takes twelve minutes and 5 GB.
MRV = "mrv"


def run(sheet: Sheet, size: Size, wanted: str) -> None:
    """Measure the wanted figures on servers made for it."""
    # Minutes long, so in a place of its own: the smoke test makes the servers of the other one anew.
    lab = Lab("bench-mrv" if wanted == MRV else "bench")
    lab.start()
    try:
        sheet.add(_machine(lab))
        if wanted == MRV:
            mrv_year.measure(lab, sheet, devices=size.plant[0], days=size.plant[1])
            return
        rate = 0.0
        if set("af") & set(wanted):
            rate = drains.against_bare(lab, sheet, count=size.backlog, rounds=size.rounds)
        if "b" in wanted:
            arrays.measure(lab, sheet, count=size.arrays, rounds=size.array_rounds)
        if "c" in wanted:
            if not rate:
                found = drains.drain(lab, drains.load.singles(size.backlog, 1000), devices=1000)
                rate = found.messages_s
            latency.measure(lab, sheet, rate=rate / 2, seconds=size.latency_s, rounds=size.rounds)
        if "d" in wanted:
            memory.measure(lab, sheet, steady_s=size.steady_s, hour=size.hour)
        if "g" in wanted:
            drains.with_devices(lab, sheet, count=size.backlog, rounds=size.rounds, fleets=size.fleets)
        if "e" in wanted:
            telegraf.measure(lab, sheet, count=size.backlog, rounds=size.rounds)
    finally:
        lab.stop()


def _machine(lab: Lab) -> Figure:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    status = lab.servers.status()
    return Figure(
        "machine",
        os.cpu_count(),
        "cores",
        facts={
            "processor": model,
            "python": platform.python_version(),
            "timescaledb": status.timescaledb_version,
            "postgresql": status.postgres.version,
            "mosquitto": status.mosquitto.version,
            "load_1_min": round(os.getloadavg()[0], 2),
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("figures", nargs="?", default=FIGURES, help=f"which, of {FIGURES} (default: all); or {MRV}")
    parser.add_argument("--smoke", action="store_true", help="a few seconds; the numbers mean nothing")
    parser.add_argument("--rounds", type=int, help="rounds of every comparison")
    parser.add_argument("--devices", type=int, help=f"devices of {MRV}")
    parser.add_argument("--days", type=int, help=f"days of {MRV}")
    given = parser.parse_args()
    if given.figures != MRV and set(given.figures) - set(FIGURES):
        parser.error(f"figures are letters of {FIGURES}, or {MRV}")
    size = SMOKE if given.smoke else FULL
    if given.rounds:
        size = replace(size, rounds=given.rounds, array_rounds=given.rounds)
    size = replace(size, plant=(given.devices or size.plant[0], given.days or size.plant[1]))
    sheet = Sheet()
    begun = time.monotonic()
    run(sheet, size, given.figures)
    sheet.table()
    say(f"took {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
