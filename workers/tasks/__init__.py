"""Periodic tasks that run beside the relay."""
