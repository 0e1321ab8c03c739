"""Named queries: every statement of the product stands in `sql/queries/<room>.sql` under `-- name: …`."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

_DIRECTORY = Path(__file__).parent / "queries"
_NAME = re.compile(r"^-- name: (\w+)[ \t]*\n", re.MULTILINE)


@cache
def load(room: str) -> Mapping[str, str]:
    """Read `sql/queries/<room>.sql` into a mapping from name to statement.

    Raises
    ------
    ValueError
        The file has two queries of the same name, or text before the first name.
    """
    text = (_DIRECTORY / f"{room}.sql").read_text(encoding="utf-8")
    head, *parts = _NAME.split(text)
    if any(line.strip() and not line.startswith("--") for line in head.splitlines()):
        raise ValueError(f"sql/queries/{room}.sql: a statement stands before the first '-- name:'")
    names, bodies = parts[::2], parts[1::2]
    if len(set(names)) != len(names):
        raise ValueError(f"sql/queries/{room}.sql: a query name stands twice")
    return MappingProxyType({name: body.strip().removesuffix(";") for name, body in zip(names, bodies, strict=True)})
