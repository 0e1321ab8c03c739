"""The house's rules, read from the source: who may import whom, who reads the environment, where SQL stands."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAY_IMPORT = {
    "deploy": {"ingest", "mrv", "devices", "sql"},
    "ingest": {"devices", "sql"},
    "mrv": {"devices", "sql"},
    "devices": set(),
    "sql": set(),
}
READS_THE_ENVIRONMENT = "deploy"
MOST_LINES = 500
# Makes the role and the database of a fresh server, with names composed by psycopg, before there is any schema of ours.
MAKES_A_SERVER = "deploy/local/postgres.py"
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb"}
# A statement, not a sentence that begins with the same word: `with` and `delete` are followed by what only SQL has.
SQL = re.compile(
    r"""\s*(?:--[^\n]*\n\s*)*(?:
        select\s+(?:distinct\s|[*\w"(%:.'-]) | insert\s+into\s | update\s+[\w."]+\s+(?:as\s+\w+\s+)?set\s
      | delete\s+from\s | create\s+(?:or\s+replace\s+)?(?:unique\s+)?(?:temp|temporary|unlogged|table|index|view|schema
          |database|role|user|function|trigger|extension|materialized|type|sequence)\b
      | copy\s+[\w."(]+.*\b(?:from|to)\s+(?:stdin|stdout|program|') | truncate\s+(?:table\s)?[\w."]+
      | alter\s+(?:table|system|role|user|database|default)\s | drop\s+(?:table|database|role|schema|index|extension)\s
      | with\s+\w+\s*(?:\([^)]*\))?\s+as\s+(?:materialized\s+|not\s+materialized\s+)?\( | grant\s+\w+.*\son\s
      | lock\s+table\s | listen\s+\w+$ | notify\s+\w+
    )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def modules() -> list[Path]:
    return sorted(path for room in MAY_IMPORT for path in (ROOT / room).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


def imports(tree: ast.Module, path: Path) -> list[tuple[int, str]]:
    """Line and top-level package of every import, wherever in the module it stands."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name.partition(".")[0]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            found.append((node.lineno, room_of(path) if node.level else module.partition(".")[0]))
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in {
            "import_module", "__import__",
        }:  # fmt: skip
            text = next((part.value for part in ast.walk(node) if isinstance(part, ast.Constant)), "")
            found.append((node.lineno, str(text).partition(".")[0]))
    return found


def wrong_imports(tree: ast.Module, path: Path) -> list[str]:
    room = room_of(path)
    return [
        f"{name_of(path)}:{line} imports {package}, but {room} may import "
        f"{', '.join(sorted(MAY_IMPORT[room])) or 'no other room'}"
        for line, package in imports(tree, path)
        if package in MAY_IMPORT and package != room and package not in MAY_IMPORT[room]
    ]


def reads_of_the_environment(tree: ast.Module, path: Path) -> list[str]:
    found = []
    for node in ast.walk(tree):
        named = {alias.name for alias in node.names} if isinstance(node, ast.Import | ast.ImportFrom) else set()
        module = node.module if isinstance(node, ast.ImportFrom) else None
        if (
            (isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT)
            or (module == "os" and named & ENVIRONMENT)
            or module == "pydantic_settings"
            or "pydantic_settings" in named
        ):
            found.append(f"{name_of(path)}:{node.lineno} reads the environment; only deploy does")
    return found


def docstrings(tree: ast.Module) -> set[int]:
    """The constants that are docstrings of a module, class, function or attribute: any string that is a statement."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def statements(tree: ast.Module, path: Path) -> list[str]:
    written = docstrings(tree)
    return [
        f"{name_of(path)}:{node.lineno} holds SQL ({' '.join(node.value.split())[:40]}…); name it in sql/queries/"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in written
        if SQL.match(node.value)
    ]


def parsed() -> list[tuple[ast.Module, Path]]:
    return [(ast.parse(path.read_text(encoding="utf-8"), str(path)), path) for path in modules()]


def test_there_is_a_house_to_look_at():
    assert {room_of(path) for path in modules()} == set(MAY_IMPORT)
    assert len(modules()) > 40


def test_rooms_import_one_way():
    assert [said for tree, path in parsed() for said in wrong_imports(tree, path)] == []


def test_only_deploy_reads_the_environment():
    found = [
        said
        for tree, path in parsed()
        if room_of(path) != READS_THE_ENVIRONMENT
        for said in reads_of_the_environment(tree, path)
    ]
    assert found == []


def test_sql_stands_in_sql_files():
    found = [
        said
        for tree, path in parsed()
        if room_of(path) != "sql" and name_of(path) != MAKES_A_SERVER
        for said in statements(tree, path)
    ]
    assert found == []


def test_no_module_is_longer_than_anyone_reads():
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in modules()}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def test_every_room_and_package_says_what_lives_there():
    inits = [path for path in modules() if path.name == "__init__.py"]
    assert {room_of(path) for path in inits} == set(MAY_IMPORT)
    assert [name_of(path) for path in inits if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))] == []


def test_every_module_says_what_it_is():
    assert [name_of(path) for tree, path in parsed() if not ast.get_docstring(tree)] == []


@pytest.mark.parametrize(
    ("room", "source", "fault"),
    [
        ("ingest", "from mrv.result import PeriodResult", "imports mrv"),
        ("mrv", "import ingest.batch", "imports ingest"),
        ("devices", "def f():\n    from sql.named import load", "imports sql"),
        ("sql", "import devices", "imports devices"),
        ("mrv", "from deploy import settings", "imports deploy"),
        ("mrv", "import importlib\nimportlib.import_module('ingest.session')", "imports ingest"),
        ("ingest", "if TYPE_CHECKING:\n    from deploy.settings import Settings", "imports deploy"),
    ],
)
def test_a_wrong_import_is_seen(room, source, fault):
    assert fault in wrong_imports(ast.parse(source), ROOT / room / "made_up.py")[0]


@pytest.mark.parametrize(
    "source", ["import os\nx = os.environ['X']", "from os import getenv", "import pydantic_settings",
               "from pydantic_settings import BaseSettings", "import os\nos.getenv('X')"],
)  # fmt: skip
def test_a_read_of_the_environment_is_seen(source):
    assert reads_of_the_environment(ast.parse(source), ROOT / "mrv" / "made_up.py")


@pytest.mark.parametrize(
    "text", ["select 1", "SELECT * from reading", "\n  insert into x values (1)", "update device set id = 1",
             "delete from reading", "create temp table t ()", "copy reading (a, b) from stdin (format binary)",
             "with new as (select 1) select 2", "-- why\nselect a from b", "truncate message", "lock table reading"],
)  # fmt: skip
def test_a_statement_in_python_is_seen(text):
    assert statements(ast.parse(f"x = {text!r}"), ROOT / "mrv" / "made_up.py")
    assert statements(ast.parse(f"x = f{text!r} + y"), ROOT / "mrv" / "made_up.py")


@pytest.mark.parametrize(
    "text", ["select", "update", "create", "copy", "with a password", "the select key", "create the file first",
             "update the settings", "delete the folder", "copy the file to another folder", "grant"],
)  # fmt: skip
def test_a_sentence_is_no_statement(text):
    assert not statements(ast.parse(f"x = {text!r}"), ROOT / "mrv" / "made_up.py")
    assert not statements(ast.parse(f'"""{text}"""'), ROOT / "mrv" / "made_up.py")
