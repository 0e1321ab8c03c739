"""Time stamps of RFC 3161 on seals: asked of a time-stamping authority (TSA), and checked against its root.

The imprint is SHA-256 over the bytes of a seal's statement. What is kept is the token (a CMS SignedData), which says
that these bytes were there at its time; the service's own clock and key have no part in that.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from cryptography.x509 import Certificate, load_pem_x509_certificates
from rfc3161_client import (
    HashAlgorithm,
    PKIStatus,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from mrv.evidence.errors import TimestampError

SHA256_OID = "2.16.840.1.101.3.4.2.1"
_QUERY, _REPLY = "application/timestamp-query", "application/timestamp-reply"
_TIMEOUT_S = 20
# A token with a chain of four RSA certificates has about 8 kB.
_LIMIT_BYTES = 1 << 16
_UNDECODABLE = "cannot be decoded: it is no time stamp of RFC 3161, or its bytes were changed"
# PKIStatusInfo of a reply that grants, which the library wants before a token.
_GRANTED = b"\x30\x03\x02\x01\x00"


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A token that was checked, and what it says."""

    token: bytes
    time: datetime
    policy: str


@dataclass(frozen=True)
class Tsa:
    """A time-stamping authority.

    Parameters
    ----------
    url
        http(s)://host/path, with a login where one is needed (HTTP Basic). It is in no message and no log.
    roots
        Certificates that its own must lead to.
    """

    url: str
    roots: Sequence[Certificate]

    @property
    def host(self) -> str:
        """The part of the address that may be shown."""
        return urlsplit(self.url).hostname or ""

    def stamp(self, statement: bytes) -> Timestamp:
        """Fetch a time stamp over a statement's bytes, and check it before it is given out.

        Raises
        ------
        TimestampError
            The TSA is away, refuses, or answers with something else than was asked for.
        """
        request = (
            TimestampRequestBuilder().data(statement).hash_algorithm(HashAlgorithm.SHA256).nonce(nonce=True).build()
        )
        content = self._post(request.as_bytes())
        try:
            reply = _decoded(content)
            if reply.status in (PKIStatus.GRANTED, PKIStatus.GRANTED_WITH_MODS):
                return check_token(reply.time_stamp_token(), statement, self.roots, nonce=request.nonce)
        except TimestampError as error:
            raise TimestampError(f"the answer of {self.host} {error}") from None
        raise TimestampError(f"{self.host} granted no time stamp (status {reply.status})")

    def _post(self, query: bytes) -> bytes:
        parts = urlsplit(self.url)
        headers = {"Content-Type": _QUERY, "Accept": _REPLY}
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        try:
            # Whoever makes the settings has seen to it that the scheme is http or https.
            request = Request(bare, query, headers)  # noqa: S310
            with build_opener(_NoRedirect).open(request, timeout=_TIMEOUT_S) as reply:
                kind = reply.headers.get_content_type()
                content: bytes = reply.read(_LIMIT_BYTES + 1)
        except HTTPError as error:
            error.close()
            raise TimestampError(f"{self.host} answers with HTTP status {error.code}") from None
        except URLError as error:
            said = error.reason.strerror if isinstance(error.reason, OSError) else None
            raise TimestampError(
                f"{self.host} cannot be reached: {(said or type(error.reason).__name__).lower()}"
            ) from None
        except (OSError, HTTPException, ValueError) as error:
            raise TimestampError(f"{self.host} ended the exchange: {type(error).__name__}") from None
        if kind != _REPLY:
            raise TimestampError(f"{self.host} answers with {kind[:80]}, not with {_REPLY}")
        if len(content) > _LIMIT_BYTES:
            raise TimestampError(f"the answer of {self.host} is longer than {_LIMIT_BYTES:,} bytes")
        return content


class _NoRedirect(HTTPRedirectHandler):
    """A login is for the host it was set for, and a redirected POST would become a GET."""

    def redirect_request(self, req: Request, fp: IO[bytes], code: int, msg: str, headers: object, newurl: str) -> None:
        del req, fp, code, msg, headers, newurl


def load_roots(path: Path) -> list[Certificate]:
    """Read the certificates (PEM) that a TSA's own must lead to.

    Raises
    ------
    TimestampError
        The file cannot be read, or holds none.
    """
    try:
        return load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise TimestampError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    except ValueError:
        raise TimestampError(f"{path}: holds no certificate in PEM") from None


def check_token(token: bytes, statement: bytes, roots: Sequence[Certificate], *, nonce: int | None = None) -> Timestamp:
    """Check a token: that it is over a statement's bytes, and that its signature leads to a root.

    Parameters
    ----------
    roots
        None of them: only what it is over is looked at, which says nothing of who made it.
    nonce
        What the request had; None: it is not known any more.

    Raises
    ------
    TimestampError
        What does not fit, as the end of a sentence that begins with what the token is.
    """
    reply = _decoded(_sequence(_GRANTED + token))
    try:
        said = reply.tst_info
        imprint = said.message_imprint
        digest, imprinted = imprint.hash_algorithm.dotted_string, imprint.message
        stamp = Timestamp(token, said.gen_time, said.policy.dotted_string)
    except ValueError:
        raise TimestampError(_UNDECODABLE) from None
    if digest != SHA256_OID:
        raise TimestampError(f"is over another digest than SHA-256 ({digest})")
    if imprinted != sha256(statement).digest():
        raise TimestampError("is over other bytes than this seal's statement")
    if nonce is not None and said.nonce != nonce:
        raise TimestampError("does not have the nonce that was asked with: it answers another request")
    if roots:
        try:
            VerifierBuilder(roots=list(roots), nonce=nonce).build().verify_message(reply, statement)
        except (VerificationError, ValueError) as error:
            raise TimestampError(f"is not signed by a TSA of the given authority: {_reason(str(error))}") from None
    return stamp


def _reason(said: str) -> str:
    """Take out of OpenSSL's stack of errors, which names its source files, what is wrong."""
    found = re.search(r'data: "Verify error: ([^"]+)"', said, re.IGNORECASE) or re.search(r'reason: "([^"]+)"', said)
    return (found[1] if found else said).lower()


def _decoded(reply: bytes) -> TimeStampResponse:
    try:
        return decode_timestamp_response(reply)
    except ValueError:
        raise TimestampError(_UNDECODABLE) from None


def _sequence(content: bytes) -> bytes:
    """Put DER into a SEQUENCE."""
    size = len(content)
    if size < 0x80:
        return b"\x30" + bytes([size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return b"\x30" + bytes([0x80 | len(length)]) + length + content
