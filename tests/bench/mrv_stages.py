"""One stage of (m) in a process of its own, so that its time and memory are its own.

`python -m tests.bench.mrv_stages STAGE URL FROM TO` prints one JSON line.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import wraps
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import structlog
from numpy.typing import NDArray

from mrv import computation, inputs, periods
from mrv.calendar import day_bounds
from mrv.reports import render
from mrv.schedule import Schedule
from sql.connection import Role, connect
from tests.bench.mrv_plant import PROJECT, ZONE

_BARE = """select {} from (
    select ts, energy_exported_wh, power_w, received_at from reading
    where device_id = %s and ts >= %s and ts < %s order by ts
) bare"""
_COLUMNS = ("ts", "energy_exported_wh", "power_w", "received_at")


def _months(first: date, last: date) -> list[tuple[datetime, datetime]]:
    edges = [first, *(d.date() for d in pd.date_range(first + timedelta(days=1), last, freq="MS"))]
    ends = [day_bounds(edge, ZONE)[0] for edge in edges] + [day_bounds(last, ZONE)[1]]
    return list(pairwise(ends))


def bare_pandas(url: str, first: date, last: date) -> dict[str, Any]:
    """The same columns of the same rows into data frames, a device-month at a time, as psycopg gives them."""
    rows = 0
    with connect(url, Role.MRV) as connection:
        for device in _devices(connection):
            for start, end in _months(first, last):
                with connection.cursor(binary=True) as cursor:
                    cursor.execute(_BARE.format(", ".join(_COLUMNS)), [device, start, end])
                    frame = pd.DataFrame(cursor.fetchall(), columns=list(_COLUMNS))
                rows += len(frame)
    return {"rows": rows}


def bare_arrays(url: str, first: date, last: date) -> dict[str, Any]:
    """The same, as arrays of the server's that numpy takes as they come: the fastest that is known here."""
    rows = 0
    what = ", ".join(f"array_agg({name})" for name in _COLUMNS)
    with connect(url, Role.MRV) as connection:
        for device in _devices(connection):
            for start, end in _months(first, last):
                with connection.cursor(binary=True) as cursor:
                    cursor.execute(_BARE.format(what), [device, start, end])
                    assert cursor.pgresult is not None
                    taken = {name: _values(cursor.pgresult.get_value(0, n), name) for n, name in enumerate(_COLUMNS)}
                rows += len(pd.DataFrame(taken))
    return {"rows": rows}


def _values(array: bytes | None, name: str) -> NDArray[Any]:
    kind = "i8" if name in ("ts", "received_at") else "f8"
    element = np.dtype([("length", ">i4"), ("value", f">{kind}")])
    return np.frombuffer(array or bytes(20), element, offset=20)["value"].astype(kind)


def full(url: str, first: date, last: date) -> dict[str, Any]:
    """Energy, quality and result of all devices and days from the readings alone, with what each part took."""
    spent, undo = _timed()
    with connect(url, Role.MRV) as connection:
        result = periods.draft(connection, PROJECT, first, last, code_version="bench")
    undo()
    return {"parts": {name: round(s, 3) for name, s in spent.items()}, "digest": result.inputs_digest}


def freeze(url: str, first: date, last: date) -> dict[str, Any]:
    """Freeze: a draft, the cut-off, and the result from it."""
    with connect(url, Role.MRV) as connection:
        done = periods.freeze(connection, PROJECT, first, last, code_version="bench")
    return {"digest": done.revision.inputs_digest}


def recompute(url: str, first: date, last: date) -> dict[str, Any]:
    """Compute the frozen revision again and compare every byte."""
    with connect(url, Role.MRV) as connection:
        found = periods.recompute(connection, PROJECT, first, last)
    return {"digest": found.inputs_digest}


def report(url: str, first: date, last: date) -> dict[str, Any]:
    """Both reports of the frozen revision."""
    with connect(url, Role.MRV) as connection:
        result, declaration = periods.reported(connection, PROJECT, first, last, code_version="bench")
    return {"bytes": {name: len(render(result, declaration, name)) for name in ("json", "xlsx")}}


def daily(url: str, first: date, last: date) -> dict[str, Any]:
    """One tick of the schedule after another until all that came is computed."""
    # What is logged goes to standard error: the one line on standard output is the figure.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    schedule = Schedule(lambda: connect(url, Role.MRV), name="bench", code_version="bench")
    return {"jobs": schedule.run_until_done()}


def _devices(connection: psycopg.Connection) -> list[int]:
    return [number for (number,) in connection.execute("select device_id from device order by device_id")]


def _timed() -> tuple[dict[str, float], Callable[[], None]]:
    """Take the time of the parts of a computation, from outside."""
    spent: Counter[str] = Counter()
    kept = []
    parts = [
        (inputs.StoredReadings, "read", "read"),
        (inputs.StoredReadings, "deliveries", "messages"),
        (inputs.InputsDigest, "add", "digest"),
        (inputs.Series, "part_digest", "digest of days"),
        (computation, "intervals", "register rules"),
        (computation.quality, "hold", "quality rules"),
        (computation, "daily", "days"),
        (periods, "store_days", "days written"),
    ]
    for owner, name, label in parts:
        original = getattr(owner, name)

        @wraps(original)
        def timed(*args: Any, _original: Any = original, _label: str = label, **more: Any) -> Any:
            begun = time.perf_counter()
            try:
                return _original(*args, **more)
            finally:
                spent[_label] += time.perf_counter() - begun

        kept.append((owner, name, original))
        setattr(owner, name, timed)

    def undo() -> None:
        for owner, name, original in kept:
            setattr(owner, name, original)

    return spent, undo


STAGES = {one.__name__: one for one in (bare_pandas, bare_arrays, full, freeze, recompute, report, daily)}


def main(stage: str, url: str, first: str, last: str) -> None:
    days = date.fromisoformat(first), date.fromisoformat(last)
    idle = _resident("VmRSS")
    begun, cpu = time.perf_counter(), time.process_time()
    found = STAGES[stage](url, *days)
    found |= {"seconds": time.perf_counter() - begun, "cpu_s": time.process_time() - cpu}
    # VmHWM, not ru_maxrss: that one remembers the process this one was started from.
    print(json.dumps(found | {"idle_mib": round(idle, 1), "peak_mib": round(_resident("VmHWM"), 1)}))


def _resident(what: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(what)


if __name__ == "__main__":
    main(*sys.argv[1:])
