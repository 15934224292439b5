"""What time brings, on a real ledger: partitions, ended deliveries, forgotten keys, counts made right."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from delivery.clock import clock
from delivery.domain.endpoint import EndpointState
from delivery.domain.ids import DeliveryId, EndpointId, EventId, TenantId, build_min_id, new_id
from delivery.ledger.db import partitions
from delivery.ledger.db.tables import PARTITIONED_TABLES
from delivery.ledger.queue import claims, endpoint_health, enqueue, expiry
from delivery.ledger.queue.enqueue import DeliveryRow, EventRow, IdempotencyKeyRow
from delivery.services.maintenance import MaintenanceService, MaxAges
from retries.limit import INITIAL_IN_FLIGHT
from tests.support import health_attempts
from tests.support import ledger_builders as build
from tests.support.health_attempts import BAD, FAILURES_TO_OPEN, AttemptSignal
from workers.tasks.maintenance import MaintenanceTask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from delivery.ledger.db.session import Ledger
    from delivery.ledger.queue.expiry import ExpiredDelivery

DAY = timedelta(days=1)
NOON = datetime(2030, 2, 28, 12, tzinfo=UTC)


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    async with build.open_ledger(database_url) as ledger:
        yield ledger


# ---- partitions
async def ensure(ledger: Ledger, now: datetime) -> list[str]:
    async with ledger.transaction() as tx:
        return await partitions.ensure_partitions(tx, now=now)


async def partition_of(ledger: Ledger, event_id: EventId) -> str:
    found = await build.fetch_row(
        ledger, "select tableoid::regclass::text from events where id = :id", id=event_id
    )
    return str(found[0])


async def put(ledger: Ledger, event_id: EventId) -> None:
    nobody = TenantId(new_id())
    event = EventRow(event_id, nobody, "a", b"{}", b"", 1)
    owed = DeliveryRow(DeliveryId(event_id), nobody, event_id, EndpointId(new_id()), "a", "a")
    async with ledger.transaction() as tx:
        await enqueue.insert_events(tx, [event], [owed], now=NOON)


async def test_partitions_are_made_from_yesterday_to_four_days_ahead_and_only_once(ledger: Ledger) -> None:
    made = await ensure(ledger, NOON)
    days = ("20300227", "20300228", "20300301", "20300302", "20300303", "20300304")
    assert sorted(made) == sorted(f"{table}_{day}" for table in PARTITIONED_TABLES for day in days)
    assert await ensure(ledger, NOON) == []
    assert sorted(await ensure(ledger, NOON + DAY)) == sorted(
        f"{table}_20300305" for table in PARTITIONED_TABLES
    )


async def test_days_are_counted_in_utc_wherever_the_clock_is(ledger: Ledger) -> None:
    await ensure(ledger, NOON)
    tokyo = datetime.fromisoformat("2030-03-01T08:00:00+09:00")  # still the 28th in UTC
    assert await ensure(ledger, tokyo) == []


async def test_several_who_make_partitions_at_the_same_time_make_each_once(ledger: Ledger) -> None:
    made = await asyncio.gather(*[ensure(ledger, NOON) for _ in range(5)])
    assert sorted(len(names) for names in made) == [0, 0, 0, 0, 6 * len(PARTITIONED_TABLES)]


async def test_rows_find_their_partition_up_to_its_borders(ledger: Ledger) -> None:
    await ensure(ledger, NOON)
    midnight = datetime(2030, 3, 1, tzinfo=UTC)
    first = build_min_id(midnight)
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
    await put(ledger, EventId(build_min_id(begin)))
    await put(ledger, EventId(build_min_id(end - timedelta(milliseconds=1))))
    for outside in (begin - timedelta(milliseconds=1), end):
        with pytest.raises(Exception, match="no partition"):
            await put(ledger, EventId(build_min_id(outside)))


async def test_partitions_have_the_indexes_and_checks_of_their_table(ledger: Ledger) -> None:
    found = await build.fetch_rows(
        ledger,
        """
        select p.relname, count(*) as indexes, count(*) filter (where i.indisprimary) as keys
        from pg_inherits h join pg_class p on p.oid = h.inhrelid join pg_index i on i.indrelid = p.oid
        where h.inhparent = any (cast(:tables as regclass[])) group by 1
        """,
        tables=list(PARTITIONED_TABLES),
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
    await put(ledger, EventId(build_min_id(NOON)))
    with pytest.raises(Exception, match="status"):
        await build.execute(ledger, "update deliveries set status = 'lost'")


async def test_making_partitions_does_not_wait_for_those_who_write(ledger: Ledger, tenant: TenantId) -> None:
    await build.create_endpoint(ledger, tenant)
    async with ledger.transaction() as tx:
        now = clock()
        event = EventRow(EventId(new_id()), tenant, "a", b"{}", b"", 0)
        await enqueue.insert_events(tx, [event], [], now=now)
        assert len(await ensure(ledger, NOON)) == 6 * len(PARTITIONED_TABLES)
    await build.accept_event(ledger, tenant)


# ---- deliveries whose endpoint is gone
async def cancel(ledger: Ledger, *endpoints: EndpointId) -> int:
    async with ledger.transaction() as tx:
        return await expiry.cancel_for_deleted_endpoints(tx, endpoints)


async def test_what_is_owed_to_a_deleted_endpoint_is_cancelled_with_the_reason(
    ledger: Ledger, tenant: TenantId
) -> None:
    gone, stays = [await build.create_endpoint(ledger, tenant) for _ in range(2)]
    await build.accept_events(ledger, tenant, 3)
    claim_id, (tried, *_) = await build.claim_and_start(ledger, gone)
    await build.record_results(ledger, build.make_retry(tried, claim_id, delay=timedelta(hours=1)))
    await build.expire_lease(ledger, claim_id)
    await build.rescue_lapsed(ledger)
    await build.delete_endpoint(ledger, tenant, gone)
    assert await cancel(ledger, gone, stays) == 3
    for delivery_id in await build.list_delivery_ids(ledger, gone):
        after = await build.read_delivery_state(ledger, delivery_id)
        assert (after.status, after.reason, after.scheduled) == ("cancelled", "endpoint_deleted", False)
        assert after.attempts == (1 if delivery_id == tried.delivery_id else 0)
    assert (await build.claim_deliveries(ledger, [stays])).delivery_count == 3
    assert await cancel(ledger, gone) == 0


async def test_what_a_worker_has_is_cancelled_only_when_it_comes_back(
    ledger: Ledger, tenant: TenantId
) -> None:
    endpoint = await build.create_endpoint(ledger, tenant)
    await build.accept_events(ledger, tenant, 2)
    claim_id, (one, other) = await build.claim_and_start(ledger, endpoint)
    await build.delete_endpoint(ledger, tenant, endpoint)
    assert await cancel(ledger, endpoint) == 0
    await build.record_results(
        ledger, build.make_success(one, claim_id), build.make_retry(other, claim_id, delay=timedelta(hours=1))
    )
    assert await cancel(ledger, endpoint) == 1
    assert (await build.read_delivery_state(ledger, one.delivery_id)).status == "succeeded"
    assert (await build.read_delivery_state(ledger, other.delivery_id)).status == "cancelled"


async def test_cancelling_goes_on_in_steps_until_there_is_no_more(ledger: Ledger, tenant: TenantId) -> None:
    endpoints = [await build.create_endpoint(ledger, tenant) for _ in range(3)]
    await build.accept_events(ledger, tenant, 800)
    for endpoint in endpoints:
        await build.delete_endpoint(ledger, tenant, endpoint)
    assert [await cancel(ledger, *endpoints) for _ in range(4)] == [1_000, 1_000, 400, 0]


async def test_nothing_of_endpoints_that_are_still_there_is_cancelled(
    ledger: Ledger, tenant: TenantId
) -> None:
    endpoint = await build.create_endpoint(ledger, tenant)
    await build.accept_event(ledger, tenant)
    assert await cancel(ledger, endpoint, EndpointId(new_id())) == 0
    assert await cancel(ledger) == 0


async def test_deletions_during_a_cancel_round_are_handled_in_the_next(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_event(ledger, tenant)
    await build.delete_endpoint(ledger, tenant, endpoint)
    maintenance: MaintenanceTask

    def clock_of_the_round() -> datetime:
        maintenance.schedule_cancellation([endpoint])
        return clock()

    service = MaintenanceService(ledger, MaxAges(DAY, OLDEST), clock=clock_of_the_round)
    maintenance = MaintenanceTask(service)
    running = asyncio.create_task(maintenance.run())
    try:

        async def cancelled() -> bool:
            found = await build.fetch_rows(ledger, "select 1 from deliveries where status = 'cancelled'")
            return len(found) == 1

        await build.wait_until(cancelled)
    finally:
        running.cancel()


# ---- deliveries that are owed for too long
OLDEST = timedelta(days=30)


async def expire(ledger: Ledger, *, later: timedelta = OLDEST + DAY) -> list[ExpiredDelivery]:
    """End what is too old, seen from some time later: an id tells when it was made."""
    async with ledger.transaction() as tx:
        return await expiry.expire_deliveries(tx, older_than=OLDEST, now=clock() + later)


async def test_what_is_owed_for_too_long_fails_with_the_reason(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    event = await build.accept_event(ledger, tenant)
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    await build.record_results(ledger, build.make_retry(work, claim_id, delay=timedelta(hours=1)))
    (expired,) = await expire(ledger)
    assert (expired.delivery_id, expired.event_id) == (work.delivery_id, event)
    assert (expired.tenant_id, expired.endpoint_id) == (tenant, endpoint)
    assert (expired.attempts, expired.operational) == (1, False)
    after = await build.read_delivery_state(ledger, work.delivery_id)
    assert (after.status, after.reason, after.attempts) == ("failed", "expired", 1)
    assert not after.scheduled
    found = await build.fetch_row(ledger, "select finished_at > now() - interval '1 min' from deliveries")
    assert found[0]
    assert await expire(ledger) == []


async def test_what_is_not_that_old_is_owed_still(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_event(ledger, tenant)
    assert await expire(ledger, later=OLDEST - timedelta(minutes=1)) == []
    assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 1


async def test_an_operational_endpoint_s_delivery_says_so_when_it_expires(
    ledger: Ledger, tenant: TenantId
) -> None:
    endpoint = await build.create_endpoint(ledger, tenant)
    await build.accept_event(ledger, tenant)
    await build.execute(ledger, "update endpoints set operational = true where id = :id", id=endpoint)
    assert [expired.operational for expired in await expire(ledger)] == [True]


async def test_what_a_claim_has_does_not_expire_until_it_comes_back(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 2)
    (claim_id,) = (await build.claim_deliveries(ledger, [endpoint], take=1)).claim_ids
    (work,) = await build.start_claim(ledger, claim_id)
    assert len(await expire(ledger)) == 1
    assert (await build.read_delivery_state(ledger, work.delivery_id)).claim_id == claim_id
    await build.record_results(ledger, build.make_retry(work, claim_id))
    assert [expired.delivery_id for expired in await expire(ledger)] == [work.delivery_id]


async def test_what_somebody_asked_for_again_is_as_old_as_that_request(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 3)
    never, lately, long_ago = await build.list_delivery_ids(ledger, endpoint)
    reopened = "update schedule set reopened_at = now() - :age where delivery_id = :id"
    await build.execute(ledger, reopened, age=timedelta(hours=1), id=lately)
    await build.execute(ledger, reopened, age=OLDEST + timedelta(hours=1), id=long_ago)
    assert {expired.delivery_id for expired in await expire(ledger)} == {never, long_ago}
    assert (await build.read_delivery_state(ledger, lately)).scheduled


async def test_expiring_goes_on_in_steps_from_the_oldest_and_two_share_the_work(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 1_000)
    oldest = await build.list_delivery_ids(ledger, endpoint)
    for _ in range(2):
        await build.accept_events(ledger, tenant, 900)
    assert {expired.delivery_id for expired in await expire(ledger)} == set(oldest)
    both = await asyncio.gather(expire(ledger), expire(ledger))
    assert sum(len(each) for each in both) == 1_800
    assert max(len(each) for each in both) <= 1_000
    assert await build.is_schedule_empty(ledger)


@pytest.mark.parametrize("held", ["paused", "disabled", "breaker open", "asked to wait", "not due"])
async def test_what_is_held_expires_too(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId, held: str
) -> None:
    match held:
        case "breaker open":
            await health_attempts.record_each(ledger, tenant, endpoint, [BAD] * FAILURES_TO_OPEN)
        case "asked to wait":
            await health_attempts.record_each(ledger, tenant, endpoint, [AttemptSignal(retry_after=DAY)])
        case "not due":
            await build.accept_event(ledger, tenant)
            await build.execute(ledger, "update schedule set due_at = now() + interval '1 h'")
        case state:
            await build.accept_event(ledger, tenant)
            await build.set_state(ledger, endpoint, EndpointState(state))
    assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 0
    owed = await build.count_rows(ledger, "schedule")
    assert len(await expire(ledger)) == owed > 0


async def test_what_somebody_is_just_changing_does_not_expire_and_nobody_waits_for_it(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 5)
    async with ledger.transaction() as tx:
        await build.claim_in_transaction(tx, [endpoint], take=2)
        assert len(await expire(ledger)) == 3
    assert await expire(ledger) == []
    assert await build.count_rows(ledger, "schedule") == 2


async def test_an_expiry_that_is_not_committed_leaves_all_as_it_was(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_event(ledger, tenant)
    async with ledger.transaction() as tx:
        assert len(await expiry.expire_deliveries(tx, older_than=OLDEST, now=clock() + OLDEST + DAY)) == 1
        assert (
            await build.claim_deliveries(ledger, [endpoint])
        ).delivery_count == 0  # and no claim waits for it
        await tx.rollback()
    assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 1


# ---- health: a row for each endpoint
async def ensure_health(ledger: Ledger) -> int:
    async with ledger.transaction() as tx:
        return await endpoint_health.ensure(tx, limit=INITIAL_IN_FLIGHT)


async def test_missing_health_row_is_created_and_endpoint_is_claimable(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 20)
    await build.execute(ledger, "delete from endpoint_health")
    assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 0
    assert await ensure_health(ledger) == 1
    made = await health_attempts.read_health(ledger, endpoint)
    assert (made.health.breaker.state, made.in_flight) == ("closed", 0)
    assert (made.health.limit.now, made.health.limit.ramping) == (INITIAL_IN_FLIGHT, True)
    assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == INITIAL_IN_FLIGHT


async def test_those_who_have_a_row_of_health_keep_it(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await health_attempts.record_each(ledger, tenant, endpoint, [BAD] * FAILURES_TO_OPEN)
    before = await health_attempts.read_health(ledger, endpoint)
    await build.create_endpoint(ledger, tenant)
    await build.execute(ledger, "delete from endpoint_health where endpoint_id <> :id", id=endpoint)
    assert [await ensure_health(ledger), await ensure_health(ledger)] == [1, 0]
    assert await health_attempts.read_health(ledger, endpoint) == before


async def test_concurrent_health_row_creation_happens_once(ledger: Ledger, tenant: TenantId) -> None:
    for _ in range(20):
        await build.create_endpoint(ledger, tenant)
    await build.execute(ledger, "delete from endpoint_health")
    made = await asyncio.gather(*[ensure_health(ledger) for _ in range(4)])
    assert sum(made) == await build.count_rows(ledger, "endpoint_health") == 20


# ---- health: what is in flight
async def recount(ledger: Ledger) -> list[EndpointId]:
    async with ledger.transaction() as tx:
        return await endpoint_health.recount_in_flight(tx)


@pytest.mark.parametrize("wrong", [0, 2, 7])
async def test_a_wrong_count_of_what_is_in_flight_is_mended_and_named(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId, wrong: int
) -> None:
    right = await build.create_endpoint(ledger, tenant)
    await build.accept_events(ledger, tenant, 3)
    await build.claim_deliveries(ledger, [endpoint, right])
    await build.execute(
        ledger, "update endpoint_health set in_flight = :n where endpoint_id = :id", n=wrong, id=endpoint
    )
    assert await recount(ledger) == [endpoint]
    assert [(await health_attempts.read_health(ledger, each)).in_flight for each in (endpoint, right)] == [
        3,
        3,
    ]
    assert await recount(ledger) == []


async def test_a_count_of_what_is_no_more_in_flight_becomes_nothing(
    ledger: Ledger, endpoint: EndpointId
) -> None:
    await build.execute(ledger, "update endpoint_health set in_flight = 4")
    assert await recount(ledger) == [endpoint]
    assert (await health_attempts.read_health(ledger, endpoint)).in_flight == 0


async def test_in_flight_recount_skips_claims_in_progress(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    other = await build.create_endpoint(ledger, tenant)
    await build.accept_events(ledger, tenant, 5)
    await build.claim_deliveries(ledger, [endpoint], take=1)
    await build.execute(ledger, "update endpoint_health set in_flight = 4")
    async with ledger.transaction() as tx:
        await build.claim_in_transaction(tx, [endpoint], take=2)
        assert await recount(ledger) == [other]
    assert (await health_attempts.read_health(ledger, endpoint)).in_flight == 4 + 2
    assert await recount(ledger) == [endpoint]
    assert (await health_attempts.read_health(ledger, endpoint)).in_flight == 1 + 2


async def test_what_is_recorded_while_the_count_is_made_is_subtracted_afterwards(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    claim_id, works = await health_attempts.start_deliveries(ledger, tenant, endpoint, 3)
    group = [health_attempts.make_attempt_result(work, claim_id) for work in works[1:]]
    async with ledger.transaction() as tx:
        assert await endpoint_health.recount_in_flight(tx) == []
        late = asyncio.create_task(health_attempts.record_attempts(ledger, *group))
        await build.wait_until(lambda: build.has_lock_waiter(ledger))
    await late
    assert (await health_attempts.read_health(ledger, endpoint)).in_flight == 1
    assert await recount(ledger) == []


async def test_uncommitted_releases_still_count_as_in_flight(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 3)
    (claim_id,) = (await build.claim_deliveries(ledger, [endpoint])).claim_ids
    async with ledger.transaction() as tx:
        await claims.return_claims(tx, [claim_id])
        assert await recount(ledger) == []
    assert (await health_attempts.read_health(ledger, endpoint)).in_flight == 0
    assert await recount(ledger) == []


# ---- idempotency keys
async def keys(ledger: Ledger, tenant: TenantId, count: int, *, age: timedelta) -> None:
    async with ledger.transaction() as tx:
        moment = clock() - age
        kept = [IdempotencyKeyRow(tenant, f"{age} {number}", b"", b"", moment) for number in range(count)]
        await enqueue.insert_idempotency_keys(tx, kept)


async def forget(ledger: Ledger) -> int:
    async with ledger.transaction() as tx:
        return await expiry.delete_idempotency_keys(tx, older_than=DAY)


async def test_keys_past_their_time_are_forgotten_and_others_kept(ledger: Ledger, tenant: TenantId) -> None:
    await keys(ledger, tenant, 5, age=timedelta(hours=25))
    await keys(ledger, tenant, 7, age=timedelta(hours=23))
    assert await forget(ledger) == 5
    assert await build.count_rows(ledger, "idempotency_keys") == 7
    assert await forget(ledger) == 0


async def test_forgetting_goes_on_in_steps_and_two_share_the_work(ledger: Ledger, tenant: TenantId) -> None:
    await keys(ledger, tenant, 2_500, age=timedelta(days=2))
    assert await forget(ledger) == 1_000
    assert sum(await asyncio.gather(forget(ledger), forget(ledger))) == 1_500
    assert await build.count_rows(ledger, "idempotency_keys") == 0
