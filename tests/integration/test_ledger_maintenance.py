"""What time brings, on a real ledger: partitions, ended deliveries, forgotten keys, counts made right."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from delivery.bootstrap import clock
from delivery.ledger import Ledger, accepting, claiming, health, partitions, upkeep
from delivery.ledger.accepting import DeliveryRow, EventRow, KeyRow
from delivery.ledger.tables import PARTITIONED
from delivery.model import DeliveryId, EndpointId, EndpointState, EventId, TenantId, id_floor, new_id
from retries.limit import FIRST_IN_FLIGHT
from tests.support import judging
from tests.support import ledger as on
from tests.support.judging import BAD, OPENS_AT, Told
from workers.upkeep import Ages, Upkeep

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from delivery.ledger.upkeep import Expired

DAY = timedelta(days=1)
NOON = datetime(2030, 2, 28, 12, tzinfo=UTC)


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    async with on.opened(database_url) as ledger:
        yield ledger


# ---- partitions
async def ensure(ledger: Ledger, now: datetime) -> list[str]:
    async with ledger.transaction() as tx:
        return await partitions.ensure(tx, now=now)


async def partition_of(ledger: Ledger, event_id: EventId) -> str:
    found = await on.row(ledger, "select tableoid::regclass::text from events where id = :id", id=event_id)
    return str(found[0])


async def put(ledger: Ledger, event_id: EventId) -> None:
    nobody = TenantId(new_id())
    event = EventRow(event_id, nobody, "a", b"{}", b"", 1)
    owed = DeliveryRow(DeliveryId(event_id), nobody, event_id, EndpointId(new_id()), "a", "a")
    async with ledger.transaction() as tx:
        await accepting.insert(tx, [event], [owed], now=NOON)


async def test_partitions_are_made_from_yesterday_to_four_days_ahead_and_only_once(ledger: Ledger) -> None:
    made = await ensure(ledger, NOON)
    days = ("20300227", "20300228", "20300301", "20300302", "20300303", "20300304")
    assert sorted(made) == sorted(f"{table}_{day}" for table in PARTITIONED for day in days)
    assert await ensure(ledger, NOON) == []
    assert sorted(await ensure(ledger, NOON + DAY)) == sorted(f"{table}_20300305" for table in PARTITIONED)


async def test_days_are_counted_in_utc_wherever_the_clock_is(ledger: Ledger) -> None:
    await ensure(ledger, NOON)
    tokyo = datetime.fromisoformat("2030-03-01T08:00:00+09:00")  # still the 28th in UTC
    assert await ensure(ledger, tokyo) == []


async def test_several_who_make_partitions_at_the_same_time_make_each_once(ledger: Ledger) -> None:
    made = await asyncio.gather(*[ensure(ledger, NOON) for _ in range(5)])
    assert sorted(len(names) for names in made) == [0, 0, 0, 0, 6 * len(PARTITIONED)]


async def test_rows_find_their_partition_up_to_its_borders(ledger: Ledger) -> None:
    await ensure(ledger, NOON)
    midnight = datetime(2030, 3, 1, tzinfo=UTC)
    first = id_floor(midnight)
    last = EventId(type(first)(int=first.int - 1))
    first_made = EventId(type(first)(int=first.int | (7 << 76) | (2 << 62)))  # the first UUIDv7 of the day
    for event_id in (EventId(first), last, first_made):
        await put(ledger, event_id)
    assert await partition_of(ledger, EventId(first)) == "events_20300301"
    assert await partition_of(ledger, first_made) == "events_20300301"
    assert await partition_of(ledger, last) == "events_20300228"


async def test_the_first_and_the_last_moment_that_partitions_are_made_for_can_be_written(
    ledger: Ledger,
) -> None:
    await ensure(ledger, NOON)
    begin, end = datetime(2030, 2, 27, tzinfo=UTC), datetime(2030, 3, 5, tzinfo=UTC)
    await put(ledger, EventId(id_floor(begin)))
    await put(ledger, EventId(id_floor(end - timedelta(milliseconds=1))))
    for outside in (begin - timedelta(milliseconds=1), end):
        with pytest.raises(Exception, match="no partition"):
            await put(ledger, EventId(id_floor(outside)))


async def test_partitions_have_the_indexes_and_checks_of_their_table(ledger: Ledger) -> None:
    found = await on.rows(
        ledger,
        """
        select p.relname, count(*) as indexes, count(*) filter (where i.indisprimary) as keys
        from pg_inherits h join pg_class p on p.oid = h.inhrelid join pg_index i on i.indrelid = p.oid
        where h.inhparent = any (cast(:tables as regclass[])) group by 1
        """,
        tables=list(PARTITIONED),
    )
    assert {(row.relname.rpartition("_")[0], row.indexes, row.keys) for row in found} == {
        ("events", 3, 1),
        ("deliveries", 4, 1),
        ("attempts", 3, 1),
        ("journal", 5, 1),
        ("failures", 3, 1),
        ("endpoint_sequence", 1, 0),
    }
    await ensure(ledger, NOON)
    await put(ledger, EventId(id_floor(NOON)))
    with pytest.raises(Exception, match="status"):
        await on.change(ledger, "update deliveries set status = 'lost'")


async def test_making_partitions_does_not_wait_for_those_who_write(ledger: Ledger, tenant: TenantId) -> None:
    await on.new_endpoint(ledger, tenant)
    async with ledger.transaction() as tx:
        now = clock()
        event = EventRow(EventId(new_id()), tenant, "a", b"{}", b"", 0)
        await accepting.insert(tx, [event], [], now=now)
        assert len(await ensure(ledger, NOON)) == 6 * len(PARTITIONED)
    await on.accept(ledger, tenant)


# ---- deliveries whose endpoint is gone
async def cancel(ledger: Ledger, *endpoints: EndpointId) -> int:
    async with ledger.transaction() as tx:
        return await upkeep.cancel_of_deleted(tx, endpoints)


async def test_what_is_owed_to_a_deleted_endpoint_is_cancelled_with_the_reason(
    ledger: Ledger, tenant: TenantId
) -> None:
    gone, stays = [await on.new_endpoint(ledger, tenant) for _ in range(2)]
    await on.accept_many(ledger, tenant, 3)
    claim_id, (tried, *_) = await on.claim_and_start(ledger, gone)
    await on.record(ledger, on.again(tried, claim_id, after=timedelta(hours=1)))
    await on.lapse(ledger, claim_id)
    await on.rescue(ledger)
    await on.delete_endpoint(ledger, tenant, gone)
    assert await cancel(ledger, gone, stays) == 3
    for delivery_id in await on.delivery_ids(ledger, gone):
        after = await on.standing(ledger, delivery_id)
        assert (after.status, after.reason, after.scheduled) == ("cancelled", "endpoint_deleted", False)
        assert after.attempts == (1 if delivery_id == tried.delivery_id else 0)
    assert (await on.claim(ledger, [stays])).size == 3
    assert await cancel(ledger, gone) == 0


async def test_what_a_worker_has_is_cancelled_only_when_it_comes_back(
    ledger: Ledger, tenant: TenantId
) -> None:
    endpoint = await on.new_endpoint(ledger, tenant)
    await on.accept_many(ledger, tenant, 2)
    claim_id, (one, other) = await on.claim_and_start(ledger, endpoint)
    await on.delete_endpoint(ledger, tenant, endpoint)
    assert await cancel(ledger, endpoint) == 0
    await on.record(ledger, on.success(one, claim_id), on.again(other, claim_id, after=timedelta(hours=1)))
    assert await cancel(ledger, endpoint) == 1
    assert (await on.standing(ledger, one.delivery_id)).status == "succeeded"
    assert (await on.standing(ledger, other.delivery_id)).status == "cancelled"


async def test_cancelling_goes_on_in_steps_until_there_is_no_more(ledger: Ledger, tenant: TenantId) -> None:
    endpoints = [await on.new_endpoint(ledger, tenant) for _ in range(3)]
    await on.accept_many(ledger, tenant, 800)
    for endpoint in endpoints:
        await on.delete_endpoint(ledger, tenant, endpoint)
    assert [await cancel(ledger, *endpoints) for _ in range(4)] == [1_000, 1_000, 400, 0]


async def test_nothing_of_endpoints_that_are_still_there_is_cancelled(
    ledger: Ledger, tenant: TenantId
) -> None:
    endpoint = await on.new_endpoint(ledger, tenant)
    await on.accept(ledger, tenant)
    assert await cancel(ledger, endpoint, EndpointId(new_id())) == 0
    assert await cancel(ledger) == 0


async def test_what_is_named_during_a_round_is_cancelled_right_after_it(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept(ledger, tenant)
    await on.delete_endpoint(ledger, tenant, endpoint)
    keeper: Upkeep

    def clock_of_the_round() -> datetime:
        keeper.bury([endpoint])
        return clock()

    keeper = Upkeep(ledger, Ages(DAY, OLDEST), clock=clock_of_the_round)
    running = asyncio.create_task(keeper.run())
    try:

        async def cancelled() -> bool:
            found = await on.rows(ledger, "select 1 from deliveries where status = 'cancelled'")
            return len(found) == 1

        await on.until(cancelled)
    finally:
        running.cancel()


# ---- deliveries that are owed for too long
OLDEST = timedelta(days=30)


async def expire(ledger: Ledger, *, later: timedelta = OLDEST + DAY) -> list[Expired]:
    """End what is too old, seen from some time later: an id tells when it was made."""
    async with ledger.transaction() as tx:
        return await upkeep.expire(tx, older_than=OLDEST, now=clock() + later)


async def test_what_is_owed_for_too_long_fails_with_the_reason(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    event = await on.accept(ledger, tenant)
    claim_id, (work,) = await on.claim_and_start(ledger, endpoint)
    await on.record(ledger, on.again(work, claim_id, after=timedelta(hours=1)))
    (expired,) = await expire(ledger)
    assert (expired.delivery_id, expired.event_id) == (work.delivery_id, event)
    assert (expired.tenant_id, expired.endpoint_id) == (tenant, endpoint)
    assert (expired.attempts, expired.operational) == (1, False)
    after = await on.standing(ledger, work.delivery_id)
    assert (after.status, after.reason, after.attempts) == ("failed", "expired", 1)
    assert not after.scheduled
    found = await on.row(ledger, "select finished_at > now() - interval '1 min' from deliveries")
    assert found[0]
    assert await expire(ledger) == []


async def test_what_is_not_that_old_is_owed_still(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept(ledger, tenant)
    assert await expire(ledger, later=OLDEST - timedelta(minutes=1)) == []
    assert (await on.claim(ledger, [endpoint])).size == 1


async def test_an_operational_endpoint_s_delivery_says_so_when_it_expires(
    ledger: Ledger, tenant: TenantId
) -> None:
    endpoint = await on.new_endpoint(ledger, tenant)
    await on.accept(ledger, tenant)
    await on.change(ledger, "update endpoints set operational = true where id = :id", id=endpoint)
    assert [expired.operational for expired in await expire(ledger)] == [True]


async def test_what_a_claim_has_does_not_expire_until_it_comes_back(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept_many(ledger, tenant, 2)
    (claim_id,) = (await on.claim(ledger, [endpoint], take=1)).claims
    (work,) = await on.start(ledger, claim_id)
    assert len(await expire(ledger)) == 1
    assert (await on.standing(ledger, work.delivery_id)).claim_id == claim_id
    await on.record(ledger, on.again(work, claim_id))
    assert [expired.delivery_id for expired in await expire(ledger)] == [work.delivery_id]


async def test_what_somebody_asked_for_again_is_as_old_as_that_request(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept_many(ledger, tenant, 3)
    never, lately, long_ago = await on.delivery_ids(ledger, endpoint)
    reopened = "update schedule set reopened_at = now() - :age where delivery_id = :id"
    await on.change(ledger, reopened, age=timedelta(hours=1), id=lately)
    await on.change(ledger, reopened, age=OLDEST + timedelta(hours=1), id=long_ago)
    assert {expired.delivery_id for expired in await expire(ledger)} == {never, long_ago}
    assert (await on.standing(ledger, lately)).scheduled


async def test_expiring_goes_on_in_steps_from_the_oldest_and_two_share_the_work(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept_many(ledger, tenant, 1_000)
    oldest = await on.delivery_ids(ledger, endpoint)
    for _ in range(2):
        await on.accept_many(ledger, tenant, 900)
    assert {expired.delivery_id for expired in await expire(ledger)} == set(oldest)
    both = await asyncio.gather(expire(ledger), expire(ledger))
    assert sum(len(each) for each in both) == 1_800
    assert max(len(each) for each in both) <= 1_000
    assert await on.nothing_scheduled(ledger)


@pytest.mark.parametrize("held", ["paused", "disabled", "breaker open", "asked to wait", "not due"])
async def test_what_is_held_expires_too(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId, held: str
) -> None:
    match held:
        case "breaker open":
            await judging.attempt_each(ledger, tenant, endpoint, [BAD] * OPENS_AT)
        case "asked to wait":
            await judging.attempt_each(ledger, tenant, endpoint, [Told(wait=DAY)])
        case "not due":
            await on.accept(ledger, tenant)
            await on.change(ledger, "update schedule set due_at = now() + interval '1 h'")
        case state:
            await on.accept(ledger, tenant)
            await on.set_state(ledger, endpoint, EndpointState(state))
    assert (await on.claim(ledger, [endpoint])).size == 0
    owed = await on.count(ledger, "schedule")
    assert len(await expire(ledger)) == owed > 0


async def test_what_somebody_is_just_changing_does_not_expire_and_nobody_waits_for_it(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept_many(ledger, tenant, 5)
    async with ledger.transaction() as tx:
        await on.claim_within(tx, [endpoint], take=2)
        assert len(await expire(ledger)) == 3
    assert await expire(ledger) == []
    assert await on.count(ledger, "schedule") == 2


async def test_an_expiry_that_is_not_committed_leaves_all_as_it_was(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept(ledger, tenant)
    async with ledger.transaction() as tx:
        assert len(await upkeep.expire(tx, older_than=OLDEST, now=clock() + OLDEST + DAY)) == 1
        assert (await on.claim(ledger, [endpoint])).size == 0  # and nobody waits for it
        await tx.rollback()
    assert (await on.claim(ledger, [endpoint])).size == 1


# ---- health: a row for each endpoint
async def ensure_health(ledger: Ledger) -> int:
    async with ledger.transaction() as tx:
        return await health.ensure(tx, limit=FIRST_IN_FLIGHT)


async def test_an_endpoint_without_a_row_of_health_gets_a_fresh_one_and_can_be_claimed_from(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept_many(ledger, tenant, 20)
    await on.change(ledger, "delete from endpoint_health")
    assert (await on.claim(ledger, [endpoint])).size == 0
    assert await ensure_health(ledger) == 1
    made = await judging.read(ledger, endpoint)
    assert (made.health.breaker.state, made.in_flight) == ("closed", 0)
    assert (made.health.limit.now, made.health.limit.ramping) == (FIRST_IN_FLIGHT, True)
    assert (await on.claim(ledger, [endpoint])).size == FIRST_IN_FLIGHT


async def test_those_who_have_a_row_of_health_keep_it(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await judging.attempt_each(ledger, tenant, endpoint, [BAD] * OPENS_AT)
    before = await judging.read(ledger, endpoint)
    await on.new_endpoint(ledger, tenant)
    await on.change(ledger, "delete from endpoint_health where endpoint_id <> :id", id=endpoint)
    assert [await ensure_health(ledger), await ensure_health(ledger)] == [1, 0]
    assert await judging.read(ledger, endpoint) == before


async def test_of_two_who_give_rows_of_health_at_once_one_does(ledger: Ledger, tenant: TenantId) -> None:
    for _ in range(20):
        await on.new_endpoint(ledger, tenant)
    await on.change(ledger, "delete from endpoint_health")
    made = await asyncio.gather(*[ensure_health(ledger) for _ in range(4)])
    assert sum(made) == await on.count(ledger, "endpoint_health") == 20


# ---- health: what is in flight
async def recount(ledger: Ledger) -> list[EndpointId]:
    async with ledger.transaction() as tx:
        return await health.recount(tx)


@pytest.mark.parametrize("wrong", [0, 2, 7])
async def test_a_wrong_count_of_what_is_in_flight_is_mended_and_named(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId, wrong: int
) -> None:
    right = await on.new_endpoint(ledger, tenant)
    await on.accept_many(ledger, tenant, 3)
    await on.claim(ledger, [endpoint, right])
    await on.change(
        ledger, "update endpoint_health set in_flight = :n where endpoint_id = :id", n=wrong, id=endpoint
    )
    assert await recount(ledger) == [endpoint]
    assert [(await judging.read(ledger, each)).in_flight for each in (endpoint, right)] == [3, 3]
    assert await recount(ledger) == []


async def test_a_count_of_what_is_no_more_in_flight_becomes_nothing(
    ledger: Ledger, endpoint: EndpointId
) -> None:
    await on.change(ledger, "update endpoint_health set in_flight = 4")
    assert await recount(ledger) == [endpoint]
    assert (await judging.read(ledger, endpoint)).in_flight == 0


async def test_a_claim_under_way_is_not_counted_anew_and_nobody_waits_for_it(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    other = await on.new_endpoint(ledger, tenant)
    await on.accept_many(ledger, tenant, 5)
    await on.claim(ledger, [endpoint], take=1)
    await on.change(ledger, "update endpoint_health set in_flight = 4")
    async with ledger.transaction() as tx:
        await on.claim_within(tx, [endpoint], take=2)
        assert await recount(ledger) == [other]
    assert (await judging.read(ledger, endpoint)).in_flight == 4 + 2
    assert await recount(ledger) == [endpoint]
    assert (await judging.read(ledger, endpoint)).in_flight == 1 + 2


async def test_what_is_recorded_while_the_count_is_made_is_subtracted_afterwards(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    claim_id, works = await judging.under_way(ledger, tenant, endpoint, 3)
    group = [judging.ended(work, claim_id) for work in works[1:]]
    async with ledger.transaction() as tx:
        assert await health.recount(tx) == []
        late = asyncio.create_task(judging.record(ledger, *group))
        await on.until(lambda: on.somebody_waits_for_a_lock(ledger))
    await late
    assert (await judging.read(ledger, endpoint)).in_flight == 1
    assert await recount(ledger) == []


async def test_what_came_back_in_a_transaction_that_is_not_over_counts_still(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept_many(ledger, tenant, 3)
    (claim_id,) = (await on.claim(ledger, [endpoint])).claims
    async with ledger.transaction() as tx:
        await claiming.hand_back(tx, [claim_id])
        assert await recount(ledger) == []
    assert (await judging.read(ledger, endpoint)).in_flight == 0
    assert await recount(ledger) == []


# ---- idempotency keys
async def keys(ledger: Ledger, tenant: TenantId, count: int, *, age: timedelta) -> None:
    async with ledger.transaction() as tx:
        moment = clock() - age
        kept = [KeyRow(tenant, f"{age} {number}", b"", b"", moment) for number in range(count)]
        await accepting.remember(tx, kept)


async def forget(ledger: Ledger) -> int:
    async with ledger.transaction() as tx:
        return await upkeep.forget_idempotency_keys(tx, older_than=DAY)


async def test_keys_past_their_time_are_forgotten_and_others_kept(ledger: Ledger, tenant: TenantId) -> None:
    await keys(ledger, tenant, 5, age=timedelta(hours=25))
    await keys(ledger, tenant, 7, age=timedelta(hours=23))
    assert await forget(ledger) == 5
    assert await on.count(ledger, "idempotency_keys") == 7
    assert await forget(ledger) == 0


async def test_forgetting_goes_on_in_steps_and_two_share_the_work(ledger: Ledger, tenant: TenantId) -> None:
    await keys(ledger, tenant, 2_500, age=timedelta(days=2))
    assert await forget(ledger) == 1_000
    assert sum(await asyncio.gather(forget(ledger), forget(ledger))) == 1_500
    assert await on.count(ledger, "idempotency_keys") == 0
