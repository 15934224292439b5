"""The commands that start or examine processes."""
