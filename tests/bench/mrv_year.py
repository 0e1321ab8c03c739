"""(m) From a year of one-minute readings to the report: each stage beside a bare SELECT of the same columns.

Every stage is a process of its own. The database is made anew and dropped afterwards: 26 million readings are 4 GB.
"""

import json
import subprocess
import sys
import time
from datetime import timedelta
from typing import Any

import psycopg

from tests.bench import mrv_plant
from tests.bench.figures import Figure, Sheet, say
from tests.bench.lab import Lab
from tests.bench.mrv_plant import LAST, Fleet, Weather

# Of the time that a bare SELECT into data frames takes; of the process that computes beside the one that reads.
_MOST_TIMES = 3.0
_MOST_SECONDS_A_DAY = 2.0
# A device-month of minutes in eight columns of 8 bytes is 2.7 MiB.
_COMPUTED = ("full", "freeze", "recompute", "report")


def measure(lab: Lab, sheet: Sheet, *, devices: int, days: int) -> None:
    """(m), for so many devices over so many days."""
    fleet = Fleet(devices, days)
    with lab.database() as url:
        numbers = mrv_plant.declare(url, fleet)
        weather = Weather(numbers)
        say(f"(m) writing {devices} devices × {days} days")
        begun = time.monotonic()
        rows = mrv_plant.fill(url, fleet, weather)
        facts = {"devices": devices, "days": days, "readings": rows}
        sheet.add(Figure("m_written", rows / (time.monotonic() - begun), "readings/s", facts=facts))
        # Once before anything is timed, so that every stage finds the same pages in memory.
        _stage("bare_arrays", url, fleet)
        bare = _stage("bare_pandas", url, fleet)
        arrays = _stage("bare_arrays", url, fleet)
        assert bare["rows"] == arrays["rows"] == rows
        sheet.add(_figure("m_bare_pandas", bare, rows))
        sheet.add(_figure("m_bare_arrays", arrays, rows))
        found = {}
        for stage in _COMPUTED:
            found[stage] = _stage(stage, url, fleet)
            sheet.add(_figure(f"m_{stage}", found[stage], rows, bare, arrays))
        digests = {found[stage]["digest"] for stage in ("full", "freeze", "recompute")}
        assert len(digests) == 1, digests
        _one_more_day(sheet, url, fleet, weather)


def _one_more_day(sheet: Sheet, url: str, fleet: Fleet, weather: Weather) -> None:
    """A day comes for all devices; the schedule computes what it touches, and what its intervals reach."""
    with psycopg.connect(url) as connection:
        # The year behind it is looked through and reported already.
        connection.execute(
            "insert into job_run (job, scope, period_start, claimed_by, claimed_at, heartbeat_at, finished_at)"
            " values ('look_through', '', 'epoch', 'bench', clock_timestamp(), clock_timestamp(), null),"
            " ('period_report', %s, 'epoch', 'bench', clock_timestamp(), clock_timestamp(), clock_timestamp())",
            [f"{mrv_plant.PROJECT} {LAST.year}-01-01 {LAST}"],
        )
        connection.commit()
        row = connection.execute("select clock_timestamp()").fetchone()
        assert row is not None
        rows = mrv_plant.add_day(connection, fleet, weather, LAST + timedelta(days=1), row[0])
    day = _stage("daily", url, fleet)
    sheet.add(
        Figure(
            "m_incremental_day",
            day["seconds"],
            "s",
            target=f"< {_MOST_SECONDS_A_DAY:.0f} s",
            met=day["seconds"] < _MOST_SECONDS_A_DAY,
            facts={"readings": rows, **{name: day[name] for name in ("jobs", "cpu_s", "idle_mib", "peak_mib")}},
        )
    )


def _figure(
    name: str,
    found: dict[str, Any],
    rows: int,
    bare: dict[str, Any] | None = None,
    arrays: dict[str, Any] | None = None,
) -> Figure:
    facts = {key: value for key, value in found.items() if key not in ("seconds", "digest", "rows")}
    facts["readings_s"] = round(rows / found["seconds"])
    if bare is None or arrays is None:
        return Figure(name, found["seconds"], "s", facts=facts)
    ratio = found["seconds"] / bare["seconds"]
    facts["of_bare_arrays"] = round(found["seconds"] / arrays["seconds"], 2)
    target = f"≤ {_MOST_TIMES:.1f}" if name in ("m_full", "m_recompute") else ""
    met = ratio <= _MOST_TIMES if target else None
    return Figure(name, found["seconds"], "s", ratio, "m_bare_pandas", target, met, facts)


def _stage(stage: str, url: str, fleet: Fleet) -> dict[str, Any]:
    say(f"(m) {stage}")
    command = [sys.executable, "-m", "tests.bench.mrv_stages", stage, url, str(fleet.first), str(LAST)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{stage}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found | {"cpu_s": round(found["cpu_s"], 2)}
