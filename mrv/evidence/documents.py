"""Documents of a bundle and their public form, in which commitments stand for what is confidential."""

import hmac
import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from mrv.basis import canonical_text
from mrv.evidence.canonical import commitment

CONFIDENTIAL = frozenset({"serial_number", "address", "participants", "third_party_entity", "certificate"})
"""Keys whose values are confidential, wherever they stand.

Not a site's coordinates: a PDD publishes them, and without them nobody computes the rules of the sky again.
"""


def public_form(name: str, content: Any, salt: bytes) -> Any:
    """Put a commitment in the place of every confidential value.

    Parameters
    ----------
    name
        The document's name, so that the same value in two documents has two commitments.
    content
        JSON; null stays null.
    salt
        The revision's.
    """
    return _public(content, f"{name}\n", salt)


def _public(content: Any, path: str, salt: bytes) -> Any:
    if isinstance(content, Mapping):
        found = {}
        for key, value in content.items():
            at = f"{path}/{key}"
            if key in CONFIDENTIAL and value is not None:
                own = hmac.digest(salt, at.encode(), "sha256")
                found[key] = {"commitment": commitment(key, own, canonical_text(value).encode()).hex()}
            else:
                found[key] = _public(value, at, salt)
        return found
    if isinstance(content, list):
        return [_public(value, f"{path}/{place}", salt) for place, value in enumerate(content)]
    return content


def without_commitments(content: Any) -> Any:
    """Leave out what only a commitment is there of."""
    if isinstance(content, Mapping):
        return {
            key: without_commitments(value)
            for key, value in content.items()
            if not (isinstance(value, Mapping) and set(value) == {"commitment"})
        }
    if isinstance(content, list):
        return [without_commitments(value) for value in content]
    return content


def public_digest(name: str, text: str, salt: bytes) -> str:
    """Digest a document's public form."""
    return text_digest(canonical_text(public_form(name, json.loads(text), salt)))


def text_digest(text: str) -> str:
    """SHA-256 of a text in UTF-8, in hexadecimal."""
    return sha256(text.encode()).hexdigest()
