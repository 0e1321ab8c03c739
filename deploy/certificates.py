"""X.509 for MQTT: an authority, certificates for sites and for a broker, a list of revoked ones. Nothing but bytes.

Profile of RFC 5280 on P-256 with SHA-256. A site's certificate bears the site's id as its common name, which Mosquitto
takes for the user (`use_identity_as_username true`), so that the same ACL holds for it as for a password. The subject
alternative name says the same as a URI, for readers that go by RFC 6125 and look at no common name.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3652
SITE_URI = "jcm-mrv:site:"
# A site's clock may be hours off, local time taken for UTC for one.
_EARLIER = timedelta(days=1)
_HASH = hashes.SHA256()


class Pem(NamedTuple):
    """A private key (PKCS 8; an authority's may be encrypted) and its certificate."""

    key: bytes
    certificate: bytes


@dataclass(frozen=True, slots=True)
class Authority:
    """Who signs."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def load(cls, pem: Pem, passphrase: str | None = None) -> "Authority":
        """Read one that `make_authority` made.

        Raises
        ------
        ValueError
            The key or the certificate cannot be read, the passphrase is wrong, or they do not belong together.
        TypeError
            A passphrase is missing, or is given and the key has none.
        """
        key = serialization.load_pem_private_key(pem.key, None if passphrase is None else passphrase.encode())
        certificate = x509.load_pem_x509_certificate(pem.certificate)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise ValueError("the key is not the certificate's")
        return cls(key, certificate)


def make_authority(now: datetime, *, days: int = AUTHORITY_DAYS, passphrase: str | None = None) -> Pem:
    """Make an authority of its own name, so that two of them are never taken for each other.

    Parameters
    ----------
    passphrase
        What its key is encrypted with (PBES2, as OpenSSL reads it); None: with nothing.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"jcm-mrv authority {secrets.token_hex(4)}")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, _HASH)
    )
    return _pem(key, certificate, passphrase)


def issue_client(authority: Authority, site: str, now: datetime, *, days: int) -> Pem:
    """Issue a certificate that a site shows to the broker; its common name is the site's id (at most 64 characters).

    Raises
    ------
    ValueError
        It would outlive the authority, or the name is too long.
    """
    named = x509.UniformResourceIdentifier(f"{SITE_URI}{quote(site, safe='')}")
    return _issue(authority, site, [named], ExtendedKeyUsageOID.CLIENT_AUTH, now, days)


def issue_server(authority: Authority, hosts: Sequence[str], now: datetime, *, days: int) -> Pem:
    """Issue a certificate that the broker shows to sites; it holds for these host names and addresses.

    Raises
    ------
    ValueError
        It would outlive the authority, or a host cannot stand in a certificate.
    """
    names = [_host(host) for host in hosts]
    return _issue(authority, hosts[0][:64], names, ExtendedKeyUsageOID.SERVER_AUTH, now, days)


def revocation_list(
    authority: Authority, revoked: Iterable[tuple[int, datetime]], now: datetime, *, number: int
) -> bytes:
    """List the serial numbers of revoked certificates and when they were revoked (PEM); `number` grows with each list.

    The list holds until the authority ends: a broker with a list that has run out refuses every site, and ours lies
    beside the broker, where a newer one replaces it.
    """
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now)
        .next_update(authority.certificate.not_valid_after_utc)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for serial, at in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at).build()
        )
    return builder.sign(authority.key, _HASH).public_bytes(serialization.Encoding.PEM)


def _issue(
    authority: Authority, name: str, also: Sequence[x509.GeneralName], usage: x509.ObjectIdentifier, now: datetime,
    days: int,
) -> Pem:  # fmt: skip
    end = now + timedelta(days=days)
    if end > authority.certificate.not_valid_after_utc:
        raise ValueError(f"the authority ends on {authority.certificate.not_valid_after_utc:%Y-%m-%d}, before that")
    key = ec.generate_private_key(ec.SECP256R1())
    begin = max(now - _EARLIER, authority.certificate.not_valid_before_utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName(also), critical=False)
    )
    return _pem(key, builder.sign(authority.key, _HASH))


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host(host: str) -> x509.GeneralName:
    try:
        address: IPv4Address | IPv6Address = ip_address(host)
    except ValueError:
        return x509.DNSName(host)
    return x509.IPAddress(address)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, passphrase: str | None = None) -> Pem:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    return Pem(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption),
        certificate.public_bytes(serialization.Encoding.PEM),
    )
