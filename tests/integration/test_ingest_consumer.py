"""The consumer of the ingest queue at a real RabbitMQ: one message never stops the others."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from pika import URLParameters

from tests.support.amqp_publisher import Publisher, encode_short_string
from tests.unit.test_amqp_frames import STRANGE
from workers.ingest.consumer import Consumer, IngestConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from delivery.domain.inbound_message import InboundMessage

LIMIT = 1 << 21
# The broker itself cannot parse these: it closes the producer's connection.
NOT_TAKEN = {"a float that is no number", "a double without end", "an array of nonsense"}


class RecordingHandler:
    """Handles messages as `AmqpIntake` does, and records them; those named `poison` always raise."""

    def __init__(self) -> None:
        self.taken: dict[str, InboundMessage] = {}
        self.broke_off = 0
        self.came = asyncio.Condition()

    async def take(self, message: InboundMessage) -> bool:
        async with self.came:
            self.came.notify_all()
            if message.message_id == "poison":
                self.broke_off += 1
                raise RuntimeError("cannot even be set aside")
            self.taken[message.message_id or ""] = message
            return True

    async def wait_for_all(self, *names: str) -> None:
        async with asyncio.timeout(60), self.came:
            await self.came.wait_for(lambda: self.taken.keys() >= set(names))


@pytest.fixture
def handler() -> RecordingHandler:
    return RecordingHandler()


@asynccontextmanager
async def run_consumer(url: str, handler: RecordingHandler, *, prefetch: int = 2) -> AsyncIterator[Publisher]:
    """Run a consumer of its own queue; yields it with a publisher."""
    queue = f"ingest-{secrets.token_hex(4)}"
    with Publisher(url, queue) as publisher:
        publisher.declare()
        consumer = Consumer(URLParameters(url), IngestConfig(queue, prefetch, LIMIT), handler.take)
        running = asyncio.create_task(consumer.run())
        yield publisher
        consumer.stop()
        await running
        publisher.delete()


async def test_unrepresentable_headers_stop_nothing(amqp_url: str, handler: RecordingHandler) -> None:
    async with run_consumer(amqp_url, handler) as publisher:
        for name in STRANGE.keys() - NOT_TAKEN:
            publisher.publish_raw_headers(
                b"{}", name.encode(), "wbk_x", encode_short_string(b"odd") + STRANGE[name]
            )
        publisher.publish_event("wbk_y", "good", 1)
        await handler.wait_for_all("good", *STRANGE.keys() - NOT_TAKEN)
    assert handler.taken["a date of 1965"].api_key == "wbk_x"
    assert handler.taken["good"].api_key == "wbk_y"


async def test_a_binary_message_id_stops_nothing(amqp_url: str, handler: RecordingHandler) -> None:
    async with run_consumer(amqp_url, handler) as publisher:
        publisher.publish_raw_headers(b"{}", b"\xff\xfe", "wbk_x")
        publisher.publish_event("wbk_x", "good", 1)
        await handler.wait_for_all("good", "\ufffd\ufffd")


async def test_a_failing_message_is_requeued(amqp_url: str, handler: RecordingHandler) -> None:
    async with run_consumer(amqp_url, handler) as publisher:
        publisher.publish_body(b"{}", "poison")
        for number in range(50):
            publisher.publish_event("wbk_x", f"good{number}", number)
        await handler.wait_for_all(*[f"good{number}" for number in range(50)])
        async with asyncio.timeout(60), handler.came:
            await handler.came.wait_for(lambda: handler.broke_off == 2)
        publisher.publish_event("wbk_x", "later", 1)
        await handler.wait_for_all("later")


async def test_an_oversized_body_is_cut(amqp_url: str, handler: RecordingHandler) -> None:
    async with run_consumer(amqp_url, handler) as publisher:
        publisher.publish_body(b"x" * LIMIT, "largest")
        publisher.publish_body(b"x" * (LIMIT + 1), "larger")
        await handler.wait_for_all("largest", "larger")
    assert len(handler.taken["largest"].body) == handler.taken["largest"].size == LIMIT
    larger = handler.taken["larger"]
    assert (len(larger.body), larger.size) == (1 << 20, LIMIT + 1)


async def test_an_opening_connection_is_closed(handler: RecordingHandler) -> None:
    """The server accepts the connection and stays silent."""
    dialled, gone = asyncio.Event(), asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dialled.set()
        with suppress(ConnectionError):
            await reader.read()
        gone.set()
        writer.close()

    async with asyncio.timeout(60), await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = URLParameters(f"amqp://guest:guest@127.0.0.1:{port}/")
        running = asyncio.create_task(Consumer(url, IngestConfig("q", 1, LIMIT), handler.take).run())
        await dialled.wait()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await gone.wait()
