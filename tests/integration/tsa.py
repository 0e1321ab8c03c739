"""A time-stamping authority of the test's own: OpenSSL's behind a small HTTP server, with a CA made for it."""

import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CONFIG = """
[tsa]
default_tsa = it
[it]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.3.6.1.4.1.99999.1
digests = sha256
accuracy = secs:1
ess_cert_id_alg = sha256
"""
EXTENSIONS = """
basicConstraints = critical,CA:false
keyUsage = critical,digitalSignature
"""
NEW = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
REPLY = "application/timestamp-reply"


def unusable() -> str | None:
    """Why there is no local TSA on this machine."""
    if shutil.which("openssl") is None:
        return "openssl is not installed"
    said = subprocess.run(["openssl", "version"], capture_output=True, text=True, check=True).stdout
    return None if said.startswith("OpenSSL 3") else f"OpenSSL 3 is needed, this is {said.strip()}"


class LocalTsa:
    """Answers queries; `answer` may be exchanged for one that does not tell the truth."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder / name, name
        self.folder.mkdir()
        self.ca, self.config = self.folder / "ca.pem", self.folder / "tsa.cnf"
        self.config.write_text(CONFIG.format(folder=self.folder))
        (self.folder / "serial").write_text("01\n")
        self.openssl("req", "-x509", *NEW, "-keyout", "ca.key", "-out", "ca.pem", "-subj", f"/CN=CA {name}")
        self.certificate("tsa", "critical,timeStamping")
        self.answer = self.reply
        self.status, self.kind, self.asked, self.headers = 200, REPLY, 0, {}
        self.lock = threading.Lock()
        self.server: ThreadingHTTPServer | None = None
        self.port = 0

    def certificate(self, name: str, usage: str) -> None:
        """Make a certificate of this CA and its key."""
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(EXTENSIONS + f"extendedKeyUsage = {usage}\n")
        self.openssl("req", *NEW, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name} {self.name}")
        self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                     "-out", f"{name}.pem", "-extfile", extensions.name)  # fmt: skip

    def openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True, timeout=30)

    def reply(self, query: bytes) -> bytes:
        with self.lock:
            (self.folder / "query").write_bytes(query)
            self.openssl("ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query", "-out", "reply")
            return (self.folder / "reply").read_bytes()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/tsa"

    def start(self) -> None:
        tsa = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                query = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"] == "application/timestamp-query"
                tsa.asked += 1
                tsa.headers = dict(self.headers)
                content = tsa.answer(query)
                self.send_response(tsa.status)
                self.send_header("Content-Type", tsa.kind)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None
