"""RabbitMQ through Dramatiq: confirmed publishing, few durable queues, explicit middleware."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import dramatiq
import pika
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import Retries
from pika.exceptions import AMQPConnectionError

from delivery.domain.errors import Misconfigured, Unavailable
from delivery.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dramatiq import Broker, Middleware

    from delivery.config import Settings
    from delivery.domain.delivery import Priority

log = get_logger()

Id = TypeVar("Id", bound=UUID)

DELIVER_ACTOR = "deliver"
DELIVER_REPLAYS_ACTOR = "deliver_replays"
ADVANCE_REPLAY_ACTOR = "advance_replay"

# Without these a silent network partition would block a publish until the operating system gives up.
_HEARTBEAT_SECONDS = 15
_BLOCKED_TIMEOUT_SECONDS = 10
_SOCKET_TIMEOUT_SECONDS = 5


class QueueBroker(RabbitmqBroker):
    """Dramatiq's broker, with a setting for the type of its queues."""

    def __init__(self, *, queue_type: str, **options: Any) -> None:
        """Pass everything but the queue type on."""
        self._queue_type = queue_type
        super().__init__(**options)

    def _build_queue_arguments(self, queue_name: str) -> dict[str, Any]:
        # Dramatiq does not type this method.
        arguments: dict[str, Any] = super()._build_queue_arguments(queue_name)  # type: ignore[no-untyped-call]
        if self._queue_type == "quorum":
            arguments["x-queue-type"] = "quorum"
        return arguments

    def _declare_queue(self, queue_name: str) -> Any:
        try:
            return super()._declare_queue(queue_name)  # type: ignore[no-untyped-call]
        except OSError as error:
            # An unknown host: pika does not wrap this error, and Dramatiq would log a traceback at each try.
            raise AMQPConnectionError(str(error)) from error

    def count(self, queue_name: str) -> int:
        """Count the messages in a queue; declares it if it is missing. Raises pika's errors.

        A passive declaration of a missing queue would close the channel.
        """
        return int(self._declare_queue(queue_name).method.message_count)


def get_queue_name(settings: Settings, priority: Priority) -> str:
    """Return the queue of a priority. A queue's type cannot change, so each type has its own names."""
    kind = "" if settings.queue_type == "classic" else f".{settings.queue_type}"
    return f"{settings.queue_name}.{priority.name.lower()}{kind}"


def get_ingest_queue_name(settings: Settings) -> str:
    """Return the name of the ingest queue, and of the exchange to which producers publish."""
    return f"{settings.queue_name}.ingest"


def build_connection_parameters(settings: Settings) -> pika.URLParameters:
    """Build the parameters for a connection to WAYBILL_AMQP_URL. Raises Misconfigured."""
    if settings.amqp_url is None:
        raise Misconfigured("WAYBILL_AMQP_URL is not set, such as amqp://user:password@host/%2F")
    try:
        parameters = pika.URLParameters(settings.amqp_url.text)
    except Exception as error:  # noqa: BLE001  pika's parser raises any exception
        raise Misconfigured(f"WAYBILL_AMQP_URL cannot be read: {error}") from None
    parameters.heartbeat = _HEARTBEAT_SECONDS
    parameters.blocked_connection_timeout = _BLOCKED_TIMEOUT_SECONDS
    parameters.socket_timeout = _SOCKET_TIMEOUT_SECONDS
    parameters.stack_timeout = _SOCKET_TIMEOUT_SECONDS * 2
    return parameters


def create_rabbitmq_broker(settings: Settings, middleware: Sequence[Middleware] = ()) -> Broker:
    """Create a broker for WAYBILL_AMQP_URL, without connecting yet. Raises Misconfigured."""
    parameters = build_connection_parameters(settings)
    broker = QueueBroker(
        queue_type=settings.queue_type, confirm_delivery=True, middleware=_add_dead_letters(middleware)
    )
    broker.parameters = parameters
    return broker


def create_in_process_broker(middleware: Sequence[Middleware] = ()) -> Broker:
    """Create the embedded broker, with queues in memory. The ledger makes up for messages lost with it."""
    return StubBroker(middleware=_add_dead_letters(middleware))


def _add_dead_letters(middleware: Sequence[Middleware]) -> list[Middleware]:
    # Without retries a failing message ends in the dead-letter queue, where it can be seen. Without this
    # middleware it would be acknowledged and lost.
    return [Retries(max_retries=0), *middleware]


class Publisher:
    """Publishes ids to a queue. Use it from one thread: connections belong to threads."""

    def __init__(self, broker: Broker, queue: str, *, actor: str = DELIVER_ACTOR) -> None:
        """Publish to this queue, for this actor; connects at the first message."""
        self._broker = broker
        self._queue = queue
        self._actor = actor

    def publish(self, ids: Sequence[Id]) -> list[Id]:
        """Publish a message for each id until the broker fails; returns the unconfirmed ids."""
        for position, id_ in enumerate(ids):
            message: dramatiq.Message[None] = dramatiq.Message(
                queue_name=self._queue, actor_name=self._actor, args=(str(id_),), kwargs={}, options={}
            )
            try:
                self._broker.declare_queue(self._queue)
                self._broker.enqueue(message)
            except Exception as error:  # noqa: BLE001  pika's errors have no common base
                log.warning("broker.refused", error=repr(error))
                return list(ids[position:])
        return []

    def count_waiting(self) -> int:
        """Count the messages that wait for a worker. Raises Unavailable."""
        if isinstance(self._broker, StubBroker):
            return int(self._broker.queues[self._queue].qsize()) if self._queue in self._broker.queues else 0
        try:
            self._broker.declare_queue(self._queue, ensure=True)  # type: ignore[call-arg]
            return int(self._broker.count(self._queue))  # type: ignore[attr-defined]
        except Exception as error:
            # A closed channel stays closed: drop the connection, so that the next call opens another.
            del self._broker.connection  # type: ignore[attr-defined]
            raise Unavailable(f"RabbitMQ does not answer: {error!r}") from error

    def send_heartbeat(self) -> None:
        """Answer heartbeats, so that an idle connection stays open."""
        connection = getattr(getattr(self._broker, "state", None), "connection", None)
        if connection is not None:
            try:
                connection.process_data_events(time_limit=0)
            except Exception:  # noqa: BLE001  the next publish opens another, and logs what fails
                del self._broker.connection  # type: ignore[attr-defined]
