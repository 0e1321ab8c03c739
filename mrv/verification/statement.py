"""The statement that a verifier signs: one sequence of bytes for a revision and what was found.

`docs/verifiers.md` specifies it byte by byte. Whoever has the revision's result can write it without this code.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from mrv.basis import canonical_text
from mrv.result import PeriodResult
from mrv.revisions import differences
from mrv.verification.errors import SignatureError

VERSION = "jcm-mrv attestation 1"
_DIFFERENCES_NAMED = 5


def write(result_text: str, inputs_digest: str, open_far: Sequence[str]) -> bytes:
    """Write the statement of a frozen revision.

    Parameters
    ----------
    result_text
        The revision's result, as it is stored.
    inputs_digest
        The digest of what it was computed from (`mrv.inputs`).
    open_far
        Labels of the FARs that stay open, in the order of their numbers.

    Returns
    -------
    bytes
        Canonical JSON in UTF-8: sorted keys, no spaces, no line feed at the end; exact numbers are strings.
    """
    result = PeriodResult.from_json(json.loads(result_text))
    content = {
        "statement": VERSION,
        "project": result.project,
        "methodology": {"id": result.methodology, "version": result.methodology_version},
        "period": {"from": result.first_day.isoformat(), "to": result.last_day.isoformat()},
        "revision": result.revision,
        "received_until": None if result.received_until is None else result.received_until.isoformat(),
        "inputs_digest": inputs_digest,
        "result_sha256": f"sha256:{hashlib.sha256(result_text.encode()).hexdigest()}",
        "er_tco2": result.er_tco2,
        "vintages": [{"year": vintage.year, "er_tco2": vintage.er_tco2} for vintage in result.vintages],
        "systems": [
            {"id": system.id, "years": [{"year": year.year, "re_tco2": str(year.re_tco2)} for year in system.years]}
            for system in result.systems
        ],
        "open_far": list(open_far),
    }
    return canonical_text(content).encode()


def read(statement: bytes) -> Mapping[str, Any]:
    """Read a statement.

    Raises
    ------
    SignatureError
        It is not a statement that this version knows.
    """
    try:
        content = json.loads(statement.decode())
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise SignatureError("that is not a statement; `jcm-mrv period statement` writes one") from None
    if not isinstance(content, dict) or content.get("statement") != VERSION:
        raise SignatureError(f'that is not a statement of the kind "{VERSION}"; `jcm-mrv period statement` writes one')
    return content


def compare(signed: bytes, holds: bytes, name: str) -> None:
    """See that what was signed is the statement of a revision, to the byte.

    Raises
    ------
    SignatureError
        It is another; the message names where.
    """
    if signed == holds:
        return
    found = list(differences(read(signed), json.loads(holds)))[:_DIFFERENCES_NAMED]
    said = "; ".join(found) or "the same content in other bytes, such as a line feed at the end"
    raise SignatureError(f"what was signed is not the statement of {name}: {said}")
