"""Replay jobs and their items."""
