"""Private keys in a backup: a tar of the key files, with a passphrase sealed by AES-256-GCM under a key from scrypt.

PKCS 8's own encryption would do for one key, but not for an authority's list of what it issued, and it is not
authenticated. The dump is not encrypted here: it may be larger than memory, which takes a format of its own; a disk or
`age` does that well.
"""

import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from deploy.errors import InputError
from deploy.keeping.errors import BackupFileError

PLAIN, SEALED = "keys.tar", "keys.tar.enc"
_MAGIC = b"jcm-mrv keys 1\n"
_SALT, _NONCE = 16, 12
_SHORTEST = 12
# 128 MB and a third of a second, OWASP's first choice for scrypt (N = 2^17, r = 8, p = 1).
_COST = 2**17
# The lock is the folder's own, and empty.
_LEFT_OUT = {"lock"}


def collect(evidence_key: Path | None, authority: Path | None) -> dict[str, Path]:
    """Find the key files of this installation by the name they get in a backup."""
    found = {}
    if evidence_key is not None and evidence_key.is_file():
        found["evidence-key.pem"] = evidence_key
    if authority is not None and authority.is_dir():
        for path in sorted(authority.rglob("*")):
            if path.is_file() and path.name not in _LEFT_OUT:
                found[f"authority/{path.relative_to(authority).as_posix()}"] = path
    return found


def pack(files: Mapping[str, Path], passphrase: bytes | None) -> bytes:
    """Write key files as a tar, sealed where there is a passphrase.

    Raises
    ------
    InputError
        A file cannot be read.
    """
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, path in files.items():
            try:
                content, mode = path.read_bytes(), path.stat().st_mode & 0o777
            except OSError as error:
                raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), mode
            tar.addfile(info, io.BytesIO(content))
    return held.getvalue() if passphrase is None else _seal(held.getvalue(), passphrase)


def unpack(content: bytes, passphrase: bytes | None, *, sealed: bool) -> dict[str, tuple[bytes, int]]:
    """Read key files with their modes.

    Raises
    ------
    BackupFileError
        A passphrase is missing or wrong, or this is no tar of keys.
    """
    if sealed:
        if passphrase is None:
            raise BackupFileError("the keys of this backup are sealed; give --passphrase-file, or --without-keys")
        content = _open(content, passphrase)
    found = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            for info in tar:
                file = tar.extractfile(info)
                parts = Path(info.name).parts
                # `authority//etc/x` is one more way to say /etc/x, once its first part is taken off.
                plain = Path(info.name).as_posix() == info.name and not Path(info.name).is_absolute()
                if file is None or not plain or ".." in parts:
                    raise BackupFileError(f"the keys of this backup name {info.name!r}, which is no key file")
                found[info.name] = (file.read(), info.mode & 0o777)
    except tarfile.TarError:
        raise BackupFileError("the keys of this backup cannot be read") from None
    return found


def read_passphrase(path: Path | None) -> bytes | None:
    """Read a passphrase from a file, without the line's end.

    Raises
    ------
    InputError
        It cannot be read, or has fewer than 12 characters.
    """
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(text) < _SHORTEST:
        raise InputError(f"{path}: a passphrase has at least {_SHORTEST} characters")
    return text.encode()


def put(
    found: Mapping[str, tuple[bytes, int]], evidence_key: Path | None, authority: Path | None
) -> tuple[list[Path], list[Path], list[Path]]:
    """Write key files where none are; return what was written, what was there already, and what differs and was left.

    Raises
    ------
    InputError
        A file cannot be read or written.
    """
    places = {}
    for name in found:
        folder, _, rest = name.partition("/")
        if name == "evidence-key.pem" and evidence_key is not None:
            places[name] = evidence_key
        elif folder == "authority" and authority is not None:
            places[name] = authority / rest
    there = {name: _content(path) for name, path in places.items()}
    # Of an authority all files or none: a list of another one's certificates would make its own void.
    foreign = any(there[name] not in {None, found[name][0]} for name in places if name.startswith("authority/"))
    written, same, other = [], [], []
    for name, path in places.items():
        if there[name] == found[name][0]:
            same.append(path)
        elif there[name] is not None or (foreign and name.startswith("authority/")):
            other.append(path)
        else:
            _write_new(path, *found[name])
            written.append(path)
    return written, same, other


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None


def _key(passphrase: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=_COST, r=8, p=1).derive(passphrase)


def _seal(content: bytes, passphrase: bytes) -> bytes:
    salt, nonce = os.urandom(_SALT), os.urandom(_NONCE)
    return _MAGIC + salt + nonce + AESGCM(_key(passphrase, salt)).encrypt(nonce, content, _MAGIC)


def _open(content: bytes, passphrase: bytes) -> bytes:
    head, salt, nonce, sealed = _parts(content)
    if head != _MAGIC:
        raise BackupFileError("the keys of this backup are sealed in a way that this version does not know")
    try:
        return AESGCM(_key(passphrase, salt)).decrypt(nonce, sealed, _MAGIC)
    except InvalidTag:
        raise BackupFileError("the passphrase is not the one that this backup's keys were sealed with") from None


def _parts(content: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    ends = [len(_MAGIC), len(_MAGIC) + _SALT, len(_MAGIC) + _SALT + _NONCE]
    return content[: ends[0]], content[ends[0] : ends[1]], content[ends[1] : ends[2]], content[ends[2] :]
