"""Bring the list of revoked certificates to the broker on this machine, and have it read it.

Mosquitto reads `crlfile`, and its own certificate and key, again on SIGHUP (2.0.21, tested). Where it cannot read the
list then, it goes on without one and lets revoked certificates in; so that is looked at first.
"""

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path

from deploy.authority import write_public
from deploy.errors import BrokerReloadError

_PROC = Path("/proc")


def bring(revocations: Path, crl_file: Path) -> None:
    """Write the list where the broker reads it, the old one or the new one at any moment.

    Raises
    ------
    BrokerReloadError
        It cannot be written there.
    """
    try:
        if crl_file.exists() and crl_file.samefile(revocations):
            return
        write_public(crl_file, revocations.read_bytes())
    except OSError as error:
        raise BrokerReloadError(
            f"{crl_file} cannot be written: {error.strerror or error}; the broker still goes by its former list"
        ) from None


def reload_broker(pid_file: Path, crl_file: Path) -> int:
    """Send the broker SIGHUP, if it can read the list; give its process.

    Raises
    ------
    BrokerReloadError
        There is no such broker, it may not be signalled, or it could not read the list.
    """
    try:
        pid = int(pid_file.read_text(encoding="ascii"))
        name = (_PROC / str(pid) / "comm").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        raise BrokerReloadError(f"no broker runs by {pid_file}; it reads the list when it starts") from None
    if name != "mosquitto":
        raise BrokerReloadError(f"process {pid} in {pid_file} is {name}, not mosquitto; nothing was sent to it")
    _check_readable(crl_file, pid)
    try:
        os.kill(pid, signal.SIGHUP)
    except ProcessLookupError:
        raise BrokerReloadError(f"no broker runs by {pid_file}; it reads the list when it starts") from None
    except PermissionError:
        raise BrokerReloadError(
            f"the broker (process {pid}) belongs to another user; run as root, or `systemctl reload mosquitto`"
        ) from None
    return pid


def _check_readable(crl_file: Path, pid: int) -> None:
    """See that the broker's user can read the list; who is not root signals processes of its own user only."""
    owner = (_PROC / str(pid)).stat().st_uid
    if os.geteuid() != 0 or owner == 0:
        return
    tool = shutil.which("test") or "/usr/bin/test"
    group = pwd.getpwuid(owner).pw_gid
    done = subprocess.run(
        [tool, "-r", str(crl_file.absolute())], user=owner, group=group, extra_groups=[], cwd="/", check=False
    )
    if done.returncode != 0:
        raise BrokerReloadError(
            f"the broker's user cannot read {crl_file}, and a broker that cannot read its list goes on without one; "
            "let it enter the folder, then run this again"
        )
