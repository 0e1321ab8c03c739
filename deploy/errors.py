"""What can go wrong while putting the system together and running it."""


class DeployError(Exception):
    """A problem that a person can mend; the command line prints it as `jcm-mrv: <message>` and exits 1."""


class ConfigurationError(DeployError):
    """A setting, a file of settings or a combination of them is wrong."""


class LocalServersError(DeployError):
    """The local servers cannot do what was asked."""


class PackagesUnavailableError(LocalServersError):
    """The local servers' packages cannot be had on this machine.

    The message ends with the two other ways, because here the local servers are a dead end.
    """

    OTHER_WAYS = (
        "set JCM_MRV_DATABASE_URL and JCM_MRV_MQTT_URL to servers of your own, "
        "or run `docker compose -f deploy/compose.yaml up timescaledb mosquitto`"
    )

    def __init__(self, reason: str) -> None:
        super().__init__(f"local servers cannot be made here: {reason}; {self.OTHER_WAYS}")


class ServerStartError(LocalServersError):
    """A local server did not start or does not answer."""


class DemoError(DeployError):
    """The demo cannot go on."""


class HealthServerError(DeployError):
    """The health server cannot listen where it was told to."""


class OutputError(DeployError):
    """A file cannot be written."""


class ProvisionError(DeployError):
    """A site cannot be given what it needs to connect."""


class AuthorityError(DeployError):
    """The certificate authority cannot issue or revoke."""


class BrokerReloadError(DeployError):
    """The broker cannot be told which certificates are revoked."""


class ProbeError(DeployError):
    """What was heard of a device cannot be read."""


class InputError(DeployError):
    """A file cannot be read."""
