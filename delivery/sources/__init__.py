"""Ingest: events that come as messages over RabbitMQ, and what becomes of those that cannot be accepted."""
