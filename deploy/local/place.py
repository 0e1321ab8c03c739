"""Where the local servers live and as which user they run.

PostgreSQL refuses to run as root, so as root both servers run as another user, who must be able to enter the folder.
A clone below root's home (mode 0700) is not reachable for anybody else; then a folder below /var/tmp is taken.
"""

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import LocalServersError

_USERS = ("postgres", "nobody", "daemon")
_FALLBACK_NAME = "jcm-mrv-"
_FALLBACK_PARENT = Path("/var/tmp")  # noqa: S108 -- the folder is checked for owner, mode and symbolic links


@dataclass(frozen=True, slots=True)
class ServerUser:
    """The user that the servers run as, when it is not ourselves."""

    name: str
    uid: int
    gid: int


def default_directory() -> Path:
    """Return `<checkout>/.local` when this runs from a source checkout, else a folder for the user's data.

    `JCM_MRV_LOCAL_DIR` names another one.
    """
    named = os.environ.get("JCM_MRV_LOCAL_DIR")
    if named:
        return Path(named).expanduser().absolute()
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").exists():
        return checkout / ".local"
    data_home = os.environ.get("XDG_DATA_HOME", "")
    base = Path(data_home) if data_home.startswith("/") else Path.home() / ".local" / "share"
    return base / "jcm-mrv"


def server_user(data: Path) -> ServerUser | None:
    """Choose who runs the servers: ourselves (`None`) or, for root, the data's owner or an unprivileged user.

    Raises
    ------
    LocalServersError
        This is root and the machine has none of the users that could run a server.
    """
    if os.geteuid() != 0:
        return None
    names: list[str] = list(_USERS)
    try:
        owner = data.stat().st_uid
        if owner != 0:
            names.insert(0, pwd.getpwuid(owner).pw_name)
    except (FileNotFoundError, KeyError):
        pass
    for name in names:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return ServerUser(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise LocalServersError(
        f"PostgreSQL does not run as root and there is no user {', '.join(_USERS)}; run as an ordinary user"
    )


def reachable_directory(wanted: Path, user: ServerUser | None) -> Path:
    """Return `wanted`, or where `user` cannot enter it a folder below /var/tmp named after it; make neither.

    What lies in the default folder stays together there, so that its instances go on sharing the packages.
    """
    if user is None or _can_enter(_nearest_existing(wanted), user):
        return wanted
    base = default_directory().resolve()
    if not wanted.is_relative_to(base):
        base = wanted
    name = hashlib.sha256(os.fsencode(base)).hexdigest()[:12]
    return _FALLBACK_PARENT / f"{_FALLBACK_NAME}{name}" / wanted.relative_to(base)


def make_directory(path: Path, user: ServerUser | None) -> None:
    """Make a folder of ours that `user` can enter and nobody but us can write to.

    Raises
    ------
    LocalServersError
        It is there and is a symbolic link, somebody else's, or open for others to write.
    """
    mode = 0o700 if user is None else 0o755
    if path.parent.parent == _FALLBACK_PARENT and path.parent.name.startswith(_FALLBACK_NAME):
        make_directory(path.parent, user)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=mode, exist_ok=True)
        found = path.lstat()
    except PermissionError as error:
        raise LocalServersError(
            f"{path} cannot be made ({error.strerror}); choose another folder with --dir"
        ) from error
    except OSError as error:
        raise LocalServersError(f"{path} cannot be made: {error.strerror}; choose another folder with --dir") from error
    if not stat.S_ISDIR(found.st_mode):
        raise LocalServersError(f"{path} is not a folder but a link or a file; choose another folder with --dir")
    if found.st_uid != os.geteuid():
        owner = _user_name(found.st_uid)
        raise LocalServersError(f"{path} belongs to {owner}; run as {owner} or choose another folder with --dir")
    if found.st_mode & 0o022 and path.is_relative_to(_FALLBACK_PARENT):
        raise LocalServersError(f"{path} can be written to by others; delete it")
    if user is not None and found.st_mode & 0o055 != 0o055:
        path.chmod(stat.S_IMODE(found.st_mode) | 0o055)


def give(path: Path, user: ServerUser | None) -> None:
    """Make `user` the owner of `path`."""
    if user is not None:
        os.chown(path, user.uid, user.gid, follow_symlinks=False)


def write_private(path: Path, text: str, user: ServerUser | None = None) -> None:
    """Write a file with mode 0600 that is either the old or the new one, whole, and belongs to `user`."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    give(part, user)
    part.rename(path)


def size_bytes(folder: Path) -> int:
    """Return how much disk the files below `folder` take, as far as we may look."""
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512  # noqa: PTH118 -- thousands of files
            except OSError:
                continue
    return total


def _nearest_existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _can_enter(path: Path, user: ServerUser) -> bool:
    tool = shutil.which("test") or "/usr/bin/test"
    try:
        done = subprocess.run(
            [tool, "-x", str(path)],
            user=user.uid,
            group=user.gid,
            extra_groups=[],
            cwd="/",
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except PermissionError:
        # Root without CAP_SETUID, as a systemd unit has it, runs nothing as that user.
        return False
    return done.returncode == 0


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
