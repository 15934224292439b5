"""Explains why a delivery has its status, and which endpoints an event was delivered to."""
