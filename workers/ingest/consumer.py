"""The ingest queue: declared, consumed with a bounded prefetch, acknowledged after the commit."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog
from pika.exceptions import AMQPError

from delivery.errors import Unavailable
from delivery.ingest import KEY_HEADER, Message
from workers.ingest_frames import CalmConnection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pika import BasicProperties, URLParameters
    from pika.channel import Channel
    from pika.spec import Basic

log = structlog.get_logger()

# RabbitMQ 4 drops what came so many times, 20 unless told otherwise; we never hand a message back unread, but
# a machine that dies again and again does. A number that both 3.10 and 4 take.
_ARGUMENTS: Final = {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000}
_AGAIN_SECONDS: Final = 1.0
_LONGEST_AGAIN_SECONDS: Final = 10.0
_OPENING_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Terms:
    """Which queue, and how many of its messages one process holds at most.

    Of a body with more than `most_bytes` no more is held than is kept of one that is set aside.
    """

    queue: str
    prefetch: int
    most_bytes: int


class Closed(Exception):
    """The broker has gone, or has closed the connection, the channel or the consumer."""


class Consumer:
    """Hands messages over for as long as `run` runs; connects again whenever the broker was away.

    A message whose taking fails for want of the ledger is kept and tried again: it stays in the queue,
    unacknowledged, and no more than `prefetch` of them are in memory.
    """

    def __init__(
        self, parameters: URLParameters, terms: Terms, take: Callable[[Message], Awaitable[bool]]
    ) -> None:
        """Nothing is dialled yet."""
        self._parameters = parameters
        self._terms = terms
        self._take = take
        self._stopping = asyncio.Event()
        self._away = False

    def stop(self) -> None:
        """Take no more messages; `run` returns when those that are held are done."""
        self._stopping.set()

    async def run(self, *, grace_seconds: float = 20.0) -> None:
        """Consume until `stop`. What is not done within the grace goes back into the queue."""
        wait = _AGAIN_SECONDS
        while not self._stopping.is_set():
            session = _Session(self._terms, self._take_well)
            try:
                await session.open(self._parameters)
                log.info("ingest.consuming", queue=self._terms.queue)
                wait = _AGAIN_SECONDS
                await session.until(self._stopping)
                await session.drain(grace_seconds)
            except (Closed, AMQPError, OSError, TimeoutError) as error:
                log.warning("ingest.broker_away", why=str(error) or repr(error))
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), wait)
                wait = min(wait * 2, _LONGEST_AGAIN_SECONDS)
            finally:
                await session.close()

    async def _take_well(self, message: Message) -> None:
        """Take a message, however long the ledger is away."""
        while True:
            try:
                await self._take(message)
            except Unavailable as error:
                if not self._away:  # once for an outage, not once for each message
                    self._away = True
                    log.warning("ingest.waits", why=str(error))
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                if self._away:
                    self._away = False
                    log.info("ingest.goes_on")
                return


class _Session:
    """One connection with one channel: what pika says in callbacks, as awaitables."""

    def __init__(self, terms: Terms, take: Callable[[Message], Awaitable[None]]) -> None:
        self._terms = terms
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._closed: asyncio.Future[str] = self._loop.create_future()
        self._connection: CalmConnection | None = None
        self._channel: Channel | None = None
        self._tag = ""
        self._taking: set[asyncio.Task[None]] = set()

    async def open(self, parameters: URLParameters) -> None:
        """Connect, declare what is needed, and consume. Raises Closed, TimeoutError and pika's errors."""
        name = self._terms.queue
        async with asyncio.timeout(_OPENING_SECONDS):
            await self._said(self._dial, parameters)
            channel = await self._said(self._open_channel)
            self._channel = channel
            channel.add_on_close_callback(lambda _channel, why: self._end(str(why)))
            channel.add_on_cancel_callback(lambda _frame: self._end("the queue was deleted"))
            await self._said(channel.exchange_declare, name, exchange_type="fanout", durable=True)
            await self._said(channel.queue_declare, name, durable=True, arguments=_ARGUMENTS)
            await self._said(channel.queue_bind, name, name)
            await self._said(channel.basic_qos, prefetch_count=self._terms.prefetch)
            self._tag = channel.basic_consume(name, self._came)

    async def until(self, stopping: asyncio.Event) -> None:
        """Return when told to stop; raises Closed when the broker has gone."""
        stop = asyncio.create_task(stopping.wait())
        try:
            either: set[asyncio.Future[Any]] = {stop, self._closed}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
        if self._closed.done():
            raise Closed(self._closed.result())

    async def drain(self, grace_seconds: float) -> None:
        """Have no more messages sent, and finish those that are held."""
        if self._channel is not None and self._channel.is_open:
            await self._said(self._channel.basic_cancel, self._tag)
        if self._taking:
            await asyncio.wait(self._taking, timeout=grace_seconds)

    async def close(self) -> None:
        """Let go of what is held; the broker gives it to another."""
        for taking in self._taking:
            taking.cancel()
        await asyncio.gather(*self._taking, return_exceptions=True)
        connection = self._connection
        # One that is still being opened too: its socket would stay.
        if connection is not None and not (connection.is_closing or connection.is_closed):
            # Acknowledgements that are still to be written go before it.
            connection.close()
            await asyncio.wait({self._closed}, timeout=_AGAIN_SECONDS)

    def _dial(self, parameters: URLParameters, callback: Callable[[object], None]) -> None:
        self._connection = CalmConnection(
            parameters,
            on_open_callback=callback,
            on_open_error_callback=lambda _connection, why: self._end(f"{why!r}"),
            on_close_callback=lambda _connection, why: self._end(str(why)),
            custom_ioloop=self._loop,
        )

    def _open_channel(self, callback: Callable[[Channel], None]) -> None:
        assert self._connection is not None  # noqa: S101  it was dialled
        self._connection.channel(on_open_callback=callback)

    async def _said(self, ask: Callable[..., Any], *words: object, **more: object) -> Any:
        """What the broker answers. Raises Closed."""
        answered: asyncio.Future[Any] = self._loop.create_future()

        def hear(said: object) -> None:
            if not answered.done():
                answered.set_result(said)

        ask(*words, **more, callback=hear)
        await asyncio.wait({answered, self._closed}, return_when=asyncio.FIRST_COMPLETED)
        if not answered.done():
            answered.cancel()
            raise Closed(self._closed.result())
        return answered.result()

    def _end(self, why: str) -> None:
        if not self._closed.done():
            self._closed.set_result(why)

    def _came(
        self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        message = _message(properties, body).cut(self._terms.most_bytes)
        taking = self._loop.create_task(self._take_one(channel, method.delivery_tag, message))
        self._taking.add(taking)
        taking.add_done_callback(self._taking.discard)

    async def _take_one(self, channel: Channel, tag: int, message: Message) -> None:
        try:
            await self._take(message)
        except Exception as error:
            # It cannot even be set aside. It keeps its place for a while, so that it is not tried without a
            # pause, and then it is anybody's again: others are taken meanwhile.
            log.exception("ingest.broke_off", error=repr(error))
            self._loop.call_later(_LONGEST_AGAIN_SECONDS, _give_back, channel, tag)
            return
        # Of a channel that has gone: the message comes again, and is the same event.
        if channel.is_open:
            channel.basic_ack(tag)


def _give_back(channel: Channel, tag: int) -> None:
    if channel.is_open:
        channel.basic_nack(tag, requeue=True)


def _message(properties: BasicProperties, body: bytes) -> Message:
    """What `ingest_frames` has read: whatever is there is text."""
    return Message(
        body=body,
        message_id=properties.message_id,
        key=(properties.headers or {}).get(KEY_HEADER),
        content_encoding=properties.content_encoding,
        publisher=properties.user_id or properties.app_id,
    )
