"""Evidence bundles over HTTP: written to a file that nobody else sees, then sent in pieces, then deleted."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from threading import BoundedSemaphore

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from deploy.access.principal import Permission
from deploy.commands.evidence import family_texts, key_file
from deploy.errors import ConfigurationError
from deploy.settings import Settings
from deploy.web.answers import attachment
from deploy.web.limits import Slots
from deploy.web.problems import RefusedError, UnavailableError
from deploy.web.verifier import facts
from deploy.web.verifier.asked import Asked
from mrv.evidence.errors import KeyFileError
from mrv.evidence.export import export
from mrv.evidence.keys import load_key
from mrv.tracing.frozen import frozen
from sql.connection import Role, connect
from sql.errors import SchemaError

_PIECE = 256 * 1024
# A bundle reads and computes a whole period: two at a time leave the rest of a small machine to the pages.
_making = BoundedSemaphore(2)
# Each lies on the disk until it is sent, and how long that takes is for whoever takes it to say.
_sending = Slots(2, "bundles")


def answer(asked: Asked, *, redacted: bool) -> Response:
    """Make the bundle of a revision and send it.

    Raises
    ------
    ForbiddenError
        The principal may not read evidence of the project.
    NotThereError
        There is no such revision.
    UnavailableError
        Others are being made.
    RefusedError
        This service may not make bundles, a day is not sealed yet, or messages are not what was sealed.
    """
    asked.need(Permission.READ_EVIDENCE)
    with asked.state.database.reading(asked.principal, Permission.READ_EVIDENCE) as connection:
        frozen(connection, asked.key)  # refuses what is not there
    facts.record(asked, "evidence.bundle", f"{asked.project} {asked.first} {asked.last}", {"redacted": redacted})
    _sending.take(asked.principal.account)
    try:
        path = _made(asked, redacted=redacted)
    except BaseException:
        _sending.give_back(asked.principal.account)
        raise
    kind = "-redacted" if redacted else ""
    name = f"{asked.project}-{asked.first}-{asked.last}-r{asked.revision}{kind}.zip"
    return _Bundle(path, name, asked.principal.account)


def _made(asked: Asked, *, redacted: bool) -> Path:
    """Write the file into a folder of its own."""
    if not _making.acquire(blocking=False):
        raise UnavailableError("other bundles are being made; try again in a minute")
    folder = Path(tempfile.mkdtemp(prefix="jcm-mrv-bundle-"))
    try:
        path = folder / "bundle.zip"
        _write(asked, path, redacted=redacted)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        _making.release()
    return path


class _Bundle(StreamingResponse):
    """Sends a file in pieces; the file and its place are given up at the end, however that comes."""

    def __init__(self, path: Path, name: str, account: str) -> None:
        self._folder, self._account = path.parent, account
        headers = {**attachment(name), "Content-Length": str(path.stat().st_size)}
        super().__init__(_pieces(path), media_type="application/zip", headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
            _sending.give_back(self._account)


def _write(asked: Asked, path: Path, *, redacted: bool) -> None:
    settings = asked.state.settings
    try:
        key = load_key(key_file(settings))
        with connect(asked.state.database.url, Role.EXPORTER, application="jcm-mrv serve bundle") as connection:
            export(
                connection,
                asked.project,
                asked.days,
                asked.revision,
                path,
                key=key,
                code_version=version("jcm-mrv"),
                families=families(settings),
                redacted=redacted,
            )
    except (SchemaError, ConfigurationError, KeyFileError):
        # A service that signs nothing and writes no result has neither the key nor the role, and is the safer for it.
        raise RefusedError(f"this service makes no bundles; ask the operator for one (`{command(asked)}`)") from None


def are_made(settings: Settings) -> bool:
    """Tell whether this service has a key that signs them."""
    try:
        return os.access(key_file(settings), os.R_OK)
    except ConfigurationError:
        return False


def command(asked: Asked) -> str:
    """Write the command that makes the same bundle."""
    return f"jcm-mrv evidence export {asked.project} {asked.first} {asked.last} --revision {asked.revision}"


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


_known: dict[Path | None, Mapping[str, str]] = {}


def families(settings: Settings) -> Mapping[str, str]:
    """Read the texts of the device families that there are, by name; once in a process."""
    if settings.profiles not in _known:
        _known[settings.profiles] = family_texts(settings)
    return _known[settings.profiles]


def pem(public_key: bytes) -> bytes:
    """Write an Ed25519 public key of 32 bytes in PEM, as openssl reads it."""
    key = Ed25519PublicKey.from_public_bytes(public_key)
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
