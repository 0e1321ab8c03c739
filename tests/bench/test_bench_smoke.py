"""The bench runs and its figures come out; never a time, which on a busy machine says nothing."""

import json

from tests.bench.__main__ import SMOKE, run
from tests.bench.figures import Sheet
from tests.harness import exclusive


def test_every_figure_comes_out(capsys):
    with exclusive("bench"):
        run(Sheet(), SMOKE, "abcdfg")
    figures = {line["figure"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}
    for version in ("3.1.1", "5"):
        assert {f"a_bare_paho_{version}", f"a_drain_{version}", f"f_drain_tls_{version}"} <= set(figures)
    assert {"machine", "b_raw_copy", "b_readings", "c_latency_p50", "c_latency_p99", "g_drain_200_devices"} <= set(
        figures
    )
    assert {"d_memory_idle", "d_memory_steady", "d_memory_backlog_tenth", "d_memory_backlog_hour"} <= set(figures)
    assert all(line["value"] > 0 for line in figures.values())
    assert figures["a_drain_3.1.1"]["of"] == "a_bare_paho_3.1.1"
