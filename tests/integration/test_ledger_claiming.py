"""Claims on a real ledger: who takes what, who may start it, and what is taken back."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from delivery.domain.delivery import Priority
from delivery.domain.endpoint import EndpointState
from delivery.domain.ids import ClaimId, EndpointId, new_id
from delivery.ledger.queue import claims
from delivery.ledger.queue.claims import ClaimGrant
from delivery.pipeline.claiming import LOCKED_RETRY_SECONDS, OpenClaim
from tests.support import ledger_builders as build

if TYPE_CHECKING:
    from delivery.domain.ids import DeliveryId, TenantId
    from delivery.ledger.db.session import Ledger
    from delivery.pipeline.claiming import ClaimRound


async def claimed(ledger: Ledger) -> dict[DeliveryId, ClaimId]:
    found = await build.fetch_rows(
        ledger, "select delivery_id, claim_id from schedule where claim_id is not null"
    )
    return {row.delivery_id: row.claim_id for row in found}


async def ready(ledger: Ledger) -> list[claims.ReadyEndpoint]:
    async with ledger.transaction() as tx:
        return await claims.find_ready_endpoints(tx, priority=Priority.LIVE)


# ---- who has something due
async def test_ready_scan_returns_one_row_per_endpoint(ledger: Ledger, tenant: TenantId) -> None:
    endpoints = {await build.create_endpoint(ledger, tenant) for _ in range(3)}
    await build.accept_events(ledger, tenant, 50)
    heads = await ready(ledger)
    assert {head.endpoint_id for head in heads} == endpoints
    assert len(heads) == 3
    assert {(head.tenant_id, head.due, head.deleted) for head in heads} == {(tenant, True, False)}


async def test_a_head_tells_the_earliest_moment_and_whether_that_is_now(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 3)
    await build.execute(ledger, "update schedule set due_at = clock_timestamp() + interval '1 h'")
    (head,) = await ready(ledger)
    assert not head.due
    first = (await build.list_delivery_ids(ledger, endpoint))[0]
    await build.execute(ledger, "update schedule set due_at = now() where delivery_id = :id", id=first)
    (head,) = await ready(ledger)
    assert head.due
    assert head.due_at == (await build.read_delivery_state(ledger, first)).due_at


async def test_ready_scan_skips_held_and_returns_deleted_endpoints(ledger: Ledger, tenant: TenantId) -> None:
    paused, disabled, deleted, active = [await build.create_endpoint(ledger, tenant) for _ in range(4)]
    await build.accept_event(ledger, tenant)
    await build.set_state(ledger, paused, EndpointState.PAUSED)
    await build.set_state(ledger, disabled, EndpointState.DISABLED)
    await build.delete_endpoint(ledger, tenant, deleted)
    assert {(head.endpoint_id, head.deleted) for head in await ready(ledger)} == {
        (active, False),
        (deleted, True),
    }


async def test_what_is_claimed_has_no_head(ledger: Ledger, tenant: TenantId, endpoint: EndpointId) -> None:
    await build.accept_event(ledger, tenant)
    await build.claim_deliveries(ledger, [endpoint])
    assert await ready(ledger) == []


# ---- claim
async def test_a_claim_takes_what_is_due_and_counts_it(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 7)
    taken = await build.claim_deliveries(ledger, [endpoint])
    assert taken.counts_by_endpoint == {endpoint: 7}
    (claim_id,) = taken.claim_ids
    assert set((await claimed(ledger)).values()) == {claim_id}
    kept = await build.fetch_row(ledger, "select size, remaining, started_at, worker, lane from claims")
    assert tuple(kept) == (7, 7, None, None, Priority.LIVE)


async def test_claims_hold_a_batch_at_most_and_no_delivery_twice(ledger: Ledger, tenant: TenantId) -> None:
    endpoints = [await build.create_endpoint(ledger, tenant) for _ in range(3)]
    await build.accept_events(ledger, tenant, 35)
    taken = await build.claim_deliveries(ledger, endpoints, batch=10)
    assert taken.delivery_count == 105
    sizes = await build.fetch_rows(
        ledger,
        """
        select c.size, c.remaining, count(*) as held from claims c join schedule s on s.claim_id = c.id
        group by c.id
        """,
    )
    assert sorted(row.size for row in sizes) == [5] + [10] * 10
    assert all(row.size == row.remaining == row.held for row in sizes)
    assert len(taken.claim_ids) == 11


async def test_a_claim_that_a_transaction_has_begun_is_filled_before_another_one_begins(
    ledger: Ledger, tenant: TenantId
) -> None:
    endpoints = [await build.create_endpoint(ledger, tenant) for _ in range(4)]
    await build.accept_events(ledger, tenant, 5)
    async with ledger.transaction() as tx:
        first = await build.claim_in_transaction(tx, endpoints[:1], batch=10)
        second = await build.claim_in_transaction(tx, endpoints[1:3], batch=10, open_claim=first.open_claim)
        nothing = await build.claim_in_transaction(tx, endpoints[1:3], batch=10, open_claim=second.open_claim)
        third = await build.claim_in_transaction(tx, endpoints[3:], batch=10, open_claim=nothing.open_claim)
    (one,) = first.claim_ids
    (other,) = set(second.claim_ids) - {one}
    assert (first.open_claim, second.open_claim, third.open_claim) == (
        OpenClaim(one, 5),
        OpenClaim(other, 5),
        OpenClaim(other, 10),
    )
    assert nothing.open_claim == second.open_claim
    assert (nothing.claim_ids, third.claim_ids) == ((), (other,))
    sizes = await build.fetch_rows(
        ledger,
        """
        select c.id, c.size, c.remaining, count(*) as held from claims c join schedule s on s.claim_id = c.id
        group by c.id
        """,
    )
    assert {(row.id, row.size, row.remaining, row.held) for row in sizes} == {
        (one, 10, 10, 10),
        (other, 10, 10, 10),
    }


async def test_a_claim_that_is_full_is_left_alone(ledger: Ledger, tenant: TenantId) -> None:
    full, more = [await build.create_endpoint(ledger, tenant) for _ in range(2)]
    await build.accept_events(ledger, tenant, 3)
    async with ledger.transaction() as tx:
        first = await build.claim_in_transaction(tx, [full], batch=3)
        second = await build.claim_in_transaction(tx, [more], batch=3, open_claim=first.open_claim)
    assert not set(first.claim_ids) & set(second.claim_ids)
    assert second.open_claim == OpenClaim(second.claim_ids[0], 3)


async def test_a_claim_keeps_to_its_quotas_and_takes_the_earliest_first(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    other = await build.create_endpoint(ledger, tenant)
    await build.accept_events(ledger, tenant, 10)
    ids = await build.list_delivery_ids(ledger, endpoint)
    await build.execute(
        ledger, "update schedule set due_at = now() - interval '1 h' where delivery_id = :i", i=ids[6]
    )
    await build.execute(
        ledger, "update schedule set due_at = now() - interval '2 h' where delivery_id = :i", i=ids[9]
    )
    async with ledger.transaction() as tx:
        taken = await claims.claim_deliveries(
            tx,
            [ClaimGrant(endpoint, 2), ClaimGrant(other, 5)],
            priority=Priority.LIVE,
            claim_ids=[ClaimId(new_id())],
            batch_size=100,
            lease=build.QUEUE_LEASE,
        )
    assert taken.by_endpoint == {endpoint: 2, other: 5}
    assert {ids[6], ids[9]} <= (await claimed(ledger)).keys()


async def test_what_is_not_due_yet_is_not_taken(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 2)
    first, second = await build.list_delivery_ids(ledger, endpoint)
    await build.execute(
        ledger,
        "update schedule set due_at = clock_timestamp() + interval '1 s' where delivery_id = :i",
        i=first,
    )
    await build.claim_deliveries(ledger, [endpoint])
    assert (await claimed(ledger)).keys() == {second}


@pytest.mark.parametrize("state", [EndpointState.PAUSED, EndpointState.DISABLED])
async def test_a_held_endpoint_gives_nothing_and_all_of_it_when_it_is_active_again(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId, state: EndpointState
) -> None:
    await build.accept_events(ledger, tenant, 3)
    await build.set_state(ledger, endpoint, state)
    assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 0
    assert await build.count_rows(ledger, "claims") == 0
    await build.set_state(ledger, endpoint, EndpointState.ACTIVE)
    assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 3


async def test_a_deleted_and_an_unknown_endpoint_give_nothing(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_event(ledger, tenant)
    await build.delete_endpoint(ledger, tenant, endpoint)
    assert (await build.claim_deliveries(ledger, [endpoint, EndpointId(new_id())])).delivery_count == 0


async def test_two_who_claim_at_the_same_time_never_take_the_same(ledger: Ledger, tenant: TenantId) -> None:
    endpoints = [await build.create_endpoint(ledger, tenant) for _ in range(4)]
    await build.accept_events(ledger, tenant, 100)
    taken: list[ClaimRound] = []
    while sum(each.delivery_count for each in taken) < 400:
        # Some find an endpoint that another one has just now, and leave it.
        taken += await asyncio.gather(
            *[build.claim_deliveries(ledger, endpoints, take=9, batch=10) for _ in range(8)]
        )
    held = await claimed(ledger)
    assert sum(each.delivery_count for each in taken) == len(held) == 400
    ids = [claim_id for each in taken for claim_id in each.claim_ids]
    assert len(ids) == len(set(ids))
    assert set(held.values()) == set(ids)


async def test_claim_skips_an_endpoint_locked_by_another_relay(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    other = await build.create_endpoint(ledger, tenant)
    await build.accept_events(ledger, tenant, 10)
    async with ledger.transaction() as tx:
        await build.claim_in_transaction(tx, [endpoint], take=4)
        second = await build.claim_deliveries(ledger, [endpoint, other], take=100)
    assert second.counts_by_endpoint == {other: 10}
    assert second.retry_in_seconds == {endpoint: LOCKED_RETRY_SECONDS}
    assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 6


async def test_claim_skips_locked_rows(ledger: Ledger, tenant: TenantId, endpoint: EndpointId) -> None:
    await build.accept_events(ledger, tenant, 10)
    async with ledger.transaction() as tx:
        await tx.execute(text("select 1 from schedule limit 4 for update"))
        assert (await build.claim_deliveries(ledger, [endpoint], take=100)).delivery_count == 6


async def test_what_a_claim_takes_comes_back_when_its_transaction_fails(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_event(ledger, tenant)
    async with ledger.transaction() as tx:
        assert (await build.claim_in_transaction(tx, [endpoint])).delivery_count == 1
        await tx.rollback()
    assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 1


async def test_what_waits_in_the_queue_is_counted_until_it_is_started(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 5)
    taken = await build.claim_deliveries(ledger, [endpoint], batch=3)

    async def unstarted() -> int:
        async with ledger.transaction() as tx:
            return await claims.count_queued(tx, priority=Priority.LIVE)

    assert await unstarted() == 5
    started = await build.start_claim(ledger, taken.claim_ids[0])
    assert await unstarted() == 5 - len(started)


# ---- start
async def test_a_worker_that_starts_a_claim_gets_its_deliveries_with_their_exact_bytes(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    event = await build.accept_event(ledger, tenant, data=b'{ "n" : 1.10 }')
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    assert (work.tenant_id, work.endpoint_id, work.event_id) == (tenant, endpoint, event)
    assert (work.attempts, work.step, work.endpoint_version) == (0, 0, 1)
    assert work.body is not None
    assert work.body.endswith(b'"data":{ "n" : 1.10 }}')
    kept = await build.fetch_row(
        ledger, "select worker, started_at, lease_until - clock_timestamp() as lease from claims"
    )
    assert kept.worker == "worker 1"
    assert timedelta(seconds=40) < kept.lease <= build.LEASE
    assert (await build.read_delivery_state(ledger, work.delivery_id)).claim_id == claim_id


async def test_a_claim_is_started_once(ledger: Ledger, tenant: TenantId, endpoint: EndpointId) -> None:
    await build.accept_event(ledger, tenant)
    claim_id, _ = await build.claim_and_start(ledger, endpoint)
    before = await build.fetch_row(ledger, "select * from claims")
    assert await build.start_claim(ledger, claim_id) == []
    assert await build.fetch_row(ledger, "select * from claims") == before


async def test_of_two_who_start_a_claim_at_the_same_time_one_gets_it(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 5)
    (claim_id,) = (await build.claim_deliveries(ledger, [endpoint])).claim_ids
    both = await asyncio.gather(build.start_claim(ledger, claim_id), build.start_claim(ledger, claim_id))
    assert sorted(len(works) for works in both) == [0, 5]


async def test_a_claim_that_was_rescued_or_never_was_starts_nothing(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_event(ledger, tenant)
    (claim_id,) = (await build.claim_deliveries(ledger, [endpoint])).claim_ids
    await build.expire_lease(ledger, claim_id)
    await build.rescue_lapsed(ledger)
    assert await build.start_claim(ledger, claim_id) == []
    assert await build.start_claim(ledger, ClaimId(new_id())) == []


async def test_lapsed_claim_can_be_started_until_it_is_rescued(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_event(ledger, tenant)
    (claim_id,) = (await build.claim_deliveries(ledger, [endpoint])).claim_ids
    await build.expire_lease(ledger, claim_id)
    assert len(await build.start_claim(ledger, claim_id)) == 1
    assert (await build.rescue_lapsed(ledger)).deliveries == 0


# ---- hand back
async def test_released_claim_can_be_claimed_again_unchanged(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 6)
    kept, *others = (await build.claim_deliveries(ledger, [endpoint], batch=2)).claim_ids
    async with ledger.transaction() as tx:
        await claims.return_claims(tx, others)
    assert list((await claimed(ledger)).values()) == [kept, kept]
    assert await build.count_rows(ledger, "claims") == 1
    assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 4


async def test_a_claim_that_a_worker_has_started_cannot_be_handed_back_by_the_relay(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    """The message of a claim that the broker did not confirm may be in the queue all the same."""
    await build.accept_event(ledger, tenant)
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    async with ledger.transaction() as tx:
        await claims.return_claims(tx, [claim_id])
    assert (await build.read_delivery_state(ledger, work.delivery_id)).claim_id == claim_id
    assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 0
    assert await build.record_results(ledger, build.make_success(work, claim_id)) == set()


async def test_of_start_and_hand_back_at_the_same_time_one_wins(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    async def hand_back(claim_id: ClaimId) -> None:
        async with ledger.transaction() as tx:
            await claims.return_claims(tx, [claim_id])

    for _ in range(20):
        await build.accept_event(ledger, tenant)
        (claim_id,) = (await build.claim_deliveries(ledger, [endpoint], take=1)).claim_ids
        works, _ = await asyncio.gather(build.start_claim(ledger, claim_id), hand_back(claim_id))
        held = await claimed(ledger)
        assert (claim_id in held.values()) == bool(works)
        await build.execute(ledger, "delete from claims")
        await build.execute(ledger, "delete from schedule")


# ---- rescue
async def test_only_lapsed_claims_are_rescued(ledger: Ledger, tenant: TenantId, endpoint: EndpointId) -> None:
    await build.accept_events(ledger, tenant, 9)
    queued, lapsed_queued, lapsed_started = (
        await build.claim_deliveries(ledger, [endpoint], batch=3)
    ).claim_ids
    await build.start_claim(ledger, lapsed_started)
    await build.expire_lease(ledger, lapsed_queued)
    await build.expire_lease(ledger, lapsed_started)
    assert await build.rescue_lapsed(ledger) == claims.RescueResult(deliveries=6, unstarted=3)
    assert set((await claimed(ledger)).values()) == {queued}
    assert await build.count_rows(ledger, "claims") == 1
    assert await build.rescue_lapsed(ledger) == claims.RescueResult(deliveries=0, unstarted=0)
    assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 6


async def test_rescue_changes_neither_attempts_nor_step_nor_when_it_is_due(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_event(ledger, tenant)
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    before = await build.read_delivery_state(ledger, work.delivery_id)
    await build.expire_lease(ledger, claim_id)
    await build.rescue_lapsed(ledger)
    after = await build.read_delivery_state(ledger, work.delivery_id)
    assert after.claim_id is None
    assert (after.attempts, after.step, after.due_at) == (before.attempts, before.step, before.due_at)


async def test_rescue_leaves_alone_what_was_recorded_under_a_lapsed_claim(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 3)
    claim_id, (done, later, lost) = await build.claim_and_start(ledger, endpoint)
    await build.expire_lease(ledger, claim_id)
    await build.record_results(
        ledger,
        build.make_success(done, claim_id),
        build.make_retry(later, claim_id, delay=timedelta(hours=1)),
    )
    assert (await build.rescue_lapsed(ledger)).deliveries == 1
    assert (await build.read_delivery_state(ledger, done.delivery_id)).status == "succeeded"
    assert (await build.read_delivery_state(ledger, later.delivery_id)).step == 1
    assert (await build.read_delivery_state(ledger, lost.delivery_id)).claim_id is None


async def test_rescue_takes_a_hundred_claims_at_a_time(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 105)
    await build.claim_deliveries(ledger, [endpoint], take=105, batch=1)
    async with ledger.transaction() as tx:
        await claims.expire_all_leases(tx)
    assert [(await build.rescue_lapsed(ledger)).deliveries for _ in range(3)] == [100, 5, 0]


async def test_two_who_rescue_at_the_same_time_share_the_work(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 60)
    await build.claim_deliveries(ledger, [endpoint], batch=1)
    async with ledger.transaction() as tx:
        await claims.expire_all_leases(tx)
    rescued = await asyncio.gather(*[build.rescue_lapsed(ledger) for _ in range(4)])
    assert sum(each.deliveries for each in rescued) == 60
    assert await claimed(ledger) == {}
    assert await build.count_rows(ledger, "claims") == 0


async def test_of_rescue_and_start_at_the_same_time_one_wins(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 2)
    started, rescued = (await build.claim_deliveries(ledger, [endpoint], batch=1)).claim_ids
    await build.expire_lease(ledger, started)
    async with ledger.transaction() as tx:
        works = await claims.start_claim(tx, started, worker="worker 1", lease=build.LEASE)
        assert len(works) == 1
        assert (await build.rescue_lapsed(ledger)).deliveries == 0  # while the start is not committed yet
    assert (await build.rescue_lapsed(ledger)).deliveries == 0
    await build.expire_lease(ledger, rescued)
    async with ledger.transaction() as tx:
        assert (await claims.rescue_claims(tx)).deliveries == 1
        late = asyncio.create_task(build.start_claim(ledger, rescued))
        await build.wait_until(lambda: build.has_lock_waiter(ledger))
    assert await late == []


async def test_a_claim_does_not_wait_for_the_disk_and_a_start_does(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    durable, asked = text("set local synchronous_commit = on"), text("show synchronous_commit")
    await build.accept_events(ledger, tenant, 1)
    async with ledger.transaction() as tx:
        await tx.execute(durable)
        (claim_id,) = (await build.claim_in_transaction(tx, [endpoint])).claim_ids
        assert (await tx.execute(asked)).scalar_one() == "off"
    async with ledger.transaction() as tx:
        await tx.execute(durable)
        await claims.start_claim(tx, claim_id, worker="worker 1", lease=build.LEASE)
        assert (await tx.execute(asked)).scalar_one() == "on"
