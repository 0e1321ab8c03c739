"""The bench runs and its figures come out; never a time, which on a busy machine says nothing."""

import json

from tests.bench import mrv_plant, mrv_stages
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


def test_the_stages_of_a_year_read_and_compute_what_was_written(database):
    """In this process; as a bench each has its own, which takes a second to start."""
    fleet = mrv_plant.Fleet(devices=2, days=3)
    rows = mrv_plant.fill(database, fleet, mrv_plant.Weather(mrv_plant.declare(database, fleet)))
    given = (database, fleet.first, mrv_plant.LAST)
    assert 2 * 3 * 1300 < rows <= 2 * 3 * 1440
    assert mrv_stages.bare_pandas(*given) == mrv_stages.bare_arrays(*given) == {"rows": rows}
    full = mrv_stages.full(*given)
    assert {"read", "digest", "register rules", "quality rules", "days"} <= set(full["parts"])
    assert mrv_stages.freeze(*given)["digest"] == mrv_stages.recompute(*given)["digest"] == full["digest"]
    assert mrv_stages.report(*given)["bytes"]["xlsx"] > 10_000
