"""How ingestion stands: the API and the pages of operators."""
