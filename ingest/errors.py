"""What can go wrong between the broker and the database, in words an operator can act on."""


class IngestError(Exception):
    """The collector cannot go on."""


class BrokerUnavailableError(IngestError):
    """The broker does not answer."""


class BrokerRefusedError(IngestError):
    """The broker refuses the collector."""


class SubscriptionRefusedError(IngestError):
    """The broker refuses the subscription."""


class SessionFailedError(IngestError):
    """The MQTT thread ended by a fault in the code."""


class StoreFailedError(IngestError):
    """The database refuses what is no matter of the data."""


class LeaseHeldError(IngestError):
    """Another collector with this client id is at work."""


class UnsafeSetupError(IngestError):
    """The settings, the broker or the database would lose data."""


class QuarantineEntryUnknownError(IngestError):
    """There is no such entry in quarantine, or it was released."""


class QuarantineBusyError(IngestError):
    """Another replay of the same entries ran at the same time."""


class UnstorableError(Exception):
    """A batch holds a value that no row can hold; never leaves the collector."""


class StaleMemoryError(IngestError):
    """What was remembered is no longer the newest."""
