"""The use cases of statistics: over time, of one endpoint, and the present state."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from delivery.domain.holds import find_hold
from delivery.domain.ids import build_min_id
from delivery.domain.pagination import MAX_ID
from delivery.ledger.db.bounded_scan import MAX_SCANNED_ROWS, force_custom_plan
from delivery.ledger.queue import eligibility
from delivery.ledger.replays import jobs
from delivery.ledger.stats import live, rollup
from delivery.ledger.stats.live import MAX_COUNTED, MAX_ENDPOINTS
from delivery.ledger.stats.rollup import HOUR_SECONDS, MINUTE_SECONDS, StatsRange
from delivery.services.stats.series import (
    IntervalCounts,
    Series,
    TimeRange,
    build_series,
    compute_first_point,
)
from retries.health import Hold

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from delivery.domain.ids import EndpointId, TenantId
    from delivery.domain.replay import Replay
    from delivery.ledger.db.session import Ledger, Transaction
    from delivery.ledger.stats.live import EventTypeCount, OldestDue, RecentResult, UnhealthyEndpoint
    from delivery.ledger.stats.rollup import StatsRow

MAX_RECENT_RESULTS: Final = 40
MAX_ENDPOINT_ATTEMPTS: Final = 5_000
MAX_UNHEALTHY: Final = 12
MAX_REPLAYS: Final = 10
MAX_TYPED_EVENTS: Final = 5_000
MAX_TYPES: Final = 200
_RECENT_RESULTS_WINDOW: Final = timedelta(days=7)
MAX_DUE_PER_ENDPOINT: Final = 1_000
# A full in-flight limit is normal for a busy endpoint.
_REPORTED_HOLDS: Final = tuple(hold for hold in Hold if hold is not Hold.IN_FLIGHT_LIMIT)


@dataclass(frozen=True, slots=True)
class LiveStats:
    """The present state.

    `queued` deliveries are in the queue, `started` at a worker, `waiting` at neither. `held` counts due
    deliveries by hold. `bounded` and `held_bounded`: there are more than `waiting` and `held` say.
    `held_by_endpoint` counts up to MAX_DUE_PER_ENDPOINT of each endpoint in `unhealthy`.
    """

    at: datetime
    queued: int
    started: int
    waiting: int
    bounded: bool
    oldest: OldestDue | None
    held: Mapping[Hold, int]
    held_bounded: bool
    unhealthy: Sequence[UnhealthyEndpoint]
    held_by_endpoint: Mapping[EndpointId, int]
    has_more_unhealthy: bool
    replays: Sequence[Replay]


@dataclass(frozen=True, slots=True)
class _HeldCounts:
    """Due and held deliveries by hold and by endpoint. `bounded`: there may be more."""

    by_hold: Mapping[Hold, int]
    by_endpoint: Mapping[EndpointId, int]
    bounded: bool


class StatsService:
    """Statistics for pages of the console. The cost of every answer is bounded."""

    def __init__(self, ledger: Ledger, *, clock: Callable[[], datetime], default_max_in_flight: int) -> None:
        """`default_max_in_flight` applies to endpoints without a limit of their own."""
        self._ledger = ledger
        self._clock = clock
        self._default_max_in_flight = default_max_in_flight

    async def load_series(self, tenant_id: TenantId | None, time_range: TimeRange) -> Series:
        """Load the attempts over a time range; `tenant_id` None: of all tenants."""
        now = self._clock()
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            counted, as_of = await _load_counts(
                tx, tenant_id, compute_first_point(time_range, now=now), time_range=time_range, now=now
            )
        return build_series(time_range, map(_to_interval_counts, counted), now=now, as_of=as_of)

    async def load_endpoint_series(
        self, tenant_id: TenantId, endpoint_id: EndpointId, time_range: TimeRange
    ) -> Series:
        """Load an endpoint's newest attempts over a time range."""
        now = self._clock()
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            await force_custom_plan(tx)
            stats_range = StatsRange(
                compute_first_point(time_range, now=now), now + time_range.interval, time_range.interval
            )
            # One more proves that there are more.
            rows = await rollup.read_by_endpoint(
                tx, tenant_id, endpoint_id, stats_range, limit=MAX_ENDPOINT_ATTEMPTS + 1
            )
        total = sum(sum(row.outcomes.values()) for row in rows)
        series = build_series(time_range, map(_to_interval_counts, rows), now=now, as_of=now)
        return replace(series, sampled=total > MAX_ENDPOINT_ATTEMPTS)

    async def load_recent_results(
        self, tenant_id: TenantId | None, endpoint_ids: Sequence[EndpointId]
    ) -> Mapping[EndpointId, tuple[RecentResult, ...]]:
        """Load the last results of each endpoint, oldest first; the caller must have been shown the ids."""
        since = build_min_id(self._clock() - _RECENT_RESULTS_WINDOW)
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            await force_custom_plan(tx)
            return await live.read_recent_results(tx, endpoint_ids, since=since, limit=MAX_RECENT_RESULTS)

    async def list_frequent_types(self, tenant_id: TenantId | None) -> Sequence[EventTypeCount]:
        """List the types of the newest 5,000 events, the most frequent first."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            await force_custom_plan(tx)
            return await live.count_recent_types(
                tx, tenant_id, before=MAX_ID, limit=MAX_TYPED_EVENTS, max_types=MAX_TYPES
            )

    async def load_live_stats(self, tenant_id: TenantId | None) -> LiveStats:
        """Load the present state; `tenant_id` None: of all tenants."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            await force_custom_plan(tx)
            queued, started = await live.count_claimed(tx, tenant_id)
            waiting = await live.count_waiting(tx, tenant_id)
            found = await live.find_unhealthy_endpoints(tx, tenant_id, limit=MAX_UNHEALTHY + 1)
            unhealthy_endpoints = found[:MAX_UNHEALTHY]
            held = await self._load_held(tx, tenant_id, first_ids=[each.id for each in unhealthy_endpoints])
            open_ = await live.find_open_replays(tx, tenant_id, limit=MAX_REPLAYS)
            replays = [await jobs.read(tx, owner_id, id_) for owner_id, id_ in open_]
            return LiveStats(
                at=self._clock(),
                queued=queued,
                started=started,
                waiting=min(waiting, MAX_COUNTED),
                bounded=waiting > MAX_COUNTED,
                oldest=await live.find_oldest_due(tx, tenant_id),
                held=held.by_hold,
                held_bounded=held.bounded,
                unhealthy=unhealthy_endpoints,
                held_by_endpoint={each.id: held.by_endpoint.get(each.id, 0) for each in unhealthy_endpoints},
                has_more_unhealthy=len(found) > MAX_UNHEALTHY,
                replays=[each for each in replays if each is not None],
            )

    async def _load_held(
        self, tx: Transaction, tenant_id: TenantId | None, *, first_ids: list[EndpointId]
    ) -> _HeldCounts:
        """Count held deliveries by hold and endpoint, these endpoints first."""
        maybe_held = await eligibility.find_maybe_held(tx, tenant_id, _REPORTED_HOLDS, limit=MAX_ENDPOINTS)
        ids = list(dict.fromkeys([*first_ids, *maybe_held]))
        statuses = await eligibility.load_statuses(tx, ids)
        holds = {
            id_: find_hold(statuses[id_], default_in_flight=self._default_max_in_flight)
            for id_ in ids
            if id_ in statuses
        }
        held_by = {
            id_: hold.by for id_, hold in holds.items() if hold is not None and hold.by in _REPORTED_HOLDS
        }
        due = await live.count_due(tx, held_by, limit_per_endpoint=MAX_DUE_PER_ENDPOINT, limit=MAX_COUNTED)
        by_hold: dict[Hold, int] = {}
        for id_, count in due.items():
            by_hold[held_by[id_]] = by_hold.get(held_by[id_], 0) + count
        is_truncated = len(maybe_held) == MAX_ENDPOINTS or sum(due.values()) == MAX_COUNTED
        return _HeldCounts(
            by_hold, due, is_truncated or any(count == MAX_DUE_PER_ENDPOINT for count in due.values())
        )


async def _load_counts(
    tx: Transaction, tenant_id: TenantId | None, first: datetime, *, time_range: TimeRange, now: datetime
) -> tuple[list[StatsRow], datetime]:
    """The counts since a moment, and until when they are complete."""
    progress = await rollup.read_progress(tx)
    if progress is None:
        rolled, complete_until = [], first
    elif time_range is TimeRange.WEEK:
        rolled = await rollup.read(tx, tenant_id, first, progress.summed_until, width=HOUR_SECONDS)
        since = max(first, progress.summed_until)
        rolled += await rollup.read(tx, tenant_id, since, progress.seen_until, width=MINUTE_SECONDS)
        complete_until = progress.seen_until
    else:
        rolled = await rollup.read(tx, tenant_id, first, progress.seen_until, width=MINUTE_SECONDS)
        complete_until = progress.seen_until
    complete_until = max(complete_until, first)
    tail = await rollup.read_unrolled(
        tx, tenant_id, complete_until, now + timedelta(minutes=1), limit=MAX_SCANNED_ROWS
    )
    return (rolled, complete_until) if tail is None else (rolled + tail, now)


def _to_interval_counts(row: StatsRow) -> IntervalCounts:
    return IntervalCounts(row.at, row.outcomes, row.latencies)
