"""The folder of the certificate authority: its key, what it has issued, what it has revoked.

`ca.key` (mode 0600, encrypted where a passphrase is given), `ca.pem` and `crl.pem` for the broker, `issued.json`. What
was issued is written down before it is handed out, so that there is no certificate that cannot be revoked.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from deploy import certificates
from deploy.certificates import Pem
from deploy.errors import AuthorityError
from deploy.local.place import write_private

Kind = Literal["client", "server"]
# A certificate is to be renewed when so little of it is left; the schedule of a person has a holiday in it.
SOON = timedelta(days=30)


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
    retires: str | None = None
    """When it is revoked because another took its place."""

    def state(self, now: datetime) -> str:
        """Say whether it is `valid`, `retiring` (valid, and another took its place), `expired` or `revoked`."""
        if self.revoked is not None:
            return "revoked"
        if now >= datetime.fromisoformat(self.not_after):
            return "expired"
        return "valid" if self.retires is None else "retiring"


@dataclass(frozen=True, slots=True)
class Ending:
    """Something that has to be renewed before long."""

    what: Literal["certificate", "authority", "revocation list"]
    name: str
    """The site or host of a certificate; empty for the others."""
    serial: str
    ends: datetime
    remedy: str

    def text(self, now: datetime) -> str:
        """Say it in a line."""
        days = (self.ends - now).days
        when = f"ends in {days} {'day' if days == 1 else 'days'}" if self.ends > now else "has ended"
        return f"the {self.what}{f' of {self.name}' if self.name else ''} {when}, {self.ends:%Y-%m-%d}: {self.remedy}"


class AuthorityFolder:
    """An authority in a folder; made when it first issues something.

    Parameters
    ----------
    folder
        Belongs to whoever issues certificates; nobody else may read the key.
    passphrase
        What its key is encrypted with; None: it is not.
    """

    def __init__(self, folder: Path, passphrase: str | None = None) -> None:
        self.folder = folder
        self.certificate = folder / "ca.pem"
        self.revocations = folder / "crl.pem"
        self._passphrase = passphrase
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

    def issued(self, kind: Kind | None = None, name: str | None = None) -> list[Issued]:
        """Give what was issued, oldest first, all or of a kind and name.

        Raises
        ------
        AuthorityError
            The list cannot be read.
        """
        return [one for one in self._read_list() if kind in {None, one.kind} and name in {None, one.name}]

    def revoke(self, serials: Sequence[str]) -> list[Issued]:
        """Revoke certificates and write the list of revoked ones anew; give those that were not revoked before.

        Raises
        ------
        AuthorityError
            The folder cannot be used.
        """
        return self._revoke(lambda one, _: one.serial in serials)

    def refresh(self) -> list[Issued]:
        """Revoke what another took the place of, where the time for the change is over; write the list anew.

        Raises
        ------
        AuthorityError
            The folder cannot be used.
        """
        return self._revoke(lambda one, now: one.retires is not None and datetime.fromisoformat(one.retires) <= now)

    def retire(self, serials: Sequence[str], *, days: int) -> None:
        """Have certificates revoked in so many days, by the first `refresh` from then on; none is given more time."""
        with self._locked():
            at = (_now() + timedelta(days=days)).isoformat()
            self._write_list(
                [
                    replace(one, retires=min(at, one.retires or at))
                    if one.serial in serials and one.revoked is None
                    else one
                    for one in self._read_list()
                ]
            )

    def endings(self, now: datetime, within: timedelta = SOON) -> list[Ending]:
        """Tell what ends soon or has ended: the newest certificate of each name, the authority, the list of revoked.

        Raises
        ------
        AuthorityError
            The folder cannot be read.
        """
        if not self.certificate.exists():
            return []
        newest = {(one.kind, one.name): one for one in self._read_list() if one.revoked is None}
        found = []
        for (kind, name), one in newest.items():
            which = f"--server {name}" if kind == "server" else name
            rotate = f"`jcm-mrv device provision {which} --rotate`"
            ends = datetime.fromisoformat(one.not_after)
            found.append(Ending("certificate", name, one.serial, ends, rotate))
        try:
            authority = x509.load_pem_x509_certificate(self.certificate.read_bytes())
            revocations = x509.load_pem_x509_crl(self.revocations.read_bytes())
        except (OSError, ValueError) as error:
            raise AuthorityError(f"the authority in {self.folder} cannot be read: {error}") from None
        serial = f"{authority.serial_number:x}"
        anew = "issue everything anew from another one; no certificate outlives it"
        found.append(Ending("authority", "", serial, authority.not_valid_after_utc, anew))
        if revocations.next_update_utc is not None:
            refresh = "`jcm-mrv device provision --refresh-crl`, or the broker refuses everybody"
            found.append(Ending("revocation list", "", serial, revocations.next_update_utc, refresh))
        return [one for one in found if one.ends - now <= within]

    def _revoke(self, which: Callable[[Issued, datetime], bool]) -> list[Issued]:
        with self._locked():
            authority = self._load()
            known = self._read_list()
            now = _now()
            newly = {one.serial for one in known if one.revoked is None and which(one, now)}
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
        pem = certificates.make_authority(now, passphrase=self._passphrase)
        authority = certificates.Authority.load(pem, self._passphrase)
        write_private(self._key, pem.key.decode())
        self._write_revocations(authority, [], now)
        # Last: where it is, the rest is.
        write_public(self.certificate, pem.certificate)
        return authority

    def _load(self) -> certificates.Authority:
        try:
            mode = self._key.stat().st_mode
            if mode & 0o077:
                raise AuthorityError(f"{self._key} can be read by others; `chmod 600` it, or make a new authority")
            pem = Pem(self._key.read_bytes(), self.certificate.read_bytes())
            return certificates.Authority.load(pem, self._passphrase)
        except FileNotFoundError as error:
            raise AuthorityError(
                f"{error.filename} is missing; name the authority's folder with --ca, or restore it from a backup"
            ) from None
        except TypeError:
            raise AuthorityError(
                f"{self._key} is encrypted; name a file with its passphrase in JCM_MRV_AUTHORITY_PASSPHRASE_FILE"
                if self._passphrase is None
                else f"{self._key} is not encrypted; take JCM_MRV_AUTHORITY_PASSPHRASE away, or encrypt the key with "
                "`openssl pkey -aes256`"
            ) from None
        except (OSError, ValueError) as error:
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
        write_public(self.revocations, certificates.revocation_list(authority, revoked, now, number=number))

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


def write_public(path: Path, pem: bytes) -> None:
    """Write what the broker reads, which runs as another user: the old file or the new one, whole and with its rights.

    A Mosquitto that cannot read its list of revoked certificates when it is told to reload goes on without any, and
    takes revoked ones (2.0.21, measured). So at no moment may the file be half there or closed to it.
    """
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
        os.fchmod(file.fileno(), 0o644)
    part.rename(path)
