"""What can go wrong with alerts."""

from deploy.errors import DeployError


class AlertError(DeployError):
    """An alert cannot be changed as asked."""


class NoticeError(AlertError):
    """A target did not take a notice; it is tried again."""
