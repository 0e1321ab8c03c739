"""Write what the code says into `docs/devices.md`, between its markers: `make docs`. A test fails when it is stale."""

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from devices.decoding import catalogue, profile
from devices.decoding.elements import NOTES

_MARKER = re.compile(r"(<!-- (?P<name>[a-z]+): written by make docs -->\n)(?P<text>.*?)(<!-- end -->)", re.DOTALL)

_PARTS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("the file itself", profile.Profile),
    ("[address], each key", profile.AddressKey),
    ("[[source]]", profile.Source),
    ("time of a source", profile.Time),
    ("device of a source", profile.Named),
    ("quality of a source", profile.Quality),
    ("[[field]], and a device's fields", profile.MappedField),
    ("[register]", profile.RegisterDefaults),
    ("[[trap]]", profile.Trap),
    ("[[vector]]", profile.Vector),
    ("messages of a vector", profile.Message),
    ("readings of a vector", profile.Expected),
)


def render(page: str) -> str:
    """Return the page with everything between its markers as the code says it now.

    Raises
    ------
    KeyError
        There is no such part.
    """
    written = {"families": _families, "keys": _keys, "notes": _notes}
    return _MARKER.sub(
        lambda found: "\n".join([found[1], *written[found["name"]](), "", found[4]]),
        page,
    )


def _families() -> Iterator[str]:
    yield "| family | what it is | topics | support | register | traps |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for family in catalogue.built_in().values():
        topics = ", ".join(dict.fromkeys(f"`{one.topic}`" for one in family.sources if one.shape != "ignored"))
        register = family.register_defaults
        counted = f"{register.point}, {register.bits} bits, {register.resolution_wh} Wh" if register else "as declared"
        cells = (f"`{family.name}`", family.title, topics, family.support, counted, len(family.traps))
        yield f"| {' | '.join(map(str, cells))} |"


def _keys() -> Iterator[str]:
    for title, part in _PARTS:
        yield f"### `{title}`\n" if title.startswith("[") and " " not in title else f"### {_heading(title)}\n"
        yield "| key | what it is | default |"
        yield "| --- | --- | --- |"
        meanings = attribute_docs(part)
        for name, field in part.model_fields.items():
            if (part, name) == (profile.Profile, "name"):
                continue
            choices = _choices(field.annotation)
            said = " ".join([meanings[name], *([f"One of {choices}."] if choices else [])])
            yield f"| `{field.alias or name}` | {said} | {_default(field)} |"
        yield ""


def _heading(title: str) -> str:
    return re.sub(r"\[+\w+\]+", lambda found: f"`{found[0]}`", title[0].upper() + title[1:])


def attribute_docs(part: type[BaseModel]) -> dict[str, str]:
    """Find what is written below each attribute of a model, or as its description, as one sentence each."""
    found = {name: field.description or "" for name, field in part.model_fields.items()}
    for model in reversed([one for one in part.__mro__ if issubclass(one, BaseModel) and one is not BaseModel]):
        body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
        assert isinstance(body, ast.ClassDef)  # noqa: S101
        for attribute, below in zip(body.body, body.body[1:], strict=False):
            if isinstance(attribute, ast.AnnAssign) and isinstance(below, ast.Expr):
                text = ast.literal_eval(below.value)
                found[ast.unparse(attribute.target)] = " ".join(text.split())
    return {name: _sentence(text) for name, text in found.items()}


def _sentence(text: str) -> str:
    text = text.replace("|", "/")
    return text if not text or text.endswith((".", ";", "?")) else f"{text}."


def _choices(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{one}`" for one in get_args(annotation))
    return next(filter(None, map(_choices, get_args(annotation))), "")


def _default(field: Any) -> str:
    if field.is_required():
        return "needed"
    default = field.default if field.default is not PydanticUndefined else field.default_factory()
    if default in (None, "", ()) or default == {}:
        return "none"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _notes() -> Iterator[str]:
    yield "| note | why there is no reading |"
    yield "| --- | --- |"
    for note, meaning in NOTES.items():
        yield f"| `{note}` | {meaning} |"


if __name__ == "__main__":
    _page = Path(sys.argv[1])
    _page.write_text(render(_page.read_text(encoding="utf-8")), encoding="utf-8")
