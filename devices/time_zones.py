"""Time zones by name, the same on every machine."""

import difflib
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo


@cache
def names() -> frozenset[str]:
    """List the names of the `tzdata` wheel: what a machine calls `localtime` or `Factory` is no place's zone."""
    listed = resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()
    return frozenset(listed) - {"Factory", "localtime"}


def time_zone(name: str) -> ZoneInfo:
    """Find a time zone by its name in the tz database.

    Raises
    ------
    ValueError
        There is no such zone; the message suggests near names.
    """
    if name not in names():
        wanted = name.casefold()
        by_folded = {known.casefold(): known for known in names()}
        by_city = {known.rpartition("/")[2].casefold(): known for known in sorted(names())}
        near = [wanted] if wanted in by_folded else difflib.get_close_matches(wanted, by_folded, n=2, cutoff=0.75)
        found = [by_folded[key] for key in near] or [
            by_city[key] for key in difflib.get_close_matches(wanted.rpartition("/")[2], by_city, n=1, cutoff=0.8)
        ]
        hint = f"; did you mean {' or '.join(found)}?" if found else ""
        raise ValueError(f'there is no time zone "{name}": expected a name such as Asia/Bangkok{hint}')
    return ZoneInfo(name)
