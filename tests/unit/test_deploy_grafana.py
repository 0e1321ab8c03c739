"""The dashboards: every metric exists, every query is PromQL, every panel says what it shows and in what unit."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.fleet_metrics import FLEET_FAMILIES
from ingest.metrics import FAMILIES
from tests.promtool import promtool

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "grafana"
BOARDS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (FOLDER / "dashboards").glob("*.json")}
PANELS = [
    pytest.param(panel, id=f"{name}: {panel['title']}")
    for name, board in BOARDS.items()
    for panel in board["panels"]
    if panel["type"] != "row"
]
# What is of use to alerts only.
NOT_SHOWN = {"jcm_mrv_fleet_up", "jcm_mrv_collector_away", "jcm_mrv_quarantine_new_entries"}
EVERY_PROCESS = {"process_resident_memory_bytes", "process_cpu_seconds_total"}


def series() -> set[str]:
    """Every name under which Prometheus has a value."""
    names = set(EVERY_PROCESS)
    for family in (*FAMILIES.values(), *FLEET_FAMILIES.values()):
        histogram = family.kind == "histogram"
        names |= {f"{family.name}_{part}" for part in ("bucket", "sum", "count")} if histogram else {family.name}
    return names


def queries(panel: dict) -> list[str]:
    return [target["expr"] for target in panel["targets"]]


def metrics(query: str) -> set[str]:
    return set(re.findall(r"\b(?:jcm_mrv|process)_[a-z_]+", query))


def labels(query: str) -> set[tuple[str, str]]:
    """Metric and label, of the selectors."""
    return {
        (metric, label)
        for metric, selector in re.findall(r"\b(\w+)\{([^}]*)\}", query)
        for label in re.findall(r"(\w+)\s*[=!]", selector)
    }


def test_there_are_two():
    assert set(BOARDS) == {"ingestion", "evidence"}
    assert len(PANELS) > 20


@pytest.mark.parametrize("panel", PANELS)
def test_every_metric_exists_and_has_the_labels(panel):
    assert queries(panel)
    families = {**FAMILIES, **FLEET_FAMILIES}
    for query in queries(panel):
        assert metrics(query), query
        assert metrics(query) <= series(), query
        for metric, label in labels(query):
            assert label in {"job", "instance"} or label in families[metric].labels, query


@pytest.mark.parametrize("panel", PANELS)
def test_every_panel_can_be_read(panel):
    assert len(panel["title"]) <= 30
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
    by_label = [target for target in panel["targets"] if panel["type"] == "timeseries"]
    assert all(target["legendFormat"] for target in by_label)


@pytest.mark.parametrize("name", BOARDS)
def test_panels_lie_side_by_side_and_numbers_are_their_own(name):
    panels = BOARDS[name]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_boards_are_told_apart():
    assert len({board["uid"] for board in BOARDS.values()}) == len({board["title"] for board in BOARDS.values()}) == 2
    assert all("id" not in board for board in BOARDS.values()), "a number of one Grafana's own"


def test_what_the_fleet_tells_is_shown():
    shown = set().union(*(metrics(query) for panel in PANELS for query in queries(panel.values[0])))
    assert set(FLEET_FAMILIES) - shown == NOT_SHOWN, "give it a panel, or name it in NOT_SHOWN"


def test_grafana_finds_the_source_and_the_boards_where_compose_puts_them():
    provisioning = FOLDER / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "jcm-mrv.yaml").read_text())["providers"]
    grafana = yaml.safe_load((FOLDER.parent / "compose.yaml").read_text())["services"]["grafana"]
    assert source["url"].removeprefix("$") in grafana["environment"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in grafana["volumes"]
    assert "./grafana/provisioning:/etc/grafana/provisioning:ro" in grafana["volumes"]


def test_every_query_is_promql(tmp_path):
    asked = [query.replace("$site", ".*") for panel in PANELS for query in queries(panel.values[0])]
    rules = [{"record": f"q:{number}", "expr": query} for number, query in enumerate(asked)]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    done = subprocess.run([promtool(), "check", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(asked)} rules found" in done.stdout
