"""Whatever is killed and whenever: every accepted event is delivered, verified and recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.scenario import (
    TIMEOUT_SECONDS,
    assert_all_arrived,
    count_statuses,
    list_attempts,
    publish_events,
    subscribe,
    wait_for_success,
)
from tests.support.stack import wait_until
from tests.support.webhook_partner import CannedResponse, Partner

if TYPE_CHECKING:
    from tests.support.api import Api
    from tests.support.rabbitmq import PrivateRabbitMQ
    from tests.support.stack import Stack


def test_events_are_accepted_without_broker_relay_or_worker_and_arrive_later(
    stack: Stack, operator: Api
) -> None:
    with Partner() as partner:
        stack.serve("web")
        tenant = operator.create_tenant()
        subscribe(tenant, partner)
        events = publish_events(tenant, 50)
        assert count_statuses(tenant) == {"pending": 50}
        stack.serve("relay", "worker")
        wait_for_success(tenant, 50)
        assert_all_arrived(partner, events)


def test_a_stopping_worker_hands_back_what_it_cannot_finish(stack: Stack, operator: Api) -> None:
    stack.environment |= {
        "WAYBILL_LEASE_SECONDS": "35",
        "WAYBILL_ATTEMPT_TIMEOUT": "20",
        "WAYBILL_DRAIN_SECONDS": "1",
    }
    with Partner(lambda _call: CannedResponse(delay=15)) as partner:
        stack.serve("web", "relay", "worker")
        tenant = operator.create_tenant()
        subscribe(tenant, partner)
        events = publish_events(tenant, 5)
        wait_until(lambda: len(partner.calls) == 5, "five slow requests", seconds=TIMEOUT_SECONDS)
        stack.stop("relay")
        stack.stop("worker")
        assert count_statuses(tenant) == {"pending": 5}
        delivery = tenant.list_all("/v1/deliveries")[0]
        [attempt] = list_attempts(tenant, delivery)
        assert (attempt["outcome"], attempt["decision"]) == ("interrupted", "hand_back")
        partner.answer = lambda _call: CannedResponse()
        stack.serve("relay", "worker")
        wait_for_success(tenant, 5)
        assert_all_arrived(partner, events)


def test_a_message_that_comes_twice_sends_nothing_twice(
    stack: Stack, operator: Api, private_rabbitmq: PrivateRabbitMQ
) -> None:
    stack.environment["WAYBILL_AMQP_URL"] = private_rabbitmq.url
    with Partner(lambda _call: CannedResponse(delay=0.2)) as partner:
        stack.serve("web", "relay", "worker")
        tenant = operator.create_tenant()
        subscribe(tenant, partner)
        events = publish_events(tenant, 200)
        # Every consumer loses its connection: unacknowledged messages are delivered again.
        private_rabbitmq.run_ctl("close_all_connections", "test")
        wait_for_success(tenant, 200)
        assert_all_arrived(partner, events)
        assert set(partner.count_by_message_id.values()) == {1}
