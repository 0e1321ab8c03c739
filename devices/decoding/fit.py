"""Which families messages are of, as far as their topics and payloads tell."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from devices.decoding.catalogue import Catalogue
from devices.decoding.elements import Bound
from devices.decoding.messages import DEVICE_UNKNOWN
from devices.decoding.profile import Profile, Source
from devices.decoding.routes import foreign
from devices.decoding.shapes import Fields, ShapeError, elements
from devices.decoding.vectors import Outcome, Said, decode
from devices.native import Reason
from devices.points import POINTS
from devices.sparkplug import topics as sparkplug_topics
from devices.sparkplug.payload import SparkplugError
from devices.sparkplug.payload import decode as decode_sparkplug
from devices.sparkplug.topics import Address, Kind
from devices.topics import Topic, site_of

_REGISTERS = frozenset(point.name for point in POINTS.values() if point.register)
_SHOWN_NAMES = 40
_ANY_AGE_S = 100 * 366 * 86_400


@dataclass(frozen=True)
class Fit:
    """A device of a family that messages may be of."""

    profile: Profile
    address: Mapping[str, str]
    site: str | None
    """Of messages below `jcm/v1/<site>/via/`."""
    messages: Sequence[Said]
    outcome: Outcome
    names: Sequence[str] = ()
    """Numbers of the payloads that no point is made of."""

    @property
    def points(self) -> list[str]:
        """The points that its readings have, in the order of the table."""
        found = {name for reading in self.outcome.readings for name in (*reading.values, *reading.extra)}
        return [name for name in (*POINTS, "DayWh", "IntervalWh") if name in found]

    @property
    def rank(self) -> tuple[bool, bool, int, int, int]:
        """How well it fits: a lifetime register first, then any reading, then how many; what a topic tells last."""
        literal = max(
            sum("{" not in level and level != "+" for level in source.topic.split("/"))
            for source in self.profile.sources
        )
        return (
            bool(_REGISTERS & set(self.points)),
            bool(self.outcome.readings),
            len(self.points),
            literal,
            len(self.messages),
        )


@dataclass(slots=True)
class _Group:
    messages: list[Said] = field(default_factory=list)
    sources: dict[str, Source] = field(default_factory=dict)


def fits(messages: Iterable[Said], catalogue: Catalogue, zone: ZoneInfo) -> list[Fit]:
    """Find the families that messages may be of, the likeliest first.

    A family whose fields have names of their own is listed only when one of them is there; one whose fields the
    declaration names, when its payloads can be read and hold a number.

    Parameters
    ----------
    messages
        In the order they came.
    catalogue
        The families.
    zone
        For times without an offset.
    """
    heard = list(messages)
    found = [fit for profile in catalogue.values() for fit in _fits(profile, heard, zone)]
    return sorted(found, key=lambda fit: (fit.rank, fit.profile.name), reverse=True)


def _fits(profile: Profile, messages: Sequence[Said], zone: ZoneInfo) -> list[Fit]:
    if any(source.shape == "sparkplug" for source in profile.sources):
        return _sparkplug_fits(profile, messages, zone)
    groups: dict[tuple[str | None, tuple[tuple[str, str], ...]], _Group] = {}
    for message in messages:
        own = foreign(message.topic)
        site = site_of(message.topic) if own is not None else None
        for source in profile.sources:
            if source.shape in {"native", "ignored", "sparkplug"}:
                continue
            matched = _address(profile, source, own or message.topic)
            if matched is None:
                continue
            for address in _devices(source, message, matched):
                group = groups.setdefault((site, tuple(sorted(address.items()))), _Group())
                if not group.messages or group.messages[-1] is not message:
                    group.messages.append(message)
                group.sources[source.topic] = source
    return [
        fit
        for (site, address), group in groups.items()
        if (fit := _fit(profile, dict(address), site, group, zone)) is not None
    ]


def _sparkplug_fits(profile: Profile, messages: Sequence[Said], zone: ZoneInfo) -> list[Fit]:
    """Find the devices of each edge node; what one of them says is told by the births of its whole node."""
    nodes: dict[tuple[str | None, str, str], list[Said]] = {}
    devices: dict[tuple[str | None, str, str], dict[str, dict[str, None]]] = {}
    for message in messages:
        own = foreign(message.topic)
        told = sparkplug_topics.parse(own or message.topic)
        if not isinstance(told, Address):
            continue
        node = site_of(message.topic) if own is not None else None, told.group, told.edge
        nodes.setdefault(node, []).append(message)
        names = devices.setdefault(node, {}).setdefault(told.device or "", {})
        if told.kind not in {Kind.NCMD, Kind.DCMD}:
            names |= dict.fromkeys(_metrics(message.payload))
    found = []
    for (site, group, edge), named in devices.items():
        for device, names in named.items():
            address = profile.parameters({"group": group, "edge": edge, "device": device})
            heard = nodes[site, group, edge]
            outcome = _decoded(profile, address, site, heard, zone)
            # The devices beside it, which have a fit of their own.
            outcome.rejections = [one for one in outcome.rejections if one != DEVICE_UNKNOWN]
            known = {name for field in profile.fields for name in field.names}
            if outcome.readings or names:
                unmapped = list(names)[:_SHOWN_NAMES] if not known & set(names) else []
                found.append(Fit(profile, address, site, heard, outcome, unmapped))
    return found


def _decoded(
    profile: Profile, address: Mapping[str, str], site: str | None, messages: Sequence[Said], zone: ZoneInfo
) -> Outcome:
    """Decode as a collector does, but show what it refuses for its age as well: a recording, or a clock never set."""
    device = Topic(site or "", "")
    outcome = decode([Bound(device, 1, profile, dict(address), {}, zone)], messages)
    if Reason.TIME_TOO_OLD not in outcome.rejections:
        return outcome
    sources = tuple(
        source.model_copy(update={"time": source.time.model_copy(update={"oldest_s": _ANY_AGE_S})})
        if source.time is not None
        else source
        for source in profile.sources
    )
    shown = decode(
        [Bound(device, 1, profile.model_copy(update={"sources": sources}), dict(address), {}, zone)], messages
    )
    shown.rejections = outcome.rejections
    return shown


def _fit(profile: Profile, address: dict[str, str], site: str | None, group: _Group, zone: ZoneInfo) -> Fit | None:
    try:
        filled = profile.parameters(address)
    except ValueError:
        return None
    outcome = _decoded(profile, filled, site, group.messages, zone)
    if outcome.readings or (profile.fields and _known(outcome)):
        return Fit(profile, filled, site, group.messages, outcome)
    if profile.fields:
        return None
    names = _names(group)
    return Fit(profile, filled, site, group.messages, outcome, names) if names else None


def _known(outcome: Outcome) -> bool:
    """Say whether a field of the family was there, though nothing could be made of it."""
    return any(":" in note or note in {"asleep", "part"} for note in outcome.notes)


def _address(profile: Profile, source: Source, topic: str) -> dict[str, str] | None:
    """Read the address off a topic; with the defaults where that fits, because a prefix can be anything."""
    for defaults in (True, False):
        matched = _regex(profile, source, defaults=defaults).fullmatch(topic)
        if matched is not None:
            given = {key: value for key, value in matched.groupdict().items() if key in profile.address}
            kept = {key: spec.default for key, spec in profile.address.items() if key not in given}
            return {key: value for key, value in kept.items() if value} | given
    return None


def _regex(profile: Profile, source: Source, *, defaults: bool) -> re.Pattern[str]:
    pieces: list[str] = []
    seen: set[str] = set()
    for level in source.topic.split("/"):
        if level == "+":
            pieces.append("[^/]+")
            continue
        text = ""
        for literal, key in re.findall(r"([^{]*)(?:\{(\w+)\})?", level):
            text += re.escape(literal)
            if not key:
                continue
            default = profile.address[key].default if key in profile.address else None
            if key == "field":
                text += ".*" if source.topic.endswith("{field}") else "[^/]+"
            elif defaults and default is not None:
                text += re.escape(default)
            elif key in seen:
                text += f"(?P={key})"
            else:
                seen.add(key)
                text += f"(?P<{key}>{'.+' if key == 'topic' else '[^/]+'})"
        # As in `routes.pattern`: a level that is empty is none.
        if text or not level:
            pieces.append(text)
    return re.compile("/".join(pieces))


def _devices(source: Source, message: Said, address: dict[str, str]) -> list[dict[str, str]]:
    """Put in the devices that a payload names, where it names any."""
    named = source.device
    if named is None or named.address in address:
        return [address]
    found: dict[str, None] = {}
    for fields in _elements(source, message):
        for path in named.field:
            value = fields.get(path)
            if isinstance(value, str | int | Decimal) and not isinstance(value, bool):
                found[str(value)] = None
                break
    return [address | {named.address: name} for name in found] or [address]


def _elements(source: Source, message: Said) -> list[Fields]:
    try:
        return elements(source.shape, message.payload, name="", path=source.elements)
    except (ShapeError, KeyError):
        return []


def _names(group: _Group) -> list[str]:
    """List the numbers that payloads hold, by the names that a declaration would map."""
    found: dict[str, None] = {}
    for source in group.sources.values():
        for message in group.messages:
            if source.shape in {"scalar", "value"}:
                continue
            for fields in _elements(source, message):
                found |= {name: None for name, value in fields.items() if _is_number(value) and "@" not in name}
    return list(found)[:_SHOWN_NAMES]


def _metrics(payload: bytes) -> list[str]:
    try:
        metrics = decode_sparkplug(payload).metrics
    except SparkplugError:
        return []
    return [metric.name for metric in metrics if metric.name and not metric.name.startswith(("bdSeq", "Node Control/"))]


def _is_number(value: object) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


_GUESSES = (
    (re.compile(r"(?=.*(energy|yield|wh))(?=.*(total|life))", re.IGNORECASE), "TotWhExp"),
    (re.compile(r"(?=.*(energy|yield|wh))(?=.*(day|today|daily))", re.IGNORECASE), "DayWh"),
    (re.compile(r"(^|[^a-z])(ac_?)?(active_?)?(power|pac)($|[^a-z])", re.IGNORECASE), "W"),
    (re.compile(r"freq", re.IGNORECASE), "Hz"),
    (re.compile(r"irradia|ghi", re.IGNORECASE), "GHI"),
)


def guesses(names: Iterable[str]) -> dict[str, str]:
    """Guess which point a field is, by its name; a person has to say yes, and to give the unit."""
    found: dict[str, str] = {}
    for name in names:
        for pattern, point in _GUESSES:
            if point not in found and pattern.search(name):
                found[point] = name
                break
    return found


def newest(fit: Fit, count: int) -> list[tuple[Sequence[Said], datetime, dict[str, float | str | bool]]]:
    """Give the last readings: the messages that each was made of, its time and its values."""
    shown = list(zip(fit.outcome.origins, fit.outcome.readings, strict=True))[-count:]
    return [
        ([fit.messages[place] for place in places], reading.ts, {**reading.values, **reading.extra})
        for places, reading in shown
    ]
