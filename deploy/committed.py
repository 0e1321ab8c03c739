"""Whether what was published is committed: what a person waits for before asking for a report."""

import time

from deploy.servers import Endpoints
from ingest.health import received
from sql.connection import Role, connect, reported
from sql.errors import StoreError

PATIENCE_S = 10.0
"""A batch takes tens of milliseconds; a collector that commits nothing for so long is away."""


def committed(servers: Endpoints, site: str) -> int | None:
    """Count the messages in the account of a site; None where the database is not known or not at hand."""
    if not servers.knows_database:
        return None
    try:
        with reported(), connect(servers.database_url, Role.READER, application="jcm-mrv replay") as connection:
            return received(connection, site)
    except StoreError:
        return None


def wait_for_commit(servers: Endpoints, site: str, before: int, published: int) -> int:
    """Wait until the account of a site has grown by what was published; return what is missing once it stands still."""
    seen, moved = before, time.monotonic()
    while time.monotonic() - moved < PATIENCE_S:
        count = committed(servers, site) or seen
        if count >= before + published:
            return 0
        if count > seen:
            seen, moved = count, time.monotonic()
        time.sleep(0.1)
    return before + published - seen
