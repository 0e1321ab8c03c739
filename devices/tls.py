"""TLS to a broker: whom we trust, what we show, and plain words for what goes wrong.

TLS 1.2 at least, the broker's name is always checked, and nothing here can switch that off.
"""

import os
import socket
import ssl
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from devices.errors import BrokerTlsError, CertificateExpiredError

log = structlog.get_logger()

_PROBE_S = 3.0
_SOON = timedelta(days=30)
_ROTATE = "`jcm-mrv device provision SITE --rotate` issues another"
# OpenSSL's verify codes (x509_vfy.h) for a broker's certificate that we do not take.
_OTHER_NAME = frozenset({62, 64})
_NOT_TRUSTED = frozenset({2, 18, 19, 20, 21})
_NOT_YET, _EXPIRED = 9, 10


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What TLS to a broker goes by, each in PEM."""

    authorities: Path | None = None
    """Those that may have signed the broker's certificate; None: those that the machine trusts."""
    certificate: Path | None = None
    """Our own, with those between it and the broker's authority behind it; None: the broker asks for none."""
    key: Path | None = None
    """Its private key; None: it stands in the file of the certificate."""


class ClientTls:
    """A client's side of TLS, which takes up a renewed certificate.

    Parameters
    ----------
    files
        They are read at once, and again when they were replaced.

    Raises
    ------
    BrokerTlsError
        A file cannot be used.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._stamps = _stamps(files)
        self.context = make_context(files)
        self._warn()

    def renew(self) -> bool:
        """Take up files that were replaced, for the connections from now on; say whether there were any.

        Raises
        ------
        BrokerTlsError
            The new ones cannot be used, a key perhaps that is not its certificate's yet; the former stay in use, and
            the next call looks again.
        """
        stamps = _stamps(self._files)
        if stamps == self._stamps:
            return False
        make_context(self._files)
        if self._files.authorities is not None:
            self.context.load_verify_locations(self._files.authorities)
        _show(self.context, self._files)
        self._stamps = stamps
        self._warn()
        return True

    def _warn(self) -> None:
        if self._files.certificate is None:
            return
        left = validity(self._files.certificate)[1] - datetime.now(UTC)
        if left < _SOON:
            log.warning("client_certificate_ends", certificate=str(self._files.certificate), days=left.days)


def make_context(files: TlsFiles) -> ssl.SSLContext:
    """Give what checks the broker's certificate and its name, and shows ours.

    Raises
    ------
    CertificateExpiredError
        Everything is in order but that our certificate has ended, by this machine's clock.
    BrokerTlsError
        A file is missing, cannot be read, is no certificate or key, they are no pair, or others can read the key.
    """
    context = _context(files)
    if files.certificate is not None:
        _, end = validity(files.certificate)
        if end <= datetime.now(UTC):
            raise CertificateExpiredError(f"our certificate {files.certificate} ended on {end:%Y-%m-%d}; {_ROTATE}")
    return context


def validity(certificate: Path) -> tuple[datetime, datetime]:
    """Read from when until when the first certificate of a file is valid.

    Raises
    ------
    BrokerTlsError
        The file cannot be read or holds none.
    """
    try:
        text = certificate.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise BrokerTlsError(f"the certificate {certificate} cannot be read: {_why(error)}") from None
    begin, end = text.find(ssl.PEM_HEADER), text.find(ssl.PEM_FOOTER)
    try:
        return _validity(ssl.PEM_cert_to_DER_cert(text[begin : end + len(ssl.PEM_FOOTER)]))
    except (ValueError, IndexError):
        raise BrokerTlsError(f"{certificate} holds no certificate in PEM") from None


def refusal(host: str, port: int, context: ssl.SSLContext, *, timeout_s: float = _PROBE_S) -> ssl.SSLError | None:
    """Shake hands with a broker and hear what it says to our certificate; None when it says nothing.

    In TLS 1.3 a server judges the client's certificate when the client's handshake is over, and a client that has sent
    its CONNECT by then loses the alert: it sees "EOF occurred in violation of protocol" or a reset (Mosquitto 2.0.21
    under OpenSSL 3, measured). Whoever sends nothing hears it.
    """
    try:
        with (
            socket.create_connection((host, port), timeout_s) as stream,
            context.wrap_socket(stream, server_hostname=host) as secured,
        ):
            secured.settimeout(timeout_s)
            secured.recv(1)
    except ssl.SSLEOFError:
        return None
    except ssl.SSLError as error:
        return error
    except OSError:
        # It does not answer, or has gone meanwhile.
        return None
    return None


def why_refused(host: str, port: int, files: TlsFiles, error: OSError | None = None) -> str:
    """Say why a connection failed for its TLS; see `devices.mqtt_url.BrokerAddress.why_refused`."""
    if error is None:
        try:
            context = _context(files)
        except BrokerTlsError:
            # Half of a renewed pair, perhaps: nothing that the broker has said.
            return ""
        error = refusal(host, port, context)
    return "" if error is None else explain(error, files)


def explain(error: OSError, files: TlsFiles) -> str:
    """Say what a failed handshake means and what to do, to be read behind "the broker"; empty when it is no such.

    Parameters
    ----------
    error
        What connecting or `refusal` gave.
    files
        What was shown and trusted.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return _explain_theirs(error, files)
    if isinstance(error, ConnectionResetError | ssl.SSLEOFError):
        return "ends the connection in the TLS handshake; it may not speak TLS on this port: correct port or mqtts://"
    if not isinstance(error, ssl.SSLError):
        return ""
    # Such as SSLV3_ALERT_CERTIFICATE_REVOKED; what stands before ALERT depends on OpenSSL's version.
    reason = (error.reason or "").rpartition("ALERT_")[2]
    shown = f"our certificate {files.certificate}"
    if files.certificate is None and reason in {"CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "BAD_CERTIFICATE"}:
        return "asks for a certificate; name ours in JCM_MRV_MQTT_CERT_FILE and its key in JCM_MRV_MQTT_KEY_FILE"
    match reason:
        case "CERTIFICATE_REVOKED":
            return f"refuses {shown}: it was revoked; {_ROTATE}"
        case "CERTIFICATE_EXPIRED":
            return (
                f"refuses {shown} as expired; {_ROTATE}. If it has not expired, the broker's list of revoked ones has "
                "(`jcm-mrv device provision --refresh-crl`), or a clock is wrong"
            )
        case "UNKNOWN_CA":
            return f"refuses {shown}: its authority is not one that the broker knows (cafile); {_ROTATE}"
        case "UNSUPPORTED_CERTIFICATE" | "BAD_CERTIFICATE" | "CERTIFICATE_UNKNOWN" | "HANDSHAKE_FAILURE":
            return f"refuses {shown}: it is none for a client, or not of a kind that the broker takes; {_ROTATE}"
        case "WRONG_VERSION_NUMBER" | "HTTP_REQUEST":
            return "does not speak TLS on this port; correct the port, or mqtts:// to mqtt:// inside one machine"
        case "PROTOCOL_VERSION" | "UNSUPPORTED_PROTOCOL" | "NO_PROTOCOLS_AVAILABLE":
            return "speaks no TLS of version 1.2 or later; update it"
    return ""


def _explain_theirs(error: ssl.SSLCertVerificationError, files: TlsFiles) -> str:
    trusted = f"the authorities in {files.authorities}" if files.authorities else "the machine's authorities"
    if error.verify_code in _OTHER_NAME:
        said = error.verify_message.rstrip(".")
        return f"shows a certificate for another name ({said}); correct the host in the URL, or the certificate"
    if error.verify_code in _NOT_TRUSTED:
        return f"shows a certificate that {trusted} did not sign; name its own in JCM_MRV_MQTT_CA_FILE"
    if error.verify_code == _EXPIRED:
        return "shows a certificate that has expired; renew it with `jcm-mrv device provision --server HOST --rotate`"
    if error.verify_code == _NOT_YET:
        return "shows a certificate that is not valid yet; set this machine's clock, or the broker's"
    return f"shows a certificate that is not taken ({error.verify_message})"


def _context(files: TlsFiles) -> ssl.SSLContext:
    try:
        # With authorities named, those that the machine trusts are not.
        context = ssl.create_default_context(cafile=files.authorities)
    except OSError as error:
        raise BrokerTlsError(
            f"{files.authorities} cannot be used as the broker's authority ({error.strerror or error}); "
            "JCM_MRV_MQTT_CA_FILE names a file of certificates in PEM"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _show(context, files)
    return context


def _show(context: ssl.SSLContext, files: TlsFiles) -> None:
    if files.certificate is None:
        if files.key is not None:
            raise BrokerTlsError(f"the key {files.key} is given without its certificate; name it as well")
        return
    key = files.key or files.certificate
    validity(files.certificate)
    _check_private(key)
    try:
        context.load_cert_chain(files.certificate, key, password=_no_passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise BrokerTlsError(
                f"the key {key} is not that of the certificate {files.certificate}; copy both anew, they are one pair"
            ) from None
        raise BrokerTlsError(f"{key} holds no private key in PEM") from None
    except OSError as error:
        raise BrokerTlsError(f"the key {key} cannot be read: {_why(error)}") from None


def _check_private(key: Path) -> None:
    """Refuse a key of ours that others can read, as ssh does; somebody else's has its rights from whoever gave it."""
    try:
        found = key.stat()
        key.open("rb").close()
    except OSError as error:
        raise BrokerTlsError(f"the key {key} cannot be read: {_why(error)}") from None
    if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) & 0o077:
        raise BrokerTlsError(f"the key {key} can be read by others; `chmod 600` it")


def _no_passphrase() -> str:
    # Without this OpenSSL would ask on the terminal, and a service would wait for ever.
    raise BrokerTlsError("the key of our certificate is encrypted; give it without a passphrase, in a file of mode 600")


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _stamps(files: TlsFiles) -> list[tuple[int, int, int] | None]:
    found: list[tuple[int, int, int] | None] = []
    for file in (files.authorities, files.certificate, files.key):
        try:
            known = file.stat() if file is not None else None
        except OSError:
            known = None
        found.append(None if known is None else (known.st_mtime_ns, known.st_ino, known.st_size))
    return found


def _validity(der: bytes) -> tuple[datetime, datetime]:
    """Walk to a certificate's validity (RFC 5280, 4.1); the gateway has no library for the rest of it."""
    at, _, _ = _element(der, 0)
    at, _, _ = _element(der, at)
    begin, end, tag = _element(der, at)
    # The version, which is left out in version 1; then the serial number, the algorithm, the issuer.
    for _ in range(4 if tag == 0xA0 else 3):
        begin, end, tag = _element(der, at)
        at = end
    at, _, _ = _element(der, at)
    begin, end, tag = _element(der, at)
    first = _time(der[begin:end], tag)
    begin, end, tag = _element(der, end)
    return first, _time(der[begin:end], tag)


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """Give where the content of the DER element at `at` begins and ends, and its tag."""
    tag, length, at = der[at], der[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        length, at = int.from_bytes(der[at : at + count]), at + count
    return at, at + length, tag


def _time(content: bytes, tag: int) -> datetime:
    text = content.decode("ascii")
    if tag == 0x17:
        # RFC 5280, 4.1.2.5.1: 50 to 99 are of the last century.
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
