"""Evidence: every day's messages sealed by site, and bundles that anyone can check without our database.

What is written here byte by byte is specified in `docs/evidence.md`. The system *anchors* what it received; only a
person attests.
"""
