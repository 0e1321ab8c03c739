"""Read a hand-over file, hold it against itself and against what the database has.

The parts of each notification sum to what was verified, for each vintage; a block of units is no longer than the part
it was issued for; what is acted on lies in its block. Where a period was notified in the database, that is what counts:
a file that says other parts is refused, and one that says none takes them.
"""

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from itertools import pairwise

from pydantic import ValidationError

from devices.declaration_file import problem
from mrv.errors import RegistryError
from mrv.registry.handover import Action, Handover, Holding, Notification, Part, Verified, serial_of

Key = tuple[str, date, date, int]
"""Project, first and last day, revision."""


def read(text: str, name: str) -> Handover:
    """Read a hand-over file, and check what it says against itself.

    Parameters
    ----------
    text
        TOML.
    name
        The file's name, for messages.

    Raises
    ------
    RegistryError
        It says what cannot be; one line a problem.
    """
    try:
        content = tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, ArithmeticError) as error:
        raise RegistryError(f"{name}: this is not TOML: {error}") from None
    try:
        handover = Handover.model_validate(content)
    except ValidationError as error:
        said = [problem(dict(one), Handover, "") or "expected an instant" for one in error.errors(include_url=False)]
        raise RegistryError("; ".join(f"{name}: {line}" for line in dict.fromkeys(said))) from None
    try:
        wrong = list(contradictions(handover))
    except RegistryError as error:
        wrong = [str(error)]
    if wrong:
        raise RegistryError("; ".join(f"{name}: {line}" for line in wrong))
    return handover


def contradictions(handover: Handover) -> Iterator[str]:
    """Say what does not hold together, one line each, with the numbers."""
    if not handover.notifications:
        yield "there is no [[notification]]: say what was verified, and what was notified to whom"
    spans = sorted((one.project, one.first_day, one.last_day) for one in handover.notifications)
    for (project, _, before), (other, after, _) in pairwise(spans):
        if project == other and after <= before:
            yield f"two notifications of {project} share days: {after} to {before}"
    for notification in handover.notifications:
        if not notification.from_database:
            yield from sums(notification)
    for name, count in Counter(block.id for block in handover.blocks).items():
        if count > 1:
            yield f"block {name} is there {count} times"
    yield from _issued(handover)
    yield from _inside(handover)


def _inside(handover: Handover) -> Iterator[str]:
    known = {block.id: block for block in handover.blocks}
    acted: list[tuple[str, Action | Holding]] = [
        (f"action {number}", entry) for number, entry in enumerate(handover.actions, start=1)
    ]
    held: list[tuple[str, Action | Holding]] = [
        (f"holding {number}", entry) for number, entry in enumerate(handover.holdings, start=1)
    ]
    for what, entry in [*acted, *held]:
        block = known.get(entry.block)
        if block is None:
            yield f"{what}: there is no block {entry.block}"
            continue
        begin, end = serial_of(block.first_id), serial_of(block.last_id)
        if begin is None or end is None:
            yield f"{what}: block {block.id} has no first_id and last_id"
            continue
        first, last = serial_of(entry.first_id) or begin, serial_of(entry.last_id) or end
        if not begin <= first <= last <= end:
            yield f"{what}: {first} to {last} lies outside block {block.id}, {begin} to {end}"


def sums(notification: Notification) -> Iterator[str]:
    """Check that the parts of a notification sum to what was verified, for each vintage and in whole tonnes."""
    label = notification.label
    if notification.first_day > notification.last_day:
        yield f"{label}: the first day lies after the last"
        return
    years = range(notification.first_day.year, notification.last_day.year + 1)
    verified = {one.vintage: one.tco2 for one in notification.verified}
    if len(verified) < len(notification.verified):
        yield f"{label}: a vintage was verified twice"
    for part, count in Counter((one.vintage, one.side, one.holder) for one in notification.parts).items():
        if count > 1:
            yield f"{label}, vintage {part[0]}: {part[2]} ({part[1]}) has {count} parts; give one"
    for year in sorted({*years, *verified, *(part.vintage for part in notification.parts)}):
        if year not in years:
            yield f"{label}: {year} is no calendar year of the period"
        elif year not in verified:
            yield f"{label}: what was verified of {year} is missing"
        else:
            yield from _sum(notification, year, verified[year])


def _sum(notification: Notification, year: int, verified: int) -> Iterator[str]:
    parts = [part for part in notification.parts if part.vintage == year]
    total = sum(part.tco2 for part in parts)
    if total != verified:
        each = ", ".join(f"{part.side} {part.holder} {part.tco2:,}" for part in parts) or "no part"
        yield (
            f"{notification.label}, vintage {year}: the parts sum to {total:,} tCO2 ({each}), "
            f"and {verified:,} tCO2 were verified: {total - verified:+,}"
        )


def _issued(handover: Handover) -> Iterator[str]:
    notified: Counter[tuple[str, int, str, str]] = Counter()
    for one in handover.notifications:
        for part in one.parts:
            notified[one.project, part.vintage, part.side, part.holder] += part.tco2
    issued: Counter[tuple[str, int, str, str]] = Counter()
    open_projects = {one.project for one in handover.notifications if one.from_database}
    for block in handover.blocks:
        key = (block.project, block.vintage, block.side, block.holder)
        what = f"block {block.id}"
        if key not in notified and block.project not in open_projects:
            yield f"{what}: no part of {block.project}, vintage {block.vintage}, is of {block.holder} ({block.side})"
        if len(set(block.sizes)) > 1:
            yield f"{what} has {block.sizes[0]:,} ITMOs and {block.sizes[1]:,} units"
        if not block.sizes:
            yield f"{what} has neither first_id and last_id nor first_unit and last_unit"
        elif min(block.sizes) < 1:
            yield f"{what} begins after its end"
        else:
            issued[key] += block.sizes[0]
    for key, count in issued.items():
        project, vintage, side, holder = key
        if key in notified and count > notified[key]:
            yield (
                f"{project}, vintage {vintage}: the blocks of {holder} ({side}) have {count:,} units, "
                f"and {notified[key]:,} tCO2 were notified: {count - notified[key]:+,}"
            )


def against_computed(notification: Notification, computed: Mapping[int, int]) -> list[str]:
    """Hold what was verified against the frozen revision's whole tonnes by vintage; what is less is a note.

    Raises
    ------
    RegistryError
        More was verified than computed.
    """
    notes = []
    for one in notification.verified:
        have = computed.get(one.vintage, 0)
        said = f"{notification.label}, vintage {one.vintage}: {one.tco2:,} tCO2 were verified"
        which = f"revision {notification.revision} has {have:,}"
        if one.tco2 > have:
            raise RegistryError(f"{said}, and {which}: {one.tco2 - have:+,}")
        if one.tco2 < have:
            notes.append(f"{said}; {which}: {one.tco2 - have:+,}")
    return notes


def completed(handover: Handover, notified: Mapping[Key, Sequence[Part]]) -> Handover:
    """Hold the notifications of a file against those of the database, and take from there the parts it leaves out.

    Raises
    ------
    RegistryError
        A file's parts are others than were notified, or nobody says any; or then something does not hold together.
    """
    taken = []
    for one in handover.notifications:
        parts = notified.get((one.project, one.first_day, one.last_day, one.revision))
        if parts is None and one.from_database:
            raise RegistryError(
                f"{one.label}: revision {one.revision} was not notified here; `jcm-mrv period notify` it, or give "
                "`verified` and [[notification.part]] in the file"
            )
        if parts is not None and not one.from_database:
            _same(one, parts)
        elif parts is not None:
            tonnes: Counter[int] = Counter()
            for part in parts:
                tonnes[part.vintage] += part.tco2
            verified = tuple(Verified(vintage=year, tco2=tco2) for year, tco2 in sorted(tonnes.items()))
            one = one.model_copy(update={"parts": tuple(parts), "verified": verified})  # noqa: PLW2901
        taken.append(one)
    whole = handover.model_copy(update={"notifications": tuple(taken)})
    wrong = list(contradictions(whole))
    if wrong:
        raise RegistryError("; ".join(wrong))
    return whole


def _same(one: Notification, notified: Sequence[Part]) -> None:
    said, have = (
        {(part.vintage, part.side, part.holder): part.tco2 for part in parts} for parts in (one.parts, notified)
    )
    for key in sorted({*said, *have}):
        if said.get(key) != have.get(key):
            vintage, side, holder = key
            given, found = (f"{tonnes[key]:,} tCO2" if key in tonnes else "nothing" for tonnes in (said, have))
            raise RegistryError(
                f"{one.label}, vintage {vintage}: the file gives {holder} ({side}) {given}, and {found} was notified"
            )
