"""The ingest process between a real RabbitMQ and the real ledger: each message is one event, or set aside."""

from __future__ import annotations

import struct
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import make_url

from tests.support.amqp_publisher import Publisher, encode_nested_table, encode_short_string
from tests.support.scenario import TIMEOUT_SECONDS, assert_all_arrived, subscribe, wait_for_success
from tests.support.stack import Stack, wait_until
from tests.support.tcp_proxy import ConnectionCut, NetworkConditions, TcpProxy, share_listeners
from tests.support.webhook_partner import Partner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.api import Api
    from tests.support.rabbitmq import PrivateRabbitMQ

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
        seconds=TIMEOUT_SECONDS,
    )


def times_consuming(stack: Stack, name: str) -> int:
    """How often a process of this name has said that it consumes."""
    log = stack.folder / f"{name}.log"
    return log.read_text().count("ingest.consuming") if log.exists() else 0


def emptied(stack: Stack, producer: Publisher) -> bool:
    """Let two processes consume, and stop them. Messages in flight to them are requeued."""
    started(stack, "ingest", "ingest.2")
    wait_until(lambda: producer.count_ready() == 0, "all to be sent to them", seconds=TIMEOUT_SECONDS)
    stack.stop("ingest", "ingest.2")
    return producer.count_ready() == 0


@pytest.fixture
def producer(stack: Stack) -> Iterator[Publisher]:
    """A producer, once the ingest process has declared where it publishes to."""
    started(stack, "ingest")
    with Publisher(stack.environment["WAYBILL_AMQP_URL"], exchange_of(stack)) as publisher:
        yield publisher
        stack.stop()
        publisher.delete()


@pytest.fixture(scope="module")
def web(module_stack: Stack) -> Stack:
    """A `web` that the tests share; the processes around it are each test's own."""
    module_stack.serve("web")
    return module_stack


@pytest.fixture
def stack(web: Stack, tmp_path: Path) -> Iterator[Stack]:
    """Processes beside the shared `web`, with queues of their own, which the test may kill."""
    stack = Stack(tmp_path, web.database_url, web.environment["WAYBILL_AMQP_URL"])
    stack.environment = web.environment | {"WAYBILL_QUEUE_NAME": f"test-{tmp_path.name[:40]}"}
    stack.port = web.port
    yield stack
    stack.stop()


@pytest.fixture
def tenant(operator: Api) -> Api:
    return operator.create_tenant()


@pytest.fixture
def earlier(operator: Api) -> set[str]:
    """The dead letters of tests before this one."""
    return {letter["id"] for letter in operator.list_all("/v1/ingest/messages")}


def list_dead_letters(operator: Api, earlier: set[str]) -> list[dict[str, Any]]:
    return [letter for letter in operator.list_all("/v1/ingest/messages") if letter["id"] not in earlier]


def numbers(tenant: Api) -> Counter[int]:
    """The number in each event, and how often there is an event with it."""
    listed = tenant.list_all("/v1/events")
    return Counter(tenant.get(f"/v1/events/{event['id']}")["body"]["data"] for event in listed)


def count(tenant: Api) -> int:
    return len(tenant.list_all("/v1/events"))


def test_messages_are_delivered_and_poison_messages_dead_lettered(
    stack: Stack, operator: Api, tenant: Api, producer: Publisher, earlier: set[str]
) -> None:
    stack.serve("relay", "worker")
    with Partner() as partner:
        subscribe(tenant, partner)
        for number in range(100):
            producer.publish_event(tenant.key, f"m{number}", number)
            if number % 25 == 0:
                producer.publish_body(b"poison", f"p{number}", **{"waybill-key": tenant.key})
        producer.publish_event("wbk_" + "x" * 43, "stranger", 1)
        wait_for_success(tenant, 100)
        assert_all_arrived(partner, [event["id"] for event in tenant.list_all("/v1/events")])
    refused = list_dead_letters(operator, earlier)
    assert sorted(one["message_id"] for one in refused) == ["p0", "p25", "p50", "p75", "stranger"]
    assert producer.count_ready() == 0


def test_unstorable_message_headers_or_ids_do_not_block_other_messages(
    stack: Stack, operator: Api, tenant: Api, producer: Publisher, earlier: set[str]
) -> None:
    body = b'{"type": "order.created", "data": %d}'
    for number, when in enumerate((-150_000_000, 1 << 62)):
        dated = encode_short_string(b"when") + b"T" + struct.pack(">q", when)
        producer.publish_raw_headers(body % number, b"dated%d" % number, tenant.key, dated)
    producer.publish_raw_headers(
        body % 2, b"deep", tenant.key, encode_short_string(b"deep") + encode_nested_table(5_000)
    )
    producer.publish_raw_headers(body % 3, b"\xff\xfe", tenant.key)
    producer.publish_event(tenant.key, "good", 4)
    wait_until(
        lambda: count(tenant) == 4 and producer.count_ready() == 0, "the others", seconds=TIMEOUT_SECONDS
    )
    assert numbers(tenant) == Counter([0, 1, 2, 4])
    (refused,) = list_dead_letters(operator, earlier)
    assert refused["message_id"] == "\ufffd\ufffd"
    assert "message-id: must be" in refused["reason"]
    assert times_consuming(stack, "ingest") == 1


def test_killing_ingest_between_commit_and_ack_creates_no_duplicates(
    stack: Stack, tenant: Api, producer: Publisher
) -> None:
    stack.kill("ingest")
    killed = threading.Event()

    def kill_before_the_ack(sent: bytes) -> None:
        if BASIC_ACK in sent and not killed.is_set():
            stack.kill("ingest")
            killed.set()
            raise ConnectionCut

    broker = stack.environment["WAYBILL_AMQP_URL"]
    host, port = broker.rpartition("@")[2].partition("/")[0].split(":")
    for number in range(50):
        producer.publish_event(tenant.key, f"m{number}", number)
    with TcpProxy(host, int(port), share_listeners(on_client_bytes=kill_before_the_ack)) as proxy:
        stack.process_environment["ingest"] = {
            "WAYBILL_AMQP_URL": broker.replace(f"{host}:{port}", f"127.0.0.1:{proxy.port}")
        }
        stack.serve("ingest")
        wait_until(killed.is_set, "ingest to be killed", seconds=TIMEOUT_SECONDS)
    # Its messages are committed, and none was acknowledged.
    assert count(tenant) > 0
    wait_until(lambda: producer.count_ready() == 50, "the messages to be back", seconds=TIMEOUT_SECONDS)
    del stack.process_environment["ingest"]
    wait_until(lambda: emptied(stack, producer), "all to be acknowledged", seconds=TIMEOUT_SECONDS)
    assert numbers(tenant) == Counter(range(50))


def test_without_a_database_messages_stay_in_the_queue_and_come_later(
    stack: Stack, operator: Api, tenant: Api, producer: Publisher, earlier: set[str]
) -> None:
    stack.stop("ingest")
    where = make_url(stack.environment["WAYBILL_DATABASE_URL"])
    with TcpProxy(str(where.host), int(where.port or 0)) as proxy:
        through = where.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
        stack.process_environment["ingest"] = {
            "WAYBILL_DATABASE_URL": through,
            "WAYBILL_INGEST_PREFETCH": "10",
        }
        started(stack, "ingest")
        proxy.conditions = NetworkConditions(is_refusing=True)
        proxy.reset_connections()
        for number in range(40):
            producer.publish_event(tenant.key, f"m{number}", number)
        producer.publish_body(b"poison", "p", **{"waybill-key": tenant.key})
        wait_until(
            lambda: "ingest.waiting" in stack.read_log("ingest"),
            "the outage to be noticed",
            seconds=TIMEOUT_SECONDS,
        )
        # It holds no more than it may, and has acknowledged none.
        wait_until(lambda: producer.count_ready() == 31, "ten to be held", seconds=TIMEOUT_SECONDS)
        stack.kill("ingest")
        wait_until(lambda: producer.count_ready() == 41, "all to be back", seconds=TIMEOUT_SECONDS)
        assert count(tenant) == 0
        started(stack, "ingest")
        proxy.conditions = NetworkConditions()
        wait_until(lambda: count(tenant) == 40, "the events", seconds=TIMEOUT_SECONDS)
        wait_until(lambda: list_dead_letters(operator, earlier) != [], "the poison", seconds=TIMEOUT_SECONDS)
        stack.stop("ingest")
    assert producer.count_ready() == 0
    assert numbers(tenant) == Counter(range(40))


def test_ingest_outlives_the_broker_and_a_stop_in_the_middle_loses_nothing(
    stack: Stack, tenant: Api, private_rabbitmq: PrivateRabbitMQ
) -> None:
    stack.environment["WAYBILL_AMQP_URL"] = private_rabbitmq.url
    started(stack, "ingest")
    with Publisher(private_rabbitmq.url, exchange_of(stack)) as producer:
        for number in range(100):
            producer.publish_event(tenant.key, f"m{number}", number)
        stack.stop("ingest")
    assert "ingest.stopped" in stack.read_log("ingest")
    started(stack, "ingest")
    private_rabbitmq.kill()
    wait_until(
        lambda: "ingest.broker_away" in stack.read_log("ingest"), "the outage", seconds=TIMEOUT_SECONDS
    )
    private_rabbitmq.restart()
    wait_until(
        lambda: stack.read_log("ingest").count("ingest.consuming") == 3,
        "ingest again",
        seconds=TIMEOUT_SECONDS,
    )
    with Publisher(private_rabbitmq.url, exchange_of(stack)) as producer:
        for number in range(90, 200):  # the first ten may have arrived or not
            producer.publish_event(tenant.key, f"m{number}", number)
        wait_until(lambda: count(tenant) == 200, "all events", seconds=TIMEOUT_SECONDS)
        stack.stop("ingest")
        assert producer.count_ready() == 0
        producer.delete()
    assert numbers(tenant) == Counter(range(200))


def test_processes_killed_again_and_again_make_one_event_of_each_message(
    stack: Stack, tenant: Api, producer: Publisher
) -> None:
    stack.environment["WAYBILL_INGEST_PREFETCH"] = "50"
    started(stack, "ingest.2")
    for number in range(1_000):
        producer.publish_event(tenant.key, f"m{number}", number)
        if number % 200 == 100:
            for name in ("ingest", "ingest.2"):
                stack.kill(name)
                stack.serve(name)
    wait_until(lambda: count(tenant) >= 1_000, "all events", seconds=TIMEOUT_SECONDS)
    stack.stop("ingest", "ingest.2")
    assert producer.count_ready() == 0
    assert numbers(tenant) == Counter(range(1_000))


def test_a_queue_that_was_deleted_is_made_again(stack: Stack, tenant: Api, producer: Publisher) -> None:
    producer.delete()
    wait_until(lambda: times_consuming(stack, "ingest") == 2, "the queue to be back", seconds=TIMEOUT_SECONDS)
    producer.publish_event(tenant.key, "m1", 1)
    wait_until(lambda: count(tenant) == 1, "the event", seconds=TIMEOUT_SECONDS)
