"""Statistics over time on a real database: complete regardless of the rollup's progress."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING

import pytest
import structlog

from delivery.clock import clock
from delivery.domain.endpoint import EndpointLimits
from delivery.domain.histogram import SLOT_BOUNDS_US
from delivery.domain.ids import build_min_id
from delivery.ledger.db.bounded_scan import MAX_SCANNED_ROWS
from delivery.ledger.db.session import Ledger
from delivery.ledger.stats import rollup
from delivery.services.stats.rollup import MINUTE_RETENTION, StatsRollup, compute_start
from delivery.services.stats.series import TimeRange, compute_first_point, floor_to_interval
from delivery.services.stats.service import MAX_ENDPOINT_ATTEMPTS, MAX_TYPED_EVENTS, StatsService
from retries.health import Hold
from retries.rate import RateLimit
from tests.support import ledger_builders as build
from tests.support.attempt_rows import NOON, AttemptSpec, SettableClock, write_attempts
from tests.support.ledger_builders import EndpointSpec
from workers.tasks.rollup import create_rollup_task

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from delivery.domain.ids import EndpointId, TenantId
    from delivery.services.stats.series import Point


A_SECOND, A_MINUTE, AN_HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
KEPT = timedelta(hours=30)
MS = timedelta(milliseconds=1)
# One due delivery of an endpoint that has as many in flight as it may.
FULL = "update endpoint_health set in_flight = limit_now where endpoint_id = :endpoint"
OWED = """
insert into schedule (delivery_id, tenant_id, endpoint_id, event_id, due_at)
values (gen_random_uuid(), :tenant, :endpoint, gen_random_uuid(), now() - interval '1 s')
"""
PAUSED = "update endpoints set state = 'paused' where id = :endpoint"
OUTCOMES = ("delivered", "delivered", "delivered", "refused", "timed_out", "interrupted")


@dataclass
class Site:
    """A database whose statistics are read and rolled up at times that the test chooses."""

    ledger: Ledger
    clock: SettableClock = field(default_factory=SettableClock)
    made: list[AttemptSpec] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.figures = StatsService(self.ledger, clock=self.clock, default_max_in_flight=build.HIGH_IN_FLIGHT)
        self.rolling = StatsRollup(self.ledger, retention=KEPT, clock=self.clock)

    async def record(self, selected: Sequence[AttemptSpec]) -> None:
        """Store these attempts."""
        await write_attempts(self.ledger, selected)
        self.made += selected

    async def count_all(self) -> int:
        """Roll up until nothing is left; returns the number of steps."""
        steps = 0
        while await self.rolling.step():
            steps += 1
        return steps

    async def begun_at(self) -> datetime | None:
        """The time from which everything is rolled up; None: nothing is."""
        async with self.ledger.transaction() as tx:
            at = await rollup.read_progress(tx)
        return None if at is None else at.back_to

    async def check(self, tenant: TenantId | None, span: TimeRange) -> None:
        """Check that statistics are complete from the start of the rollup."""
        result = await self.figures.load_series(tenant, span)
        assert result.as_of == self.clock.now
        since = await self.begun_at()
        for point in result.points:
            if since is None or point.at >= since:
                assert tallied(point) == self.tally(tenant, point.at, point.at + span.interval), (
                    span,
                    point.at,
                )

    def tally(self, tenant: TenantId | None, since: datetime, until: datetime) -> Counter[str]:
        """The outcomes of the attempts in this time."""
        return Counter(
            item.outcome
            for item in self.made
            if since <= item.at < until and (tenant is None or item.tenant_id == tenant)
        )


def tallied(point: Point) -> Counter[str]:
    """The counts of a point, by outcome."""
    return (
        Counter({"delivered": point.delivered, "interrupted": point.interrupted, **point.failed}) + Counter()
    )


def ago(duration: timedelta, tenant: TenantId, outcome: str = "delivered") -> AttemptSpec:
    return AttemptSpec(NOON - duration, tenant, outcome)


def scattered(
    rng: Random, tenants: Sequence[TenantId], since: datetime, until: datetime, count: int
) -> list[AttemptSpec]:
    """This many attempts in a time range, some at the edges of minutes and hours."""
    created = []
    for _ in range(count):
        at = since + (until - since) * rng.random()
        edge = rng.choice((None, A_MINUTE, AN_HOUR))
        if edge is not None:
            at = max(since, floor_to_interval(at, edge) - rng.choice((timedelta(0), MS)))
        took = rng.choice((None, MS * rng.randint(0, 40_000)))
        created.append(AttemptSpec(at, rng.choice(tenants), rng.choice(OUTCOMES), took))
    return created


@pytest.fixture
def site(ledger: Ledger) -> Site:
    return Site(ledger)


@pytest.fixture
async def other(ledger: Ledger) -> TenantId:
    return await build.create_tenant(ledger)


async def rolled(ledger: Ledger) -> list[tuple[object, ...]]:
    """All rollup rows."""
    found = await build.fetch_rows(ledger, "select * from figures order by tenant_id, width, at")
    return [tuple(row) for row in found]


# ---- counting
@pytest.mark.parametrize("seed", range(4))
async def test_each_attempt_is_counted_once_at_any_time(
    site: Site, tenant: TenantId, other: TenantId, seed: int
) -> None:
    rng = Random(seed)  # noqa: S311  nothing is secret here
    tenants = (tenant, other)
    await site.record(scattered(rng, tenants, NOON - timedelta(hours=4), NOON, 200))
    since = NOON
    for pause in (timedelta(0), 37 * A_SECOND, 4 * A_MINUTE, 61 * A_MINUTE, 16 * A_MINUTE):
        site.clock.now = since + pause
        await site.record(scattered(rng, tenants, since, site.clock.now, 25))
        more = True
        while more:
            await site.check(rng.choice((None, tenant, other)), rng.choice(list(TimeRange)))
            more = await site.rolling.step()
        for span in TimeRange:
            await site.check(None, span)
            await site.check(tenant, span)
        since = site.clock.now


async def test_all_stored_attempts_are_counted_in_the_end(site: Site, tenant: TenantId) -> None:
    await site.record([ago(timedelta(hours=hours), tenant) for hours in (0, 1, 5, 20, 29)])
    await site.count_all()
    result = await site.figures.load_series(None, TimeRange.WEEK)
    assert result.total.delivered == 5


async def test_history_is_rolled_up_newest_first(site: Site, tenant: TenantId) -> None:
    await site.record([ago(timedelta(hours=hours), tenant) for hours in (3, 6)])
    seen = []
    while await site.rolling.step():
        seen.append((await site.figures.load_series(None, TimeRange.WEEK)).total.delivered)
    assert seen == sorted(seen)
    assert {0, 1, 2} == set(seen)


async def test_repeating_a_rollup_changes_nothing(site: Site, tenant: TenantId, other: TenantId) -> None:
    rng = Random(1)  # noqa: S311  nothing is secret here
    since = NOON - timedelta(hours=2)
    await site.record(scattered(rng, (tenant, other), since, NOON, 200))
    await site.count_all()
    before = await rolled(site.ledger)
    async with site.ledger.transaction() as tx:
        await rollup.roll_up(tx, since, compute_start(NOON), width=rollup.MINUTE_SECONDS)
        await rollup.sum_hour(tx, compute_start(NOON) - AN_HOUR, compute_start(NOON))
    assert await rolled(site.ledger) == before


async def test_the_steps_of_a_rollup_do_not_change_its_result(
    ledger: Ledger, tenant: TenantId, other: TenantId
) -> None:
    rng = Random(2)  # noqa: S311  nothing is secret here
    since = NOON - AN_HOUR
    await write_attempts(ledger, scattered(rng, (tenant, other), since, NOON, 300))
    async with ledger.transaction() as tx:
        await rollup.roll_up(tx, since, NOON, width=rollup.MINUTE_SECONDS)
    before = await rolled(ledger)
    pieces = sorted({since, NOON, *(since + A_MINUTE * rng.randrange(60) for _ in range(9))})
    for first, end in pairwise(pieces):
        async with ledger.transaction() as tx:
            await rollup.roll_up(tx, first, end, width=rollup.MINUTE_SECONDS)
        assert await rolled(ledger) == before


async def test_an_hour_is_the_sum_of_its_minutes(site: Site, tenant: TenantId, other: TenantId) -> None:
    rng = Random(3)  # noqa: S311  nothing is secret here
    since = NOON - AN_HOUR
    await write_attempts(site.ledger, scattered(rng, (tenant, other), since, NOON, 300))
    async with site.ledger.transaction() as tx:
        await rollup.roll_up(tx, since, NOON, width=rollup.HOUR_SECONDS)
    counted_whole = await rolled(site.ledger)
    async with site.ledger.transaction() as tx:
        await rollup.roll_up(tx, since, NOON, width=rollup.MINUTE_SECONDS)
        await rollup.sum_hour(tx, since, NOON)
    summed = [row for row in await rolled(site.ledger) if rollup.HOUR_SECONDS in row]
    assert summed == counted_whole
    assert len(summed) == 3  # both tenants, and all together


async def test_late_attempts_are_counted_by_the_second_pass(site: Site, tenant: TenantId) -> None:
    await site.record([ago(10 * A_MINUTE, tenant)])
    await site.count_all()
    await site.record([ago(10 * A_MINUTE, tenant, "refused")])
    assert (await site.figures.load_series(tenant, TimeRange.HOUR)).total.failures == 0
    site.clock.now = NOON + 7 * A_MINUTE
    await site.count_all()
    for span in TimeRange:
        await site.check(tenant, span)


async def test_late_attempts_at_the_first_rollup_are_counted_too(site: Site, tenant: TenantId) -> None:
    assert floor_to_interval(NOON, AN_HOUR) == NOON  # the hour has just begun
    await site.count_all()
    await site.record([ago(A_SECOND, tenant)])
    site.clock.now = NOON + 20 * A_MINUTE
    await site.count_all()
    for span in TimeRange:
        await site.check(tenant, span)


async def test_interrupted_attempts_are_counted_separately_without_latency(
    site: Site, tenant: TenantId
) -> None:
    await site.record([ago(5 * A_MINUTE, tenant, "interrupted")])
    for _ in range(2):  # live, then rolled
        whole = (await site.figures.load_series(tenant, TimeRange.HOUR)).total
        assert (whole.interrupted, whole.attempts, whole.p50) == (1, 0, None)
        await site.count_all()


async def test_latencies_are_accurate_to_a_slot(site: Site, tenant: TenantId) -> None:
    slow = [AttemptSpec(NOON - A_MINUTE * 5, tenant, "refused", 3_000 * MS)]
    await site.record([AttemptSpec(NOON - A_MINUTE * 5, tenant, duration=100 * MS)] * 9 + slow)
    for _ in range(2):
        whole = (await site.figures.load_series(tenant, TimeRange.HOUR)).total
        assert whole.p50 is not None
        assert whole.p99 is not None
        assert 80 * MS < whole.p50 < 125 * MS
        assert 2_500 * MS < whole.p99 < 3_600 * MS
        await site.count_all()


async def test_tenants_without_attempts_have_no_rows(site: Site, tenant: TenantId, other: TenantId) -> None:
    await site.record([ago(20 * A_MINUTE, tenant)])
    await site.count_all()
    owner = {row.tenant_id for row in await build.fetch_rows(site.ledger, "select tenant_id from figures")}
    assert owner == {tenant, rollup.ALL_TENANTS}
    assert (await site.figures.load_series(other, TimeRange.HOUR)).total.attempts == 0


async def test_only_one_process_rolls_up_at_a_time(site: Site, tenant: TenantId) -> None:
    await site.record([ago(20 * A_MINUTE, tenant)])
    await site.rolling.step()
    async with site.ledger.transaction() as tx:
        assert await rollup.lock_progress(tx, start_at=NOON) is not None
        assert not await site.rolling.step()
        assert not await site.rolling.delete_expired()
    assert await site.rolling.step()


async def test_concurrent_rollups_count_everything_once(
    site: Site, tenant: TenantId, other: TenantId
) -> None:
    rng = Random(6)  # noqa: S311  nothing is secret here
    await site.record(scattered(rng, (tenant, other), NOON - timedelta(hours=4), NOON, 200))
    beside = StatsRollup(site.ledger, retention=KEPT, clock=site.clock)
    # No rollup has begun: both try to.
    while any(await asyncio.gather(site.rolling.step(), beside.step())):
        await site.check(None, TimeRange.HOUR)
    for span in TimeRange:
        await site.check(None, span)
        await site.check(tenant, span)


async def test_the_database_uses_the_same_latency_slots(ledger: Ledger, tenant: TenantId) -> None:
    a_microsecond = timedelta(microseconds=1)
    edges = [a_microsecond * (bound + beside) for bound in SLOT_BOUNDS_US for beside in (-1, 0, 1)]
    took = [timedelta(0), *edges, timedelta(minutes=30)]
    await write_attempts(ledger, [AttemptSpec(NOON - A_MINUTE, tenant, duration=each) for each in took])
    async with ledger.transaction() as tx:
        await rollup.roll_up(tx, NOON - A_MINUTE, NOON, width=rollup.MINUTE_SECONDS)
        (counted,) = await rollup.read(tx, tenant, NOON - A_MINUTE, NOON, width=rollup.MINUTE_SECONDS)
    assert counted.latencies == Counter(bisect_right(SLOT_BOUNDS_US, each // a_microsecond) for each in took)


async def test_a_failed_step_changes_nothing(site: Site, tenant: TenantId) -> None:
    await site.record([ago(20 * A_MINUTE, tenant)])
    await site.rolling.step()
    before, at = (
        await rolled(site.ledger),
        await build.fetch_row(site.ledger, "select * from figures_progress"),
    )
    await build.execute(
        site.ledger, "alter table figures_progress add constraint stop check (false) not valid"
    )
    try:
        with pytest.raises(Exception, match="stop"):
            await site.rolling.step()
    finally:
        await build.execute(site.ledger, "alter table figures_progress drop constraint stop")
    assert await rolled(site.ledger) == before
    assert await build.fetch_row(site.ledger, "select * from figures_progress") == at


# ---- forgetting
async def test_minutes_are_deleted_after_three_days_and_hours_with_attempts(
    site: Site, tenant: TenantId
) -> None:
    await site.record([ago(20 * A_MINUTE, tenant)])
    site.clock.now = NOON + AN_HOUR
    await site.count_all()
    assert await widths(site.ledger) == {rollup.MINUTE_SECONDS, rollup.HOUR_SECONDS}
    site.clock.now = NOON + MINUTE_RETENTION
    site.rolling = StatsRollup(site.ledger, retention=MINUTE_RETENTION + AN_HOUR, clock=site.clock)
    await site.rolling.delete_expired()
    assert await widths(site.ledger) == {rollup.HOUR_SECONDS}
    site.clock.now = NOON + MINUTE_RETENTION + 2 * AN_HOUR
    await site.rolling.delete_expired()
    assert await widths(site.ledger) == set()


async def test_minutes_not_summed_up_yet_stay(site: Site, tenant: TenantId) -> None:
    await site.record([AttemptSpec(NOON + A_MINUTE, tenant)])
    site.clock.now = NOON + 30 * A_MINUTE
    await site.count_all()
    site.clock.now = NOON + MINUTE_RETENTION + AN_HOUR
    await site.rolling.delete_expired()
    assert await widths(site.ledger) == {rollup.MINUTE_SECONDS}


async def test_old_minutes_are_counted_only_for_their_hour(site: Site, tenant: TenantId) -> None:
    await site.record([ago(timedelta(hours=20, minutes=-15), tenant)])
    site.clock.now = NOON + MINUTE_RETENTION
    site.rolling = StatsRollup(
        site.ledger, retention=MINUTE_RETENTION + timedelta(hours=22), clock=site.clock
    )
    await site.rolling.step()
    nearly = NOON - timedelta(hours=18)
    await build.execute(site.ledger, "update figures_progress set back_to = :nearly", nearly=nearly)
    while await site.rolling.step():
        await site.rolling.delete_expired()  # as another relay might, at any moment
    assert await widths(site.ledger) == {rollup.HOUR_SECONDS}
    assert (await site.figures.load_series(tenant, TimeRange.WEEK)).total.delivered == 1


async def widths(ledger: Ledger) -> set[int]:
    return {row.width for row in await build.fetch_rows(ledger, "select distinct width from figures")}


# ---- the newest minutes
async def test_too_many_live_rows_end_the_series_at_the_rollup(site: Site, tenant: TenantId) -> None:
    await site.record([ago(20 * A_MINUTE, tenant)])
    await site.count_all()
    await site.record([ago(A_SECOND, tenant)] * (MAX_SCANNED_ROWS + 1))
    result = await site.figures.load_series(tenant, TimeRange.HOUR)
    assert result.as_of == NOON - A_MINUTE
    assert result.total.delivered == 1
    site.clock.now = NOON + A_MINUTE
    await site.count_all()
    assert (await site.figures.load_series(tenant, TimeRange.HOUR)).total.delivered == MAX_SCANNED_ROWS + 2


async def test_rows_up_to_the_live_limit_are_all_counted(site: Site, tenant: TenantId) -> None:
    await site.count_all()
    await site.record([ago(A_SECOND, tenant)] * MAX_SCANNED_ROWS)
    result = await site.figures.load_series(tenant, TimeRange.HOUR)
    assert (result.as_of, result.total.delivered) == (NOON, MAX_SCANNED_ROWS)


@pytest.mark.parametrize("span", TimeRange)
async def test_without_rollup_stats_come_from_the_attempts(
    site: Site, tenant: TenantId, other: TenantId, span: TimeRange
) -> None:
    rng = Random(5)  # noqa: S311  nothing is secret here
    await site.record(scattered(rng, (tenant, other), NOON - timedelta(hours=3), NOON, 60))
    await site.check(tenant, span)
    await site.count_all()
    site.clock.now = NOON + timedelta(hours=5)
    await site.record(scattered(rng, (tenant, other), NOON, site.clock.now, 60))
    await site.check(tenant, span)
    await site.check(None, span)


# ---- of endpoints
async def test_an_endpoints_stats_count_only_its_attempts(
    site: Site, tenant: TenantId, endpoint: EndpointId
) -> None:
    mine = [
        AttemptSpec(NOON - A_MINUTE * minutes, tenant, outcome, 50 * MS, endpoint)
        for minutes, outcome in enumerate(OUTCOMES * 2)
    ]
    await site.record([*mine, *(ago(A_MINUTE * minutes, tenant) for minutes in range(30))])
    for span in TimeRange:
        result = await site.figures.load_endpoint_series(tenant, endpoint, span)
        assert tallied(result.total) == Counter(item.outcome for item in mine)
        assert not result.sampled
    result = await site.figures.load_endpoint_series(tenant, endpoint, TimeRange.HOUR)
    assert [tallied(point) for point in result.points[-12:]] == [
        Counter([item.outcome]) for item in mine[::-1]
    ]


async def test_other_tenants_endpoints_have_no_stats(
    site: Site, tenant: TenantId, other: TenantId, endpoint: EndpointId
) -> None:
    await site.record([AttemptSpec(NOON - A_MINUTE, tenant, endpoint_id=endpoint)])
    assert (await site.figures.load_endpoint_series(other, endpoint, TimeRange.HOUR)).total.attempts == 0


@pytest.mark.parametrize("older", [0, 1, 5])
async def test_a_busy_endpoints_stats_are_sampled_and_marked(
    site: Site, tenant: TenantId, endpoint: EndpointId, older: int
) -> None:
    newest = AttemptSpec(NOON - A_MINUTE, tenant, endpoint_id=endpoint)
    before = AttemptSpec(NOON - 2 * A_MINUTE, tenant, "refused", endpoint_id=endpoint)
    await site.record([newest] * MAX_ENDPOINT_ATTEMPTS + [before] * older)
    result = await site.figures.load_endpoint_series(tenant, endpoint, TimeRange.HOUR)
    assert result.total.delivered == MAX_ENDPOINT_ATTEMPTS
    assert result.total.failures <= 1  # the one that proves that there are more
    assert result.sampled == (older > 0)


async def test_recent_results_of_each_endpoint_are_oldest_first(
    site: Site, tenant: TenantId, endpoint: EndpointId
) -> None:
    second, idle = [await build.create_endpoint(site.ledger, tenant) for _ in range(2)]
    many = [
        AttemptSpec(NOON - A_SECOND * n, tenant, "delivered" if n % 3 else "refused", n * MS, endpoint)
        for n in range(60)
    ]
    broken_off = AttemptSpec(NOON - A_SECOND, tenant, "interrupted", endpoint_id=second)
    unanswered = AttemptSpec(NOON - A_MINUTE, tenant, "unreachable", None, second)
    await site.record([*many, broken_off, unanswered])
    found = await site.figures.load_recent_results(tenant, [endpoint, second, idle])
    assert [(item.succeeded, item.duration_us) for item in found[endpoint]] == [
        (n % 3 != 0, n * 1_000) for n in reversed(range(40))
    ]
    assert [(item.succeeded, item.duration_us) for item in found[second]] == [(False, None)]
    assert idle not in found
    assert await site.figures.load_recent_results(None, []) == {}


# ---- types of events
async def test_event_types_are_listed_most_frequent_first(
    ledger: Ledger, tenant: TenantId, other: TenantId
) -> None:
    for type_ in ("order.paid", "order.paid", "order.created"):
        await build.accept_event(ledger, tenant, type_)
    await build.accept_event(ledger, other, "order.created")
    uses = StatsService(ledger, clock=clock, default_max_in_flight=build.HIGH_IN_FLIGHT)
    assert [
        (frequent_type.type, frequent_type.count) for frequent_type in await uses.list_frequent_types(tenant)
    ] == [
        ("order.paid", 2),
        ("order.created", 1),
    ]
    assert {
        frequent_type.type: frequent_type.count for frequent_type in await uses.list_frequent_types(None)
    } == {
        "order.paid": 2,
        "order.created": 2,
    }
    newest = await build.fetch_row(
        ledger, "select max(created_at) from events where tenant_id = :id", id=other
    )
    assert [frequent_type.newest for frequent_type in await uses.list_frequent_types(other)] == [newest[0]]


async def test_only_the_newest_events_count_for_frequent_types(ledger: Ledger, tenant: TenantId) -> None:
    events = """
        insert into events (id, tenant_id, type, body_sha256, matched, created_at)
        select cast(lpad(to_hex(cast(:first as bigint) + n), 12, '0') || '70008000000000000000' as uuid),
               :tenant, case when n <= 5 then 'old.one' else 'new.one' end, '', 0, now()
        from generate_series(1, :count) as n
    """
    first = build_min_id(clock() - AN_HOUR).int >> 80
    await build.execute(ledger, events, tenant=tenant, first=first, count=MAX_TYPED_EVENTS + 5)
    uses = StatsService(ledger, clock=clock, default_max_in_flight=build.HIGH_IN_FLIGHT)
    assert [
        (frequent_type.type, frequent_type.count) for frequent_type in await uses.list_frequent_types(None)
    ] == [("new.one", MAX_TYPED_EVENTS)]


# ---- what is so now
@pytest.mark.parametrize("rate", [None, RateLimit(1_000, A_SECOND)])
async def test_an_endpoint_that_is_busy_holds_nothing(
    ledger: Ledger, tenant: TenantId, rate: RateLimit | None
) -> None:
    busy = await build.create_endpoint(
        ledger, tenant, EndpointSpec(limits=EndpointLimits(in_flight=5, rate=rate))
    )
    await build.execute(ledger, OWED, tenant=tenant, endpoint=busy)
    await build.execute(ledger, FULL, endpoint=busy)
    uses = StatsService(ledger, clock=clock, default_max_in_flight=build.HIGH_IN_FLIGHT)
    assert (await uses.load_live_stats(tenant)).held == {}
    await build.execute(ledger, PAUSED, endpoint=busy)
    assert (await uses.load_live_stats(tenant)).held == {Hold.PAUSED: 1}


# ---- beside the relay
async def test_the_relay_rolls_up_attempts(site: Site, tenant: TenantId) -> None:
    await site.record([ago(20 * A_MINUTE, tenant)])
    rolling = StatsRollup(site.ledger, retention=AN_HOUR, clock=site.clock)
    side = asyncio.create_task(create_rollup_task(rolling).run())

    async def counted() -> bool:
        found = await build.fetch_rows(site.ledger, "select back_to from figures_progress")
        return bool(found) and found[0].back_to <= NOON - AN_HOUR

    await build.wait_until(counted)
    side.cancel()
    await asyncio.gather(side, return_exceptions=True)
    assert (await site.figures.load_series(None, TimeRange.DAY)).total.delivered == 1


async def test_outage_postpones_the_rollup_without_stopping_it() -> None:
    away = Ledger("postgresql://nobody@127.0.0.1:9/nowhere")
    side = asyncio.create_task(create_rollup_task(StatsRollup(away, retention=KEPT, clock=clock)).run())
    with structlog.testing.capture_logs() as lines:
        await build.wait_until(lambda: bool(lines))
    assert lines[0]["event"] == "stats.postponed"
    assert not side.done()
    side.cancel()
    await asyncio.gather(side, return_exceptions=True)
    await away.close()


def test_a_time_range_starts_within_the_minute_rollup() -> None:
    assert NOON - compute_first_point(TimeRange.DAY, now=NOON) < MINUTE_RETENTION
