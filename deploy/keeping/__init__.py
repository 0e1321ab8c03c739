"""Keeping an installation: backup and restore, retention of raw messages, compression of closed chunks.

What is kept how long and how to get it back is told in `docs/keeping.md`.
"""
