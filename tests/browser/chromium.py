"""Debian's Chromium, installed where that can be done, and else a reason that names the packages.

The browser that Playwright would fetch for itself comes from a host of its own; Debian's comes from where the machine
gets its packages from anyway.
"""

import os
import shutil
import subprocess
from pathlib import Path

PACKAGES = ("chromium", "fonts-noto-cjk", "fonts-thai-tlwg")
_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
_INSTALLING_S = 240


def find() -> Path | None:
    """Return the browser on the PATH."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    return Path(found) if found else None


def install() -> str:
    """Install it as root with the machine's own apt; return why not, or nothing."""
    asked = f"install {' '.join(PACKAGES)}"
    if os.geteuid() != 0:
        return f"there is no Chromium here; {asked}"
    if shutil.which("apt-get") is None:
        return f"there is no Chromium and no apt-get here; {asked}"
    for arguments in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
        try:
            done = subprocess.run(
                ["apt-get", "--quiet=2", *arguments],
                env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
                capture_output=True, text=True, errors="replace", timeout=_INSTALLING_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"apt-get {arguments[0]} takes longer than {_INSTALLING_S} s; {asked}"
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            return f"apt-get {arguments[0]} failed ({said[-1] if said else done.returncode}); {asked}"
    return "" if find() else f"apt-get brought no browser; {asked}"
