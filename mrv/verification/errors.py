"""What can be wrong on the way from a frozen revision to notified tonnes."""

from mrv.errors import MrvError


class VerificationError(MrvError):
    """A step of the verification may not be taken."""


class VerifierKeyError(VerificationError):
    """A verifier's key cannot be used."""


class SignatureError(VerificationError):
    """A signature, or the statement under it, does not hold."""
