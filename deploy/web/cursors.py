"""Where a list goes on, as text that goes into an address and comes back."""

import base64
import binascii
import dataclasses
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from deploy.web.problems import BadRequestError

Cursor = TypeVar("Cursor")


def written(cursor: Any) -> str | None:
    """Write a cursor (a dataclass), or nothing at the end of a list."""
    if cursor is None:
        return None
    text = TypeAdapter(type(cursor)).dump_json(cursor)
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def read(text: str | None, kind: type[Cursor]) -> Cursor | None:
    """Read a cursor back.

    Raises
    ------
    BadRequestError
        It is not what an answer gave.
    """
    if not text:
        return None
    assert dataclasses.is_dataclass(kind)  # noqa: S101 - a mistake of the caller's
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        return TypeAdapter(kind).validate_json(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (UnicodeEncodeError, binascii.Error, ValidationError):
        raise BadRequestError("`after` is not what an answer gave as `next`") from None
