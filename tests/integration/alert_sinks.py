"""Who is told of alerts: a web server and a mail server on loopback that keep what they are given."""

import contextlib
import email
import email.policy
import json
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from deploy.certificates import Authority, issue_server, make_authority


@dataclass
class Web:
    """What was posted; `status` is what is answered, `delay_s` how long after."""

    url: str = ""
    status: int = 204
    delay: threading.Event | None = None
    headers: list[dict[str, str]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)

    @property
    def bodies(self) -> list[dict]:
        return [json.loads(one) for one in self.raw]


def tls_context(folder: Path) -> ssl.SSLContext:
    """A server's, with a certificate for this machine; `ca.pem` in the folder is who signed it."""
    now = datetime.now(UTC)
    authority = make_authority(now)
    pem = issue_server(Authority.load(authority), ["127.0.0.1"], now, days=30)
    (folder / "ca.pem").write_bytes(authority.certificate)
    (folder / "server.pem").write_bytes(pem.key + pem.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context


@contextmanager
def web(context: ssl.SSLContext | None = None) -> Iterator[Web]:
    kept = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if kept.delay is not None:
                kept.delay.wait(10)
            if kept.status < 300:
                kept.raw.append(body)
                kept.headers.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(kept.status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self):
            """Whoever follows a redirection would take this for an answer."""
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    kept.url = f"{'https' if context else 'http'}://127.0.0.1:{server.server_address[1]}/hook?token=geheim"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Mail:
    """What was mailed; `tls` is None, `starttls` or `tls`; whoever is not `user` with `password` is refused."""

    port: int = 0
    tls: str | None = None
    context: ssl.SSLContext | None = None
    login: tuple[str, str] | None = None
    refused: set[str] = field(default_factory=set)
    messages: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)


class _Smtp(socketserver.StreamRequestHandler):
    """RFC 5321, as far as one client needs it, with STARTTLS (RFC 3207) and AUTH PLAIN (RFC 4954)."""

    def handle(self) -> None:
        kept: Mail = self.server.kept  # type: ignore[attr-defined]
        over = known = False
        if kept.tls == "tls":
            over = self._encrypt(kept)
        to: list[str] = []
        self._say("220 sink")
        while line := self.rfile.readline().decode().strip():
            verb = line.split()[0].upper()
            if verb == "EHLO":
                may = ["STARTTLS"] if kept.tls == "starttls" and not over else []
                may += ["AUTH PLAIN"] if kept.login and (over or kept.tls is None) else []
                self._say("250-sink", *(f"250-{one}" for one in may), "250 8BITMIME")
            elif verb == "STARTTLS":
                self._say("220 go on")
                over = self._encrypt(kept)
            elif verb == "AUTH":
                import base64

                _, user, password = base64.b64decode(line.split()[2]).decode().split("\0")
                known = (user, password) == kept.login
                self._say("235 known" if known else "535 unknown")
            elif verb == "MAIL":
                self._say("250 ok" if known or kept.login is None else "530 log in first")
            elif verb == "RCPT":
                address = line.partition("<")[2].partition(">")[0]
                self._say("550 nobody" if address in kept.refused else "250 ok")
                to += [address] if address not in kept.refused else []
            elif verb == "DATA":
                self._say("354 go on")
                content = b""
                while not content.endswith(b"\r\n.\r\n"):
                    content += self.rfile.readline()
                kept.messages.append(email.message_from_bytes(content[:-3], policy=email.policy.SMTP))
                kept.recipients.append(to)
                kept.encrypted.append(over)
                self._say("250 taken")
            elif verb == "QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 ok")

    def finish(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().finish()
        self.request.close()

    def _say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())
        self.wfile.flush()

    def _encrypt(self, kept: Mail) -> bool:
        assert kept.context is not None
        self.rfile.close()
        self.wfile.close()
        try:
            self.request = kept.context.wrap_socket(self.request, server_side=True)
        except OSError:
            self.request.close()
            raise
        self.rfile, self.wfile = self.request.makefile("rb"), self.request.makefile("wb")
        return True


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_) -> None:
        """A client that refuses the certificate hangs up, which is what is tested."""


@contextmanager
def mail(folder: Path, *, tls: str | None = None, login: tuple[str, str] | None = None) -> Iterator[Mail]:
    kept = Mail(tls=tls, login=login)
    if tls is not None:
        kept.context = tls_context(folder)
    server = _Server(("127.0.0.1", 0), _Smtp)
    server.kept = kept  # type: ignore[attr-defined]
    kept.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()
