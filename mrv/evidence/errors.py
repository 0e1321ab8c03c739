"""What can be wrong with evidence."""

from mrv.errors import MrvError


class EvidenceError(MrvError):
    """Messages cannot be sealed, or a bundle cannot be made."""


class KeyFileError(EvidenceError):
    """The key that signs cannot be read or made."""


class BundleError(EvidenceError):
    """A bundle does not hold what it says; the message names the first thing that does not fit."""


class TimestampError(EvidenceError):
    """A time stamp cannot be had, or is not one of this seal by this authority."""
