"""Searchable facts of deliveries: outcome, idempotency key and sequence number."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from delivery.ledger.queue import expiry, results
from delivery.pipeline.dispatcher import PAYLOAD_GONE
from delivery.pipeline.parsing import NewEvent
from tests.support import ledger_builders as build

if TYPE_CHECKING:
    from delivery.domain.ids import DeliveryId, EndpointId, TenantId
    from delivery.ledger.db.session import Ledger

HOUR = timedelta(hours=1)


async def listed(ledger: Ledger) -> set[DeliveryId]:
    return {row.delivery_id for row in await build.fetch_rows(ledger, "select delivery_id from failures")}


async def test_a_delivery_that_failed_is_listed_and_one_that_succeeded_is_not(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 2)
    claim_id, (first, second) = await build.claim_and_start(ledger, endpoint)
    await build.record_results(
        ledger, build.make_success(first, claim_id), build.make_failure(second, claim_id)
    )
    assert await listed(ledger) == {second.delivery_id}


async def test_a_delivery_that_is_tried_again_is_not_listed(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_event(ledger, tenant)
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    await build.record_results(ledger, build.make_retry(work, claim_id, delay=HOUR))
    assert await listed(ledger) == set()


async def test_what_was_cancelled_is_listed_whoever_cancelled_it(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 2)
    await build.delete_endpoint(ledger, tenant, endpoint)
    async with ledger.transaction() as tx:
        await expiry.cancel_for_deleted_endpoints(tx, [endpoint])
    assert await listed(ledger) == set(await build.list_delivery_ids(ledger, endpoint))


async def test_reopened_delivery_leaves_the_failure_list_in_any_release(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_event(ledger, tenant)
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    await build.record_results(ledger, build.make_failure(work, claim_id))
    await build.execute(ledger, "update deliveries set status = 'pending', finished_at = null")
    assert await listed(ledger) == set()


async def test_a_pending_delivery_tells_of_its_last_attempt_and_so_does_a_final_one(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_event(ledger, tenant)
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    await build.record_results(ledger, build.make_retry(work, claim_id))
    assert tuple(await build.fetch_row(ledger, "select outcome, http_status from schedule")) == (
        "refused",
        503,
    )
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    await build.record_results(ledger, build.make_success(work, claim_id))
    assert tuple(await build.fetch_row(ledger, "select outcome, http_status from deliveries")) == (
        "delivered",
        200,
    )


async def test_a_delivery_gets_its_number_at_the_first_claim_and_keeps_it(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 3)
    assert await build.count_rows(ledger, "endpoint_sequence") == 0
    claim_id, works = await build.claim_and_start(ledger, endpoint)
    assert sorted(work.sequence for work in works) == [1, 2, 3]
    await build.record_results(ledger, *[build.make_retry(work, claim_id) for work in works])
    claim_id, repeated = await build.claim_and_start(ledger, endpoint)
    assert {work.delivery_id: work.sequence for work in repeated} == {
        work.delivery_id: work.sequence for work in works
    }
    await build.record_results(ledger, *[build.make_success(work, claim_id) for work in repeated])
    numbered = await build.fetch_rows(ledger, "select id, sequence from deliveries")
    assert {row.id: row.sequence for row in numbered} == {work.delivery_id: work.sequence for work in works}
    assert await build.count_rows(ledger, "endpoint_sequence") == 3


async def test_an_event_keeps_the_idempotency_key_that_it_came_under(
    ledger: Ledger, tenant: TenantId
) -> None:
    await build.make_intake(ledger).accept_events(
        tenant, [NewEvent("order.created", b"1")], single=True, idempotency_key="order-1042"
    )
    assert (
        await build.fetch_row(ledger, "select idempotency_key from events")
    ).idempotency_key == "order-1042"


async def test_a_delivery_without_a_body_ends_as_cancelled_and_frees_its_endpoint(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 2)
    await build.execute(
        ledger, "update events set body = null where id = (select event_id from schedule limit 1)"
    )
    claim_id, works = await build.claim_and_start(ledger, endpoint)
    gone = [work.delivery_id for work in works if work.body is None]
    assert len(gone) == 1
    async with ledger.transaction() as tx:
        await results.cancel(tx, claim_id, gone, reason=PAYLOAD_GONE)
    after = await build.read_delivery_state(ledger, gone[0])
    assert (after.status, after.reason, after.scheduled) == ("cancelled", PAYLOAD_GONE, False)
    in_flight = await build.fetch_row(ledger, "select in_flight from endpoint_health")
    assert in_flight.in_flight == 1
