"""The store: schema as plain SQL, named queries, roles, the migrator and connections.

Numbered migrations are in `migrations/`, named queries in `queries/`, who may do what in `roles.sql`. Nothing here
knows what a reading or a tonne is, and nothing here reads the environment.
"""
