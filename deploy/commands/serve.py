"""`jcm-mrv serve`."""

import click


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), help="The port; otherwise JCM_MRV_WEB_PORT. 0: a free one.")
def serve(*, port: int | None) -> None:
    """Serve the pages of verifiers and operators, the API, /metrics, /livez and /readyz; until SIGTERM or Ctrl-C."""
    from deploy.signals import Ending

    ending = Ending()

    from deploy import logs
    from deploy.notify import Watched
    from deploy.servers import endpoints
    from deploy.settings import load_settings
    from deploy.web.server import WebServer

    settings = load_settings()
    logs.configure(settings.log_format)
    server = WebServer(endpoints(settings), port)
    watched = Watched(server.live, ready=lambda: server.started, status=lambda: f"serving at {server.url}")
    ending.stops(watched.ending(server.stop))
    with watched:
        server.run()
