"""The bench: what the collector does a second, beside what the same machine does without it, in one run."""
