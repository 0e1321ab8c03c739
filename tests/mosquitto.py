"""A Mosquitto of a test's own, from the project's packages, with a configuration that the test chooses."""

import os
import re
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local import LocalServers
from deploy.local.packages import find_packages
from deploy.local.processes import server_environment
from tests.harness import wait_until


@dataclass
class OwnMosquitto:
    """A child process; `configuration` and everything that it names lies in `folder`."""

    servers: LocalServers
    folder: Path
    configuration: str
    port: int
    process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def start(self) -> None:
        packages = find_packages(self.servers.packages)
        assert packages is not None
        head = "log_dest stderr\nlog_type all\npersistence_location " + f"{self.folder}{os.sep}\n"
        # Started by root it would become another user, who cannot enter pytest's folder.
        head += "user root\n" if os.geteuid() == 0 else ""
        (self.folder / "mosquitto.conf").write_text(head + self.configuration)
        with (self.folder / "log").open("ab") as log:
            before = self._began()
            self.process = subprocess.Popen(
                [str(packages.mosquitto), "-c", str(self.folder / "mosquitto.conf")],
                stdout=log, stderr=log, env=server_environment(self.folder), cwd=self.folder,
            )  # fmt: skip
        # A port answers before the next one is open: Mosquitto says itself when all listeners stand.
        try:
            wait_until(lambda: self._runs(before), what="Mosquitto runs")
        except AssertionError:
            self.stop()
            raise

    def reload(self) -> None:
        assert self.process is not None
        before = self.log.count("Reloading config.")
        self.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.log.count("Reloading config.") > before, what="Mosquitto reloads")

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)

    def _began(self) -> int:
        return len(re.findall(r"mosquitto version \S+ running", self.log))

    def _runs(self, before: int) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        return self._began() > before
