"""The service's Ed25519 key (RFC 8032): made once, kept in a file that only its owner may read."""

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from mrv.evidence.errors import KeyFileError


@dataclass(frozen=True)
class VerifyKey:
    """A public key."""

    public: Ed25519PublicKey

    @classmethod
    def from_raw(cls, raw: bytes) -> "VerifyKey":
        """Read the 32 bytes of RFC 8032; ValueError when they are not 32."""
        return cls(Ed25519PublicKey.from_public_bytes(raw))

    @property
    def raw(self) -> bytes:
        """The 32 bytes of RFC 8032."""
        return self.public.public_bytes_raw()

    @property
    def id(self) -> str:
        """SHA-256 of the 32 bytes, in hexadecimal."""
        return sha256(self.raw).hexdigest()

    @property
    def pem(self) -> str:
        """SubjectPublicKeyInfo, PEM."""
        return self.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def signed(self, signature: bytes, content: bytes) -> bool:
        """Say whether a signature is this key's over a content."""
        try:
            self.public.verify(signature, content)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class SigningKey:
    """The private key."""

    private: Ed25519PrivateKey

    @property
    def public(self) -> VerifyKey:
        """Its public half."""
        return VerifyKey(self.private.public_key())

    def sign(self, content: bytes) -> bytes:
        """Sign; the same content has always the same signature."""
        return self.private.sign(content)


def make_key(path: Path) -> SigningKey:
    """Make a key and keep it in a new file, for its owner alone.

    Raises
    ------
    KeyFileError
        There is a file already, which is never overwritten, or the folder cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise KeyFileError(f"{path}: no key was made: {(error.strerror or str(error)).lower()}") from None
    return SigningKey(key)


def load_key(path: Path) -> SigningKey:
    """Read a key that `make_key` made.

    Raises
    ------
    KeyFileError
        There is none, or it is no Ed25519 key in PEM without a password.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        raise KeyFileError(f"{path}: there is no key; `jcm-mrv evidence keys --make` makes one") from None
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyFileError(f"{path}: is no private key in PEM (PKCS 8, without a password)") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path}: is no Ed25519 key")
    return SigningKey(key)


def load_public_key(path: Path) -> VerifyKey:
    """Read a public key.

    Raises
    ------
    KeyFileError
        It is no Ed25519 public key in PEM.
    """
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyFileError(f"{path}: is no public key in PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFileError(f"{path}: is no Ed25519 key")
    return VerifyKey(key)
