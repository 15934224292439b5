"""JSON in and out: one shape for each noun, used by API, CLI and console."""
