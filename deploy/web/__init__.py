"""HTTP: the JSON API under `/api/v1` and the pages of verifiers and operators, both from the same facts.

Pages are rendered here and readable without JavaScript, pictures are SVG that the server draws, and no request of a
page leaves the host. What is shown is computed in `mrv` and `ingest`; this package asks, checks who may see it, and
writes it down. It holds no fact of its own.
"""
