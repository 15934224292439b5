"""A producer that speaks to RabbitMQ: persistent messages, confirmed, refused where they lead nowhere."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import pika
from pika.exceptions import AMQPError

if TYPE_CHECKING:
    from types import TracebackType


class Publisher:
    """Publishes to an exchange. A message is the broker's when `publish` returns."""

    def __init__(self, url: str, exchange: str) -> None:
        self._exchange = exchange
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()

    def publish(self, key: str, message_id: str, data: object, *, type_: str = "order.created") -> None:
        self.put(json.dumps({"type": type_, "data": data}).encode(), message_id, **{"waybill-key": key})

    def put(self, body: bytes, message_id: str | None, **headers: str) -> None:
        properties = pika.BasicProperties(message_id=message_id, delivery_mode=2, headers=headers)
        self._channel.basic_publish(self._exchange, "", body, properties, mandatory=True)

    def waiting(self) -> int:
        """How many messages wait in the queue that nobody holds."""
        return int(self._channel.queue_declare(self._exchange, passive=True).method.message_count)

    def delete(self) -> None:
        """Remove exchange and queue: they would outlive a test."""
        self._channel.queue_delete(self._exchange)
        self._channel.exchange_delete(self._exchange)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(AMQPError):
            self._connection.close()
