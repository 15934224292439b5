"""The ingest queue: declared, consumed with a bounded prefetch, acknowledged after the commit."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pika.exceptions import AMQPError

from delivery.domain.backoff import Backoff
from delivery.domain.errors import Unavailable
from delivery.domain.inbound_message import KEY_HEADER, InboundMessage
from delivery.log import get_logger
from workers.ingest.amqp_frames import TolerantConnection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pika import BasicProperties, URLParameters
    from pika.channel import Channel
    from pika.spec import Basic

log = get_logger()

# RabbitMQ 4 drops a message after 20 deliveries by default. We never hand one back unhandled, but a machine
# that crashes again and again does. RabbitMQ 3.10 and 4 both accept this number.
_QUEUE_ARGUMENTS: Final = {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000}
_MIN_RETRY_SECONDS: Final = 1.0
_MAX_RETRY_SECONDS: Final = 10.0
_OPEN_TIMEOUT_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class IngestConfig:
    """The queue, and the maximum number of its messages that one process holds.

    Bodies larger than `max_bytes` are cut to what a dead letter stores.
    """

    queue: str
    prefetch: int
    max_bytes: int


class BrokerClosed(Exception):
    """The broker is away, or has closed the connection, the channel or the consumer."""


class Consumer:
    """Hands messages over as long as `run` runs; reconnects after each outage of the broker.

    While the ledger is away, messages are retried. They stay unacknowledged in the queue, at most `prefetch`
    of them in memory.
    """

    def __init__(
        self,
        parameters: URLParameters,
        config: IngestConfig,
        handle: Callable[[InboundMessage], Awaitable[bool]],
    ) -> None:
        self._parameters = parameters
        self._config = config
        self._handle = handle
        self._stopping = asyncio.Event()
        self._is_ledger_away = False

    def stop(self) -> None:
        """Take no more messages; `run` returns once those in memory are handled."""
        self._stopping.set()

    async def run(self, *, grace_seconds: float = 20.0) -> None:
        """Consume until `stop`. Messages not handled within the grace period go back into the queue."""
        backoff = Backoff(min_seconds=_MIN_RETRY_SECONDS, max_seconds=_MAX_RETRY_SECONDS)
        while not self._stopping.is_set():
            session = _Session(self._config, self._handle_until_done)
            try:
                await session.open(self._parameters)
                log.info("ingest.consuming", queue=self._config.queue)
                backoff.reset()
                await session.run_until(self._stopping)
                await session.drain(grace_seconds)
            except (BrokerClosed, AMQPError, OSError, TimeoutError) as error:
                log.warning("ingest.broker_away", why=str(error) or repr(error))
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), backoff.next_pause())
            finally:
                await session.close()

    async def _handle_until_done(self, message: InboundMessage) -> None:
        """Handle a message, however long the ledger is away."""
        while True:
            try:
                await self._handle(message)
            except Unavailable as error:
                if not self._is_ledger_away:  # once per outage, not per message
                    self._is_ledger_away = True
                    log.warning("ingest.waiting", why=str(error))
                await asyncio.sleep(_MIN_RETRY_SECONDS)
            else:
                if self._is_ledger_away:
                    self._is_ledger_away = False
                    log.info("ingest.resumed")
                return


class _Session:
    """One connection with one channel: pika's callbacks as awaitables."""

    def __init__(self, config: IngestConfig, handle: Callable[[InboundMessage], Awaitable[None]]) -> None:
        self._config = config
        self._handle = handle
        self._loop = asyncio.get_running_loop()
        self._closed: asyncio.Future[str] = self._loop.create_future()
        self._connection: TolerantConnection | None = None
        self._channel: Channel | None = None
        self._consumer_tag = ""
        self._handler_tasks: set[asyncio.Task[None]] = set()

    async def open(self, parameters: URLParameters) -> None:
        """Connect, declare, and consume. Raises BrokerClosed, TimeoutError and pika's errors."""
        name = self._config.queue
        async with asyncio.timeout(_OPEN_TIMEOUT_SECONDS):
            await self._call_broker(self._dial, parameters)
            channel = await self._call_broker(self._open_channel)
            self._channel = channel
            channel.add_on_close_callback(lambda _channel, why: self._mark_closed(str(why)))
            channel.add_on_cancel_callback(lambda _frame: self._mark_closed("the queue was deleted"))
            await self._call_broker(channel.exchange_declare, name, exchange_type="fanout", durable=True)
            await self._call_broker(channel.queue_declare, name, durable=True, arguments=_QUEUE_ARGUMENTS)
            await self._call_broker(channel.queue_bind, name, name)
            await self._call_broker(channel.basic_qos, prefetch_count=self._config.prefetch)
            self._consumer_tag = channel.basic_consume(name, self._on_message)

    async def run_until(self, stopping: asyncio.Event) -> None:
        """Consume until `stopping` is set; raises BrokerClosed when the connection is lost."""
        stop = asyncio.create_task(stopping.wait())
        try:
            futures: set[asyncio.Future[Any]] = {stop, self._closed}
            await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
        if self._closed.done():
            raise BrokerClosed(self._closed.result())

    async def drain(self, grace_seconds: float) -> None:
        """Stop consuming, and finish the messages in memory."""
        if self._channel is not None and self._channel.is_open:
            await self._call_broker(self._channel.basic_cancel, self._consumer_tag)
        if self._handler_tasks:
            await asyncio.wait(self._handler_tasks, timeout=grace_seconds)

    async def close(self) -> None:
        """Cancel unfinished messages, and close: the broker redelivers them to another consumer."""
        for task in self._handler_tasks:
            task.cancel()
        await asyncio.gather(*self._handler_tasks, return_exceptions=True)
        connection = self._connection
        # Also one that is still opening: its socket would stay open.
        if connection is not None and not (connection.is_closing or connection.is_closed):
            # pika writes pending acknowledgements first.
            connection.close()
            await asyncio.wait({self._closed}, timeout=_MIN_RETRY_SECONDS)

    def _dial(self, parameters: URLParameters, callback: Callable[[object], None]) -> None:
        self._connection = TolerantConnection(
            parameters,
            on_open_callback=callback,
            on_open_error_callback=lambda _connection, why: self._mark_closed(f"{why!r}"),
            on_close_callback=lambda _connection, why: self._mark_closed(str(why)),
            custom_ioloop=self._loop,
        )

    def _open_channel(self, callback: Callable[[Channel], None]) -> None:
        assert self._connection is not None  # noqa: S101  set by _dial
        self._connection.channel(on_open_callback=callback)

    async def _call_broker(self, method: Callable[..., Any], *args: object, **kwargs: object) -> Any:
        """Call a method of pika and return what its callback gets. Raises BrokerClosed."""
        answer: asyncio.Future[Any] = self._loop.create_future()

        def on_answer(result: object) -> None:
            if not answer.done():
                answer.set_result(result)

        method(*args, **kwargs, callback=on_answer)
        await asyncio.wait({answer, self._closed}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()
            raise BrokerClosed(self._closed.result())
        return answer.result()

    def _mark_closed(self, why: str) -> None:
        if not self._closed.done():
            self._closed.set_result(why)

    def _on_message(
        self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        message = _build_message(properties, body).truncate_body(self._config.max_bytes)
        task = self._loop.create_task(self._handle_message(channel, method.delivery_tag, message))
        self._handler_tasks.add(task)
        task.add_done_callback(self._handler_tasks.discard)

    async def _handle_message(self, channel: Channel, tag: int, message: InboundMessage) -> None:
        try:
            await self._handle(message)
        except Exception as error:
            # Not even a dead letter could be stored: requeue it after a pause, and handle others meanwhile.
            log.exception("ingest.crashed", error=repr(error))
            self._loop.call_later(_MAX_RETRY_SECONDS, _requeue_message, channel, tag)
            return
        # If the channel is gone, the message comes again, and is the same event.
        if channel.is_open:
            channel.basic_ack(tag)


def _requeue_message(channel: Channel, tag: int) -> None:
    if channel.is_open:
        channel.basic_nack(tag, requeue=True)


def _build_message(properties: BasicProperties, body: bytes) -> InboundMessage:
    """Build a message from what `amqp_frames` has parsed: every property is text or missing."""
    return InboundMessage(
        body=body,
        message_id=properties.message_id,
        api_key=(properties.headers or {}).get(KEY_HEADER),
        content_encoding=properties.content_encoding,
        publisher=properties.user_id or properties.app_id,
    )
