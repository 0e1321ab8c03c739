"""Who may do what: accounts, roles by project, API tokens, sessions, OpenID Connect, and the record of access.

Knows no HTTP framework; `deploy/web` asks it. What an account sees in the database is narrowed once more by the
database itself (`sql/scope.sql`), so that a mistake in a page shows nothing of another project.
"""
