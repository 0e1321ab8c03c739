"""Public keys of third-party entities, and what a private one does away from here: sign.

Ed25519 as in RFC 8032, over the statement itself; no prehash. A key is named by the SHA-256 of its 32 public bytes.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime

import psycopg
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mrv.verification.errors import VerifierKeyError
from mrv.verification.steps import Author, Signed, refusals
from sql.named import load

_QUERIES = load("verification")
SIGNATURE_BYTES = 64


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A registered public key, and who registered it."""

    key_id: str
    """`ed25519:` and 64 hexadecimal digits."""
    public_key: bytes
    """32 bytes."""
    third_party_entity: str
    valid_from: datetime
    valid_until: datetime
    """From this instant on it is no longer valid."""
    registered: Signed
    withdrawn_at: datetime | None
    withdrawn_because: str | None

    def state(self, now: datetime) -> str:
        """Say whether it is `valid`, `not valid yet`, `expired` or `withdrawn`."""
        if self.withdrawn_at is not None:
            return "withdrawn"
        if now < self.valid_from:
            return "not valid yet"
        return "valid" if now < self.valid_until else "expired"

    def signed(self, statement: bytes, signature: bytes) -> bool:
        """Tell whether this key made a signature over exactly these bytes."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, statement)
        except InvalidSignature:
            return False
        return True


def key_id(public_key: bytes) -> str:
    """Name a public key of 32 bytes."""
    return f"ed25519:{hashlib.sha256(public_key).hexdigest()}"


def read_public(content: bytes) -> bytes:
    """Read a public key in PEM (SubjectPublicKeyInfo, as `openssl pkey -pubout` writes); return its 32 bytes.

    Raises
    ------
    VerifierKeyError
        It is not an Ed25519 public key; a private one above all.
    """
    if b"PRIVATE KEY" in content:
        raise VerifierKeyError(
            "that is a private key, which never leaves its owner; give the public one (`openssl pkey -in KEY -pubout`)"
        )
    try:
        key = serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        raise VerifierKeyError("that is not a public key in PEM; `openssl pkey -in KEY -pubout` writes one") from None
    if not isinstance(key, Ed25519PublicKey):
        raise VerifierKeyError("that is not an Ed25519 key; make one with `openssl genpkey -algorithm ed25519`")
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def sign(private_key: bytes, statement: bytes, password: bytes | None = None) -> bytes:
    """Sign a statement with a private key in PEM (PKCS #8); return the 64 bytes.

    Raises
    ------
    VerifierKeyError
        It is not an Ed25519 private key, or the password is missing or wrong.
    """
    if b"PUBLIC KEY-----" in private_key:
        raise VerifierKeyError("that is a public key; a statement is signed with the private one, which is yours alone")
    try:
        key = serialization.load_pem_private_key(private_key, password)
    except TypeError:
        asked = "needs its password" if password is None else "has no password"
        raise VerifierKeyError(f"the private key {asked}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise VerifierKeyError("the private key cannot be read: not PEM, or the password is wrong") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise VerifierKeyError("that is not an Ed25519 private key")
    return key.sign(statement)


def register(
    connection: psycopg.Connection,
    public_key: bytes,
    third_party_entity: str,
    valid_from: datetime,
    valid_until: datetime,
    author: Author,
) -> VerifierKey:
    """Register the public key of a third-party entity; the owner of the database does.

    Raises
    ------
    VerifierKeyError
        It is registered already, or is valid for no time.
    """
    if valid_until <= valid_from:
        raise VerifierKeyError("the key would end before it begins to be valid; give --until a later day")
    name = key_id(public_key)
    if any(key.key_id == name for key in keys(connection)):
        raise VerifierKeyError(f"key {name} is registered already; `jcm-mrv attestation keys` shows it")
    connection.execute(
        _QUERIES["register_key"],
        {
            "key": name,
            "public_key": public_key,
            "entity": third_party_entity,
            "valid_from": valid_from,
            "valid_until": valid_until,
            **author.as_row(),
        },
    )
    return find(connection, name)


def withdraw(connection: psycopg.Connection, name: str, reason: str, author: Author) -> VerifierKey:
    """End the use of a key before its time; what was attested with it before stands.

    Raises
    ------
    VerifierKeyError
        There is no such key, or it was withdrawn before.
    """
    key = find(connection, name)
    if key.withdrawn_at is not None:
        raise VerifierKeyError(f"key {key.key_id} was withdrawn at {key.withdrawn_at.isoformat()}")
    with refusals():
        connection.execute(_QUERIES["withdraw_key"], {"key": key.key_id, "reason": reason, **author.as_row()})
    return find(connection, name)


def keys(connection: psycopg.Connection) -> list[VerifierKey]:
    """List the registered keys, oldest first."""
    return [
        VerifierKey(name, bytes(public), entity, since, until, Signed(at, login, person, organisation), withdrawn, why)
        for name, public, entity, since, until, at, login, person, organisation, withdrawn, why in connection.execute(
            _QUERIES["keys"]
        )
    ]


def find(connection: psycopg.Connection, name: str) -> VerifierKey:
    """Find a key by its id, or by the beginning of it that no other has.

    Raises
    ------
    VerifierKeyError
        There is none, or there are several.
    """
    prefix = name if name.startswith("ed25519:") else f"ed25519:{name}"
    found = [key for key in keys(connection) if key.key_id.startswith(prefix)]
    if len(found) != 1:
        raise VerifierKeyError(
            f"{len(found) or 'no'} registered key begins with {name}; see `jcm-mrv attestation keys`"
        )
    return found[0]
