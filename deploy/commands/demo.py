"""`jcm-mrv demo`."""

import signal

import click


@click.command()
@click.option("--exit", "then_exit", is_flag=True, help="End after the report, with status 0.")
def demo(*, then_exit: bool) -> None:
    """Show it all: local servers, a demo site, real measurements through MQTT, its report, and live collecting."""
    from rich.console import Console

    from deploy.demo import Demo
    from deploy.local import LocalServers, default_directory
    from deploy.servers import endpoints
    from deploy.settings import load_settings

    # What began in it ends with it, also where something else than a person ends it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = load_settings()
    home = LocalServers(default_directory())
    uses_local = settings.database_url is None or settings.mqtt_url is None
    was_running = uses_local and home.status().running
    console = Console()
    try:
        Demo(console, endpoints(settings), default_directory() / "demo").run(then_exit=then_exit)
    finally:
        if uses_local and not was_running:
            home.stop()
            console.print("[dim]·[/dim] the local servers are stopped; `jcm-mrv local start` starts them again")
