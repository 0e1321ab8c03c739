"""Saying what takes time: a bar on a terminal, plain lines elsewhere."""

import sys
from typing import Protocol, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
from rich.progress import Progress as RichBar


class Progress(Protocol):
    """Who is told about slow steps."""

    def step(self, text: str) -> None:
        """Begin a step; it ends where the next one begins."""

    def download(self, done_bytes: int, total_bytes: int) -> None:
        """Say how much of a download is there."""

    def close(self) -> None:
        """Leave the terminal as it was, also after a failure."""


class QuietProgress:
    """Says nothing."""

    def step(self, text: str) -> None:
        """Say nothing."""

    def download(self, done_bytes: int, total_bytes: int) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Do nothing."""


class PlainProgress:
    """One line a step and one for each quarter of a download, for logs and pipes."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._quarter = 0

    def step(self, text: str) -> None:
        """Print the step."""
        self._quarter = 0
        print(text, file=self._stream, flush=True)

    def download(self, done_bytes: int, total_bytes: int) -> None:
        """Print each quarter once."""
        quarter = 4 * done_bytes // total_bytes if total_bytes else 4
        if quarter > self._quarter:
            self._quarter = quarter
            print(f"  {done_bytes / 1e6:.1f} of {total_bytes / 1e6:.1f} MB", file=self._stream, flush=True)

    def close(self) -> None:
        """Do nothing."""


class RichProgress:
    """Steps as lines and downloads as a bar, on a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console if console is not None else Console(stderr=True)
        self._bar: RichBar | None = None

    def step(self, text: str) -> None:
        """Print the step."""
        self.close()
        self._console.print(f"[dim]·[/dim] {escape(text)}", highlight=False, soft_wrap=True)

    def download(self, done_bytes: int, total_bytes: int) -> None:
        """Move the bar; take it away when all is there."""
        if self._bar is None:
            self._bar = RichBar(
                TextColumn("  download"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=self._console
            )
            self._bar.start()
            self._bar.add_task("download", total=total_bytes)
        self._bar.update(self._bar.task_ids[0], completed=done_bytes)
        if done_bytes >= total_bytes:
            self.close()

    def close(self) -> None:
        """Take the bar away and show the cursor again."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def progress_for(stream: TextIO | None = None) -> Progress:
    """Choose by whether `stream` (standard error by default) is a terminal."""
    stream = stream if stream is not None else sys.stderr
    if stream.isatty():
        return RichProgress(Console(file=stream))
    return PlainProgress(stream)
