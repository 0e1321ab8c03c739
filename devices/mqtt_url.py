"""Where a broker is and who logs in: `mqtt://user:password@host:port` and `mqtts://…`."""

import ssl
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from devices.errors import BrokerUrlError
from devices.tls import TlsFiles, make_context, why_refused

_PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """A broker and the login for it; the password is never part of its text."""

    host: str
    port: int
    tls: bool
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls_files: TlsFiles = field(default_factory=TlsFiles)

    def __str__(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def tls_context(self) -> ssl.SSLContext:
        """Give what checks the broker's certificate and its name, and shows ours; see `devices.tls.make_context`."""
        return make_context(self.tls_files)

    def why_refused(self, error: OSError | None = None) -> str:
        """Say why a connection failed for its TLS, to be read behind "the broker …"; empty when that is not why.

        Parameters
        ----------
        error
            What the attempt gave; None asks the broker anew, since in TLS 1.3 the alert of a refusal is easily lost.
        """
        return why_refused(self.host, self.port, self.tls_files, error) if self.tls else ""


def parse(url: str, tls_files: TlsFiles = TlsFiles()) -> BrokerAddress:  # noqa: B008 - it is frozen
    """Read a broker's URL; user and password are percent-decoded, the port defaults to 1883 or 8883 (TLS).

    Raises
    ------
    BrokerUrlError
        The URL is not one; the message never repeats it, since a password may stand in it.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError as error:
        # urllib repeats the part that it could not read, which is the password when a `/` or `#` in it was not encoded.
        raise BrokerUrlError(
            "the broker's URL cannot be read: host or port is wrong, "
            "or a sign in user or password is not percent-encoded; expected mqtt://user:password@host:port"
        ) from error
    if parts.scheme not in _PORTS:
        raise BrokerUrlError("the broker's URL starts with mqtt:// or, with TLS, mqtts://")
    if not parts.hostname:
        raise BrokerUrlError("the broker's URL names no host; expected mqtt://user:password@host:port")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise BrokerUrlError(
            "the broker's URL ends after the port; percent-encode the signs / ? # @ : in user and password"
        )
    if port == 0:
        raise BrokerUrlError("the broker's URL names port 0; leave the port out or give the broker's own")
    # An empty user is none: `mqtt://:secret@host` cannot be sent in MQTT 3.1.1.
    username = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password is not None else None
    if password is not None and username is None:
        raise BrokerUrlError("the broker's URL gives a password without a user")
    return BrokerAddress(
        parts.hostname, port or _PORTS[parts.scheme], parts.scheme == "mqtts", username, password, tls_files
    )
