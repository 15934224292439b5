"""The doctor's checks of RabbitMQ: its version, our queues, and whether it takes messages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pika
from dramatiq.common import xq_name
from pika.exceptions import AMQPError, ChannelClosedByBroker, ConnectionBlockedTimeout, NackError

from delivery.doctor.findings import fail, ok, warn
from delivery.domain.delivery import Priority
from delivery.domain.errors import Misconfigured
from delivery.embedded.state_dir import StateDir
from workers.broker.broker import create_rabbitmq_broker, get_queue_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from delivery.config import Settings
    from delivery.doctor.findings import Finding

MIN_VERSION: Final = (3, 10)
_TIMEOUT_SECONDS: Final = 3
_REACH_ADVICE: Final = (
    "See that RabbitMQ runs and WAYBILL_AMQP_URL leads to it: host, port, account, password, virtual host. "
    "Events are accepted meanwhile, and wait."
)
_DIFFERS: Final = re.compile(r"inequivalent arg '(?P<argument>[^']+)'")
# AMQP 0-9-1, reply codes.
_NOT_FOUND: Final = 404
_PRECONDITION_FAILED: Final = 406
# No queue has this name: messages to it are confirmed and dropped.
_UNBOUND_QUEUE: Final = "waybill.doctor.nowhere"


def check_broker(settings: Settings) -> list[Finding]:
    """Check the broker of WAYBILL_AMQP_URL; `waybill dev` has none."""
    if settings.amqp_url is None:
        if StateDir.from_settings(settings).read_running_settings():
            return [ok("broker", "The engine that runs from this folder has its queue in its own process.")]
        mend = "Set it for `relay` and `worker`; `web` needs none."
        return [fail("broker", "WAYBILL_AMQP_URL is not set.", mend)]
    try:
        broker = create_rabbitmq_broker(settings)
    except Misconfigured as error:
        return [fail("broker", str(error), "Correct this variable and restart every process.")]
    try:
        connection = pika.BlockingConnection(_with_timeouts(broker.parameters))  # type: ignore[attr-defined]
    except Exception as error:  # noqa: BLE001  pika's errors, and those of sockets, names and TLS
        return [fail("broker", f"RabbitMQ cannot be reached{_describe_error(error)}.", _REACH_ADVICE)]
    with connection:
        try:
            queues = [
                finding
                for lane in Priority
                for finding in _check_queue(connection, broker, get_queue_name(settings, lane))
            ]
            return [
                _check_version(connection),
                _check_queue_type(settings),
                *queues,
                _check_publishing(connection),
            ]
        except AMQPError as error:
            return [
                fail(
                    "broker",
                    f"RabbitMQ closed the connection during the check{_describe_error(error)}.",
                    _REACH_ADVICE,
                )
            ]


def _with_timeouts(parameters: pika.URLParameters) -> pika.URLParameters:
    parameters.blocked_connection_timeout = _TIMEOUT_SECONDS
    parameters.connection_attempts = 1
    return parameters


def _check_version(connection: pika.BlockingConnection) -> Finding:
    server: dict[str, Any] = connection._impl.server_properties or {}  # noqa: SLF001  there is no public way to it
    product, version = server.get("product", "The broker"), str(server.get("version", ""))
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    oldest = ".".join(map(str, MIN_VERSION))
    if product == "RabbitMQ" and numbers < MIN_VERSION:
        return fail("broker", f"RabbitMQ {version} is too old.", f"Upgrade it to {oldest} or newer.")
    return ok(
        "broker", f"{product} {version} answers, as {server.get('cluster_name', 'a node without a name')}."
    )


def _check_queue_type(settings: Settings) -> Finding:
    if settings.queue_type == "quorum":
        return ok("queue type", "Queues are quorum queues: they outlive a node of the cluster.")
    return warn(
        "queue type",
        "Queues are classic: each lives on one node, and waits for it when that is away.",
        "On a cluster set WAYBILL_QUEUE_TYPE=quorum for every process; their queues have names of their own. "
        "A single node needs none of it.",
    )


def _check_queue(connection: pika.BlockingConnection, broker: Any, name: str) -> Iterator[Finding]:
    """Check one queue, and the dead-letter queue of its failed messages."""
    check = f"queue {name}"
    existing = _declare_queue(connection, name, passive=True)
    if isinstance(existing, ChannelClosedByBroker):
        if existing.reply_code == _NOT_FOUND and existing.reply_text.startswith("NOT_FOUND - no queue"):
            yield ok(check, "It is not there yet; the first relay or worker makes it.")
        else:
            yield _build_refusal(check, existing)
        return
    # As the engine declares it: an existing queue is not changed by that, and refuses other arguments.
    declared = _declare_queue(connection, name, arguments=broker._build_queue_arguments(name))  # noqa: SLF001  ours
    if isinstance(declared, ChannelClosedByBroker) and declared.reply_code != _PRECONDITION_FAILED:
        yield _build_refusal(check, declared)
        return
    if isinstance(declared, ChannelClosedByBroker):
        differs = _DIFFERS.search(declared.reply_text)
        difference = f"another {differs['argument']} than" if differs else "other arguments than"
        advice = (
            f"Stop relays and workers, `rabbitmqctl delete_queue {name}`, and start them: nothing is lost."
        )
        yield fail(check, f"It was declared with {difference} this release declares it with.", advice)
        return
    counts = f"{existing.method.message_count:,} messages, {existing.method.consumer_count:,} consumers."
    if existing.method.consumer_count:
        yield ok(check, counts)
    else:
        yield warn(check, f"{counts} It has no consumer.", "Start `waybill serve worker`.")
    dead = _declare_queue(connection, xq_name(name), passive=True)
    if not isinstance(dead, ChannelClosedByBroker) and dead.method.message_count:
        yield warn(
            check,
            f"{dead.method.message_count:,} failed messages are in {xq_name(name)}.",
            "The workers' log says why. Nothing is lost: the ledger publishes their deliveries again.",
        )


def _build_refusal(check: str, error: ChannelClosedByBroker) -> Finding:
    """Report another refusal: the queue's node is away, or the account lacks a permission."""
    advice = "Bring the queue's node back, or give this account permission to configure, write and read it."
    return fail(check, f"RabbitMQ refuses it: {error.reply_text}", advice)


def _declare_queue(connection: pika.BlockingConnection, name: str, **options: Any) -> Any:
    """Declare a queue; returns the broker's answer, or the error with which it closed the channel."""
    channel = connection.channel()
    try:
        return channel.queue_declare(name, durable=True, **options)
    except ChannelClosedByBroker as error:
        return error
    finally:
        if channel.is_open:
            channel.close()


def _check_publishing(connection: pika.BlockingConnection) -> Finding:
    """Check that the broker takes messages: under an alarm it stops reading from publishers."""
    channel = connection.channel()
    channel.confirm_delivery()
    try:
        # Under an alarm the first message is still taken: only then does the broker know that we publish.
        for _ in range(2):
            channel.basic_publish("", _UNBOUND_QUEUE, b"")
    except ConnectionBlockedTimeout:
        return fail(
            "publishing",
            "RabbitMQ has raised an alarm (memory or disk) and takes no messages: events wait.",
            "`rabbitmq-diagnostics alarms` tells which; give it room.",
        )
    except NackError:
        return fail("publishing", "RabbitMQ refused a message.", "Its own log says why.")
    return ok("publishing", "A message is taken and confirmed.")


def _describe_error(error: Exception) -> str:
    """Describe an error in brackets; pika's own often have no text, and wrap one that has."""
    inner = error.args[0] if isinstance(error, AMQPError) and error.args else error
    cause = getattr(inner, "exception", inner)
    text = cause.strerror if isinstance(cause, OSError) else str(cause)
    return f" ({text or repr(error)})"
