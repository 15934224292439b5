"""Counts over time, and live counts."""
