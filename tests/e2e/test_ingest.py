"""The ingest process between a real RabbitMQ and the real ledger: each message is one event, or set aside."""

from __future__ import annotations

import struct
import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import make_url

from tests.support.partner import Partner
from tests.support.proxy import CutOff, Proxy, Weather, ears
from tests.support.publishing import Publisher, nested, short
from tests.support.scene import PATIENCE, assert_all_arrived, subscribe, wait_for_success
from tests.support.stack import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.api import Api
    from tests.support.rabbitmq import PrivateRabbitMQ
    from tests.support.stack import Stack

# Class and method of AMQP 0-9-1, section 1.8.3.13, as they stand in a frame.
BASIC_ACK = b"\x00\x3c\x00\x50"


def exchange_of(stack: Stack) -> str:
    return f"{stack.environment['WAYBILL_QUEUE_NAME']}.ingest"


def started(stack: Stack, *names: str) -> None:
    """Start ingest processes; when they consume, exchange and queue are there."""
    before = {name: times_consuming(stack, name) for name in names}
    stack.serve(*names)
    wait_until(
        lambda: all(times_consuming(stack, name) > times for name, times in before.items()),
        f"{', '.join(names)} to consume",
        seconds=PATIENCE,
    )


def times_consuming(stack: Stack, name: str) -> int:
    """How often a process of this name has said that it consumes."""
    log = stack.folder / f"{name}.log"
    return log.read_text().count("ingest.consuming") if log.exists() else 0


def emptied(stack: Stack, producer: Publisher) -> bool:
    """Have two processes take what waits, and stop them. What was still on its way to them is given back."""
    started(stack, "ingest", "ingest.2")
    wait_until(lambda: producer.waiting() == 0, "all to be sent to them", seconds=PATIENCE)
    stack.stop("ingest", "ingest.2")
    return producer.waiting() == 0


@pytest.fixture
def producer(stack: Stack) -> Iterator[Publisher]:
    """A producer, once the ingest process has declared where it publishes to."""
    started(stack, "ingest")
    with Publisher(stack.environment["WAYBILL_AMQP_URL"], exchange_of(stack)) as publisher:
        yield publisher
        stack.stop()
        publisher.delete()


@pytest.fixture
def tenant(stack: Stack, operator: Api) -> Api:
    stack.serve("web")
    return operator.tenant()


def numbers(tenant: Api) -> Counter[int]:
    """The number in each event, and how often there is an event with it."""
    listed = tenant.every("/v1/events")
    return Counter(tenant.get(f"/v1/events/{event['id']}")["body"]["data"] for event in listed)


def count(tenant: Api) -> int:
    return len(tenant.every("/v1/events"))


def test_messages_are_delivered_and_what_is_poison_is_set_aside(
    stack: Stack, operator: Api, tenant: Api, producer: Publisher
) -> None:
    stack.serve("relay", "worker")
    with Partner() as partner:
        subscribe(tenant, partner)
        for number in range(100):
            producer.publish(tenant.key, f"m{number}", number)
            if number % 25 == 0:
                producer.put(b"poison", f"p{number}", **{"waybill-key": tenant.key})
        producer.publish("wbk_" + "x" * 43, "stranger", 1)
        wait_for_success(tenant, 100)
        assert_all_arrived(partner, [event["id"] for event in tenant.every("/v1/events")])
    refused = operator.every("/v1/ingest/messages")
    assert sorted(one["message_id"] for one in refused) == ["p0", "p25", "p50", "p75", "stranger"]
    assert producer.waiting() == 0


def test_one_message_with_headers_or_an_id_that_nothing_can_hold_stops_no_other(
    stack: Stack, operator: Api, tenant: Api, producer: Publisher
) -> None:
    body = b'{"type": "order.created", "data": %d}'
    for number, when in enumerate((-150_000_000, 1 << 62)):
        dated = short(b"when") + b"T" + struct.pack(">q", when)
        producer.write(body % number, b"dated%d" % number, tenant.key, dated)
    producer.write(body % 2, b"deep", tenant.key, short(b"deep") + nested(5_000))
    producer.write(body % 3, b"\xff\xfe", tenant.key)
    producer.publish(tenant.key, "good", 4)
    wait_until(lambda: count(tenant) == 4 and producer.waiting() == 0, "the others", seconds=PATIENCE)
    assert numbers(tenant) == Counter([0, 1, 2, 4])
    (refused,) = operator.every("/v1/ingest/messages")
    assert refused["message_id"] == "\ufffd\ufffd"
    assert "message-id: must be" in refused["reason"]
    assert times_consuming(stack, "ingest") == 1


def test_ingest_killed_between_the_commit_and_the_acknowledgement_makes_one_event_of_each(
    stack: Stack, tenant: Api, producer: Publisher
) -> None:
    stack.kill("ingest")
    killed = threading.Event()

    def kill_before_the_ack(sent: bytes) -> None:
        if BASIC_ACK in sent and not killed.is_set():
            stack.kill("ingest")
            killed.set()
            raise CutOff

    broker = stack.environment["WAYBILL_AMQP_URL"]
    host, port = broker.rpartition("@")[2].partition("/")[0].split(":")
    for number in range(50):
        producer.publish(tenant.key, f"m{number}", number)
    with Proxy(host, int(port), ears(of_client=kill_before_the_ack)) as proxy:
        stack.own["ingest"] = {
            "WAYBILL_AMQP_URL": broker.replace(f"{host}:{port}", f"127.0.0.1:{proxy.port}")
        }
        stack.serve("ingest")
        wait_until(killed.is_set, "ingest to be killed", seconds=PATIENCE)
    # What it took is committed, and none of it was acknowledged.
    assert count(tenant) > 0
    wait_until(lambda: producer.waiting() == 50, "the messages to be back", seconds=PATIENCE)
    del stack.own["ingest"]
    wait_until(lambda: emptied(stack, producer), "all to be acknowledged", seconds=PATIENCE)
    assert numbers(tenant) == Counter(range(50))


def test_without_a_database_messages_stay_in_the_queue_and_come_later(
    stack: Stack, operator: Api, tenant: Api, producer: Publisher
) -> None:
    stack.stop("ingest")
    where = make_url(stack.environment["WAYBILL_DATABASE_URL"])
    with Proxy(str(where.host), int(where.port or 0)) as proxy:
        through = where.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
        stack.own["ingest"] = {"WAYBILL_DATABASE_URL": through, "WAYBILL_INGEST_PREFETCH": "10"}
        started(stack, "ingest")
        proxy.weather = Weather(refusing=True)
        proxy.reset()
        for number in range(40):
            producer.publish(tenant.key, f"m{number}", number)
        producer.put(b"poison", "p", **{"waybill-key": tenant.key})
        wait_until(
            lambda: "ingest.waits" in stack.log("ingest"), "the outage to be noticed", seconds=PATIENCE
        )
        # It holds no more than it may, and has acknowledged none.
        wait_until(lambda: producer.waiting() == 31, "ten to be held", seconds=PATIENCE)
        stack.kill("ingest")
        wait_until(lambda: producer.waiting() == 41, "all to be back", seconds=PATIENCE)
        assert count(tenant) == 0
        started(stack, "ingest")
        proxy.weather = Weather()
        wait_until(lambda: count(tenant) == 40, "the events", seconds=PATIENCE)
        wait_until(lambda: operator.every("/v1/ingest/messages") != [], "the poison", seconds=PATIENCE)
        stack.stop("ingest")
    assert producer.waiting() == 0
    assert numbers(tenant) == Counter(range(40))


def test_ingest_outlives_the_broker_and_a_stop_in_the_middle_loses_nothing(
    stack: Stack, tenant: Api, private_rabbitmq: PrivateRabbitMQ
) -> None:
    stack.environment["WAYBILL_AMQP_URL"] = private_rabbitmq.url
    started(stack, "ingest")
    with Publisher(private_rabbitmq.url, exchange_of(stack)) as producer:
        for number in range(100):
            producer.publish(tenant.key, f"m{number}", number)
        stack.stop("ingest")
    assert "ingest.stopped" in stack.log("ingest")
    started(stack, "ingest")
    private_rabbitmq.kill()
    wait_until(lambda: "ingest.broker_away" in stack.log("ingest"), "the outage", seconds=PATIENCE)
    private_rabbitmq.restart()
    wait_until(lambda: stack.log("ingest").count("ingest.consuming") == 3, "ingest again", seconds=PATIENCE)
    with Publisher(private_rabbitmq.url, exchange_of(stack)) as producer:
        for number in range(90, 200):  # of the first ten nobody knew whether they had come
            producer.publish(tenant.key, f"m{number}", number)
        wait_until(lambda: count(tenant) == 200, "all events", seconds=PATIENCE)
        stack.stop("ingest")
        assert producer.waiting() == 0
        producer.delete()
    assert numbers(tenant) == Counter(range(200))


def test_processes_killed_again_and_again_make_one_event_of_each_message(
    stack: Stack, tenant: Api, producer: Publisher
) -> None:
    stack.environment["WAYBILL_INGEST_PREFETCH"] = "50"
    started(stack, "ingest.2")
    for number in range(1_000):
        producer.publish(tenant.key, f"m{number}", number)
        if number % 200 == 100:
            for name in ("ingest", "ingest.2"):
                stack.kill(name)
                stack.serve(name)
    wait_until(lambda: count(tenant) >= 1_000, "all events", seconds=PATIENCE)
    stack.stop("ingest", "ingest.2")
    assert producer.waiting() == 0
    assert numbers(tenant) == Counter(range(1_000))


def test_a_queue_that_was_deleted_is_made_again(stack: Stack, tenant: Api, producer: Publisher) -> None:
    producer.delete()
    wait_until(lambda: times_consuming(stack, "ingest") == 2, "the queue to be back", seconds=PATIENCE)
    producer.publish(tenant.key, "m1", 1)
    wait_until(lambda: count(tenant) == 1, "the event", seconds=PATIENCE)
