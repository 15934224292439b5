"""Publishing to a real RabbitMQ: confirmed, durable, and reported when it fails."""

from __future__ import annotations

import asyncio
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import dramatiq
import pika
import pytest

from delivery.config import Settings
from delivery.domain.delivery import Priority
from delivery.domain.errors import Unavailable
from delivery.domain.ids import ClaimId, new_id
from delivery.domain.setting_parsers import SecretText
from tests.support import ledger_builders as build
from workers.broker.broker import (
    DELIVER_ACTOR,
    DELIVER_REPLAYS_ACTOR,
    Publisher,
    create_rabbitmq_broker,
    get_queue_name,
)
from workers.relay.relay import Relay, RelayConfig
from workers.tasks.maintenance import MaintenanceTask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dramatiq import Broker


@pytest.fixture(params=["classic", "quorum"])
def settings(request: pytest.FixtureRequest, amqp_url: str) -> Iterator[Settings]:
    """Settings with a queue of the test's own, which is deleted at its end."""
    own = Settings(
        amqp_url=SecretText(amqp_url), queue_type=request.param, queue_name=f"test_{secrets.token_hex(4)}"
    )
    yield own
    with pika.BlockingConnection(pika.URLParameters(amqp_url)) as connection:
        channel = connection.channel()
        for lane in Priority:
            for suffix in ("", ".DQ", ".XQ"):
                channel.queue_delete(get_queue_name(own, lane) + suffix)


@pytest.fixture
def broker(settings: Settings) -> Iterator[Broker]:
    broker = create_rabbitmq_broker(settings)
    yield broker
    broker.close()


def read_messages(
    settings: Settings, amqp_url: str, count: int
) -> list[tuple[pika.BasicProperties, ClaimId]]:
    """Read this many messages, with the claim that each names."""
    found: list[tuple[pika.BasicProperties, ClaimId]] = []
    with pika.BlockingConnection(pika.URLParameters(amqp_url)) as connection:
        channel = connection.channel()
        for _, properties, body in channel.consume(
            get_queue_name(settings, Priority.LIVE), inactivity_timeout=20
        ):
            assert body is not None, "There are fewer messages."
            message = dramatiq.Message.decode(body)
            assert message.actor_name == DELIVER_ACTOR
            found.append((properties, ClaimId(UUID(*message.args))))
            if len(found) == count:
                break
        channel.cancel()
    return found


def test_claims_are_published_durably_and_in_order(settings: Settings, broker: Broker, amqp_url: str) -> None:
    claims = [ClaimId(new_id()) for _ in range(3)]
    assert Publisher(broker, get_queue_name(settings, Priority.LIVE)).publish(claims) == []
    found = read_messages(settings, amqp_url, 3)
    assert [claim_id for _, claim_id in found] == claims
    assert {properties.delivery_mode for properties, _ in found} == {pika.DeliveryMode.Persistent.value}


def test_an_empty_queue_has_no_waiting_messages(settings: Settings, broker: Broker) -> None:
    publisher = Publisher(broker, get_queue_name(settings, Priority.LIVE))
    assert publisher.count_waiting() == 0
    publisher.send_heartbeat()
    assert publisher.publish([]) == []


def test_a_missing_queue_is_declared_by_a_count(settings: Settings, broker: Broker, amqp_url: str) -> None:
    publisher = Publisher(broker, get_queue_name(settings, Priority.LIVE))
    assert publisher.publish([ClaimId(new_id())]) == []
    with pika.BlockingConnection(pika.URLParameters(amqp_url)) as connection:
        connection.channel().queue_delete(get_queue_name(settings, Priority.LIVE))
    assert publisher.count_waiting() == 0
    claim = ClaimId(new_id())
    assert publisher.publish([claim]) == []
    assert [message for _, message in read_messages(settings, amqp_url, 1)] == [claim]


def test_a_closed_channel_is_replaced(settings: Settings, broker: Broker, amqp_url: str) -> None:
    name = get_queue_name(settings, Priority.LIVE)
    publisher = Publisher(broker, name)
    assert publisher.count_waiting() == 0
    with pika.BlockingConnection(pika.URLParameters(amqp_url)) as connection:
        channel = connection.channel()
        channel.queue_delete(name)
        channel.queue_declare(name, durable=True, arguments={"x-max-length": 1})  # with other arguments: 406
        with pytest.raises(Unavailable):
            publisher.count_waiting()
        channel.queue_delete(name)
    assert publisher.count_waiting() == 0


async def test_due_deliveries_arrive_in_the_queue(
    settings: Settings, broker: Broker, amqp_url: str, database_url: str
) -> None:
    async with build.open_ledger(database_url) as ledger:
        tenant = await build.create_tenant(ledger)
        await build.create_endpoint(ledger, tenant)
        await build.accept_events(ledger, tenant, 3)
        hour = timedelta(hours=1)
        maintenance = MaintenanceTask(build.make_maintenance(ledger))
        publisher = Publisher(broker, get_queue_name(settings, Priority.LIVE))
        assert publisher.count_waiting() == 0
        relay = Relay(
            ledger,
            publisher,
            maintenance,
            RelayConfig(hour, timedelta(seconds=0.5), build.QUEUE_LEASE, build.HIGH_IN_FLIGHT),
        )
        running = asyncio.create_task(relay.run())
        try:
            ((_, claim_id),) = await asyncio.to_thread(read_messages, settings, amqp_url, 1)
        finally:
            relay.stop()
            await running
        assert len(await build.start_claim(ledger, claim_id)) == 3


def test_an_absent_broker_confirms_nothing(unused_tcp_port: int) -> None:
    away = Settings(amqp_url=SecretText(f"amqp://127.0.0.1:{unused_tcp_port}/%2F"))
    publisher = Publisher(create_rabbitmq_broker(away), get_queue_name(away, Priority.LIVE))
    claims = [ClaimId(new_id()) for _ in range(3)]
    assert publisher.publish(claims) == claims
    with pytest.raises(Unavailable):
        publisher.count_waiting()
    publisher.send_heartbeat()


def test_each_priority_has_its_own_queue_and_actor(settings: Settings, broker: Broker, amqp_url: str) -> None:
    claim_id = ClaimId(new_id())
    replays = Publisher(broker, get_queue_name(settings, Priority.REPLAY), actor=DELIVER_REPLAYS_ACTOR)
    assert Publisher(broker, get_queue_name(settings, Priority.LIVE)).count_waiting() == 0
    assert replays.publish([claim_id]) == []
    assert Publisher(broker, get_queue_name(settings, Priority.LIVE)).count_waiting() == 0
    with pika.BlockingConnection(pika.URLParameters(amqp_url)) as connection:
        queue = get_queue_name(settings, Priority.REPLAY)
        *_, body = next(connection.channel().consume(queue, inactivity_timeout=20))
    assert body is not None, "There is no message."
    message = dramatiq.Message.decode(body)
    assert (message.actor_name, message.args) == (DELIVER_REPLAYS_ACTOR, (str(claim_id),))
