"""From POST to a verified, recorded delivery through the Procfile's processes, also when they are killed."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.partner import Answer, Call, Partner
from tests.support.stack import wait_until

if TYPE_CHECKING:
    from tests.support.api import Api
    from tests.support.rabbitmq import PrivateRabbitMQ
    from tests.support.stack import Stack

PATIENCE = 60


def subscribe(tenant: Api, partner: Partner, **changes: Any) -> str:
    endpoint = tenant.post("/v1/endpoints", {"url": partner.url, "filter": ["order.*"], **changes})
    partner.secret = endpoint["secret"]
    return str(endpoint["id"])


def publish(tenant: Api, count: int, *, start: int = 0) -> list[str]:
    def send(number: int) -> str:
        event = {"type": "order.created", "data": {"number": number}}
        return str(tenant.post("/v1/events", event, Idempotency_Key=f"n{number}")["id"])

    with ThreadPoolExecutor(max_workers=16) as pool:
        return list(pool.map(send, range(start, start + count)))


def statuses(tenant: Api) -> Counter[str]:
    return Counter(delivery["status"] for delivery in tenant.every("/v1/deliveries"))


def wait_for_success(tenant: Api, count: int) -> None:
    wait_until(lambda: statuses(tenant)["succeeded"] == count, f"{count} successes", seconds=PATIENCE)


def assert_all_arrived(partner: Partner, events: list[str]) -> None:
    assert set(partner.times_seen) == set(events)
    assert partner.forged == []


def test_every_accepted_event_is_delivered_verified_and_recorded(stack: Stack, operator: Api) -> None:
    with Partner() as partner:
        stack.serve("web", "relay", "worker")
        tenant = operator.tenant()
        subscribe(tenant, partner)
        events = publish(tenant, 200)
        wait_for_success(tenant, 200)
        assert_all_arrived(partner, events)
        assert all(times == 1 for times in partner.times_seen.values())
        attempts = [
            tenant.get(f"/v1/deliveries/{d['id']}/attempts")["items"]
            for d in tenant.every("/v1/deliveries")[:5]
        ]
        assert [[a["outcome"] for a in of_one] for of_one in attempts] == [["delivered"]] * 5


def test_what_a_partner_refuses_is_sent_again_with_the_same_id_and_body(stack: Stack, operator: Api) -> None:
    seen: Counter[str] = Counter()

    def twice_unwell(call: Call) -> Answer:
        seen[call.message_id] += 1
        return Answer(503 if seen[call.message_id] <= 2 else 200)

    with Partner(twice_unwell) as partner:
        stack.serve("web", "relay", "worker")
        tenant = operator.tenant()
        subscribe(tenant, partner)
        events = publish(tenant, 20)
        wait_for_success(tenant, 20)
        assert_all_arrived(partner, events)
        assert set(partner.times_seen.values()) == {3}
        bodies = {(call.message_id, call.body) for call in partner.calls}
        assert len(bodies) == 20


def test_events_are_accepted_without_broker_relay_or_worker_and_arrive_later(
    stack: Stack, operator: Api
) -> None:
    with Partner() as partner:
        stack.serve("web")
        tenant = operator.tenant()
        subscribe(tenant, partner)
        events = publish(tenant, 50)
        assert statuses(tenant) == {"pending": 50}
        stack.serve("relay", "worker")
        wait_for_success(tenant, 50)
        assert_all_arrived(partner, events)


def test_a_worker_killed_in_the_middle_of_a_batch_loses_nothing(stack: Stack, operator: Api) -> None:
    with Partner(lambda _call: Answer(delay=0.3)) as partner:
        stack.serve("web", "relay", "worker")
        tenant = operator.tenant()
        subscribe(tenant, partner)
        events = publish(tenant, 300)
        wait_until(lambda: len(partner.calls) > 20, "a batch under way", seconds=PATIENCE)
        stack.kill("worker")
        stack.serve("worker")
        wait_for_success(tenant, 300)
        assert_all_arrived(partner, events)
        # Only what was on its way when the worker died may have come twice.
        assert sum(partner.times_seen.values()) < 300 + 2 * 256


def test_a_broker_that_goes_and_comes_back_during_a_burst_loses_nothing(
    stack: Stack, operator: Api, private_rabbitmq: PrivateRabbitMQ
) -> None:
    stack.environment["WAYBILL_AMQP_URL"] = private_rabbitmq.url
    with Partner() as partner:
        stack.serve("web", "relay", "worker")
        tenant = operator.tenant()
        subscribe(tenant, partner)
        events = publish(tenant, 100)
        private_rabbitmq.kill()
        events += publish(tenant, 100, start=100)
        private_rabbitmq.restart()
        events += publish(tenant, 100, start=200)
        wait_for_success(tenant, 300)
        assert_all_arrived(partner, events)


def test_a_relay_killed_between_claim_and_publish_loses_nothing(
    stack: Stack, operator: Api, private_rabbitmq: PrivateRabbitMQ
) -> None:
    stack.environment["WAYBILL_AMQP_URL"] = private_rabbitmq.url
    with Partner() as partner:
        stack.serve("web", "relay")
        tenant = operator.tenant()
        subscribe(tenant, partner)
        events = publish(tenant, 1)
        wait_until(lambda: statuses(tenant)["in_flight"] == 1, "a first claim", seconds=PATIENCE)
        # The broker stands still: the next claim is committed, and its message cannot be confirmed.
        with private_rabbitmq.frozen():
            events += publish(tenant, 20, start=1)
            wait_until(lambda: statuses(tenant)["in_flight"] > 1, "an unpublished claim", seconds=PATIENCE)
            stack.kill("relay")
        stack.serve("relay", "worker")
        wait_for_success(tenant, 21)
        assert_all_arrived(partner, events)


def test_a_queue_that_is_wiped_loses_nothing(
    stack: Stack, operator: Api, private_rabbitmq: PrivateRabbitMQ
) -> None:
    stack.environment["WAYBILL_AMQP_URL"] = private_rabbitmq.url
    with Partner() as partner:
        stack.serve("web", "relay")
        tenant = operator.tenant()
        subscribe(tenant, partner)
        events = publish(tenant, 50)
        wait_until(lambda: statuses(tenant)["in_flight"] == 50, "everything queued", seconds=PATIENCE)
        private_rabbitmq.ctl("purge_queue", f"{stack.environment['WAYBILL_QUEUE_NAME']}.live")
        stack.serve("worker")
        wait_for_success(tenant, 50)
        assert_all_arrived(partner, events)


def test_a_stopping_worker_hands_back_what_it_cannot_finish(stack: Stack, operator: Api) -> None:
    stack.environment |= {
        "WAYBILL_LEASE_SECONDS": "35",
        "WAYBILL_ATTEMPT_TIMEOUT": "20",
        "WAYBILL_DRAIN_SECONDS": "1",
    }
    with Partner(lambda _call: Answer(delay=15)) as partner:
        stack.serve("web", "relay", "worker")
        tenant = operator.tenant()
        subscribe(tenant, partner)
        events = publish(tenant, 5)
        wait_until(lambda: len(partner.calls) == 5, "five slow requests", seconds=PATIENCE)
        stack.stop("relay")
        stack.stop("worker")
        assert statuses(tenant) == {"pending": 5}
        delivery = tenant.every("/v1/deliveries")[0]
        [attempt] = tenant.get(f"/v1/deliveries/{delivery['id']}/attempts")["items"]
        assert (attempt["outcome"], attempt["decision"]) == ("interrupted", "hand_back")
        partner.answer = lambda _call: Answer()
        stack.serve("relay", "worker")
        wait_for_success(tenant, 5)
        assert_all_arrived(partner, events)


def test_a_message_that_comes_twice_sends_nothing_twice(
    stack: Stack, operator: Api, private_rabbitmq: PrivateRabbitMQ
) -> None:
    stack.environment["WAYBILL_AMQP_URL"] = private_rabbitmq.url
    with Partner(lambda _call: Answer(delay=0.2)) as partner:
        stack.serve("web", "relay", "worker")
        tenant = operator.tenant()
        subscribe(tenant, partner)
        events = publish(tenant, 200)
        # Every consumer loses its connection: unacknowledged messages are delivered again.
        private_rabbitmq.ctl("close_all_connections", "test")
        wait_for_success(tenant, 200)
        assert_all_arrived(partner, events)
        assert set(partner.times_seen.values()) == {1}


@pytest.mark.parametrize("queue_type", ["quorum"])
def test_quorum_queues_carry_deliveries_too(stack: Stack, operator: Api, queue_type: str) -> None:
    stack.environment["WAYBILL_QUEUE_TYPE"] = queue_type
    with Partner() as partner:
        stack.serve("web", "relay", "worker")
        tenant = operator.tenant()
        subscribe(tenant, partner)
        events = publish(tenant, 20)
        wait_for_success(tenant, 20)
        assert_all_arrived(partner, events)


def test_each_attempt_is_one_log_line_without_secret_or_body(stack: Stack, operator: Api) -> None:
    with Partner(lambda _call: Answer(500)) as partner:
        stack.serve("web", "relay", "worker")
        tenant = operator.tenant()
        subscribe(tenant, partner, schedule=[0, 1], headers={"Authorization": "Bearer of-the-partner"})
        publish(tenant, 1)
        wait_until(lambda: statuses(tenant)["failed"] == 1, "the delivery to fail", seconds=PATIENCE)
        stack.stop("worker")
    said = stack.log("worker")
    lines = [json.loads(line) for line in said.splitlines() if "delivery.attempted" in line]
    assert [(line["number"], line["status"], line["decision"]) for line in lines] == [
        (1, 500, "retry"),
        (2, 500, "give_up"),
    ]
    assert "of-the-partner" not in said
    assert str(partner.secret) not in said
    assert partner.calls[0].headers["authorization"] == "Bearer of-the-partner"
