"""`jcm-mrv replay`: publish recorded readings through MQTT, as the site's gateway would have."""

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from devices.publisher import Publisher
    from devices.recording import Census, Fold, Message

# Looking at the clock for every message costs more than publishing it evenly is worth.
_PACE_S = 0.02


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--site", required=True, help="Site that the readings belong to.")
@click.option("--device", help="Device that all readings of the file belong to.")
@click.option("--device-column", metavar="C", help="Column with the device of each row.")
@click.option("--time-column", metavar="C", required=True, help="Column with the time of each row.")
@click.option("--time-format", metavar="F", help="As of strptime, such as '%d-%m-%Y %H:%M'; by default ISO 8601.")
@click.option("--tz", "zone", metavar="Z", required=True, help="Time zone of times without an offset.")
@click.option(
    "--map",
    "maps",
    metavar="COL=POINT[:UNIT]",
    required=True,
    multiple=True,
    help="A column, the point it is and its unit, such as AC_POWER=W:kW; may be given again.",
)
@click.option(
    "--fold",
    type=click.Choice(["first", "second"]),
    help="Which hour is meant where clocks were set back; by default such a time is refused.",
)
@click.option("--no-wait", is_flag=True, help="Do not wait until a collector has committed what was published.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Messages a second; by default full speed.")
def replay(
    file: Path,
    *,
    site: str,
    device: str | None,
    device_column: str | None,
    time_column: str,
    time_format: str | None,
    zone: str,
    maps: tuple[str, ...],
    fold: "Fold | None",
    rate: float | None,
    no_wait: bool,
) -> None:
    """Publish the readings of a CSV or Parquet FILE to the broker; end when it acknowledged every one.

    Where the database is at hand, it also waits until a collector has committed them.

    The whole file is read once before anything is published, so that a mistake in it publishes nothing.
    """
    if (device is None) == (device_column is None):
        raise click.UsageError("give either --device or --device-column")
    from deploy.committed import PATIENCE_S, committed, wait_for_commit
    from deploy.servers import endpoints
    from deploy.settings import load_settings
    from devices.errors import UnknownUnitError
    from devices.mqtt_url import parse
    from devices.publisher import Publisher
    from devices.recording import Census, Recording, column, messages
    from devices.time_zones import time_zone

    try:
        recording = Recording(
            path=file,
            site=site,
            device=device,
            device_column=device_column,
            time_column=time_column,
            time_format=time_format,
            zone=time_zone(zone),
            columns=[column(text) for text in maps],
            fold=fold,
        )
    except UnknownUnitError as error:
        raise click.BadParameter(str(error), param_hint="--map") from None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--tz") from None
    census = Census()
    for _ in _with_progress(messages(recording, census), f"reading {file.name}", None):
        pass
    settings = load_settings()
    servers = endpoints(settings)
    address = parse(servers.publish_url(site), servers.settings.mqtt_tls)
    before = None if no_wait else committed(servers, site)
    started = time.monotonic()
    with Publisher(
        address, version=settings.mqtt_version, must_be_heard=True, on_connection=_tell_connection
    ) as publisher:
        for message in _with_progress(_paced(messages(recording), rate), f"publishing to {site}", census.messages):
            publisher.publish(message.topic, message.payload)
        publisher.wait_for_all()
    click.echo(_summary(publisher, census, time.monotonic() - started))
    if before is not None:
        missing = wait_for_commit(servers, site, before, publisher.counts.published)
        if missing:
            click.echo(
                f"jcm-mrv: {missing:,} of them are not committed yet, and no more have been for {PATIENCE_S:.0f} s; "
                "the broker keeps them for its collector",
                err=True,
            )


def _summary(publisher: "Publisher", census: "Census", seconds: float) -> str:
    done = publisher.counts.acknowledged
    devices = len(census.devices)
    empty = f", {census.rows_without_values:,} rows without a value left out" if census.rows_without_values else ""
    return (
        f"{done:,} messages of {devices} {'device' if devices == 1 else 'devices'} acknowledged in {seconds:.1f} s "
        f"({done / max(seconds, 0.001):,.0f} a second){empty}"
    )


def _tell_connection(there: bool) -> None:
    said = "the broker is there again" if there else "the broker is away; waiting for it"
    click.echo(f"jcm-mrv: {said}", err=True)


def _paced(messages: "Iterable[Message]", rate: float | None) -> "Iterator[Message]":
    """Let messages pass at a rate, counted from the start, so that a pause is caught up with."""
    if rate is None:
        yield from messages
        return
    started = time.monotonic()
    for number, message in enumerate(messages):
        early = started + number / rate - time.monotonic()
        if early > _PACE_S:
            time.sleep(early)
        yield message


def _with_progress(messages: "Iterable[Message]", title: str, total: int | None) -> "Iterator[Message]":
    if not sys.stderr.isatty():
        yield from messages
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        *((BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) if total else (MofNCompleteColumn(),)),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=total)
        for number, message in enumerate(messages):
            yield message
            if number % 500 == 0:
                progress.update(task, completed=number + 1)
