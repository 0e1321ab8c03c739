"""`jcm-mrv gateway`: the edge gateway, at the site."""

import contextlib
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploy.errors import ConfigurationError

if TYPE_CHECKING:
    from devices.gateway.config import Configuration


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Read every device once, show what it says, publish nothing.")
def gateway(file: Path, *, check: bool) -> None:
    """Poll the devices that FILE names, keep their readings, publish them; until SIGTERM or Ctrl-C.

    FILE is TOML; `docs/gateway.md` explains it. The broker's login comes from JCM_MRV_MQTT_PUBLISH_URL.
    """
    try:
        from devices.gateway.config import load
        from devices.gateway.gateway import Gateway
    except ModuleNotFoundError as error:
        if error.name not in {"pymodbus", "serial", "sunspec2"}:
            raise
        raise ConfigurationError(
            f"the gateway needs {error.name}, which is not installed; `pip install 'jcm-mrv[gateway]'` brings it"
        ) from None
    configuration = load(file)
    if check:
        _check(configuration)
        return
    from deploy import logs
    from deploy.notify import Watched
    from deploy.settings import load_settings
    from deploy.signals import on_end
    from devices.errors import CertificateExpiredError
    from devices.mqtt_url import parse
    from devices.tls import TlsFiles
    from ingest.liveness import Check

    settings = load_settings()
    logs.configure(settings.log_format)
    given = settings.mqtt_publish_url
    url = given.get_secret_value() if given is not None else configuration.gateway.broker
    if url is None:
        raise ConfigurationError(
            f"{file} names no broker; give it with its login in JCM_MRV_MQTT_PUBLISH_URL, or without one as `broker`"
        )
    # What the environment names wins, the pair as a whole.
    own, named = configuration.gateway.tls_files, settings.mqtt_tls
    pair = named if named.certificate or named.key else own
    address = parse(url, TlsFiles(named.authorities or own.authorities, pair.certificate, pair.key))
    if address.tls:
        # What cannot be read is said now, not at every attempt to connect. A certificate that has ended stops nothing:
        # the devices are polled, and what they say is kept until there is another.
        with contextlib.suppress(CertificateExpiredError):
            address.tls_context()
    made = Gateway(configuration, address, version=version("jcm-mrv"))

    def live() -> list[Check]:
        return [Check(name, passed=False, said="ended, or does not go round") for name in made.stuck()]

    watched = Watched(live, status=lambda: "publishing" if made.forwarder.connected else "the broker is away")
    on_end(watched.ending(made.stop))
    with watched:
        made.run()


def _check(configuration: "Configuration") -> None:
    from devices.errors import PollError
    from devices.gateway.gateway import lines

    failed = 0
    for bus, pollers in lines(configuration):
        for poller in pollers:
            try:
                points = poller.poll()
            except PollError as error:
                failed += 1
                click.echo(f"{poller.device.id}: {error}")
                continue
            said = ", ".join(f"{name} {value}" for name, value in points.items()) or "answers, and gives no value"
            click.echo(f"{poller.device.id}: {said}")
        bus.close()
    if failed:
        raise ConfigurationError(
            f"{failed} of {len(configuration.devices)} devices gave no reading; see that they are connected as declared"
        )
