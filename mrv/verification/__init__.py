"""From a frozen revision to verified and notified tonnes: submission, findings, attestation, notification.

Each step is a row that the database takes or refuses (`sql/migrations/0008_verification.sql`); nothing here decides
again what is decided there. What PostgreSQL cannot do is done here: write the statement, and check its signature.
"""
