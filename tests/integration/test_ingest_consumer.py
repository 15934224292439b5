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
# These the broker itself cannot read: it closes the producer's connection.
NOT_TAKEN = {"a float that is no number", "a double without end", "an array of nonsense"}


class Taking:
    """Takes messages as `Ingest.take` does, and remembers them; those named `poison` raise each time."""

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

    async def all_of(self, *names: str) -> None:
        async with asyncio.timeout(60), self.came:
            await self.came.wait_for(lambda: self.taken.keys() >= set(names))


@pytest.fixture
def taking() -> Taking:
    return Taking()


@asynccontextmanager
async def consuming(url: str, taking: Taking, *, prefetch: int = 2) -> AsyncIterator[Publisher]:
    """A consumer of a queue of its own, and who publishes to it."""
    queue = f"ingest-{secrets.token_hex(4)}"
    with Publisher(url, queue) as publisher:
        publisher.declare()
        consumer = Consumer(URLParameters(url), IngestConfig(queue, prefetch, LIMIT), taking.take)
        running = asyncio.create_task(consumer.run())
        yield publisher
        consumer.stop()
        await running
        publisher.delete()


async def test_headers_that_python_cannot_hold_stop_nothing(amqp_url: str, taking: Taking) -> None:
    async with consuming(amqp_url, taking) as publisher:
        for name in STRANGE.keys() - NOT_TAKEN:
            publisher.publish_raw_headers(
                b"{}", name.encode(), "wbk_x", encode_short_string(b"odd") + STRANGE[name]
            )
        publisher.publish_event("wbk_y", "good", 1)
        await taking.all_of("good", *STRANGE.keys() - NOT_TAKEN)
    assert taking.taken["a date of 1965"].api_key == "wbk_x"
    assert taking.taken["good"].api_key == "wbk_y"


async def test_a_message_id_that_is_no_text_stops_nothing(amqp_url: str, taking: Taking) -> None:
    async with consuming(amqp_url, taking) as publisher:
        publisher.publish_raw_headers(b"{}", b"\xff\xfe", "wbk_x")
        publisher.publish_event("wbk_x", "good", 1)
        await taking.all_of("good", "\ufffd\ufffd")


async def test_a_message_that_breaks_off_gives_its_place_back_and_comes_again(
    amqp_url: str, taking: Taking
) -> None:
    async with consuming(amqp_url, taking) as publisher:
        publisher.publish_body(b"{}", "poison")
        for number in range(50):
            publisher.publish_event("wbk_x", f"good{number}", number)
        await taking.all_of(*[f"good{number}" for number in range(50)])
        async with asyncio.timeout(60), taking.came:
            await taking.came.wait_for(lambda: taking.broke_off == 2)
        publisher.publish_event("wbk_x", "later", 1)
        await taking.all_of("later")


async def test_of_a_body_that_is_too_large_the_beginning_is_held(amqp_url: str, taking: Taking) -> None:
    async with consuming(amqp_url, taking) as publisher:
        publisher.publish_body(b"x" * LIMIT, "largest")
        publisher.publish_body(b"x" * (LIMIT + 1), "larger")
        await taking.all_of("largest", "larger")
    assert len(taking.taken["largest"].body) == taking.taken["largest"].size == LIMIT
    larger = taking.taken["larger"]
    assert (len(larger.body), larger.size) == (1 << 20, LIMIT + 1)


async def test_a_connection_that_is_still_opening_is_closed_too(taking: Taking) -> None:
    """Whoever listens there takes the connection and says nothing."""
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
        running = asyncio.create_task(Consumer(url, IngestConfig("q", 1, LIMIT), taking.take).run())
        await dialled.wait()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await gone.wait()
