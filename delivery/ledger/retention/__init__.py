"""Deleting what is past its retention period."""
