"""A bundle as a file: a zip whose bytes follow from its content, and a signed manifest of all its members."""

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from mrv.basis import canonical_text
from mrv.evidence.errors import BundleError
from mrv.evidence.keys import SigningKey

FORMAT = "jcm-mrv evidence 1"
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
_TIME = (1980, 1, 1, 0, 0, 0)
_LEVEL = 6
_CHUNK = 1 << 16


class Writer:
    """Writes members in the order they come, then the manifest and its signature."""

    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL)
        self._members: dict[str, dict[str, object]] = {}

    @contextmanager
    def member(self, name: str) -> Iterator[Callable[[str], None]]:
        """Write a member text by text."""
        hashed, size = sha256(), 0
        with self._zip.open(_info(name), "w", force_zip64=True) as file:

            def write(text: str) -> None:
                nonlocal size
                content = text.encode()
                hashed.update(content)
                size += len(content)
                file.write(content)

            yield write
        self._members[name] = {"sha256": hashed.hexdigest(), "size": size}

    def add(self, name: str, text: str) -> None:
        """Write a member whole."""
        with self.member(name) as write:
            write(text)

    def close(self, content: Mapping[str, Any], key: SigningKey) -> None:
        """Write the manifest, sign it and close the file."""
        manifest = canonical_text({"format": FORMAT, **content, "members": self._members, "key": key.public.id})
        self._zip.writestr(_info(MANIFEST), manifest)
        self._zip.writestr(_info(SIGNATURE), key.sign(manifest.encode()).hex())
        self._zip.close()

    def abandon(self) -> None:
        """Close the file, which is then no bundle."""
        self._zip.close()

    def sha256(self, name: str) -> str:
        """Return what a member that was written hashes to."""
        return str(self._members[name]["sha256"])


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _TIME)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    info.create_system = 3
    return info


class Reader:
    """Reads a bundle; every member is hashed as it is read.

    Raises
    ------
    BundleError
        It is no whole zip, or has no manifest that can be read.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
            names = self._zip.namelist()
        except (zipfile.BadZipFile, EOFError):
            raise BundleError(f"{path.name} is no whole zip file: it was cut off, or is something else") from None
        except OSError as error:
            raise BundleError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
        for name in (MANIFEST, SIGNATURE):
            if name not in names:
                raise BundleError(f"{path.name} has no {name}: it is no evidence bundle, or was cut off")
        for name in names:
            if names.count(name) > 1:
                raise BundleError(f"{name} is there twice")
        self.manifest_text = self._whole(MANIFEST)
        self.signature_text = self._whole(SIGNATURE).strip()
        try:
            self.manifest: dict[str, Any] = json.loads(self.manifest_text)
            self.members: dict[str, dict[str, Any]] = self.manifest["members"]
            if self.manifest["format"] != FORMAT:
                raise BundleError(f"the bundle is of the format {self.manifest['format']}; this version reads {FORMAT}")
        except (ValueError, KeyError, TypeError):
            raise BundleError(f"{MANIFEST} cannot be read: it was edited") from None
        self.differing: list[str] = []
        """Members that were read and are not what the manifest says."""
        there = set(names) - {MANIFEST, SIGNATURE}
        for name in sorted(there ^ set(self.members)):
            raise BundleError(f"{name} is {'not in the manifest' if name in there else 'missing from the bundle'}")

    def _whole(self, name: str) -> str:
        return "".join(self._chunks(name, lambda _content: None))

    def _chunks(self, name: str, hashed: Callable[[bytes], object]) -> Iterator[str]:
        content = b"".join(self._bytes(name, hashed))
        try:
            yield content.decode()
        except UnicodeDecodeError:
            raise BundleError(f"{name} is not UTF-8 text: its bytes were changed") from None

    def _bytes(self, name: str, hashed: Callable[[bytes], object]) -> Iterator[bytes]:
        try:
            with self._zip.open(name) as file:
                while chunk := file.read(_CHUNK):
                    hashed(chunk)
                    yield chunk
        except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, ValueError) as error:
            raise BundleError(f"{name} cannot be read out of the zip: {error}") from None
        except Exception as error:  # zlib.error is no subclass of anything narrower
            if type(error).__module__ != "zlib":
                raise
            raise BundleError(f"{name} cannot be decompressed: {error}") from None

    def text(self, name: str) -> str:
        """Read a member whole.

        Raises
        ------
        BundleError
            It is not in the bundle, or not what the manifest says.
        """
        self._known(name)
        hashed = sha256()
        text = "".join(self._chunks(name, hashed.update))
        if hashed.hexdigest() != self.members[name]["sha256"]:
            raise BundleError(f"{name} was changed: its bytes are not those that the manifest names")
        return text

    def lines(self, name: str) -> Iterator[str]:
        """Read a member line by line; that it is not what the manifest says is noted in `differing` at its end."""
        self._known(name)
        hashed, rest = sha256(), b""
        try:
            for chunk in self._bytes(name, hashed.update):
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    yield line.decode()
            if rest:
                yield rest.decode()
        except UnicodeDecodeError:
            raise BundleError(f"{name} is not UTF-8 text: its bytes were changed") from None
        if hashed.hexdigest() != self.members[name]["sha256"]:
            self.differing.append(name)

    def _known(self, name: str) -> None:
        if name not in self.members:
            raise BundleError(f"{name} is missing from the bundle")

    def close(self) -> None:
        """Close the file."""
        self._zip.close()
