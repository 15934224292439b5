"""A proxy that fails costs the endpoint nothing: no step of its schedule, and no strike of its breaker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.bootstrap import clock
from delivery.ledger import health
from delivery.transport import Proxy
from tests.integration.test_dispatch import deliver, told
from tests.support import ledger as on
from tests.support.ledger import Wanted
from tests.support.proxies import Running, proxying
from tests.support.receivers import always, answer, receiving
from tests.support.worker import Manner, working

if TYPE_CHECKING:
    from delivery.ledger import Ledger
    from delivery.model import EndpointId, TenantId
    from retries.health import Health

BROKEN = b"HTTP/1.1 502 Bad Gateway\r\n\r\n"


async def health_of(ledger: Ledger, endpoint: EndpointId) -> Health:
    async with ledger.transaction() as tx:
        standing = await health.read(tx, endpoint)
    assert standing is not None
    return standing.health


async def test_a_fault_of_the_proxy_burns_no_step_and_strikes_no_breaker(
    ledger: Ledger, tenant: TenantId
) -> None:
    async with (
        receiving(always(answer())) as receiver,
        proxying(Running("http", instead=BROKEN)) as proxy,
        working(ledger, Manner(proxy=Proxy.parse(proxy.url()))) as dispatcher,
    ):
        endpoint = await on.new_endpoint(ledger, tenant, Wanted(receiver.url()))
        before = await health_of(ledger, endpoint)
        await on.accept(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
        _, (attempt,) = await told(ledger, tenant, endpoint)
        assert (attempt.outcome, attempt.decision, attempt.reason) == ("proxy_failed", "hand_back", "proxy")
        assert attempt.detail == "The proxy on our side gave no connection to the endpoint (it answered 502)."
        (delivery_id,) = await on.delivery_ids(ledger, endpoint)
        stands = await on.standing(ledger, delivery_id)
        assert (stands.status, stands.step, stands.attempts) == ("pending", 0, 1)
        assert stands.due_at is not None
        assert stands.due_at > clock()
        assert await health_of(ledger, endpoint) == before
        proxy.instead = None
        await on.change(ledger, "update schedule set due_at = clock_timestamp()")
        await deliver(ledger, dispatcher, endpoint)
        delivery, _ = await told(ledger, tenant, endpoint)
    assert (delivery.status, delivery.attempts) == ("succeeded", 2)
