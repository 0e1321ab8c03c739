"""What can be wrong with a question about a frozen revision."""

from mrv.errors import MrvError


class TracingError(MrvError):
    """There is no such thing, or it cannot be traced."""


class NotThereError(TracingError):
    """There is no such thing, or it is of a project that is not seen."""


class NotKeptError(TracingError):
    """The revision was frozen before its days were kept."""
