"""Every log event and every metric is documented, and nothing is documented that there is not."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.fleet_metrics import FLEET_FAMILIES
from deploy.web import measures
from ingest.metrics import FAMILIES
from ingest.self_check import Risk
from sql.connection import Role

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("ingest", "devices", "mrv", "sql", "deploy")
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
OPERATORS = (ROOT / "docs" / "operators.md").read_text(encoding="utf-8")
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")


def section(page: str, heading: str) -> str:
    return re.split(rf"^#+ {heading}$", page, flags=re.MULTILINE)[1].split("\n## ")[0]


def table(text: str) -> dict[str, list[str]]:
    lines = re.findall(r"^\| `([^`]+)` \| (.*) \|$", text, re.MULTILINE)
    return {name: rest.split(" | ") for name, rest in lines}


def literals(node: ast.expr) -> set[str]:
    return {one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)}


def names_of(argument: ast.expr, function: ast.FunctionDef | ast.AsyncFunctionDef, tree: ast.Module) -> set[str]:
    """The event names that the first argument of a log call can be."""
    if isinstance(argument, ast.Constant):
        return literals(argument)
    assert isinstance(argument, ast.Name), f"line {argument.lineno}: an event's name is a literal"
    if argument.id in [one.arg for one in function.args.args]:
        calls = [one for one in ast.walk(tree) if isinstance(one, ast.Call) and one.args]
        return set().union(
            *(literals(one.args[0]) for one in calls if getattr(one.func, "attr", "") == function.name)
        )  # fmt: skip
    found: set[str] = set()
    for one in ast.walk(function):
        if isinstance(one, ast.Assign) and argument.id in [getattr(target, "id", "") for target in one.targets]:
            values = [one.value.body, one.value.orelse] if isinstance(one.value, ast.IfExp) else [one.value]
            found = found.union(*map(literals, values))
    return found


def log_calls(tree: ast.Module) -> Iterator[tuple[set[str], str, ast.Call]]:
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for call in ast.walk(function):
            if (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Attribute)
                and call.func.attr in LEVELS
                and isinstance(call.func.value, ast.Name)
                and call.func.value.id in {"log", "job_log"}
            ):
                yield names_of(call.args[0], function, tree), call.func.attr, call


def logged() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            for names, level, _ in log_calls(ast.parse(path.read_text(encoding="utf-8"))):
                assert names, path
                for name in names:
                    found.setdefault(name, set()).add("error" if level == "exception" else level)
    return found


def test_every_log_event_is_documented_with_its_level_and_no_other():
    documented = {name: {level} for name, (level, _) in table(section(OPERATORS, "Log events")).items()}
    assert documented == logged()


def test_no_log_line_carries_a_payload_or_a_secret():
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            for _, _, call in log_calls(ast.parse(path.read_text(encoding="utf-8"))):
                given = {keyword.arg for keyword in call.keywords}
                used = {one.attr for one in ast.walk(call) if isinstance(one, ast.Attribute)}
                assert not (given | used) & {"payload", "password", "url", "database_url", "dsn"}, (path, call.lineno)


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def f():\n    log.info('a', x=1)", {"a"}),
        ("def f(event):\n    log.info(event)\ndef g(self):\n    self.f('b')\n    self.f('c')", {"b", "c"}),
        ("def f():\n    event = 'd' if x('no') else 'e'\n    job_log.warning(event)", {"d", "e"}),
    ],
)
def test_names_are_found(source, names):
    assert [found for found, _, _ in log_calls(ast.parse(source))] == [names]


@pytest.mark.parametrize(
    ("heading", "families"),
    [
        ("Metrics", {one.name: one.kind for one in FAMILIES.values()}),
        ("Metrics of the fleet", {one.name: one.kind for one in FLEET_FAMILIES.values()}),
        ("Metrics of requests", {measures.NAME: "histogram"}),
    ],
)
def test_every_metric_is_documented_and_no_other(heading, families):
    documented = table(section(REFERENCE, heading))
    assert {name: row[0] for name, row in documented.items()} == families


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_metrics_that_a_page_names_exist(page):
    # Roles and logins of the database have names of the same form.
    others = {*Role, "jcm_mrv_collect", "jcm_mrv_schedule", "jcm_mrv_serve"}
    known = {*FAMILIES, *FLEET_FAMILIES, measures.NAME}
    shown = set(re.findall(r"jcm_mrv_[a-z_]+(?![a-z_*])", page.read_text(encoding="utf-8")))
    assert shown <= known | others


def test_every_finding_and_risk_is_explained_to_operators():
    explained = table(section(OPERATORS, "The self-check"))
    assert set(Risk) <= set(explained)
    source = ast.parse((ROOT / "ingest" / "self_check.py").read_text(encoding="utf-8"))
    made = [one for one in ast.walk(source) if isinstance(one, ast.Call) and getattr(one.func, "id", "") == "Finding"]
    assert {one.args[0].value for one in made} == set(explained)
