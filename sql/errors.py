"""What can be wrong with the database, in words an operator can act on."""


class StoreError(Exception):
    """The store refused or failed."""


class DatabaseUnavailableError(StoreError):
    """The database does not answer."""


class ServerNotSupportedError(StoreError):
    """The server is not a TimescaleDB that this version works with."""


class SchemaError(StoreError):
    """The schema in the database is not the one this version needs."""
