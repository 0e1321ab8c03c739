"""From the broker to a committed row.

Session, batch, transaction, acknowledgement, quarantine, accounting and health. A PUBACK leaves here only after COMMIT.
Nothing here knows what a tonne is; the MRV module meets this room in the database only.
"""
