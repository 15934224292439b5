"""What time brings, on a real ledger: partitions, cancelled deliveries, forgotten keys."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from delivery.bootstrap import clock
from delivery.ledger import Ledger, accepting, partitions, upkeep
from delivery.ledger.accepting import DeliveryRow, EventRow, KeyRow
from delivery.ledger.tables import PARTITIONED
from delivery.model import DeliveryId, EndpointId, EventId, TenantId, id_floor, new_id
from tests.support import ledger as on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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
    event = EventRow(event_id, nobody, "a", b"{}", b"", 1, NOON)
    owed = DeliveryRow(DeliveryId(event_id), nobody, event_id, EndpointId(new_id()), "a", NOON, "a")
    async with ledger.transaction() as tx:
        await accepting.insert(tx, [event], [owed])


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
    assert sorted(len(names) for names in made) == [0, 0, 0, 0, 24]


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
    expected = {"events": 2, "deliveries": 4, "attempts": 3, "journal": 4}
    assert {(row.relname.rpartition("_")[0], row.indexes, row.keys) for row in found} == {
        (table, indexes, 1) for table, indexes in expected.items()
    }
    await ensure(ledger, NOON)
    await put(ledger, EventId(id_floor(NOON)))
    with pytest.raises(Exception, match="status"):
        await on.change(ledger, "update deliveries set status = 'lost'")


async def test_making_partitions_does_not_wait_for_those_who_write(ledger: Ledger, tenant: TenantId) -> None:
    await on.new_endpoint(ledger, tenant)
    async with ledger.transaction() as tx:
        now = clock()
        event = EventRow(EventId(new_id()), tenant, "a", b"{}", b"", 0, now)
        await accepting.insert(tx, [event], [])
        assert len(await ensure(ledger, NOON)) == 24
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
