"""What every template of a revision finds."""

from typing import Any
from urllib.parse import quote

from deploy.access.principal import Permission
from deploy.web import charts
from deploy.web.verifier.asked import Asked
from deploy.web.verifier.views import day_path
from mrv.evidence.canonical import microseconds
from mrv.tracing.rules import rule_text

STATES = {
    "frozen": "plain", "submitted": "watch", "superseded": "plain", "verified": "good", "notified": "good",
    "unfinished": "watch", "raised": "bad", "responded": "watch", "closed": "good",
}  # fmt: skip
"""How a state is coloured; its word says it."""


def of_revision(asked: Asked) -> dict[str, Any]:
    """Give a template what it needs for any page of a revision."""
    return {
        "asked": asked,
        "base": asked.path,
        "charts": charts,
        "day_path": day_path,
        "rule_text": rule_text,
        "microseconds": microseconds,
        "quote": lambda text: quote(text, safe=""),
        "states": STATES,
        "can": lambda permission: asked.may(Permission(permission)),
    }
