"""The demo: the product as it is, with a demo site's real measurements, on one screen.

Every step is what a person would type: apply, collect, publish over MQTT, freeze, report, status. The collector runs as
a process of its own, as it would in service.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from deploy.access import accounts, tokens
from deploy.access.principal import AccountRole, Scope
from deploy.commands.status import as_table
from deploy.committed import committed, wait_for_commit
from deploy.errors import DemoError, HealthServerError
from deploy.files import write_whole
from deploy.period_view import show
from deploy.registry import apply
from deploy.servers import Endpoints
from deploy.web.server import WebServer
from devices import declaration_file, demo_site
from devices.mqtt_url import parse
from devices.publisher import Publisher
from ingest.health import Count, Health, health, last_registers
from mrv import periods
from mrv.reports import Format, render
from mrv.revisions import Revision
from sql.connection import Role, connect, reported
from sql.migrator import migrate

# A gateway in the field publishes every minute or so; a person who watches wants to see something move.
LIVE_STEP_S = 5.0
_COLLECTOR_S = 30.0
_ORGANISATIONS = {
    AccountRole.VERIFIER: demo_site.THIRD_PARTY_ENTITY,
    AccountRole.OPERATOR: demo_site.PARTICIPANT,
}


@dataclass(frozen=True)
class Demo:
    """One run of the demo."""

    console: Console
    servers: Endpoints
    folder: Path
    """Where the reports and the collector's log go."""

    def run(self, *, then_exit: bool) -> None:
        """Declare, collect, publish, freeze and report; then keep going until Ctrl-C, or end.

        Raises
        ------
        DemoError
            The collector does not start or does not commit what was published.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with reported():
            migrate(self.servers.database_url, code_version=version("jcm-mrv"))
            self._declare()
            with self._collector():
                self._publish()
                revision = self._freeze()
                self._report(revision)
                if then_exit:
                    return
                with suppress(KeyboardInterrupt), self._pages():
                    self._keep_collecting()

    def _declare(self) -> None:
        declaration = declaration_file.parse(demo_site.declaration(), "the demo's declaration")
        with connect(self.servers.database_url, Role.OWNER, application="jcm-mrv demo") as connection:
            apply(connection, [("the demo's declaration", declaration)])
        self._step(f"declared project {demo_site.PROJECT}, site {demo_site.SITE}, {len(declaration.devices)} devices")

    @contextmanager
    def _collector(self) -> Iterator[None]:
        log = self.folder / "collector.log"
        environment = os.environ | {
            "JCM_MRV_DATABASE_URL": self.servers.database_url,
            "JCM_MRV_MQTT_URL": self.servers.mqtt_url,
            # A collector that already runs keeps its own session.
            "JCM_MRV_MQTT_CLIENT_ID": "jcm-mrv-demo",
            "JCM_MRV_LOG_FORMAT": "console",
        }
        with log.open("w", encoding="utf-8") as output:
            # A session of its own: Ctrl-C is the demo's to hear, which then stops the collector as a service would be.
            process = subprocess.Popen(
                [sys.executable, "-m", "deploy.cli", "collect"],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                _wait(
                    lambda: _started(process, log),
                    _COLLECTOR_S,
                    lambda: f"the collector does not start; its log is {_shown(log)}",
                )
                self._step(f"collecting: process {process.pid}, its log is {_shown(log)}")
                yield
            finally:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def _publish(self) -> None:
        messages = list(demo_site.payloads())
        before = committed(self.servers, demo_site.SITE) or 0
        self._step("publishing five days of real measurements over MQTT, QoS 1, as the site's gateway")
        columns = (TextColumn("  readings"), BarColumn(), MofNCompleteColumn())
        with (
            self._gateway() as publisher,
            Progress(*columns, console=self.console, transient=True) as progress,
        ):
            for topic, payload in progress.track(messages):
                publisher.publish(topic, payload)
        missing = wait_for_commit(self.servers, demo_site.SITE, before, len(messages))
        if missing:
            raise DemoError(f"{missing} of {len(messages)} messages were not committed; the collector's log says why")
        account = self._account()
        self._step(
            f"committed: {account.received:,} messages = {account.stored:,} stored + {account.duplicate:,} duplicate"
            f" + {account.conflict:,} conflict + {account.quarantined:,} quarantined"
        )

    def _freeze(self) -> Revision:
        days = demo_site.period()
        with connect(self.servers.database_url, Role.MRV, application="jcm-mrv demo") as connection:
            frozen = periods.freeze(connection, demo_site.PROJECT, *days, code_version=version("jcm-mrv"))
            revision = periods.recompute(connection, demo_site.PROJECT, *days, frozen.revision.number)
        how = "frozen" if frozen.new else "nothing new since it was frozen"
        self._step(f"revision {revision.number}: {how}, and computed again to the same byte")
        self.console.print()
        show(self.console, revision.result)
        self.console.print()
        return revision

    def _report(self, revision: Revision) -> None:
        result = revision.result
        reports: tuple[tuple[Format, str], ...] = (
            ("xlsx", "the JCM Monitoring Report Sheet"),
            ("html", "a page to read or print"),
            ("json", "for scripts"),
        )
        for report_format, what in reports:
            path = self.folder / f"{result.project}-{result.first_day}-{result.last_day}.{report_format}"
            write_whole(path, render(result, revision.basis.declaration, report_format))
            self._step(f"{_shown(path)}: {what}")

    @contextmanager
    def _pages(self) -> Iterator[None]:
        """Serve the pages, and say how somebody signs in as each of the two who work with them."""
        server = _web_server(self.servers)
        thread = threading.Thread(target=server.run, name="jcm-mrv-web")
        thread.start()
        try:
            self._step(f"pages: {server.url}; sign in with one of these tokens, which are valid for a day")
            for role in _ORGANISATIONS:
                self.console.print(
                    f"    {role}: [bold]{self._token(f'demo-{role}', role)}[/bold]", highlight=False, soft_wrap=True
                )
            yield
        finally:
            server.stop()
            thread.join()

    def _token(self, name: str, role: AccountRole) -> str:
        with connect(self.servers.database_url, Role.SERVICE, application="jcm-mrv demo") as connection:
            if name not in {account.name for account in accounts.list_accounts(connection)}:
                accounts.add(connection, name, f"Demo {role}", _ORGANISATIONS[role])
            accounts.grant(connection, name, role, demo_site.PROJECT)
            return tokens.issue(connection, name, "demo", tuple(Scope), timedelta(days=1)).token

    def _keep_collecting(self) -> None:
        self.console.print(
            "\nThe site keeps publishing, simulated from now on, and the collector keeps collecting. Ctrl-C ends it.\n"
        )
        with (
            self._gateway() as publisher,
            connect(self.servers.database_url, Role.READER, application="jcm-mrv demo") as connection,
            Live(console=self.console, auto_refresh=False) as live,
        ):
            site = demo_site.LiveSite(last_registers(connection, demo_site.SITE))
            due = time.monotonic()
            while True:
                if time.monotonic() >= due:
                    due += LIVE_STEP_S
                    publisher.publish_all(site.payloads(datetime.now(UTC)))
                live.update(as_table(_demo_only(health(connection))), refresh=True)
                time.sleep(1)

    def _gateway(self) -> Publisher:
        address = parse(self.servers.publish_url(demo_site.SITE), self.servers.settings.mqtt_tls)
        return Publisher(address, version=self.servers.settings.mqtt_version, must_be_heard=True)

    def _account(self) -> Count:
        with connect(self.servers.database_url, Role.READER, application="jcm-mrv demo") as connection:
            messages, _ = _demo_only(health(connection)).total()
        return messages

    def _step(self, text: str) -> None:
        self.console.print(f"[dim]·[/dim] {text}", highlight=False, soft_wrap=True)


def _web_server(servers: Endpoints) -> WebServer:
    with suppress(HealthServerError):
        return WebServer(servers)
    # Something else has the usual port.
    return WebServer(servers, 0)


def _demo_only(found: Health) -> Health:
    return Health(found.at, [site for site in found.sites if site.site == demo_site.SITE])


def _wait(done: Callable[[], bool], timeout_s: float, failed: Callable[[], str]) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline:
            raise DemoError(failed())
        time.sleep(0.1)


def _started(process: "subprocess.Popen[bytes]", log: Path) -> bool:
    said = log.read_text(encoding="utf-8")
    if process.poll() is not None:
        raise DemoError(f"the collector ended: {said.strip().splitlines()[-1] if said.strip() else 'it said nothing'}")
    return "collector_started" in said


def _shown(path: Path) -> Path:
    """Name a file as a person in the present folder would."""
    with suppress(ValueError):
        return path.relative_to(Path.cwd())
    return path
