"""`jcm-mrv simulate`: publish what made-up sites would, in any family's wire format."""

import hashlib
import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from deploy.settings import Settings
    from devices.mqtt_url import BrokerAddress
    from devices.simulator.faults import Message
    from devices.simulator.stream import Simulation

_MAX, _REALTIME = "max", "realtime"
# Looking at the clock for every message costs more than publishing it evenly is worth.
_PACE_S = 0.02


class _Speed(click.ParamType[float | str]):
    name = "speed"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        if value in {_MAX, _REALTIME}:
            return str(value)
        try:
            speed = float(value)
        except ValueError:
            speed = 0.0
        if not 0 < speed < float("inf"):
            expected = f"{_REALTIME}, {_MAX} or how many times faster, such as 60"
            self.fail(f'"{value}" is no speed: expected {expected}', param, ctx)
        return speed


@click.command()
@click.option("--sites", type=click.IntRange(1, 100_000), default=1, show_default=True, help="How many sites.")
@click.option("--devices", type=click.IntRange(1, 1000), default=5, show_default=True, help="Devices at each site.")
@click.option(
    "--family",
    "families",
    multiple=True,
    metavar="NAME",
    default=("native",),
    show_default=True,
    help="A device family, or all; may be given again. The devices take turns.",
)
@click.option(
    "--from",
    "first_day",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="DATE",
    help="First day, of each site's own calendar; by default such that the last one is over everywhere.",
)
@click.option(
    "--days", type=click.IntRange(0, 3660), default=1, show_default=True, help="How many days; 0 publishes nothing."
)
@click.option(
    "--step", "step_s", type=click.IntRange(1, 3600), default=300, show_default=True, metavar="S",
    help="Seconds between two samples of a device.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 999_999), default=1, show_default=True, help="Decides everything.")
@click.option(
    "--speed",
    type=_Speed(),
    default=_MAX,
    show_default=True,
    metavar="realtime|N|max",
    help="As the clock goes from now on, N times faster than the days went, or as fast as possible.",
)
@click.option("--fault", "faults", multiple=True, metavar="KIND", help="What goes wrong; may be given again; or all.")
@click.option(
    "--via/--direct",
    default=True,
    show_default=True,
    help="Foreign families below jcm/v1/<site>/via/, as a site's bridge does, or on their bare topics.",
)
@click.option("--declarations", type=click.Path(path_type=Path), help="Write the file for `jcm-mrv apply` here.")
@click.option("--truth", type=click.Path(path_type=Path), help="Write here what was generated, in Wh, as JSON.")
@click.option("--dry-run", is_flag=True, help="Print the messages, as topic, tab, payload, and publish nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def simulate(
    *,
    sites: int,
    devices: int,
    families: tuple[str, ...],
    first_day: datetime | None,
    days: int,
    step_s: int,
    seed: int,
    speed: float | str,
    faults: tuple[str, ...],
    via: bool,
    declarations: Path | None,
    truth: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Publish what made-up sites would: the sun, clouds, registers, and faults on demand.

    The same options give the same messages, byte for byte; nothing of it is a measurement.
    """
    from deploy.files import check_writable, write_whole
    from devices.simulator.declaration import declaration
    from devices.simulator.faults import check
    from devices.simulator.fleet import fleet
    from devices.simulator.stream import Simulation
    from devices.simulator.wire import FAMILIES

    live = speed == _REALTIME
    start = _first_day(None if first_day is None else first_day.date(), days, live=live)
    chosen = tuple(FAMILIES) if "all" in families else families
    try:
        made = fleet(seed=seed, sites=sites, devices=devices, families=chosen, direct=not via)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--family") from None
    try:
        check(faults, {device.family.name: device.family for device in made}.values())
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--fault") from None
    for path in (declarations, truth):
        if path is not None:
            check_writable(path)
    if declarations is not None:
        write_whole(declarations, declaration(made, seed=seed, first_day=start).encode())
    # Counted from UTC's yesterday: west of Greenwich it may still be that day, east of it tomorrow already.
    simulation = Simulation(made, start, days + 2 if live and days else days, step_s, faults)
    summary = _Summary(seed, start, days, sites, len(made), sorted({device.family.name for device in made}))
    if days:
        _run(simulation, summary, speed, dry_run=dry_run)
    if truth is not None:
        write_whole(truth, (json.dumps(simulation.truth(), indent=1) + "\n").encode())
    click.echo(summary.as_json() if as_json else summary.as_text(), err=dry_run)


class _Summary:
    def __init__(self, seed: int, start: date, days: int, sites: int, devices: int, families: list[str]) -> None:
        self.content: dict[str, Any] = {
            "seed": seed, "from": start.isoformat(), "days": days, "sites": sites, "devices": devices,
            "families": families, "messages": 0, "acknowledged": None, "seconds": 0.0, "digest": None,
        }  # fmt: skip
        self._digest = hashlib.sha256()

    def count(self, messages: "Iterable[Message]") -> "Iterator[Message]":
        """Let messages pass, and keep a digest of all their topics and payloads."""
        for message in messages:
            self.content["messages"] += 1
            topic = message.topic.encode()
            self._digest.update(b"%d %d %d " % (len(topic), len(message.payload), message.retain))
            self._digest.update(topic + message.payload)
            yield message
        self.content["digest"] = f"sha256:{self._digest.hexdigest()}"

    def as_json(self) -> str:
        return json.dumps(self.content)

    def as_text(self) -> str:
        found = self.content
        if not found["days"]:
            return f"{found['devices']:,} devices at {found['sites']:,} sites; nothing was published"
        rate = found["messages"] / max(found["seconds"], 0.001)
        sent = "printed" if found["acknowledged"] is None else f"{found['acknowledged']:,} acknowledged"
        return (
            f"{found['messages']:,} messages of {found['devices']:,} devices at {found['sites']:,} sites, {sent}, "
            f"in {found['seconds']:.1f} s ({rate:,.0f} a second)"
        )


def _first_day(given: date | None, days: int, *, live: bool) -> date:
    today = datetime.now(UTC).date()
    if live:
        if given is not None:
            raise click.UsageError("--speed realtime begins now: leave --from out, or give --speed 1")
        return today - timedelta(days=1)
    # West of Greenwich yesterday's last hours may still be to come.
    return today - timedelta(days=days + 1) if given is None else given


def _run(simulation: "Simulation", summary: _Summary, speed: float | str, *, dry_run: bool) -> None:
    messages: Iterable[Message] = simulation.messages()
    if speed == _REALTIME:
        now = time.time()
        end = now + 86_400 * summary.content["days"]
        messages = takewhile(lambda message: message.at < end, messages)
        messages = (message for message in messages if message.at >= now)
    started = time.monotonic()
    counted = summary.count(_paced(messages, speed))
    try:
        if dry_run:
            for message in counted:
                sys.stdout.write(f"{message.topic}\t{_shown(message.payload)}\n")
        else:
            _publish(counted, summary)
    finally:
        summary.content["seconds"] = round(time.monotonic() - started, 3)


def _publish(messages: "Iterable[Message]", summary: _Summary) -> None:
    from deploy.settings import load_settings
    from devices.publisher import Publisher

    settings = load_settings()
    with Publisher(
        _address(settings), version=settings.mqtt_version, must_be_heard=True, on_connection=_tell_connection
    ) as publisher:
        with _progress() as advance:
            for message in messages:
                publisher.publish(message.topic, message.payload, retain=message.retain)
                advance()
        publisher.wait_for_all()
        summary.content["acknowledged"] = publisher.counts.acknowledged


def _address(settings: "Settings") -> "BrokerAddress":
    """Find the broker: the one of the settings, or the local one with the login that may publish for any site."""
    from deploy.local import LocalServers, default_directory
    from deploy.servers import endpoints
    from devices.mqtt_url import parse

    given = settings.mqtt_publish_url or settings.mqtt_url
    if given is not None:
        return parse(given.get_secret_value(), settings.mqtt_tls)
    # Asking for the broker starts the local servers where they are not running.
    assert endpoints(settings).mqtt_url  # noqa: S101
    return parse(LocalServers(default_directory()).environment()["JCM_MRV_MQTT_PUBLISH_URL"])


def _paced(messages: "Iterable[Message]", speed: float | str) -> "Iterator[Message]":
    """Let messages pass as their times do, so much faster, counted from the start: a pause is caught up with."""
    if speed == _MAX:
        yield from messages
        return
    factor = 1.0 if speed == _REALTIME else float(speed)
    first = time.time() if speed == _REALTIME else None
    started = time.monotonic()
    for message in messages:
        first = message.at if first is None else first
        early = started + (message.at - first) / factor - time.monotonic()
        if early > _PACE_S:
            sys.stdout.flush()
            time.sleep(early)
        yield message


def _shown(payload: bytes) -> str:
    """Print text as it is and anything else, such as Sparkplug's protobuf, as its bytes in hexadecimal."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return f"hex:{payload.hex()}"
    return text if text.isprintable() else f"hex:{payload.hex()}"


def _tell_connection(there: bool) -> None:
    said = "the broker is there again" if there else "the broker is away; waiting for it"
    click.echo(f"jcm-mrv: {said}", err=True)


def _progress() -> Any:
    """Show on a terminal how many messages went out."""
    if not sys.stderr.isatty():
        return nullcontext(lambda: None)
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn

    @contextmanager
    def shown() -> Iterator[Any]:
        columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed:,.0f} messages"))
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("publishing", total=None)
            count = 0

            def advance() -> None:
                nonlocal count
                count += 1
                if count % 500 == 0:
                    progress.update(task, completed=count)

            yield advance

    return shown()
