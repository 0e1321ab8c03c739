"""What changed between two revisions, for a person at a terminal."""

from collections.abc import Iterator
from decimal import Decimal

from mrv.verification.differences import Changed, LateReadings, RevisionDifference

_LINES = 20
"""Most lines of a kind; `--json` has all."""


def summary(found: RevisionDifference) -> str:
    """Say it on one line."""
    late = sum(entry.readings for entry in found.late)
    messages = sum(entry.messages_count for entry in found.late)
    parts = [f"ER {_arrow(found.er_tco2)} tCO2, RE {_signed(found.kg)} kg"]
    if late:
        parts.append(f"{late:,} late readings of {_count(len(found.late), 'device')} in {_count(messages, 'message')}")
    if found.declarations:
        parts.append(f"{_count(len(found.declarations), 'change')} of the declaration")
    if found.methodology:
        parts.append(f"{_count(len(found.methodology), 'change')} of the methodology")
    return f"since revision {found.before.number}: {'; '.join(parts)}; `jcm-mrv period diff` shows all"


def lines(found: RevisionDifference) -> Iterator[str]:
    """Say all of it."""
    result = found.after.result
    yield (
        f"{result.project} {result.first_day} to {result.last_day}: revision {found.before.number} to revision "
        f"{found.after.number}"
    )
    yield (
        f"received until {found.before.received_until.isoformat()}, then until {found.after.received_until.isoformat()}"
    )
    yield f"ER {_arrow(found.er_tco2)} tCO2, RE {_signed(found.kg)} kg"
    yield from _block("vintages [tCO2]", [f"{entry.what[0]}: {_arrow(entry)}" for entry in found.vintages])
    yield from _block(
        "systems [kg CO2]", [f"{entry.what[0]} {entry.what[1]}: {_arrow(entry)}" for entry in found.systems]
    )
    yield from _block(
        "devices and days [Wh]",
        [f"{entry.what[0]} {entry.what[1]} {entry.what[2]}: {_arrow(entry)}" for entry in found.days],
    )
    yield from _block("late readings", [line for entry in found.late for line in _late(entry)])
    yield from _block("declaration", list(found.declarations))
    yield from _block("methodology", list(found.methodology))
    yield from _block("rules", [f"{entry.what[0]}: {_arrow(entry)}" for entry in found.rules])
    yield from _block("checks and notes", list(found.checks))


def _late(entry: LateReadings) -> Iterator[str]:
    yield (
        f"{entry.device}: {_count(entry.readings, 'reading')} from {entry.first.isoformat()} to "
        f"{entry.last.isoformat()}, in {_count(entry.messages_count, 'message')}"
    )
    for message in entry.messages[: _LINES // 2]:
        yield (
            f"  message {message.message_id}, received {message.received_at.isoformat()}: "
            f"{_count(message.readings, 'reading')}"
        )
    if entry.messages_count > _LINES // 2:
        yield f"  and {entry.messages_count - _LINES // 2:,} messages more"


def _block(title: str, rows: list[str]) -> Iterator[str]:
    if not rows:
        return
    yield title
    for row in rows[:_LINES]:
        yield f"  {row}"
    if len(rows) > _LINES:
        yield f"  and {len(rows) - _LINES:,} more; --json lists all"


def _arrow(entry: Changed) -> str:
    return f"{entry.before:,f} -> {entry.after:,f} ({_signed(entry.change)})"


def _signed(number: Decimal) -> str:
    return f"{number:+,f}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
