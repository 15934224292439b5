"""Retention on a real ledger: expired data is deleted, unfinished deliveries stay, nobody is blocked."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import structlog
from sqlalchemy import text

from delivery.clock import clock
from delivery.domain.endpoint import EndpointState
from delivery.domain.ids import build_min_id
from delivery.domain.retention import RetentionPeriods
from delivery.ledger.db import partitions
from delivery.ledger.db.session import Ledger
from delivery.ledger.db.tables import PARTITIONED_TABLES
from delivery.ledger.retention.drop_partitions import PartitionDropper
from delivery.services.retention import PruneLimits, RetentionReport, RetentionService
from tests.support import ledger_builders as build
from workers.tasks.retention import create_retention_task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from delivery.domain.ids import EndpointId, TenantId


TERMS = RetentionPeriods(payload=10, attempts=10, deliveries=10, events=10, journal=400)
# All that is made now is then past ten days, and not past a hundred.
LATER = timedelta(days=40)
LONG = 100
QUICK = PruneLimits(pause=timedelta(0))
OF_DELIVERIES = ("deliveries", "failures", "endpoint_sequence")
# Three thousand of each, of days about a month ago.
OLD = """
with made as (
    select cast(lpad(to_hex(cast(extract(epoch from now() - interval '26 days' - (n % 6) * interval '1 day')
                                 * 1000 as bigint)), 12, '0')
                || '70008' || lpad(to_hex(n), 15, '0') as uuid) as id
    from generate_series(1, 3000) as n
), events_made as (
    insert into events (id, tenant_id, type, body, body_sha256, matched, created_at)
    select id, :tenant, 'old', 'body', '', 1, now() from made
), deliveries_made as (
    insert into deliveries (id, tenant_id, event_id, endpoint_id, event_type, status, created_at)
    select id, :tenant, id, :endpoint, 'old', 'failed', now() from made
), failures_made as (
    insert into failures (delivery_id, tenant_id, endpoint_id) select id, :tenant, :endpoint from made
)
insert into attempts (id, delivery_id, tenant_id, endpoint_id, event_id, number, started_at, url,
    request_headers, body_sha256, key_ids, response_headers, response_body, response_truncated, outcome,
    detail, decision, reason, worker)
select id, id, :tenant, :endpoint, id, 1, now(), '', '{}', '', '', '[]', '', false, '', '', '', '', ''
from made
"""
BLOCKED = """
select count(*) from pg_stat_activity waits
join pg_stat_activity holds on holds.pid = any (pg_blocking_pids(waits.pid))
where waits.datname = current_database() and waits.application_name = 'waybill test'
  and holds.application_name in ('waybill keeper', 'waybill retention')
"""
BARE = "select count(*) filter (where body is null), count(*) from events"


def but(**days: int) -> RetentionPeriods:
    """Ten days for everything but what is named."""
    return replace(TERMS, **days)


def retention(ledger: Ledger, terms: RetentionPeriods = TERMS, pace: PruneLimits = QUICK) -> RetentionService:
    """Retention forty days later."""
    return RetentionService(ledger, terms, clock=lambda: clock() + LATER, limits=pace)


async def run(ledger: Ledger, terms: RetentionPeriods = TERMS, pace: PruneLimits = QUICK) -> RetentionReport:
    report = await retention(ledger, terms, pace).run()
    assert report is not None
    return report


async def sent(ledger: Ledger, tenant: TenantId, endpoint: EndpointId, count: int = 3) -> None:
    """Events that were delivered, but for one of them, which was refused for good."""
    await build.accept_events(ledger, tenant, count)
    claim_id, works = await build.claim_and_start(ledger, endpoint)
    results = [
        build.make_failure(works[0], claim_id),
        *(build.make_success(work, claim_id) for work in works[1:]),
    ]
    await build.record_results(ledger, *results)


async def counts(ledger: Ledger) -> tuple[int, ...]:
    """How many events, deliveries, attempts, failures and numbers there are."""
    tables = ("events", "deliveries", "attempts", "failures", "endpoint_sequence")
    return tuple([await build.count_rows(ledger, table) for table in tables])


def day(table: str) -> str:
    return f"{table}_{clock():%Y%m%d}"


async def shorten(ledger: Ledger, tenant: TenantId, terms: str) -> None:
    statement = "update tenants set retention = cast(:terms as json) where id = :id"
    await build.execute(ledger, statement, terms=terms, id=tenant)


@asynccontextmanager
async def reading(ledger: Ledger, table: str) -> AsyncIterator[None]:
    """Somebody who has read a table and whose transaction goes on."""
    async with ledger.transaction() as tx:
        await tx.execute(text(f"select count(*) from {table}"))  # noqa: S608  a table of ours
        yield


@pytest.fixture(autouse=True)
async def no_notes(ledger: Ledger) -> None:
    """Forget an earlier test's marks on today's partitions: this one creates other events today."""
    await build.execute(ledger, f"comment on table {day('events')} is null")


# ---- whole days
async def test_expired_days_are_dropped_and_others_stay(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await sent(ledger, tenant, endpoint)
    assert await counts(ledger) == (3, 3, 3, 1, 3)
    report = await run(ledger, but(attempts=10, deliveries=LONG, events=LONG, payload=LONG))
    assert {name.rpartition("_")[0] for name in report.dropped} == {"attempts"}
    assert day("attempts") in report.dropped
    assert await counts(ledger) == (3, 3, 0, 1, 3)
    report = await run(ledger)
    assert {name.rpartition("_")[0] for name in report.dropped} == {*OF_DELIVERIES, "events"}
    assert await counts(ledger) == (0, 0, 0, 0, 0)
    assert (await run(ledger)).to_dict() == RetentionReport().to_dict()
    async with ledger.transaction() as tx:
        made = await partitions.ensure_partitions(tx, now=clock())
    assert {name.rpartition("_")[0] for name in made} == set(PARTITIONED_TABLES) - {"journal"}
    await sent(ledger, tenant, endpoint)


async def test_a_day_with_owed_deliveries_is_not_dropped(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_event(ledger, tenant)
    report = await run(ledger, but(attempts=LONG))
    assert {*report.owed} == {day("deliveries"), day("events")}
    assert not {day(table) for table in (*OF_DELIVERIES, "events")} & {*report.dropped}
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    assert work.body is not None
    await build.record_results(ledger, build.make_success(work, claim_id))
    assert {day(table) for table in (*OF_DELIVERIES, "events")} <= {
        *(await run(ledger, but(attempts=LONG))).dropped
    }


async def test_replay_during_partition_detach_reattaches_it(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await sent(ledger, tenant, endpoint, 1)
    async with ledger.transaction() as tx:
        await tx.execute(text("select count(*) from deliveries"))
        at_it = asyncio.create_task(run(ledger, but(attempts=LONG, events=LONG, payload=LONG)))
        await build.wait_until(lambda: build.has_lock_waiter(ledger))
        # As a replay does that began before.
        await tx.execute(
            text("""
                insert into schedule (delivery_id, tenant_id, endpoint_id, event_id, due_at)
                select id, tenant_id, endpoint_id, event_id, now() from deliveries
            """)
        )
    assert (await at_it).owed == [day("deliveries")]
    assert await counts(ledger) == (1, 1, 1, 1, 1)
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    await build.record_results(ledger, build.make_success(work, claim_id))
    assert await build.count_rows(ledger, "failures") == 0  # its trigger is back too


# ---- beside those who read and write
async def test_dropping_a_partition_behind_a_reader_blocks_nobody(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await sent(ledger, tenant, endpoint)
    hurried = "set local lock_timeout = '1s'"
    async with reading(ledger, "deliveries"), reading(ledger, "attempts"), reading(ledger, "events"):
        at_it = asyncio.create_task(run(ledger))
        await build.wait_until(lambda: build.has_lock_waiter(ledger))
        async with ledger.transaction() as tx:
            await partitions.ensure_partitions(tx, now=clock() + LATER)
        for _ in range(3):
            async with ledger.transaction() as tx:
                await tx.execute(text(hurried))
                await tx.execute(text("select count(*) from deliveries, attempts, events where false"))
        assert not at_it.done()
    assert (await at_it).dropped


async def test_a_long_reader_postpones_a_day(ledger: Ledger, tenant: TenantId, endpoint: EndpointId) -> None:
    await sent(ledger, tenant, endpoint)
    hasty = PruneLimits(pause=timedelta(0), reader_timeout=timedelta(milliseconds=100))
    async with reading(ledger, "deliveries"):
        first, second = await run(ledger, pace=hasty), await run(ledger, pace=hasty)
    for report in (first, second):
        assert [name.rpartition("_")[0] for name in report.busy] == ["deliveries"]
        assert not [name for name in report.dropped if name.startswith(OF_DELIVERIES)]
    assert (await run(ledger)).busy == []
    assert await counts(ledger) == (0, 0, 0, 0, 0)


async def test_an_interrupted_drop_is_finished_by_the_next_run(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await sent(ledger, tenant, endpoint)
    name = day("deliveries")
    await build.execute(ledger, f"comment on table {name} is 'waybill: past its term, to be dropped'")
    await build.execute(ledger, f"alter table deliveries detach partition {name}")
    await build.execute(ledger, f"create table kept_{name} (like {name} including all)")
    assert name in (await run(ledger)).dropped
    assert await counts(ledger) == (0, 0, 0, 0, 0)
    await build.execute(ledger, f"drop table kept_{name}")  # no other tables are touched


async def test_one_retention_run_at_a_time(ledger: Ledger) -> None:
    days = await PartitionDropper.open(ledger, statement_timeout=QUICK.reader_timeout)
    assert await days.try_lock()
    assert await retention(ledger).run() is None
    await days.close()
    await build.wait_until(lambda: _gets_a_turn(ledger))


async def _gets_a_turn(ledger: Ledger) -> bool:
    return await retention(ledger).run() is not None


async def test_under_load_nobody_waits_for_retention(own_ledger: Ledger) -> None:
    tenant = await build.create_tenant(own_ledger)
    endpoint = await build.create_endpoint(own_ledger, tenant)
    async with own_ledger.transaction() as tx:
        await partitions.ensure_partitions(tx, now=clock() - timedelta(days=30))
    await build.execute(own_ledger, OLD, tenant=tenant, endpoint=endpoint)
    await shorten(own_ledger, tenant, '{"deliveries": 15}')
    terms = RetentionPeriods(payload=20, attempts=20, deliveries=LONG, events=LONG, journal=400)
    load = Load(own_ledger, tenant, endpoint)
    async with opened_as("keeper", own_ledger) as keepers, asyncio.TaskGroup() as group:
        at_it = group.create_task(
            RetentionService(keepers, terms, clock=clock, limits=PruneLimits(pause=timedelta(0))).run()
        )
        working = group.create_task(load.go_on())
        watching = group.create_task(blocked_by_retention(own_ledger, at_it))
        async with reading(own_ledger, "attempts"):
            await build.wait_until(lambda: build.has_lock_waiter(own_ledger))
            rounds = load.rounds
            await build.wait_until(lambda: load.rounds >= rounds + 3)
        report, load.ending = await at_it, True
        await working
    assert report is not None
    assert await watching == 0
    # Attempts have gone with their days, payloads and deliveries from within theirs.
    assert {name.rpartition("_")[0] for name in report.dropped} == {"attempts"}
    assert (len(report.dropped), report.payloads, report.deliveries) == (6, 3_000, 3_000)
    assert await build.is_schedule_empty(own_ledger)
    (sent_well,) = await build.fetch_row(
        own_ledger, "select count(*) from deliveries where status = 'succeeded'"
    )
    assert sent_well == load.rounds * 20


class Load:
    """A producer and a worker that run until they are stopped."""

    def __init__(self, ledger: Ledger, tenant: TenantId, endpoint: EndpointId) -> None:
        self._ledger = ledger
        self._tenant = tenant
        self._endpoint = endpoint
        self.rounds = 0
        self.ending = False

    async def go_on(self) -> None:
        while not self.ending:
            await build.accept_events(self._ledger, self._tenant, 20)
            claim_id, works = await build.claim_and_start(self._ledger, self._endpoint)
            await build.record_results(self._ledger, *(build.make_success(work, claim_id) for work in works))
            self.rounds += 1


@asynccontextmanager
async def opened_as(name: str, ledger: Ledger) -> AsyncIterator[Ledger]:
    """A pool of its own on the same database, known by this name."""
    other = Ledger(ledger.url, application_name=f"waybill {name}")
    yield other
    await other.close()


async def blocked_by_retention(ledger: Ledger, run: asyncio.Task[RetentionReport | None]) -> int:
    """How often, until the run was over, anybody was seen to wait for it."""
    seen = 0
    while not run.done():
        (count,) = await build.fetch_row(ledger, BLOCKED)
        seen += count
    return seen


# ---- payloads
async def test_removing_payloads_keeps_the_events(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await sent(ledger, tenant, endpoint)
    long = but(attempts=LONG, deliveries=LONG, events=LONG)
    assert (await run(ledger, long)).payloads == 3
    assert tuple(await build.fetch_row(ledger, BARE)) == (3, 3)
    event = await build.fetch_row(
        ledger, "select distinct length(body_sha256) as hash, erased_at from events"
    )
    assert (event.hash, event.erased_at) == (32, None)
    assert (
        await retention(ledger).preview_plan()
    ).payload_days == ()  # it is noted on the day, whoever comes next
    assert await counts(ledger) == (3, 3, 3, 1, 3)


async def test_payloads_that_are_owed_stay_until_they_are_delivered(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await sent(ledger, tenant, endpoint, 5)
    await build.accept_event(ledger, tenant)
    long = but(attempts=LONG, deliveries=LONG, events=LONG)
    keeper = retention(ledger, long)
    first, second = await keeper.run(), await keeper.run()
    assert first is not None
    assert second is not None
    assert (first.payloads, second.payloads) == (5, 0)
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    assert work.body is not None
    await build.record_results(ledger, build.make_success(work, claim_id))
    assert (await run(ledger, long)).payloads == 1


async def test_payloads_between_owed_events_are_removed_page_by_page(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    for _ in range(3):
        await sent(ledger, tenant, endpoint, 2)
    await build.accept_events(ledger, tenant, 3)
    long = but(attempts=LONG, deliveries=LONG, events=LONG)
    report = await run(ledger, long, replace(QUICK, owed_batch_size=1))
    assert (report.payloads, report.more) == (6, False)


async def test_a_run_is_bounded_and_the_next_continues(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.set_state(ledger, endpoint, EndpointState.PAUSED)
    for _ in range(3):
        await build.accept_events(ledger, tenant, 1_000)
    await build.execute(ledger, "delete from schedule")
    await build.execute(ledger, "update deliveries set status = 'cancelled'")
    await build.execute(ledger, "update events set created_at = created_at")
    long = but(attempts=LONG, deliveries=LONG, events=LONG)
    await shorten(ledger, tenant, '{"deliveries": 10}')
    keeper = retention(ledger, long, PruneLimits(max_steps=3, pause=timedelta(0)))
    reports = [report for _ in range(12) if (report := await keeper.run())]
    assert [sum(getattr(one, name) for one in reports) for name in ("payloads", "deliveries")] == [3_000] * 2
    assert all(one.payloads + one.deliveries <= 3_000 for one in reports)
    assert reports[0].more
    assert not reports[-1].more


# ---- what tenants have less kept of
async def test_shorter_tenant_periods_do_not_affect_other_tenants(ledger: Ledger) -> None:
    tenant, neighbour = await build.create_tenant(ledger), await build.create_tenant(ledger)
    for one in (tenant, neighbour):
        await sent(ledger, one, await build.create_endpoint(ledger, one))
    long = but(attempts=LONG, deliveries=LONG, events=LONG, payload=LONG)
    assert not (await run(ledger, long)).did_something
    await shorten(ledger, tenant, '{"payload": 10}')
    assert (await run(ledger, long)).payloads == 3
    await shorten(ledger, tenant, '{"deliveries": 10}')
    report = await run(ledger, long)
    assert (report.attempts, report.deliveries, report.events) == (3, 3, 0)
    assert await counts(ledger) == (6, 3, 3, 1, 3)
    await shorten(ledger, tenant, '{"events": 10}')
    assert (await run(ledger, long)).events == 3
    assert await counts(ledger) == (3, 3, 3, 1, 3)
    (left,) = await build.fetch_rows(ledger, "select distinct tenant_id, body is not null from events")
    assert tuple(left) == (neighbour, True)


async def test_owed_data_of_a_tenant_stays(ledger: Ledger, tenant: TenantId) -> None:
    endpoint = await build.create_endpoint(ledger, tenant)
    await build.accept_events(ledger, tenant, 2)
    claim_id, (one, other) = await build.claim_and_start(ledger, endpoint)
    await build.record_results(
        ledger, build.make_success(one, claim_id), build.make_retry(other, claim_id, delay=timedelta(hours=1))
    )
    await shorten(ledger, tenant, '{"payload": 5, "deliveries": 10, "events": 10}')
    long = but(attempts=LONG, deliveries=LONG, events=LONG, payload=LONG)
    keeper = retention(ledger, long)
    for _ in range(2):
        assert await keeper.run() is not None
        assert (await counts(ledger))[:2] == (1, 1)
        assert tuple(await build.fetch_row(ledger, BARE)) == (0, 1)


async def test_replay_jobs_that_are_over_are_forgotten_with_their_lists(
    ledger: Ledger, tenant: TenantId
) -> None:
    values = """
        insert into replays (id, tenant_id, kind, selection, reason, actor, hold, state, created_at, counts,
                             counted_at, paced_at, finished_at)
        select gen_random_uuid(), :tenant, 'again', '{}', '', '', false, state, now(), '{}', now(), now(),
               ended
        from (values ('finished', now()), ('running', null), ('cancelled', now())) as jobs (state, ended)
    """
    await build.execute(ledger, values, tenant=tenant)
    await build.execute(ledger, "update replays set id = cast(:id as uuid) where state = 'finished'",
                    id=build_min_id(clock()))  # fmt: skip
    await build.execute(
        ledger,
        """
        insert into replay_items (replay_id, delivery_id, endpoint_id, event_id)
        select id, gen_random_uuid(), id, id from replays, generate_series(1, 1500)
        where state = 'finished'
        """,
    )
    await build.execute(ledger, "update replays set id = :id where state = 'cancelled'",
                    id=build_min_id(clock() - timedelta(days=1)))  # fmt: skip
    assert (await run(ledger, but(deliveries=LONG))).replays == 0
    assert (await run(ledger)).replays == 2
    assert await build.count_rows(ledger, "replay_items") == 0
    (left,) = await build.fetch_rows(ledger, "select state from replays")
    assert left.state == "running"


# ---- beside the relay
async def test_the_relay_has_what_is_past_its_term_taken_away(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await sent(ledger, tenant, endpoint)
    with structlog.testing.capture_logs() as lines:
        side = asyncio.create_task(create_retention_task(retention(ledger)).run())
        await build.wait_until(lambda: bool(lines))
    assert lines[0]["event"] == "retention.done"
    assert day("deliveries") in lines[0]["dropped"]
    assert await counts(ledger) == (0, 0, 0, 0, 0)
    side.cancel()
    await asyncio.gather(side, return_exceptions=True)


async def test_an_outage_postpones_retention() -> None:
    away = Ledger("postgresql://nobody@127.0.0.1:9/nowhere")
    side = asyncio.create_task(create_retention_task(retention(away)).run())
    with structlog.testing.capture_logs() as lines:
        await build.wait_until(lambda: bool(lines))
    assert lines[0]["event"] == "retention.postponed"
    assert not side.done()
    side.cancel()
    await asyncio.gather(side, return_exceptions=True)
    await away.close()
