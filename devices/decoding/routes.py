"""Which declared devices a topic belongs to.

A foreign message comes in one of two ways. Below `jcm/v1/<site>/via/` its site is certain, because the broker lets a
site write below its own name only: a Mosquitto at the site bridges there with `topic # out 1 "" jcm/v1/<site>/via/`.
Directly, on the family's own topic, it belongs to the one site that declares a device there.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from paho.mqtt.matcher import MQTTMatcher

from devices.decoding.elements import Bound
from devices.decoding.profile import Source
from devices.topics import site_of

VIA = "via"
_VIA_LEVEL = 3
_CACHED = 200_000


class Route(NamedTuple):
    """A device, how its message is laid out, and what the topic calls the field."""

    bound: Bound
    source: Source
    name: str
    """The rest of the topic, where the source has a `{field}`."""


class Found(NamedTuple):
    """Where a topic leads."""

    site: str | None
    """None: to more than one site, so to none."""
    routes: tuple[Route, ...]
    topic: str
    """The family's own topic."""

    @property
    def stateful(self) -> bool:
        """Whether what the message means depends on those before it."""
        return any(route.source.stateful for route in self.routes)


def foreign(topic: str) -> str | None:
    """Give the family's own topic of one below `jcm/v1/<site>/via/`; None for one that is not."""
    parts = topic.split("/", _VIA_LEVEL + 1)
    if len(parts) == _VIA_LEVEL + 2 and parts[_VIA_LEVEL] == VIA and site_of(topic) is not None:
        return parts[_VIA_LEVEL + 1]
    return None


def pattern(topic: str, address: dict[str, str]) -> str:
    """Write a source's topic as a subscription.

    `{field}` is the rest of the topic, or a level within; an empty value of the address is no level.
    """
    levels = []
    split = topic.split("/")
    for place, level in enumerate(split):
        if level == "{field}":
            levels.append("#" if place == len(split) - 1 else "+")
            continue
        text = level
        for key, value in address.items():
            text = text.replace(f"{{{key}}}", value)
        if text or not level:
            levels.append(text)
    return "/".join(levels)


def _name_levels(topic: str, address: dict[str, str]) -> slice:
    """Which levels of a topic are the field's name; none where there is no `{field}`."""
    before, field, after = topic.partition("{field}")
    start = len(pattern(before, address).split("/")) - 1
    return slice(start, None if field and not after else start + (1 if field else 0))


class Routes:
    """The foreign devices, by topic.

    Parameters
    ----------
    bounds
        Every declared device whose profile has topics of its own.
    """

    def __init__(self, bounds: Iterable[Bound] = ()) -> None:
        self._matcher = MQTTMatcher()  # type: ignore[no-untyped-call]
        self._patterns: dict[str, list[tuple[Bound, Source, slice]]] = {}
        self._cache: dict[str, Found | None] = {}
        self.bounds: dict[int, Bound] = {}
        for bound in bounds:
            self.bounds[bound.device_id] = bound
            address = dict(bound.address)
            for source in bound.profile.sources:
                if source.shape == "native":
                    continue
                entry = bound, source, _name_levels(source.topic, address)
                self._patterns.setdefault(pattern(source.topic, address), []).append(entry)
        for key, entries in self._patterns.items():
            self._matcher[key] = entries

    def direct_filters(self, site: str | None = None) -> list[str]:
        """List the families' own topics as subscriptions that cover them all, none of which another one covers.

        What a profile ignores is not asked for; it only comes where a bridge sends everything below a site's name.
        """
        wanted = {
            key
            for key, entries in self._patterns.items()
            if any(
                source.shape != "ignored" and (site is None or bound.device.site == site)
                for bound, source, _ in entries
            )
        }
        return uncovered(wanted)

    def find(self, topic: str) -> Found | None:
        """Find the devices that a topic belongs to; None when nobody declared one."""
        try:
            return self._cache[topic]
        except KeyError:
            found = self._find(topic)
            # Topics that belong to nobody are not remembered: they may be as many as a stranger likes.
            if found is not None and len(self._cache) < _CACHED:
                self._cache[topic] = found
            return found

    def _find(self, topic: str) -> Found | None:
        own = foreign(topic)
        site = site_of(topic) if own is not None else None
        own = topic if own is None else own
        routes = [
            Route(bound, source, "/".join(own.split("/")[name_at]))
            for entries in self._matcher.iter_match(own)  # type: ignore[no-untyped-call]
            for bound, source, name_at in entries
            if site is None or bound.device.site == site
        ]
        if not routes:
            return None
        sites = {route.bound.device.site for route in routes}
        # What a profile ignores counts only where nothing else of the device speaks.
        meant = [route for route in routes if route.source.shape != "ignored"] or routes
        return Found(site or (sites.pop() if len(sites) == 1 else None), tuple(meant), own)


def uncovered(filters: Iterable[str]) -> list[str]:
    """Leave out the filters that another one covers; a broker may send a message once for each that fits."""
    wanted = sorted(set(filters))
    return [one for one in wanted if not any(covers(other, one) for other in wanted if other != one)]


def covers(wide: str, narrow: str) -> bool:
    """Say whether every topic of one filter is a topic of the other."""
    return _covers(wide.split("/"), narrow.split("/"))


def _covers(wide: Sequence[str], narrow: Sequence[str]) -> bool:
    for place, level in enumerate(wide):
        if level == "#":
            return True
        if place >= len(narrow) or narrow[place] == "#" or (level != "+" and level != narrow[place]):
            return False
    return len(wide) == len(narrow)
