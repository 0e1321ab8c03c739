"""`jcm-mrv device probe`: which families fit what comes on a topic, and what a declaration still lacks."""

import json
import re
import threading
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from deploy.errors import ProbeError
from devices.time_zones import time_zone

if TYPE_CHECKING:
    from devices.decoding.bindings import Declared
    from devices.decoding.fit import Fit
    from devices.decoding.vectors import Said

_MOST = 20_000
_SHOWN_PAYLOAD = 160
_SHOWN_MESSAGES = 8
_SHOWN_FITS = 5
_REFUSED = {
    "time_too_old": "a collector takes no reading so long after its time; is this a recording, or is its clock wrong?",
    "time_in_future": "its clock is ahead, or --tz is not the zone of its clock",
    "sparkplug_alias_unknown": "data whose birth was not heard; restart the node while the probe listens",
}
_UNITS = {"TotWhExp": "kWh", "DayWh": "kWh", "W": "W", "Hz": "Hz", "GHI": "W/m²"}


@click.command()
@click.argument("topic", required=False)
@click.option("--seconds", type=click.FloatRange(1, 86_400), default=30.0, help="How long to listen; 30 unless given.")
@click.option(
    "--file", type=click.Path(path_type=Path), help="Instead: a file of lines `topic<TAB>payload`; bytes as hex:…."
)
@click.option("--tz", default="UTC", metavar="ZONE", help="Time zone of times without an offset; UTC unless given.")
@click.option("--readings", type=click.IntRange(1, 50), default=2, help="How many readings to show; 2 unless given.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def probe(topic: str | None, *, seconds: float, file: Path | None, tz: str, readings: int, as_json: bool) -> None:
    """Listen on TOPIC (+ and # allowed) and say which device families fit, and how to declare the device.

    Shows the decoded readings beside the messages that they were made of. Nothing is stored, and no session is left
    on the broker.
    """
    from deploy.settings import load_settings
    from devices.decoding.catalogue import load as load_families
    from devices.decoding.fit import fits

    if (topic is None) == (file is None):
        raise click.UsageError("Give either TOPIC or --file FILE.")
    try:
        zone = time_zone(tz)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    families = load_families(load_settings().profiles)
    messages = _listen(topic, seconds) if topic is not None else _read(file)
    found = fits(messages, families, zone)
    declared = _declared() if topic is not None else []
    if as_json:
        click.echo(json.dumps(_as_json(messages, found, declared), indent=2, ensure_ascii=False))
    else:
        for line in _lines(messages, found, declared, readings=readings, heard=topic is not None, zone=zone):
            click.echo(line)
    if not found:
        raise SystemExit(1)


def _listen(topic: str, seconds: float) -> "list[Said]":
    from rich.console import Console

    from deploy.servers import endpoints
    from deploy.settings import load_settings
    from deploy.signals import on_end
    from devices.listener import listen
    from devices.mqtt_url import parse

    settings = load_settings()
    address = parse(endpoints(settings).mqtt_url, settings.mqtt_tls)
    ended = threading.Event()
    on_end(ended.set)
    with Console(stderr=True).status("listening") as status:
        return listen(
            address,
            topic,
            seconds=seconds,
            most=_MOST,
            tell=lambda count: status.update(f"listening on {topic} for {seconds:g} s: {count} messages (Ctrl-C ends)"),
            stopped=ended.is_set,
        )


def _read(file: Path | None) -> "list[Said]":
    from devices.decoding.vectors import Said

    assert file is not None  # noqa: S101
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else "not UTF-8 text"
        raise ProbeError(f"{file}: cannot be read: {reason}") from None
    at = datetime.now(UTC)
    messages = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        topic, separator, payload = line.partition("\t")
        if not separator:
            raise ProbeError(f"{file}: line {number} has no tab: expected `topic<TAB>payload`")
        data = bytes.fromhex(payload[4:]) if _is_hex(payload) else payload.encode()
        messages.append(Said(topic, data, retained=False, at=at))
    return messages


def _is_hex(payload: str) -> bool:
    return (
        payload.startswith("hex:") and len(payload) % 2 == 0 and all(c in "0123456789abcdefABCDEF" for c in payload[4:])
    )


def _declared() -> "list[Declared]":
    """Read what is declared, where the database that goes with the broker is known."""
    from deploy.servers import endpoints
    from devices.decoding.bindings import Declared
    from sql.connection import Role, connect, reported
    from sql.errors import StoreError
    from sql.named import load

    where = endpoints()
    if not where.knows_database:
        return []
    try:
        with reported(), connect(where.database_url, Role.READER, application="jcm-mrv device probe") as connection:
            return [Declared(*row) for row in connection.execute(load("ingest")["foreign"])]
    except StoreError:
        return []


def _device_of(fit: "Fit", declared: "Sequence[Declared]") -> str | None:
    for one in declared:
        try:
            address = fit.profile.parameters(json.loads(one.address))
        except ValueError:
            continue
        if one.family == fit.profile.name and address == dict(fit.address) and fit.site in {None, one.site}:
            return f"{one.site}/{one.device}"
    return None


def _lines(
    messages: "Sequence[Said]",
    found: "Sequence[Fit]",
    declared: "Sequence[Declared]",
    *,
    readings: int,
    heard: bool,
    zone: ZoneInfo,
) -> list[str]:
    said = [f"{_counted(messages, 'message')} on {_counted({message.topic for message in messages}, 'topic')}"]
    if not messages:
        hint = "wait longer (--seconds), or look at the topic and the login's rights" if heard else "the file is empty"
        return [*said, f"nothing to judge: {hint}"]
    if not found:
        said.append("no family fits; docs/devices.md says how to describe one in a file of its own")
        return said + [f"  {_shown(message)}" for message in messages[:_SHOWN_MESSAGES]]
    # What cannot be read yet could be of any family that leaves the names to the declaration: one of them will do.
    strong = [fit for fit in found if fit.outcome.readings]
    strong = strong or [fit for fit in found if fit.profile.name == found[0].profile.name]
    for fit in strong[:_SHOWN_FITS]:
        said += ["", *_fit_lines(fit, _device_of(fit, declared), readings, zone)]
    rest = [fit.profile.name for fit in found if fit not in strong[:_SHOWN_FITS]]
    if rest:
        said += ["", f"could also be read as: {', '.join(dict.fromkeys(rest))}"]
    return said


def _fit_lines(fit: "Fit", device: str | None, readings: int, zone: ZoneInfo) -> list[str]:
    from devices.decoding.elements import NOTES, Note
    from devices.decoding.fit import newest

    outcome = fit.outcome
    address = ", ".join(f'{key} = "{value}"' for key, value in fit.address.items() if value)
    said = [
        f"{fit.profile.name}: {fit.profile.title}" + (f", at site {fit.site}" if fit.site else ""),
        f"  {_counted(fit.messages, 'message')}, {_counted(outcome.readings, 'reading')}"
        + (f" of {', '.join(fit.points)}" if fit.points else ""),
    ]
    if address:
        said.append(f"  address: {address}")
    if not outcome.readings:
        said += ["", *(f"    {_shown(message)}" for message in fit.messages[-_SHOWN_MESSAGES:])]
        if fit.names and not outcome.rejections:
            said.append("    → nothing yet: the declaration has to say which of its fields is which point")
    for made_of, ts, values in newest(fit, readings):
        said.append("")
        said += [f"    {_shown(message)}" for message in made_of[:_SHOWN_MESSAGES]]
        if len(made_of) > _SHOWN_MESSAGES:
            said.append(f"    … and {len(made_of) - _SHOWN_MESSAGES} more")
        local = "" if zone.key == "UTC" else f" ({ts.astimezone(zone):%Y-%m-%d %H:%M:%S} {zone.key})"
        said.append(
            f"    → {ts:%Y-%m-%dT%H:%M:%SZ}{local}  " + ", ".join(_value(name, values[name]) for name in values)
        )
    unsaid = {Note.PART, Note.BIRTH} if outcome.readings else {Note.PART, Note.BIRTH, Note.NO_FIELD}
    reasons = sorted({note.partition(":")[0] for note in outcome.notes} - unsaid)
    if reasons or outcome.rejections:
        said.append("")
    for reason in reasons:
        about = sorted(note.partition(":")[2] for note in outcome.notes if note.startswith(f"{reason}:"))
        said.append(f"  left out: {reason}{' of ' + ', '.join(about) if about else ''}: {NOTES[Note(reason)]}")
    for reason, times in sorted(Counter(outcome.rejections).items()):
        why = _REFUSED.get(reason)
        said.append(f"  refused: {reason}, {times} time{'s' * (times != 1)}" + (f": {why}" if why else ""))
    if device is not None:
        return [*said, "", f"  declared as {device}"]
    return [*said, "", "  not declared; to declare it:", "", *(f"    {line}" for line in _declaration(fit))]


def _declaration(fit: "Fit") -> list[str]:
    from devices.decoding.fit import guesses

    named = [value for key, value in fit.address.items() if key in {"serial", "name", "device", "id", "mac"} and value]
    address = {key: value for key, value in fit.address.items() if value and value != fit.profile.address[key].default}
    lines = [
        "[[device]]",
        f'id = "{(named[0] if named else fit.profile.name).replace("/", "-").replace(" ", "-")}"',
        f'site = "{fit.site}"' if fit.site else 'site = "…"  # missing: the id of a [[site]]',
        'pv_system = "…"  # missing: the id of a [[pv_system]]',
        'kind = "inverter"  # or meter',
        f'profile = "{fit.profile.name}"',
    ]
    if address:
        lines.append("address = { " + ", ".join(f"{key} = {_toml(value)}" for key, value in address.items()) + " }")
    lines += [
        f"installed = {datetime.now(UTC):%Y-%m-%d}  # check: its readings count from then on",
        "rated_power_w = 0  # missing: from the nameplate",
    ]
    if fit.profile.register_defaults is None:
        lines.append('register = { point = "TotWhExp", bits = 32 }  # check: the width of its lifetime register')
    if fit.names:
        guessed = guesses(fit.names)
        lines.append("[device.fields]  # check every unit: a name does not tell it surely")
        lines += [
            f'{point} = {{ names = [{_toml(name)}], unit = "{_unit(name, point)}" }}' for point, name in guessed.items()
        ]
        rest = [name for name in fit.names if name not in guessed.values()]
        if rest:
            lines.append(f"# not mapped: {', '.join(rest[:20])}")
        if "TotWhExp" not in guessed:
            lines.append("# missing: TotWhExp, the lifetime register that a credit is computed from")
    return lines


def _counted(things: Collection[object], what: str) -> str:
    return f"{len(things):,} {what}{'s' * (len(things) != 1)}"


def _unit(name: str, point: str) -> str:
    """Guess a unit by the end of a field's name, else take the one that most loggers use."""
    end = re.search(r"[_.\-\s]([kM]?Wh?)$", name, re.IGNORECASE)
    written = {unit.lower(): unit for unit in ("Wh", "kWh", "MWh", "W", "kW", "MW")}.get(end[1].lower() if end else "")
    energy = point in {"TotWhExp", "DayWh"}
    return written if written is not None and written.endswith("h") == energy else _UNITS[point]


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _value(name: str, value: float | str | bool) -> str:
    from devices.decoding.profile import point_of

    number = f"{value:.10g}" if isinstance(value, float) else str(value)
    unit = point_of(name).unit
    return f"{name} {number}" + ("" if unit == "1" else f" {unit}")


def _shown(message: "Said") -> str:
    try:
        text = " ".join(message.payload.decode().split())
    except UnicodeDecodeError:
        text = f"hex:{message.payload.hex()}"
    text = text if text.isprintable() else f"hex:{message.payload.hex()}"
    text = text if len(text) <= _SHOWN_PAYLOAD else f"{text[:_SHOWN_PAYLOAD]}…"
    return f"{message.topic}  {text or '(empty)'}" + ("  (retained)" if message.retained else "")


def _as_json(messages: "Sequence[Said]", found: "Sequence[Fit]", declared: "Sequence[Declared]") -> dict[str, Any]:
    from devices.decoding.fit import newest

    return {
        "messages": len(messages),
        "topics": sorted({message.topic for message in messages}),
        "fits": [
            {
                "family": fit.profile.name,
                "address": dict(fit.address),
                "site": fit.site,
                "messages": len(fit.messages),
                "readings": len(fit.outcome.readings),
                "points": fit.points,
                "notes": sorted(fit.outcome.notes),
                "refused": sorted(set(fit.outcome.rejections)),
                "declared_as": _device_of(fit, declared),
                "declaration": "\n".join(_declaration(fit)),
                "newest": [
                    {"ts": ts.isoformat(), "values": values, "messages": [_shown(one) for one in made_of]}
                    for made_of, ts, values in newest(fit, 1)
                ],
            }
            for fit in found
        ],
    }
