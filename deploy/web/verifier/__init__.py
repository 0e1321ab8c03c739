"""From projects to tonnes to raw payloads: the API and the pages of verifiers and participants."""
