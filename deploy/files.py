"""Files that commands write for a person: whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.errors import OutputError


def check_writable(path: Path) -> None:
    """See that a file can be made there, before the work that fills it.

    Raises
    ------
    OutputError
        The folder is missing or closed, or the path is a folder.
    """
    folder = path.resolve().parent
    if not folder.is_dir():
        raise OutputError(f"{path} cannot be written: there is no folder {folder}; make it or choose another --out")
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give --out the name of a file")
    if not os.access(path if path.exists() and not path.is_file() else folder, os.W_OK):
        raise OutputError(f"{path} cannot be written: permission denied; choose another --out")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Raises
    ------
    OutputError
        The file system refused.
    """
    check_writable(path)
    with _told(path):
        if path.exists() and not path.is_file():
            # A device or a pipe, such as /dev/stdout, is written to, not replaced; it has no name to resolve to.
            path.write_bytes(content)
            return
        target = path.resolve()
        beside = target.with_name(f".{target.name[:200]}.{os.getpid()}")
        try:
            with beside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give the path of a file to be filled, for its owner alone, that replaces `path` when the block ends well.

    Raises
    ------
    OutputError
        It cannot be made there.
    """
    check_writable(path)
    if path.exists() and not path.is_file():
        raise OutputError(f"{path} is no file; give --out the name of a file")
    target = path.resolve()
    beside = target.with_name(f".{target.name[:200]}.{os.getpid()}")
    try:
        with _told(path):
            os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        try:
            yield beside
        except OSError as error:
            # A full disk, but perhaps something else that the block needs: the error names the file it was at.
            raise OutputError(f"{path} was not written: {error}") from error
        with _told(path):
            with beside.open("rb") as file:
                os.fsync(file.fileno())
            beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
