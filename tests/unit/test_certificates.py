"""What the authority signs, and its folder: made once, everything written down, nothing lost."""

import json
import threading
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from deploy.authority import AuthorityFolder
from deploy.certificates import Authority, Pem, issue_client, issue_server, make_authority, revocation_list
from deploy.errors import AuthorityError

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.load(make_authority(NOW))


def common_name(certificate: x509.Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def read(pem: Pem) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.certificate)


def verifier(authority: Authority, at: datetime) -> verification.PolicyBuilder:
    return verification.PolicyBuilder().store(verification.Store([authority.certificate])).time(at)


def test_a_sites_certificate_is_a_clients_and_bears_its_id(authority: Authority) -> None:
    certificate = read(issue_client(authority, "site-1", NOW, days=397))
    assert certificate.subject.rfc4514_string() == "CN=site-1"
    assert list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_cert_sign, usage.crl_sign) == (True, False, False)
    assert list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value) == [
        x509.UniformResourceIdentifier("jcm-mrv:site:site-1")
    ]
    assert certificate.not_valid_after_utc == NOW + timedelta(days=397)
    assert certificate.not_valid_before_utc < NOW
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    certificate.verify_directly_issued_by(authority.certificate)


def test_a_brokers_certificate_is_one_of_the_web_pki_kind(authority: Authority) -> None:
    certificate = read(issue_server(authority, ["broker.example", "127.0.0.1", "::1"], NOW, days=90))
    builder = verifier(authority, NOW + timedelta(days=89))
    for name in (x509.DNSName("broker.example"), x509.IPAddress(ip_address("::1"))):
        assert len(builder.build_server_verifier(name).verify(certificate, [])) == 2
    with pytest.raises(verification.VerificationError):
        builder.build_server_verifier(x509.DNSName("other.example")).verify(certificate, [])
    with pytest.raises(verification.VerificationError):
        verifier(authority, NOW + timedelta(days=91)).build_server_verifier(x509.DNSName("broker.example")).verify(
            certificate, []
        )


def test_serials_keys_and_authorities_are_never_alike(authority: Authority) -> None:
    issued = [read(issue_client(authority, "s", NOW, days=1)) for _ in range(20)]
    assert len({one.serial_number for one in issued}) == 20
    # RFC 5280, 4.1.2.2: positive, at most 20 octets.
    assert all(0 < one.serial_number < 1 << 159 for one in issued)
    assert len({one.public_key().public_numbers() for one in issued}) == 20  # type: ignore[union-attr]
    assert common_name(authority.certificate) != common_name(read(make_authority(NOW)))


def test_nothing_outlives_the_authority_or_has_too_long_a_name(authority: Authority) -> None:
    with pytest.raises(ValueError, match="the authority ends on 2036-11-21"):
        issue_client(authority, "s", NOW, days=3653)
    with pytest.raises(ValueError, match="64"):
        issue_client(authority, "x" * 65, NOW, days=1)


def test_the_authority_signs_certificates_and_no_authorities(authority: Authority) -> None:
    constraints = authority.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    usage = authority.certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.crl_sign, usage.digital_signature) == (True, True, False)


def test_a_key_that_is_not_the_certificates_is_no_authority() -> None:
    with pytest.raises(ValueError, match="not the certificate's"):
        Authority.load(Pem(make_authority(NOW).key, make_authority(NOW).certificate))


def test_a_list_names_who_is_revoked_and_holds_as_long_as_the_authority(authority: Authority) -> None:
    crl = x509.load_pem_x509_crl(revocation_list(authority, [(17, NOW - timedelta(days=3))], NOW, number=5))
    assert crl.is_signature_valid(authority.certificate.public_key())  # type: ignore[arg-type]
    assert [(one.serial_number, one.revocation_date_utc) for one in crl] == [(17, NOW - timedelta(days=3))]
    assert crl.last_update_utc == NOW
    assert crl.next_update_utc == authority.certificate.not_valid_after_utc


def test_the_folder_is_made_once_and_its_key_is_private(tmp_path: Path) -> None:
    folder = AuthorityFolder(tmp_path / "deep" / "ca")
    folder.issue_client("site-1", days=30)
    before = (folder.folder / "ca.key").read_bytes(), folder.certificate.read_bytes()
    AuthorityFolder(tmp_path / "deep" / "ca").issue_client("site-2", days=30)
    assert ((folder.folder / "ca.key").read_bytes(), folder.certificate.read_bytes()) == before
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.folder.iterdir()}
    assert modes["ca.key"] == modes["issued.json"] == 0o600
    # The broker runs as another user.
    assert modes["ca.pem"] == modes["crl.pem"] == 0o644
    assert list(x509.load_pem_x509_crl(folder.revocations.read_bytes())) == []


def test_all_that_is_issued_is_listed(tmp_path: Path) -> None:
    folder = AuthorityFolder(tmp_path)
    pem, first = folder.issue_client("site-1", days=30)
    folder.issue_client("site-2", days=30)
    # A server of the same name is another matter.
    folder.issue_server(["site-1"], days=30)
    _, second = folder.issue_client("site-1", days=60)
    assert folder.issued("client", "site-1") == [first, second]
    certificate = read(pem)
    assert int(first.serial, 16) == certificate.serial_number
    assert datetime.fromisoformat(first.not_after) == certificate.not_valid_after_utc
    end = certificate.not_valid_after_utc
    assert (first.state(end - timedelta(seconds=1)), first.state(end)) == ("valid", "expired")


def test_several_at_once_are_all_listed(tmp_path: Path) -> None:
    threads = [
        threading.Thread(target=AuthorityFolder(tmp_path).issue_client, args=("s",), kwargs={"days": 1})
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    issued = AuthorityFolder(tmp_path).issued("client", "s")
    assert len({one.serial for one in issued}) == 8


def test_revoking_says_what_is_new_and_keeps_what_was(tmp_path: Path) -> None:
    folder = AuthorityFolder(tmp_path)
    serials = [folder.issue_client("s", days=30)[1].serial for _ in range(3)]
    assert [one.serial for one in folder.revoke(serials[:2])] == serials[:2]
    first = [one.revoked for one in folder.issued("client", "s")]
    assert [one.serial for one in folder.revoke(serials)] == serials[2:]
    issued = folder.issued("client", "s")
    # When the first two were revoked is history.
    assert [one.revoked for one in issued][:2] == first[:2]
    assert {one.state(NOW) for one in issued} == {"revoked"}
    assert {f"{one.serial_number:x}" for one in x509.load_pem_x509_crl(folder.revocations.read_bytes())} == set(serials)


def test_each_list_has_a_higher_number(tmp_path: Path) -> None:
    folder = AuthorityFolder(tmp_path)
    _, issued = folder.issue_client("s", days=30)
    numbers = []
    for _ in range(3):
        crl = x509.load_pem_x509_crl(folder.revocations.read_bytes())
        numbers.append(crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number)
        folder.revoke([issued.serial])
    # RFC 5280, 5.2.3.
    assert numbers == [1, 2, 3]


def test_a_damaged_list_is_made_anew(tmp_path: Path) -> None:
    folder = AuthorityFolder(tmp_path)
    _, issued = folder.issue_client("s", days=30)
    folder.revocations.write_text("?")
    with pytest.raises(AuthorityError, match=r"crl\.pem cannot be read: .*; delete it"):
        folder.revoke([issued.serial])
    folder.revocations.unlink()
    folder.revoke([issued.serial])
    assert len(x509.load_pem_x509_crl(folder.revocations.read_bytes())) == 1


def test_a_revocation_that_was_cut_off_before_the_list_is_mended(tmp_path: Path) -> None:
    folder = AuthorityFolder(tmp_path)
    _, issued = folder.issue_client("s", days=30)
    before = folder.revocations.read_bytes()
    folder.revoke([issued.serial])
    folder.revocations.write_bytes(before)
    assert folder.revoke([issued.serial]) == []
    assert len(x509.load_pem_x509_crl(folder.revocations.read_bytes())) == 1


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "ca.key").chmod(0o640), "can be read by others"),
        (lambda folder: (folder / "ca.key").unlink(), r"ca\.key is missing"),
        (lambda folder: (folder / "ca.key").write_text("?"), "cannot be read"),
        (lambda folder: (folder / "ca.pem").unlink(), r"ca\.pem is missing, and certificates were issued"),
        (lambda folder: (folder / "ca.pem").write_bytes(make_authority(NOW).certificate), "not the certificate's"),
        (lambda folder: (folder / "issued.json").write_text("{"), r"issued\.json cannot be read"),
        (lambda folder: (folder / "issued.json").write_text(json.dumps([{"a": 1}])), r"issued\.json cannot be read"),
    ],
)
def test_a_damaged_folder_is_not_used_and_not_overwritten(tmp_path: Path, damage, said: str) -> None:
    folder = AuthorityFolder(tmp_path)
    folder.issue_client("s", days=30)
    damage(tmp_path)
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(AuthorityError, match=said):
        folder.issue_client("s", days=30)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept


def test_an_encrypted_key_needs_its_passphrase(tmp_path: Path) -> None:
    AuthorityFolder(tmp_path, "a word").issue_client("s", days=30)
    key = (tmp_path / "ca.key").read_bytes()
    assert key.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    AuthorityFolder(tmp_path, "a word").issue_client("s", days=30)
    for passphrase, said in ((None, "is encrypted; name a file"), ("another", "cannot be read: .*")):
        with pytest.raises(AuthorityError, match=said) as raised:
            AuthorityFolder(tmp_path, passphrase).issue_client("s", days=30)
        assert "another" not in str(raised.value)
    AuthorityFolder(tmp_path / "open").issue_client("s", days=30)
    with pytest.raises(AuthorityError, match="is not encrypted; take"):
        AuthorityFolder(tmp_path / "open", "a word").issue_client("s", days=30)
    # What is told of certificates needs no key.
    assert len(AuthorityFolder(tmp_path).endings(datetime.now(UTC))) == 1


def test_what_was_rotated_is_revoked_when_its_time_is_over_and_not_before(tmp_path: Path) -> None:
    folder = AuthorityFolder(tmp_path)
    first, second, third = (folder.issue_client("s", days=90)[1].serial for _ in range(3))
    folder.retire([first, second], days=10)
    folder.retire([first], days=0)
    # More time than it had is given to nothing.
    folder.retire([first], days=99)
    now = datetime.now(UTC)
    assert [one.state(now) for one in folder.issued("client", "s")] == ["retiring", "retiring", "valid"]
    assert [one.serial for one in folder.refresh()] == [first]
    assert folder.refresh() == []
    assert [one.state(now) for one in folder.issued("client", "s")] == ["revoked", "retiring", "valid"]
    assert folder.revoke([first]) == []
    assert {f"{one.serial_number:x}" for one in x509.load_pem_x509_crl(folder.revocations.read_bytes())} == {first}
    assert third not in {first, second}


def test_what_ends_soon_is_told_with_what_to_do(tmp_path: Path) -> None:
    folder = AuthorityFolder(tmp_path)
    now = datetime.now(UTC)
    assert folder.endings(now) == []
    folder.issue_client("old", days=3)
    folder.issue_client("renewed", days=3)
    folder.issue_client("renewed", days=300)
    gone = folder.issue_client("gone", days=3)[1]
    folder.revoke([gone.serial])
    folder.issue_server(["broker.example"], days=29)
    found = folder.endings(now)
    assert [(one.what, one.name) for one in found] == [("certificate", "old"), ("certificate", "broker.example")]
    assert "`jcm-mrv device provision old --rotate`" in found[0].text(now)
    assert "ends in 2 days" in found[0].text(now)
    assert "--server broker.example --rotate" in found[1].text(now)
    assert "has ended" in found[0].text(now + timedelta(days=4))
    later = [(one.what, one.name) for one in folder.endings(now + timedelta(days=3640))]
    assert {("authority", ""), ("revocation list", "")} < set(later)


def test_what_cannot_be_issued_is_not_listed(tmp_path: Path) -> None:
    folder = AuthorityFolder(tmp_path)
    for call, said in (
        (lambda: folder.issue_client("s", days=4000), "the authority ends"),
        (lambda: folder.issue_server(["süd.example"], days=30), "no certificate for"),
        (lambda: folder.issue_server([""], days=30), "no certificate for"),
    ):
        with pytest.raises(AuthorityError, match=said):
            call()
    assert not (tmp_path / "issued.json").exists()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AuthorityError, match="cannot be used"):
        AuthorityFolder(tmp_path / "file" / "ca").issue_client("s", days=30)
