"""What can be wrong with a declaration, a payload or a recording."""

from pathlib import Path


class DevicesError(Exception):
    """Something about a site, a device or a reading is wrong."""


class DeclarationError(DevicesError):
    """A declaration file says something that cannot be."""

    def __init__(self, file: Path | str, problems: list[str]) -> None:
        self.file = str(file)
        self.problems = problems
        first, *rest = problems
        more = f" (and {len(rest)} more: {'; '.join(rest)})" if rest else ""
        super().__init__(f"{self.file}: {first}{more}")


class RecordingError(DevicesError):
    """A recording cannot be read or mapped to points."""


class UnknownUnitError(DevicesError):
    """A unit is not one that the point can be converted from."""


class BrokerUrlError(DevicesError):
    """A broker's URL cannot be read."""


class BrokerTlsError(DevicesError):
    """What TLS to the broker needs cannot be used."""


class CertificateExpiredError(BrokerTlsError):
    """Our certificate has ended."""


class PublishError(DevicesError):
    """Readings cannot be published to the broker."""


class PollError(DevicesError):
    """A device on the site's bus does not answer, or not what was asked of it."""


class SpoolError(DevicesError):
    """The gateway's store of readings cannot be opened."""


class ProfileError(DevicesError):
    """A device family's profile cannot be used."""


class ListenError(DevicesError):
    """A broker cannot be listened to."""
