"""Claims on a real ledger: who takes what, who may start it, and what is taken back."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from delivery.dispatch.claims import BUSY_SECONDS, Begun
from delivery.ledger import claiming
from delivery.ledger.claiming import Grant
from delivery.model import ClaimId, EndpointId, EndpointState, Lane, new_id
from tests.support import ledger as on

if TYPE_CHECKING:
    from delivery.dispatch.claims import Claimed
    from delivery.ledger import Ledger
    from delivery.model import DeliveryId, TenantId


async def claimed(ledger: Ledger) -> dict[DeliveryId, ClaimId]:
    found = await on.rows(ledger, "select delivery_id, claim_id from schedule where claim_id is not null")
    return {row.delivery_id: row.claim_id for row in found}


async def ready(ledger: Ledger) -> list[claiming.Head]:
    async with ledger.transaction() as tx:
        return await claiming.ready(tx, lane=Lane.LIVE)


# ---- who has something due
async def test_each_endpoint_with_work_has_one_head_however_much_waits_behind_it(
    ledger: Ledger, tenant: TenantId
) -> None:
    endpoints = {await on.new_endpoint(ledger, tenant) for _ in range(3)}
    await on.accept_many(ledger, tenant, 50)
    heads = await ready(ledger)
    assert {head.endpoint_id for head in heads} == endpoints
    assert len(heads) == 3
    assert {(head.tenant_id, head.due, head.deleted) for head in heads} == {(tenant, True, False)}


async def test_a_head_tells_the_earliest_moment_and_whether_that_is_now(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept_many(ledger, tenant, 3)
    await on.change(ledger, "update schedule set due_at = clock_timestamp() + interval '1 h'")
    (head,) = await ready(ledger)
    assert not head.due
    first = (await on.delivery_ids(ledger, endpoint))[0]
    await on.change(ledger, "update schedule set due_at = now() where delivery_id = :id", id=first)
    (head,) = await ready(ledger)
    assert head.due
    assert head.due_at == (await on.standing(ledger, first)).due_at


async def test_held_endpoints_have_no_head_and_deleted_ones_with_work_do(
    ledger: Ledger, tenant: TenantId
) -> None:
    paused, disabled, deleted, active = [await on.new_endpoint(ledger, tenant) for _ in range(4)]
    await on.accept(ledger, tenant)
    await on.set_state(ledger, paused, EndpointState.PAUSED)
    await on.set_state(ledger, disabled, EndpointState.DISABLED)
    await on.delete_endpoint(ledger, tenant, deleted)
    assert {(head.endpoint_id, head.deleted) for head in await ready(ledger)} == {
        (active, False),
        (deleted, True),
    }


async def test_what_is_claimed_has_no_head(ledger: Ledger, tenant: TenantId, endpoint: EndpointId) -> None:
    await on.accept(ledger, tenant)
    await on.claim(ledger, [endpoint])
    assert await ready(ledger) == []


# ---- claim
async def test_a_claim_takes_what_is_due_and_counts_it(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept_many(ledger, tenant, 7)
    taken = await on.claim(ledger, [endpoint])
    assert taken.by_endpoint == {endpoint: 7}
    (claim_id,) = taken.claims
    assert set((await claimed(ledger)).values()) == {claim_id}
    kept = await on.row(ledger, "select size, remaining, started_at, worker, lane from claims")
    assert tuple(kept) == (7, 7, None, None, Lane.LIVE)


async def test_claims_hold_a_batch_at_most_and_no_delivery_twice(ledger: Ledger, tenant: TenantId) -> None:
    endpoints = [await on.new_endpoint(ledger, tenant) for _ in range(3)]
    await on.accept_many(ledger, tenant, 35)
    taken = await on.claim(ledger, endpoints, batch=10)
    assert taken.size == 105
    sizes = await on.rows(
        ledger,
        """
        select c.size, c.remaining, count(*) as held from claims c join schedule s on s.claim_id = c.id
        group by c.id
        """,
    )
    assert sorted(row.size for row in sizes) == [5] + [10] * 10
    assert all(row.size == row.remaining == row.held for row in sizes)
    assert len(taken.claims) == 11


async def test_a_claim_that_a_transaction_has_begun_is_filled_before_another_one_begins(
    ledger: Ledger, tenant: TenantId
) -> None:
    endpoints = [await on.new_endpoint(ledger, tenant) for _ in range(4)]
    await on.accept_many(ledger, tenant, 5)
    async with ledger.transaction() as tx:
        first = await on.claim_within(tx, endpoints[:1], batch=10)
        second = await on.claim_within(tx, endpoints[1:3], batch=10, begun=first.last)
        nothing = await on.claim_within(tx, endpoints[1:3], batch=10, begun=second.last)
        third = await on.claim_within(tx, endpoints[3:], batch=10, begun=nothing.last)
    (one,) = first.claims
    (other,) = set(second.claims) - {one}
    assert (first.last, second.last, third.last) == (Begun(one, 5), Begun(other, 5), Begun(other, 10))
    assert nothing.last == second.last
    assert (nothing.claims, third.claims) == ((), (other,))
    sizes = await on.rows(
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
    full, more = [await on.new_endpoint(ledger, tenant) for _ in range(2)]
    await on.accept_many(ledger, tenant, 3)
    async with ledger.transaction() as tx:
        first = await on.claim_within(tx, [full], batch=3)
        second = await on.claim_within(tx, [more], batch=3, begun=first.last)
    assert not set(first.claims) & set(second.claims)
    assert second.last == Begun(second.claims[0], 3)


async def test_a_claim_keeps_to_its_quotas_and_takes_the_earliest_first(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    other = await on.new_endpoint(ledger, tenant)
    await on.accept_many(ledger, tenant, 10)
    ids = await on.delivery_ids(ledger, endpoint)
    await on.change(
        ledger, "update schedule set due_at = now() - interval '1 h' where delivery_id = :i", i=ids[6]
    )
    await on.change(
        ledger, "update schedule set due_at = now() - interval '2 h' where delivery_id = :i", i=ids[9]
    )
    async with ledger.transaction() as tx:
        taken = await claiming.claim(
            tx,
            [Grant(endpoint, 2), Grant(other, 5)],
            lane=Lane.LIVE,
            claims=[ClaimId(new_id())],
            batch=100,
            lease=on.QUEUE_LEASE,
        )
    assert taken.by_endpoint == {endpoint: 2, other: 5}
    assert {ids[6], ids[9]} <= (await claimed(ledger)).keys()


async def test_what_is_not_due_yet_is_not_taken(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept_many(ledger, tenant, 2)
    first, second = await on.delivery_ids(ledger, endpoint)
    await on.change(
        ledger,
        "update schedule set due_at = clock_timestamp() + interval '1 s' where delivery_id = :i",
        i=first,
    )
    await on.claim(ledger, [endpoint])
    assert (await claimed(ledger)).keys() == {second}


@pytest.mark.parametrize("state", [EndpointState.PAUSED, EndpointState.DISABLED])
async def test_a_held_endpoint_gives_nothing_and_all_of_it_when_it_is_active_again(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId, state: EndpointState
) -> None:
    await on.accept_many(ledger, tenant, 3)
    await on.set_state(ledger, endpoint, state)
    assert (await on.claim(ledger, [endpoint])).size == 0
    assert await on.count(ledger, "claims") == 0
    await on.set_state(ledger, endpoint, EndpointState.ACTIVE)
    assert (await on.claim(ledger, [endpoint])).size == 3


async def test_a_deleted_and_an_unknown_endpoint_give_nothing(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept(ledger, tenant)
    await on.delete_endpoint(ledger, tenant, endpoint)
    assert (await on.claim(ledger, [endpoint, EndpointId(new_id())])).size == 0


async def test_two_who_claim_at_the_same_time_never_take_the_same(ledger: Ledger, tenant: TenantId) -> None:
    endpoints = [await on.new_endpoint(ledger, tenant) for _ in range(4)]
    await on.accept_many(ledger, tenant, 100)
    taken: list[Claimed] = []
    while sum(each.size for each in taken) < 400:
        # Some find an endpoint that another one has just now, and leave it.
        taken += await asyncio.gather(*[on.claim(ledger, endpoints, take=9, batch=10) for _ in range(8)])
    held = await claimed(ledger)
    assert sum(each.size for each in taken) == len(held) == 400
    ids = [claim_id for each in taken for claim_id in each.claims]
    assert len(ids) == len(set(ids))
    assert set(held.values()) == set(ids)


async def test_an_endpoint_that_another_relay_is_just_claiming_from_is_left_for_a_moment(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    other = await on.new_endpoint(ledger, tenant)
    await on.accept_many(ledger, tenant, 10)
    async with ledger.transaction() as tx:
        await on.claim_within(tx, [endpoint], take=4)
        second = await on.claim(ledger, [endpoint, other], take=100)
    assert second.by_endpoint == {other: 10}
    assert second.later == {endpoint: BUSY_SECONDS}
    assert (await on.claim(ledger, [endpoint])).size == 6


async def test_rows_that_somebody_else_is_just_changing_are_passed_over_without_waiting(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept_many(ledger, tenant, 10)
    async with ledger.transaction() as tx:
        await tx.execute(text("select 1 from schedule limit 4 for update"))
        assert (await on.claim(ledger, [endpoint], take=100)).size == 6


async def test_what_a_claim_takes_comes_back_when_its_transaction_fails(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept(ledger, tenant)
    async with ledger.transaction() as tx:
        assert (await on.claim_within(tx, [endpoint])).size == 1
        await tx.rollback()
    assert (await on.claim(ledger, [endpoint])).size == 1


async def test_what_waits_in_the_queue_is_counted_until_it_is_started(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept_many(ledger, tenant, 5)
    taken = await on.claim(ledger, [endpoint], batch=3)

    async def unstarted() -> int:
        async with ledger.transaction() as tx:
            return await claiming.unstarted(tx, lane=Lane.LIVE)

    assert await unstarted() == 5
    started = await on.start(ledger, taken.claims[0])
    assert await unstarted() == 5 - len(started)


# ---- start
async def test_a_worker_that_starts_a_claim_gets_its_deliveries_with_their_exact_bytes(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    event = await on.accept(ledger, tenant, data=b'{ "n" : 1.10 }')
    claim_id, (work,) = await on.claim_and_start(ledger, endpoint)
    assert (work.tenant_id, work.endpoint_id, work.event_id) == (tenant, endpoint, event)
    assert (work.attempts, work.step, work.endpoint_version) == (0, 0, 1)
    assert work.body is not None
    assert work.body.endswith(b'"data":{ "n" : 1.10 }}')
    kept = await on.row(
        ledger, "select worker, started_at, lease_until - clock_timestamp() as lease from claims"
    )
    assert kept.worker == "worker 1"
    assert timedelta(seconds=40) < kept.lease <= on.LEASE
    assert (await on.standing(ledger, work.delivery_id)).claim_id == claim_id


async def test_a_claim_is_started_once(ledger: Ledger, tenant: TenantId, endpoint: EndpointId) -> None:
    await on.accept(ledger, tenant)
    claim_id, _ = await on.claim_and_start(ledger, endpoint)
    before = await on.row(ledger, "select * from claims")
    assert await on.start(ledger, claim_id) == []
    assert await on.row(ledger, "select * from claims") == before


async def test_of_two_who_start_a_claim_at_the_same_time_one_gets_it(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept_many(ledger, tenant, 5)
    (claim_id,) = (await on.claim(ledger, [endpoint])).claims
    both = await asyncio.gather(on.start(ledger, claim_id), on.start(ledger, claim_id))
    assert sorted(len(works) for works in both) == [0, 5]


async def test_a_claim_that_was_rescued_or_never_was_starts_nothing(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept(ledger, tenant)
    (claim_id,) = (await on.claim(ledger, [endpoint])).claims
    await on.lapse(ledger, claim_id)
    await on.rescue(ledger)
    assert await on.start(ledger, claim_id) == []
    assert await on.start(ledger, ClaimId(new_id())) == []


async def test_a_claim_whose_lease_lapsed_in_the_queue_can_be_started_until_it_is_rescued(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept(ledger, tenant)
    (claim_id,) = (await on.claim(ledger, [endpoint])).claims
    await on.lapse(ledger, claim_id)
    assert len(await on.start(ledger, claim_id)) == 1
    assert (await on.rescue(ledger)).deliveries == 0


# ---- hand back
async def test_what_is_handed_back_can_be_claimed_at_once_as_if_nothing_had_been(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept_many(ledger, tenant, 6)
    kept, *others = (await on.claim(ledger, [endpoint], batch=2)).claims
    async with ledger.transaction() as tx:
        await claiming.hand_back(tx, others)
    assert list((await claimed(ledger)).values()) == [kept, kept]
    assert await on.count(ledger, "claims") == 1
    assert (await on.claim(ledger, [endpoint])).size == 4


async def test_a_claim_that_a_worker_has_started_cannot_be_handed_back_by_the_relay(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    """The message of a claim that the broker did not confirm may be in the queue all the same."""
    await on.accept(ledger, tenant)
    claim_id, (work,) = await on.claim_and_start(ledger, endpoint)
    async with ledger.transaction() as tx:
        await claiming.hand_back(tx, [claim_id])
    assert (await on.standing(ledger, work.delivery_id)).claim_id == claim_id
    assert (await on.claim(ledger, [endpoint])).size == 0
    assert await on.record(ledger, on.success(work, claim_id)) == set()


async def test_of_start_and_hand_back_at_the_same_time_one_wins(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    async def hand_back(claim_id: ClaimId) -> None:
        async with ledger.transaction() as tx:
            await claiming.hand_back(tx, [claim_id])

    for _ in range(20):
        await on.accept(ledger, tenant)
        (claim_id,) = (await on.claim(ledger, [endpoint], take=1)).claims
        works, _ = await asyncio.gather(on.start(ledger, claim_id), hand_back(claim_id))
        held = await claimed(ledger)
        assert (claim_id in held.values()) == bool(works)
        await on.change(ledger, "delete from claims")
        await on.change(ledger, "delete from schedule")


# ---- rescue
async def test_only_lapsed_claims_are_rescued(ledger: Ledger, tenant: TenantId, endpoint: EndpointId) -> None:
    await on.accept_many(ledger, tenant, 9)
    queued, lapsed_queued, lapsed_started = (await on.claim(ledger, [endpoint], batch=3)).claims
    await on.start(ledger, lapsed_started)
    await on.lapse(ledger, lapsed_queued)
    await on.lapse(ledger, lapsed_started)
    assert await on.rescue(ledger) == claiming.Rescued(deliveries=6, unstarted=3)
    assert set((await claimed(ledger)).values()) == {queued}
    assert await on.count(ledger, "claims") == 1
    assert await on.rescue(ledger) == claiming.Rescued(deliveries=0, unstarted=0)
    assert (await on.claim(ledger, [endpoint])).size == 6


async def test_rescue_changes_neither_attempts_nor_step_nor_when_it_is_due(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept(ledger, tenant)
    claim_id, (work,) = await on.claim_and_start(ledger, endpoint)
    before = await on.standing(ledger, work.delivery_id)
    await on.lapse(ledger, claim_id)
    await on.rescue(ledger)
    after = await on.standing(ledger, work.delivery_id)
    assert after.claim_id is None
    assert (after.attempts, after.step, after.due_at) == (before.attempts, before.step, before.due_at)


async def test_rescue_leaves_alone_what_was_recorded_under_a_lapsed_claim(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept_many(ledger, tenant, 3)
    claim_id, (done, later, lost) = await on.claim_and_start(ledger, endpoint)
    await on.lapse(ledger, claim_id)
    await on.record(ledger, on.success(done, claim_id), on.again(later, claim_id, after=timedelta(hours=1)))
    assert (await on.rescue(ledger)).deliveries == 1
    assert (await on.standing(ledger, done.delivery_id)).status == "succeeded"
    assert (await on.standing(ledger, later.delivery_id)).step == 1
    assert (await on.standing(ledger, lost.delivery_id)).claim_id is None


async def test_rescue_takes_a_hundred_claims_at_a_time(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept_many(ledger, tenant, 105)
    await on.claim(ledger, [endpoint], take=105, batch=1)
    async with ledger.transaction() as tx:
        await claiming.lapse_all(tx)
    assert [(await on.rescue(ledger)).deliveries for _ in range(3)] == [100, 5, 0]


async def test_two_who_rescue_at_the_same_time_share_the_work(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept_many(ledger, tenant, 60)
    await on.claim(ledger, [endpoint], batch=1)
    async with ledger.transaction() as tx:
        await claiming.lapse_all(tx)
    rescued = await asyncio.gather(*[on.rescue(ledger) for _ in range(4)])
    assert sum(each.deliveries for each in rescued) == 60
    assert await claimed(ledger) == {}
    assert await on.count(ledger, "claims") == 0


async def test_of_rescue_and_start_at_the_same_time_one_wins(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept_many(ledger, tenant, 2)
    started, rescued = (await on.claim(ledger, [endpoint], batch=1)).claims
    await on.lapse(ledger, started)
    async with ledger.transaction() as tx:
        works = await claiming.start(tx, started, worker="worker 1", lease=on.LEASE)
        assert len(works) == 1
        assert (await on.rescue(ledger)).deliveries == 0  # while the start is not committed yet
    assert (await on.rescue(ledger)).deliveries == 0
    await on.lapse(ledger, rescued)
    async with ledger.transaction() as tx:
        assert (await claiming.rescue(tx)).deliveries == 1
        late = asyncio.create_task(on.start(ledger, rescued))
        await on.until(lambda: on.somebody_waits_for_a_lock(ledger))
    assert await late == []


async def test_a_claim_does_not_wait_for_the_disk_and_a_start_does(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    durable, asked = text("set local synchronous_commit = on"), text("show synchronous_commit")
    await on.accept_many(ledger, tenant, 1)
    async with ledger.transaction() as tx:
        await tx.execute(durable)
        (claim_id,) = (await on.claim_within(tx, [endpoint])).claims
        assert (await tx.execute(asked)).scalar_one() == "off"
    async with ledger.transaction() as tx:
        await tx.execute(durable)
        await claiming.start(tx, claim_id, worker="worker 1", lease=on.LEASE)
        assert (await tx.execute(asked)).scalar_one() == "on"
