"""The API, its problems, the alert rules and what is put on record are documented, and nothing else is."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from starlette.requests import Request

from deploy.access.principal import AccountRole, Grant, Principal, Scope
from deploy.alerts.rules import RULES
from deploy.reference import described_api
from deploy.servers import Endpoints
from deploy.settings import Settings
from deploy.web import home, problems
from deploy.web.app import make_app
from deploy.web.composition import make_state
from deploy.web.identity import Visitor
from deploy.web.verifier.api import REVISION

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
REFERENCE = (DOCS / "reference.md").read_text(encoding="utf-8")
ACCESS = (DOCS / "access.md").read_text(encoding="utf-8")
API = (DOCS / "api.md").read_text(encoding="utf-8")
# Also of this form, and no events: settings of a session, and tables by their schema.
_EVENT = re.compile(r"(?!jcm_mrv\.|public\.)[a-z_]+\.[a-z_]+|apply")
_RECORDS = {"add_audit_event", "record", "message_evidence"}


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return described_api()


def section(page: str, heading: str) -> str:
    return re.split(rf"^## {heading}$", page, flags=re.MULTILINE)[1].split("\n## ")[0]


def firsts(text: str) -> list[str]:
    """What stands as code in the first cell of a table's rows."""
    cells = re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)
    return [code for cell in cells for code in re.findall(r"`([^`]+)`", cell)]


def test_every_call_of_the_api_is_documented_and_no_other(described: dict[str, Any]) -> None:
    shown = {one.replace("REVISION", REVISION) for one in firsts(section(REFERENCE, "API"))}
    made = {
        f"{method.upper()} {path.removeprefix('/api/v1')}"
        for path, calls in described["paths"].items()
        for method in calls
    }
    assert shown == made


def test_every_call_says_what_it_does(described: dict[str, Any]) -> None:
    calls = [call for methods in described["paths"].values() for call in methods.values()]
    assert all(call["summary"] and call["description"] and call["tags"] for call in calls)


def test_what_stands_in_the_path_of_a_call_is_explained(described: dict[str, Any]) -> None:
    parts = {part for path in described["paths"] for part in re.findall(r"{(\w+)}", path)}
    assert parts == set(firsts(section(API, "Addresses")))


def test_the_page_of_the_api_shows_every_call(described: dict[str, Any]) -> None:
    state = make_state(
        Endpoints(Settings(database_url=SecretStr("postgresql://nobody@127.0.0.1/nothing"))), 0, CollectorRegistry()
    )
    app = make_app(state, registry=CollectorRegistry())
    reader = Principal("ada", "Ada", "Body", (Grant(AccountRole.VERIFIER),))
    scope = {
        "type": "http", "method": "GET", "path": "/api/v1", "query_string": b"", "headers": [], "app": app,
        "state": {"visitor": Visitor(reader)},
    }  # fmt: skip
    page = bytes(home.api(Request(scope), reader).body).decode()
    assert all(f"<code>{path}</code>" in page for path in described["paths"])


def test_every_problem_is_documented_and_no_other() -> None:
    assert firsts(section(REFERENCE, "Problems")) == [
        f"/problems/{kind.name}" for kind in sorted(problems.kinds(), key=lambda one: one.status)
    ]


def test_every_alert_rule_is_in_the_reference_and_no_other() -> None:
    assert firsts(section(REFERENCE, "Alert rules")) == list(RULES)


def test_every_role_and_scope_is_explained_and_no_other() -> None:
    assert firsts(section(ACCESS, "Accounts and roles")) == list(AccountRole)
    assert firsts(section(ACCESS, "Tokens for scripts")) == list(Scope)


def recorded() -> Iterator[str]:
    """Every name of an event that goes into `audit_event`."""
    for path in (ROOT / "sql").rglob("*.sql"):
        text = re.sub(r"--.*", "", path.read_text(encoding="utf-8"))
        if "audit" in text and not path.name.endswith(".down.sql"):
            yield from (name for name in re.findall(r"'([^'\s]+)'", text) if _EVENT.fullmatch(name))
    for room in ("mrv", "deploy"):
        for path in (ROOT / room).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(call, ast.Call) and name_of(call.func) in _RECORDS:
                    given = [*call.args, *(one.value for one in call.keywords)]
                    said = (one.value for one in given if isinstance(one, ast.Constant))
                    yield from (name for name in said if isinstance(name, str) and _EVENT.fullmatch(name))


def name_of(called: ast.expr) -> str:
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")


def test_every_event_of_the_record_is_explained_and_no_other() -> None:
    assert sorted(firsts(section(ACCESS, "The record"))) == sorted(set(recorded()))
