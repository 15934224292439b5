"""A producer that speaks to RabbitMQ: persistent messages, confirmed, refused where they lead nowhere."""

from __future__ import annotations

import json
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import pika
from pika.exceptions import AMQPError

if TYPE_CHECKING:
    from types import TracebackType


class RawProperties(pika.BasicProperties):  # type: ignore[misc]  # pika has no types
    """Properties of a message with a message-id and a table of headers, byte for byte as they are given."""

    def __init__(self, message_id: bytes, headers: bytes) -> None:
        super().__init__()
        self._id = message_id
        self._table = headers

    def encode(self) -> list[bytes]:
        flags = self.FLAG_HEADERS | self.FLAG_DELIVERY_MODE | self.FLAG_MESSAGE_ID
        return [
            struct.pack(">H", flags),
            encode_long_string(self._table),
            b"\2",
            encode_short_string(self._id),
        ]


def encode_long_string(text: bytes) -> bytes:
    """A string or table with its length before it, AMQP 0-9-1, section 4.2.5."""
    return struct.pack(">I", len(text)) + text


def encode_short_string(text: bytes) -> bytes:
    """A short string."""
    return bytes([len(text)]) + text


def encode_nested_table(levels: int, kind: bytes = b"F") -> bytes:
    """Tables nested to this depth, or arrays (`A`), as a header's value."""
    value = kind + encode_long_string(b"")
    for _ in range(levels):
        value = kind + encode_long_string((encode_short_string(b"a") if kind == b"F" else b"") + value)
    return value


class Publisher:
    """Publishes to an exchange. A message is the broker's when `publish` returns."""

    def __init__(self, url: str, exchange: str) -> None:
        self._exchange = exchange
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()

    def publish_event(self, key: str, message_id: str, data: object, *, type_: str = "order.created") -> None:
        self.publish_body(
            json.dumps({"type": type_, "data": data}).encode(), message_id, **{"waybill-key": key}
        )

    def publish_body(self, body: bytes, message_id: str | None, **headers: str) -> None:
        properties = pika.BasicProperties(message_id=message_id, delivery_mode=2, headers=headers)
        self._channel.basic_publish(self._exchange, "", body, properties, mandatory=True)

    def publish_raw_headers(self, body: bytes, message_id: bytes, key: str, *headers: bytes) -> None:
        """A message whose other headers are given byte for byte: a short string, a kind, a value."""
        mine = encode_short_string(b"waybill-key") + b"S" + encode_long_string(key.encode())
        written = RawProperties(message_id, b"".join(headers) + mine)
        self._channel.basic_publish(self._exchange, "", body, written, mandatory=True)

    def count_ready(self) -> int:
        """Count the messages that wait in the queue."""
        return int(self._channel.queue_declare(self._exchange, passive=True).method.message_count)

    def declare(self) -> None:
        """Declare what the ingest process declares; the first of the two does it."""
        arguments = {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000}
        self._channel.exchange_declare(self._exchange, exchange_type="fanout", durable=True)
        self._channel.queue_declare(self._exchange, durable=True, arguments=arguments)
        self._channel.queue_bind(self._exchange, self._exchange)

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
