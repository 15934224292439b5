"""Ingest: events that come as messages over RabbitMQ, and what becomes of those that cannot be accepted."""

from delivery.ingest.ingest import Ingest
from delivery.ingest.message import KEY_HEADER, Message
from delivery.ingest.refused import Many, RefusedMessages, Retried

__all__ = ["KEY_HEADER", "Ingest", "Many", "Message", "RefusedMessages", "Retried"]
