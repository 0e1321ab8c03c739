"""Alerts: rules judged on facts from the database, their state, and notices by webhook and e-mail (docs/alerts.md)."""
