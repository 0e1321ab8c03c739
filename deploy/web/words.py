"""English words that pages take from the code, for translators: rules, reasons, alerts, states.

The code says them in English, in results, API and command line alike; a template asks the catalogue for them
(`|translated`) when it writes a page. Here stands which there are, so that `make messages` collects them like what the
templates say themselves. What is made with numbers or names of a case (notes of a result, what an alert said, why a
request was refused) is in no catalogue.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from deploy.alerts.rules import RULES as ALERTS
from deploy.alerts.rules import Severity
from deploy.web.problems import kinds
from mrv.day_account import LEFT_OUT
from mrv.quality import judge
from mrv.quality.summary import NOT_BEHIND_METERS
from mrv.tracing.energy import LINE_TEXTS
from mrv.tracing.rules import RULES, rule_text

QUARANTINE: Mapping[str, str] = {
    "topic_unknown": "nothing is declared on that topic",
    "topic_ambiguous": "two sites declare a device on that topic",
    "device_unknown": "the device is not declared there",
    "payload_empty": "no bytes, or an empty list",
    "payload_too_large": "more bytes or elements than are looked into",
    "payload_undecodable": "not laid out as the family's messages are",
    "element_invalid": "an element of the list is no object, or its parts have the wrong types",
    "time_missing": "the time is missing",
    "time_undecodable": "the time is in no format of the family",
    "time_naive": "the time has no offset from UTC",
    "time_absurd": "the clock was never set",
    "time_in_future": "the time lies ahead of the collector's clock",
    "time_too_old": "the time lies further back than such a device can keep readings",
    "time_local": "a local time that its zone leaves out, or has twice, when clocks change",
    "seq_invalid": "the sequence number is no whole number",
    "no_points": "no point has a value",
    "value_not_a_number": "a text or a truth value where a number belongs",
    "value_not_finite": "a value is infinite or not a number",
    "register_out_of_range": "a register is below zero or beyond what one can be",
    "unstorable": "the database takes no such text or number",
    "sparkplug_undecodable": "not a Sparkplug payload",
    "sparkplug_too_large": "a Sparkplug payload larger than is looked into",
    "sparkplug_alias_unknown": "an alias that no birth explained; a rebirth was asked for",
    "sparkplug_name_missing": "a metric with neither a name nor an alias",
    "sparkplug_name_invalid": "a metric's name is too long, or has what no name has",
    "sparkplug_time_absurd": "a metric's time is before 2000 or beyond what can be",
    "sparkplug_datatype_unknown": "no datatype in the birth, and none in the data",
    "sparkplug_datatype_contradicted": "the data are of another datatype than the birth said",
    "sparkplug_value_out_of_range": "a number wider than its datatype",
    "sparkplug_value_not_finite": "a metric's value is infinite or not a number",
    "sparkplug_value_unsupported": "a metric's value is of a kind that is not read",
}
"""What each reason of `ingest.quarantine.REASONS` means; pages show it beside the reason itself."""

_NOT_CHECKED = (judge.NO_COORDINATES, judge.NOT_SOLAR, judge.SUBTRACTED, judge.NO_POWER, judge.NO_RECEIPTS,
                judge.NO_DELIVERIES, NOT_BEHIND_METERS)  # fmt: skip
_OUTCOMES = ("stored", "duplicate", "conflict", "quarantined")
_KEY_STATES = ("valid", "not valid yet", "expired", "withdrawn")


def words() -> Iterator[str]:
    """Give every one of them; some more than once."""
    for rule in [*RULES.values(), rule_text("")]:
        yield rule.explanation
        if rule.counts:
            yield rule.counts
    yield from QUARANTINE.values()
    yield from LEFT_OUT.values()
    yield from LINE_TEXTS.values()
    yield from _NOT_CHECKED
    yield from _OUTCOMES
    yield from _KEY_STATES
    for alert in ALERTS.values():
        yield alert.title
    yield from Severity
    for kind in kinds():
        yield kind.title()


def extract(*_: Any, **__: Any) -> Iterator[tuple[int, None, str, list[str]]]:
    """Hand them to Babel, as `locale/babel.cfg` asks; the file it read them for is this one."""
    for word in sorted(set(map(str, words()))):
        yield 1, None, word, []
