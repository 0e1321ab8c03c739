"""What TLS to a broker needs is looked at before anything is sent, and what it says is said in words."""

import contextlib
import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from deploy.certificates import Authority, Pem, issue_client, issue_server, make_authority
from devices.errors import BrokerTlsError, CertificateExpiredError
from devices.mqtt_url import parse
from devices.tls import ClientTls, TlsFiles, explain, make_context, validity

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.load(make_authority(NOW - timedelta(days=100)))


def laid(folder: Path, pem: Pem, name: str = "client") -> TlsFiles:
    key, certificate = folder / f"{name}.key", folder / f"{name}.crt"
    key.touch(0o600)
    key.write_bytes(pem.key)
    certificate.write_bytes(pem.certificate)
    return TlsFiles(certificate=certificate, key=key)


def problem(files: TlsFiles) -> str:
    with pytest.raises(BrokerTlsError) as raised:
        make_context(files)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_nothing_is_taken_on_trust(authority: Authority, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.certificate.public_bytes(serialization.Encoding.PEM))
    files = laid(tmp_path, issue_client(authority, "s", NOW, days=30))
    context = make_context(TlsFiles(ca, files.certificate, files.key))
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    # With an authority of one's own the machine's many are not trusted beside it.
    assert context.cert_store_stats()["x509_ca"] == 1


def test_key_and_certificate_may_stand_in_one_file(authority: Authority, tmp_path: Path) -> None:
    pem = issue_client(authority, "s", NOW, days=30)
    both = tmp_path / "both.pem"
    both.touch(0o600)
    both.write_bytes(pem.certificate + pem.key)
    make_context(TlsFiles(certificate=both))
    both.chmod(0o644)
    assert "chmod 600" in problem(TlsFiles(certificate=both))


def damage(name: str, folder: Path, files: TlsFiles, authority: Authority) -> TlsFiles:
    assert files.certificate is not None
    assert files.key is not None
    if name == "no certificate":
        files.certificate.unlink()
    elif name == "no key":
        files.key.unlink()
    elif name == "certificate alone":
        return TlsFiles(certificate=files.certificate)
    elif name == "key alone":
        return TlsFiles(key=files.key)
    elif name == "another's key":
        return TlsFiles(
            certificate=files.certificate, key=laid(folder, issue_client(authority, "s", NOW, days=1), "other").key
        )
    elif name == "open key":
        files.key.chmod(0o640)
    elif name == "text for a certificate":
        files.certificate.write_text("hello")
    elif name == "half a certificate":
        files.certificate.write_bytes(files.certificate.read_bytes()[:300])
    elif name == "text for a key":
        files.key.write_text("hello")
    elif name == "a folder":
        return TlsFiles(certificate=folder, key=files.key)
    elif name == "encrypted key":
        key = serialization.load_pem_private_key(files.key.read_bytes(), None)
        files.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"word"),
            )
        )
    return files


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no certificate", "client.crt cannot be read: no such file"),
        ("no key", "client.key cannot be read: no such file"),
        ("certificate alone", "client.crt can be read by others|holds no private key"),
        ("key alone", "is given without its certificate"),
        ("another's key", "is not that of the certificate"),
        ("open key", "client.key can be read by others; `chmod 600` it"),
        ("text for a certificate", "client.crt holds no certificate in PEM"),
        ("half a certificate", "client.crt holds no certificate in PEM"),
        ("text for a key", "client.key holds no private key in PEM"),
        ("a folder", "cannot be read: is a directory"),
        ("encrypted key", "is encrypted; give it without a passphrase"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(authority: Authority, tmp_path: Path, name: str, said: str) -> None:
    files = laid(tmp_path, issue_client(authority, "s", NOW, days=30))
    assert any(one in problem(damage(name, tmp_path, files, authority)) for one in said.split("|"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_key_that_somebody_else_handed_out_has_the_rights_that_he_chose(authority: Authority, tmp_path: Path) -> None:
    # As a mounted secret: root's, mode 0640 or 0444. ssh looks at keys of one's own only, too.
    files = laid(tmp_path, issue_client(authority, "s", NOW, days=30))
    assert files.key is not None
    files.key.chmod(0o444)
    os.chown(files.key, 65534, -1)
    make_context(files)


def test_an_expired_certificate_is_told_from_what_cannot_be_used(authority: Authority, tmp_path: Path) -> None:
    files = laid(tmp_path, issue_client(authority, "s", NOW - timedelta(days=40), days=30))
    with pytest.raises(CertificateExpiredError, match=f"ended on {NOW - timedelta(days=10):%Y-%m-%d}; `jcm-mrv device"):
        make_context(files)
    # The broker's clock judges whether it is valid yet: a gateway without a battery starts in 1970.
    make_context(laid(tmp_path, issue_client(authority, "s", NOW + timedelta(days=9), days=30)))


def shown(client: ClientTls, authority: Authority, folder: Path) -> int:
    """The serial number of the certificate that a server is shown, in a handshake without a network."""
    ca = folder / "ca.pem"
    ca.write_bytes(authority.certificate.public_bytes(serialization.Encoding.PEM))
    pair = laid(folder, issue_server(authority, ["b"], NOW, days=1), "server")
    assert pair.certificate is not None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(pair.certificate, pair.key)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.context.wrap_bio(back, there, server_hostname="b")
    theirs = context.wrap_bio(there, back, server_side=True)
    for _ in range(3):
        for side in (ours, theirs):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    der = theirs.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


def serial(pem: Pem) -> int:
    return x509.load_pem_x509_certificate(pem.certificate).serial_number


def test_a_renewed_pair_is_taken_up_and_half_of_one_is_not(authority: Authority, tmp_path: Path) -> None:
    former, renewed = (issue_client(authority, "s", NOW, days=days) for days in (30, 60))
    pair = laid(tmp_path, former)
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.certificate.public_bytes(serialization.Encoding.PEM))
    files = TlsFiles(ca, pair.certificate, pair.key)
    client = ClientTls(files)
    assert not client.renew()
    assert files.certificate is not None
    assert files.key is not None
    files.certificate.write_bytes(renewed.certificate)
    for _ in range(2):
        with pytest.raises(BrokerTlsError, match="not that of the certificate"):
            client.renew()
        assert shown(client, authority, tmp_path) == serial(former)
    files.key.write_bytes(renewed.key)
    assert client.renew()
    assert not client.renew()
    assert shown(client, authority, tmp_path) == serial(renewed)


def test_what_ends_soon_is_logged_once_it_is_used(authority: Authority, tmp_path: Path) -> None:
    with capture_logs() as said:
        ClientTls(laid(tmp_path, issue_client(authority, "s", NOW, days=90), "long"))
        soon = laid(tmp_path, issue_client(authority, "s", NOW, days=20), "soon")
        ClientTls(soon).renew()
    told = [(one["event"], one["days"], one["log_level"]) for one in said]
    assert told == [("client_certificate_ends", 19, "warning")]


@settings(max_examples=40, deadline=None)
@given(
    begin=st.integers(-470_000_000, 3_780_000_000).map(lambda at: datetime.fromtimestamp(at, UTC)),
    days=st.integers(1, 9000),
    name=st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=16),
)
@example(begin=datetime(1955, 6, 1, tzinfo=UTC), days=1, name="n")
@example(begin=datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC), days=1, name="n")
def test_validity_is_read_as_the_library_reads_it(
    tmp_path_factory: pytest.TempPathFactory, begin: datetime, days: int, name: str
) -> None:
    key = ec.derive_private_key(7, ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days)).sign(key, hashes.SHA256())
    )  # fmt: skip
    file = tmp_path_factory.getbasetemp() / "one.crt"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    assert validity(file) == (made.not_valid_before_utc, made.not_valid_after_utc)


def alert(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] …")
    error.reason = reason
    return error


SHOWN = TlsFiles(certificate=Path("site.crt"), key=Path("site.key"))


@pytest.mark.parametrize(
    ("reason", "files", "said"),
    [
        ("SSLV3_ALERT_CERTIFICATE_REVOKED", SHOWN, "refuses our certificate site.crt: it was revoked; `jcm-mrv device"),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", SHOWN, "--refresh-crl"),
        ("TLSV1_ALERT_UNKNOWN_CA", SHOWN, "is not one that the broker knows"),
        ("SSLV3_ALERT_UNSUPPORTED_CERTIFICATE", SHOWN, "none for a client"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", TlsFiles(), "JCM_MRV_MQTT_CERT_FILE"),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", TlsFiles(), "asks for a certificate"),
        ("WRONG_VERSION_NUMBER", TlsFiles(), "does not speak TLS on this port"),
        ("TLSV1_ALERT_PROTOCOL_VERSION", TlsFiles(), "no TLS of version 1.2"),
    ],
)
def test_an_alert_is_said_in_words(reason: str, files: TlsFiles, said: str) -> None:
    assert said in explain(alert(reason), files)


def test_what_is_no_matter_of_tls_is_left_to_others() -> None:
    assert explain(ConnectionRefusedError(111, "Connection refused"), SHOWN) == ""
    assert explain(alert("UNEXPECTED_EOF_WHILE_READING"), SHOWN) == ""
    assert parse("mqtt://127.0.0.1:1").why_refused() == ""
    assert parse("mqtts://127.0.0.1:1").why_refused() == ""
    # Files that are being replaced are not the broker's word.
    assert parse("mqtts://127.0.0.1:1", SHOWN).why_refused() == ""
