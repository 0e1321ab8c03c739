"""PostgreSQL's own programs: found in the version of the server, and given the login by their environment only."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from psycopg import pq

from deploy.keeping.errors import ToolError
from deploy.local import LocalServers, default_directory
from deploy.local.packages import find_packages

_CHUNK = 1 << 20


def find_tool(name: str, major: int, folders: list[Path] | None = None) -> Path:
    """Find `pg_dump` or `pg_restore` in a server's major version, or the nearest newer one.

    Parameters
    ----------
    folders
        Where to look; by default the local servers' packages, the path, and where Debian puts each version.

    Raises
    ------
    ToolError
        There is none, or all are older than the server, which they refuse to work with.
    """
    found: dict[Path, int] = {}
    for folder in _folders() if folders is None else folders:
        path = folder / name
        if os.access(path, os.X_OK) and path not in found:
            version = _major(path)
            if version is not None:
                found[path] = version
    usable = {path: version for path, version in found.items() if version >= major}
    if usable:
        return min(usable, key=lambda path: usable[path])
    older = ", ".join(f"{path} ({version})" for path, version in found.items())
    raise ToolError(
        f"the server is PostgreSQL {major} and "
        + (f"{name} is older here: {older}" if found else f"there is no {name} here")
        + f"; install postgresql-client-{major}"
    )


def _folders() -> list[Path]:
    # Where they really are: as root not below a home that the servers' user cannot enter.
    packages = find_packages(LocalServers(default_directory()).packages)
    return [
        *([] if packages is None else [packages.postgres_bin]),
        *(Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder),
        *sorted(Path("/usr/lib/postgresql").glob("*/bin")),
    ]


def _major(path: Path) -> int | None:
    try:
        done = subprocess.run([str(path), "--version"], capture_output=True, text=True, check=False, timeout=30)
    except OSError:
        return None
    match = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
    return int(match[1]) if match else None


def environment_of(url: str) -> dict[str, str]:
    """Put a connection string into libpq's variables, so that no password stands where `ps` shows it."""
    given = {
        option.envvar.decode(): option.val.decode()
        for option in pq.Conninfo.parse(url.encode())
        if option.val is not None and option.envvar is not None
    }
    return {**os.environ, "PGAPPNAME": "jcm-mrv", **given, "LC_ALL": "C"}


@contextmanager
def running(command: list[str], url: str, *, writes: bool) -> Iterator[IO[bytes]]:
    """Run a program on a database, and give what it writes, or with `writes` what it reads.

    Raises
    ------
    ToolError
        It could not be started or failed; the message carries its own first error. Raised at the end of the block.
    """
    name = Path(command[0]).name
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                command,
                env=environment_of(url),
                stdin=subprocess.PIPE if writes else subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if writes else subprocess.PIPE,
                stderr=said,
            )
        except OSError as error:
            raise ToolError(f"{command[0]} cannot be started: {error.strerror}") from None
        stream = process.stdin if writes else process.stdout
        assert stream is not None  # noqa: S101 - a pipe was asked for
        try:
            # A program that ends early breaks the pipe; why it did is said below.
            with suppress(BrokenPipeError):
                yield stream
            with suppress(BrokenPipeError):
                stream.close()
            status = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            with suppress(BrokenPipeError):
                stream.close()
        if status != 0:
            said.seek(0)
            raise ToolError(f"{name} failed: {_first_error(said.read().decode(errors='replace'), status)}")


def _first_error(text: str, status: int) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\b(error|FATAL):", line)]
    first = (errors or lines or [f"exit status {status}"])[0]
    return re.sub(r"^\S+: error: ", "", first)


def pieces(source: IO[bytes]) -> Iterator[bytes]:
    """Read a stream piece by piece."""
    while piece := source.read(_CHUNK):
        yield piece
