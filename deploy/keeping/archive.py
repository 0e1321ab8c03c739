"""The file of a backup: a zip with the dump, the keys, and a manifest of what each is.

The members are stored as they are: the dump is compressed already. The manifest comes last, so that a file that was cut
off has none. It tells damage; who made a file it does not tell, so keep backups where nobody else writes.
"""

import hashlib
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from deploy.keeping.errors import BackupFileError

FORMAT = "jcm-mrv backup 1"
DUMP, MANIFEST = "database.dump", "manifest.json"
_CHUNK = 1 << 20


class Member(BaseModel):
    """A member of the file."""

    model_config = ConfigDict(extra="forbid")

    sha256: str
    bytes: int


class Table(BaseModel):
    """A table as it was dumped: rows, and the sum of what each row's MD5 begins with."""

    model_config = ConfigDict(extra="forbid")

    rows: int
    content: str


class Keys(BaseModel):
    """Which key files the backup has, and in which member."""

    model_config = ConfigDict(extra="forbid")

    member: str
    encrypted: bool
    files: list[str]


class Manifest(BaseModel):
    """What a backup is."""

    model_config = ConfigDict(extra="forbid")

    format: str = FORMAT
    made_at: str
    code_version: str
    schema_version: int
    postgresql: str
    timescaledb: str
    edition: str
    tables: dict[str, Table]
    hypertables: dict[str, int]
    members: dict[str, Member]
    keys: Keys | None
    holds_private_keys: bool


class Writer:
    """Writes the members of a backup one after the other.

    Parameters
    ----------
    path
        A new file.
    """

    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True)
        self.members: dict[str, Member] = {}

    @contextmanager
    def member(self, name: str) -> Iterator["HashedWriter"]:
        """Write a member of any length."""
        with self._zip.open(name, "w", force_zip64=True) as file:
            hashed = HashedWriter(file)
            yield hashed
        self.members[name] = Member(sha256=hashed.sha256, bytes=hashed.bytes)

    def close(self, manifest: Manifest) -> None:
        """Write the manifest and end the file."""
        self._zip.writestr(MANIFEST, manifest.model_dump_json(indent=1) + "\n")
        self._zip.close()


class HashedWriter:
    """A stream that is hashed while it is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self.bytes = 0

    @property
    def sha256(self) -> str:
        """The digest of what was written so far."""
        return self._sha256.hexdigest()

    def write(self, piece: bytes) -> None:
        """Write a piece."""
        self._file.write(piece)
        self._sha256.update(piece)
        self.bytes += len(piece)


class Reader:
    """A backup that is read.

    Raises
    ------
    BackupFileError
        It is no backup, of a version that this one does not know, or not whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
            content: Any = json.loads(self._zip.read(MANIFEST))
        except OSError as error:
            raise BackupFileError(f"{path} cannot be read: {error.strerror or error}") from None
        except (zipfile.BadZipFile, KeyError, ValueError):
            raise BackupFileError(f"{path} is no whole backup: it was cut off, or is something else") from None
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise BackupFileError(f"{path} is no {FORMAT}; restore it with the version that wrote it")
        try:
            self.manifest = Manifest.model_validate(content)
        except ValidationError as error:
            raise BackupFileError(f"{path}: its manifest is damaged: {error.errors()[0]['msg']}") from None

    def check(self) -> None:
        """See that every member is what the manifest says.

        Raises
        ------
        BackupFileError
            One is missing or damaged.
        """
        for name, member in self.manifest.members.items():
            digest = hashlib.sha256()
            try:
                with self._zip.open(name) as file:
                    while piece := file.read(_CHUNK):
                        digest.update(piece)
            except (KeyError, zipfile.BadZipFile, EOFError, OSError):
                raise BackupFileError(f"{self.path}: {name} is damaged; take another backup") from None
            if digest.hexdigest() != member.sha256:
                raise BackupFileError(f"{self.path}: {name} is not what the manifest says; take another backup")

    def open(self, name: str) -> IO[bytes]:
        """Open a member."""
        return self._zip.open(name)

    def read(self, name: str) -> bytes:
        """Read a small member."""
        return self._zip.read(name)
