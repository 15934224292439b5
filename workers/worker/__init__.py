"""The Dramatiq actors that deliver."""
