"""Starting servers that outlive us, and finding, signalling and awaiting them without trusting process ids in files.

A process is recognised by its command line in /proc, so a process id that was given to something else after a crash
is never mistaken for a server, and a zombie (whose command line is empty) never for a living one.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from deploy.errors import LocalServersError
from deploy.local.place import ServerUser, give

_PROC = Path("/proc")


def server_environment(home: Path) -> dict[str, str]:
    """Return the whole environment of a server: nothing of ours leaks into it."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "LC_ALL": "C",
        # The unpacked OpenSSL must not read the machine's configuration, which may name modules it does not have.
        "OPENSSL_CONF": "/dev/null",
    }


def run_as(
    user: ServerUser | None, argv: Sequence[str], *, home: Path, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end as the servers' user, in `home`."""
    return subprocess.run(
        argv,
        input=stdin,
        stdin=None if stdin is not None else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        cwd=home,
        env=server_environment(home),
        umask=0o077,
        **_identity(user),
    )


def spawn(user: ServerUser | None, argv: Sequence[str], *, home: Path, log: Path, held: Path) -> None:
    """Start a server in a session of its own, adopted by init, writing to `log` and holding a lock on `held`.

    `setsid --fork` (util-linux, essential in Debian) and not a child of ours: a child that dies while we live stays
    behind as a zombie whose process id PostgreSQL takes for a running server.
    The server and all it forks inherit the locked descriptor, so the lock is free exactly when the last of them is
    gone. That holds across containers that share a folder but not their process ids.

    Raises
    ------
    LocalServersError
        The lock is held: a server that we do not see uses this folder.
    """
    tool = shutil.which("setsid")
    if tool is None:
        raise LocalServersError("there is no setsid; install util-linux")
    with _open_for(user, held) as lock, _open_for(user, log) as output:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LocalServersError(unseen(home)) from error
        subprocess.run(
            [tool, "--fork", *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=True,
            cwd=home,
            env=server_environment(home),
            umask=0o077,
            pass_fds=[lock.fileno()],
            **_identity(user),
        )


def unseen(home: Path) -> str:
    """Say that a lock is held by nobody we can see."""
    return f"a server that cannot be seen from here uses {home}, perhaps in a container; stop it there"


def is_held(held: Path) -> bool:
    """Say whether a server holds its lock."""
    try:
        file = held.open("rb")
    except FileNotFoundError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def find_by_command(argv: Sequence[str]) -> int | None:
    """Return the process that runs this command line, or nothing; of the executable only the name counts.

    The packages may have been unpacked anew since it was started. A server's fresh child still bears its parent's
    command line; of several processes the parent counts.
    """
    arguments = b"".join(b"\0" + os.fsencode(part) for part in argv[1:]) + b"\0"
    name = os.fsencode(Path(argv[0]).name)
    found = []
    for pid, command in _commands():
        if command.endswith(arguments) and command[: -len(arguments)].rpartition(b"/")[2] == name:
            found.append(pid)
    parents = [pid for pid in found if _parent(pid) not in found]
    return min(parents) if parents else None


def find_by_title(prefix: str) -> list[int]:
    """Return the processes whose title (what a server writes over its command line) begins with `prefix`."""
    wanted = os.fsencode(prefix)
    return [pid for pid, command in _commands() if command.startswith(wanted)]


def wait_until(condition: Callable[[], bool], seconds: float, *, every: float = 0.02) -> bool:
    """Wait until `condition` holds; say whether it does."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(every)
    return True


def send(pids: Collection[int], signal_number: signal.Signals) -> None:
    """Send a signal to those that are still there."""
    for pid in pids:
        try:
            os.kill(pid, signal_number)
        except ProcessLookupError:
            continue
        except PermissionError as error:
            raise LocalServersError(
                f"process {pid} of the local servers belongs to another user; run as that user"
            ) from error


def tail(logs: Sequence[Path], lines: int = 5) -> str:
    """Return the last lines of the log that was written last, on one line."""
    written = [(path.stat().st_mtime, path) for path in logs if path.exists() and path.stat().st_size]
    if not written:
        return "its log is empty"
    newest = max(written)[1]
    with newest.open("rb") as file:
        file.seek(max(0, newest.stat().st_size - 4096))
        text = file.read().decode(errors="replace")
    return " / ".join(line.strip() for line in text.splitlines()[-lines:] if line.strip())


def _open_for(user: ServerUser | None, path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    give(path, user)
    return os.fdopen(descriptor, "ab")


def _identity(user: ServerUser | None) -> dict[str, Any]:
    return {} if user is None else {"user": user.uid, "group": user.gid, "extra_groups": []}


def _commands() -> list[tuple[int, bytes]]:
    found = []
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            try:
                found.append((int(entry.name), (entry / "cmdline").read_bytes()))
            except OSError:  # ended meanwhile
                continue
    return found


def _parent(pid: int) -> int:
    try:
        stat = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])
