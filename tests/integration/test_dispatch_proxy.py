"""A proxy that fails costs the endpoint nothing: no step of its schedule, no failure in its health."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.clock import clock
from delivery.domain.egress import Proxy
from delivery.ledger.queue import endpoint_health
from tests.integration.test_dispatch import deliver, load_attempts
from tests.support import ledger_builders as build
from tests.support.fake_proxies import FakeProxy, run_proxy
from tests.support.in_process_worker import WorkerSpec, run_worker
from tests.support.ledger_builders import EndpointSpec
from tests.support.receivers import answer_always, make_response, run_receiver

if TYPE_CHECKING:
    from delivery.domain.ids import EndpointId, TenantId
    from delivery.ledger.db.session import Ledger
    from retries.health import Health

BROKEN = b"HTTP/1.1 502 Bad Gateway\r\n\r\n"


async def health_of(ledger: Ledger, endpoint: EndpointId) -> Health:
    async with ledger.transaction() as tx:
        standing = await endpoint_health.read(tx, endpoint)
    assert standing is not None
    return standing.health


async def test_a_proxy_failure_uses_no_step_and_does_not_count_for_the_breaker(
    ledger: Ledger, tenant: TenantId
) -> None:
    async with (
        run_receiver(answer_always(make_response())) as receiver,
        run_proxy(FakeProxy("http", canned_response=BROKEN)) as proxy,
        run_worker(ledger, WorkerSpec(proxy=Proxy.parse(proxy.url()))) as dispatcher,
    ):
        endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(receiver.url()))
        before = await health_of(ledger, endpoint)
        await build.accept_event(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
        _, (attempt,) = await load_attempts(ledger, tenant, endpoint)
        assert (attempt.outcome, attempt.decision, attempt.reason) == ("proxy_failed", "hand_back", "proxy")
        assert attempt.detail == "The proxy on our side gave no connection to the endpoint (it answered 502)."
        (delivery_id,) = await build.list_delivery_ids(ledger, endpoint)
        stands = await build.read_delivery_state(ledger, delivery_id)
        assert (stands.status, stands.step, stands.attempts) == ("pending", 0, 1)
        assert stands.due_at is not None
        assert stands.due_at > clock()
        assert await health_of(ledger, endpoint) == before
        proxy.canned_response = None
        await build.execute(ledger, "update schedule set due_at = clock_timestamp()")
        await deliver(ledger, dispatcher, endpoint)
        delivery, _ = await load_attempts(ledger, tenant, endpoint)
    assert (delivery.status, delivery.attempts) == ("succeeded", 2)
