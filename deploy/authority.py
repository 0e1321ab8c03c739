"""The folder of the certificate authority: its key, what it has issued, what it has revoked.

`ca.key` (mode 0600), `ca.pem` and `crl.pem` for the broker, `issued.json`. What was issued is written down before it
is handed out, so that there is no certificate that cannot be revoked.
"""

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from deploy import certificates
from deploy.certificates import Pem
from deploy.errors import AuthorityError
from deploy.local.place import write_private

Kind = Literal["client", "server"]


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate that was issued; times are ISO 8601 in UTC, the serial number and the fingerprint are hex."""

    serial: str
    kind: Kind
    name: str
    not_before: str
    not_after: str
    sha256: str
    revoked: str | None = None

    def state(self, now: datetime) -> str:
        """Say whether it is `valid`, `expired` or `revoked`."""
        if self.revoked is not None:
            return "revoked"
        return "valid" if now < datetime.fromisoformat(self.not_after) else "expired"


class AuthorityFolder:
    """An authority in a folder; made when it first issues something.

    Parameters
    ----------
    folder
        Belongs to whoever issues certificates; nobody else may read the key.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificate = folder / "ca.pem"
        self.revocations = folder / "crl.pem"
        self._key = folder / "ca.key"
        self._list = folder / "issued.json"

    def issue_client(self, site: str, *, days: int) -> tuple[Pem, Issued]:
        """Issue a certificate to a site, for so many days.

        Raises
        ------
        AuthorityError
            The folder cannot be used, or the certificate would outlive the authority.
        """
        return self._issue("client", [site], days)

    def issue_server(self, hosts: Sequence[str], *, days: int) -> tuple[Pem, Issued]:
        """Issue a certificate to a broker; see `issue_client`."""
        return self._issue("server", hosts, days)

    def issued(self, kind: Kind, name: str) -> list[Issued]:
        """Give what was issued under a name, oldest first.

        Raises
        ------
        AuthorityError
            The list cannot be read.
        """
        return [one for one in self._read_list() if (one.kind, one.name) == (kind, name)]

    def revoke(self, serials: Sequence[str]) -> list[Issued]:
        """Revoke certificates and write the list of revoked ones anew; give those that were not revoked before.

        Raises
        ------
        AuthorityError
            The folder cannot be used.
        """
        with self._locked():
            authority = self._load()
            known = self._read_list()
            now = _now()
            newly = {one.serial for one in known if one.serial in serials and one.revoked is None}
            known = [replace(one, revoked=now.isoformat()) if one.serial in newly else one for one in known]
            self._write_list(known)
            # Also when nothing is new: a run that was killed between the two files is mended by the next.
            self._write_revocations(authority, known, now)
        return [one for one in known if one.serial in newly]

    def _issue(self, kind: Kind, names: Sequence[str], days: int) -> tuple[Pem, Issued]:
        with self._locked():
            authority = self._load() if self.certificate.exists() else self._make()
            now = _now()
            try:
                if kind == "server":
                    pem = certificates.issue_server(authority, names, now, days=days)
                else:
                    pem = certificates.issue_client(authority, names[0], now, days=days)
            except ValueError as error:
                raise AuthorityError(f"no certificate for {names[0]!r} for {days} days: {error}") from None
            certificate = x509.load_pem_x509_certificate(pem.certificate)
            issued = Issued(
                serial=f"{certificate.serial_number:x}",
                kind=kind,
                name=names[0],
                not_before=certificate.not_valid_before_utc.isoformat(),
                not_after=certificate.not_valid_after_utc.isoformat(),
                sha256=certificate.fingerprint(hashes.SHA256()).hex(),
            )
            self._write_list([*self._read_list(), issued])
        return pem, issued

    def _make(self) -> certificates.Authority:
        if self._read_list():
            raise AuthorityError(
                f"{self.certificate} is missing, and certificates were issued; restore it from a backup"
            )
        now = _now()
        pem = certificates.make_authority(now)
        authority = certificates.Authority.load(pem)
        write_private(self._key, pem.key.decode())
        self._write_revocations(authority, [], now)
        # Last: where it is, the rest is.
        _write_public(self.certificate, pem.certificate)
        return authority

    def _load(self) -> certificates.Authority:
        try:
            mode = self._key.stat().st_mode
            if mode & 0o077:
                raise AuthorityError(f"{self._key} can be read by others; `chmod 600` it, or make a new authority")
            return certificates.Authority.load(Pem(self._key.read_bytes(), self.certificate.read_bytes()))
        except FileNotFoundError as error:
            raise AuthorityError(
                f"{error.filename} is missing; name the authority's folder with --ca, or restore it from a backup"
            ) from None
        except (OSError, ValueError, TypeError) as error:
            raise AuthorityError(f"the authority in {self.folder} cannot be read: {error}") from None

    def _write_revocations(self, authority: certificates.Authority, known: Sequence[Issued], now: datetime) -> None:
        revoked = [(int(one.serial, 16), datetime.fromisoformat(one.revoked)) for one in known if one.revoked]
        number = 1
        if self.revocations.exists():
            try:
                last = x509.load_pem_x509_crl(self.revocations.read_bytes())
                number += last.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
            except (ValueError, x509.ExtensionNotFound) as error:
                raise AuthorityError(
                    f"{self.revocations} cannot be read: {error}; delete it, it is made anew from {self._list.name}"
                ) from None
        _write_public(self.revocations, certificates.revocation_list(authority, revoked, now, number=number))

    def _read_list(self) -> list[Issued]:
        try:
            return [Issued(**one) for one in json.loads(self._list.read_text(encoding="utf-8"))]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError) as error:
            raise AuthorityError(f"{self._list} cannot be read: {error}; restore it from a backup") from None

    def _write_list(self, known: Sequence[Issued]) -> None:
        write_private(self._list, json.dumps([asdict(one) for one in known], indent=1) + "\n")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            with (self.folder / "lock").open("a") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise AuthorityError(f"{self.folder} cannot be used: {error.strerror or error}") from error


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _write_public(path: Path, pem: bytes) -> None:
    """Write what the broker reads, which runs as another user."""
    write_private(path, pem.decode())
    path.chmod(0o644)
