"""The report as JSON: the contract that scripts read; exact numbers are strings."""

import json

from mrv.result import PeriodResult


def render(result: PeriodResult) -> bytes:
    """Write the result as UTF-8 JSON in the contract's key order, indented by 2, ending with a line feed."""
    return (json.dumps(result.as_json(), ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()
