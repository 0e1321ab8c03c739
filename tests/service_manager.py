"""What systemd would hear of a service: the other end of the notification socket."""

import socket
import time
from pathlib import Path


class Manager:
    """systemd's end of the notification socket."""

    def __init__(self, path: Path, watchdog_s: float = 30) -> None:
        self.path, self.watchdog_s = path, watchdog_s
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.heard: list[str] = []

    @property
    def environment(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": str(self.path), "WATCHDOG_USEC": str(int(self.watchdog_s * 1e6))}

    def listen(self, seconds: float = 0.05) -> list[str]:
        """Return what is heard from now on, for so long."""
        now, end = [], time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                now += self._socket.recv(4096).decode().split("\n")
            except TimeoutError:
                break
        self.heard += now
        return now

    def close(self) -> None:
        self._socket.close()

    def hears(self, line: str) -> bool:
        self.listen()
        return line in self.heard
