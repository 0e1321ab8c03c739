"""What can go wrong while keeping an installation."""

from deploy.errors import DeployError


class KeepingError(DeployError):
    """A backup, a restore or a retention run cannot be done as asked."""


class ToolError(KeepingError):
    """A program of PostgreSQL is missing, older than the server, or failed."""


class BackupFileError(KeepingError):
    """A backup cannot be read, or is not whole."""


class RestoreError(KeepingError):
    """The database that a backup was to go into does not take it, or did not come out as it was."""


class RetentionError(KeepingError):
    """The database refuses to let messages go."""
