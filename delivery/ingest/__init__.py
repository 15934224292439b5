"""Ingest: events that come as messages over RabbitMQ, and what becomes of those that cannot be accepted."""

from delivery.ingest.ingest import Ingest
from delivery.ingest.message import KEY_HEADER, Message
from delivery.ingest.refused import RefusedMessages, Retried

__all__ = ["KEY_HEADER", "Ingest", "Message", "RefusedMessages", "Retried"]
