"""Prometheus' own `promtool`: the machine's, or Debian's package unpacked into `.local`, installed nowhere."""

import fcntl
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

from deploy.errors import LocalServersError
from deploy.local import default_directory
from deploy.local.apt import PrivateApt, machine_archives, require_apt
from deploy.local.packages import unpack
from deploy.local.progress import QuietProgress

_PACKAGE = "promtool"
_INSTALL = "install Debian's package promtool, before Debian 13 prometheus"


def promtool() -> Path:
    """Return it, or skip the test with the reason."""
    found = _find()
    if isinstance(found, str):
        pytest.skip(found)
    return found


@cache
def _find() -> Path | str:
    """Return it, or why there is none; looked for once, because an archive that is away takes its time to say so."""
    installed = shutil.which("promtool")
    if installed is not None:
        return Path(installed)
    home = default_directory() / _PACKAGE
    home.mkdir(parents=True, exist_ok=True)
    found = home / "promtool"
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            try:
                _unpack(home, found)
            except (LocalServersError, OSError) as error:
                return f"there is no promtool: {_INSTALL} ({error})"
    done = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return f"the unpacked promtool does not run here: {_INSTALL} ({done.stderr.strip()})"
    return found


def _unpack(home: Path, found: Path) -> None:
    require_apt()
    with tempfile.TemporaryDirectory(prefix="making-", dir=home) as scratch:
        folder = Path(scratch)
        for name in ("apt", "debs", "root"):
            (folder / name).mkdir()
        apt = PrivateApt(folder / "apt")
        apt.update(machine_archives(folder / "apt"))
        # Without what it depends on: promtool needs the C library alone, and that of the machine will do.
        [package] = [one for one in apt.closure([_PACKAGE]) if one.name == _PACKAGE]
        unpack(apt.download([package], folder / "debs", QuietProgress()), folder / "root")
        (folder / "root/usr/bin/promtool").rename(found)
