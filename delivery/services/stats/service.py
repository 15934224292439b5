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
            when = StatsRange(
                compute_first_point(time_range, now=now), now + time_range.interval, time_range.interval
            )
            # One more proves that there are more.
            counted = await rollup.read_by_endpoint(
                tx, tenant_id, endpoint_id, when, limit=MAX_ENDPOINT_ATTEMPTS + 1
            )
        whole = sum(sum(one.outcomes.values()) for one in counted)
        told = build_series(time_range, map(_to_interval_counts, counted), now=now, as_of=now)
        return replace(told, sampled=whole > MAX_ENDPOINT_ATTEMPTS)

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
            troubled = await live.find_unhealthy_endpoints(tx, tenant_id, limit=MAX_UNHEALTHY + 1)
            shown = troubled[:MAX_UNHEALTHY]
            held = await self._load_held(tx, tenant_id, first_ids=[one.id for one in shown])
            open_ = await live.find_open_replays(tx, tenant_id, limit=MAX_REPLAYS)
            read = [await jobs.read(tx, whose, id_) for whose, id_ in open_]
            return LiveStats(
                at=self._clock(),
                queued=queued,
                started=started,
                waiting=min(waiting, MAX_COUNTED),
                bounded=waiting > MAX_COUNTED,
                oldest=await live.find_oldest_due(tx, tenant_id),
                held=held.by_hold,
                held_bounded=held.bounded,
                unhealthy=shown,
                held_by_endpoint={one.id: held.by_endpoint.get(one.id, 0) for one in shown},
                has_more_unhealthy=len(troubled) > MAX_UNHEALTHY,
                replays=[one for one in read if one is not None],
            )

    async def _load_held(
        self, tx: Transaction, tenant_id: TenantId | None, *, first_ids: list[EndpointId]
    ) -> _HeldCounts:
        """Count held deliveries by hold and endpoint, these endpoints first."""
        some = await eligibility.find_maybe_held(tx, tenant_id, _REPORTED_HOLDS, limit=MAX_ENDPOINTS)
        ids = list(dict.fromkeys([*first_ids, *some]))
        known = await eligibility.load_statuses(tx, ids)
        holds = {
            id_: find_hold(known[id_], default_in_flight=self._default_max_in_flight)
            for id_ in ids
            if id_ in known
        }
        held_by = {
            id_: hold.by for id_, hold in holds.items() if hold is not None and hold.by in _REPORTED_HOLDS
        }
        due = await live.count_due(tx, held_by, limit_per_endpoint=MAX_DUE_PER_ENDPOINT, limit=MAX_COUNTED)
        by: dict[Hold, int] = {}
        for id_, count in due.items():
            by[held_by[id_]] = by.get(held_by[id_], 0) + count
        cut = len(some) == MAX_ENDPOINTS or sum(due.values()) == MAX_COUNTED
        return _HeldCounts(by, due, cut or any(count == MAX_DUE_PER_ENDPOINT for count in due.values()))


async def _load_counts(
    tx: Transaction, tenant_id: TenantId | None, first: datetime, *, time_range: TimeRange, now: datetime
) -> tuple[list[StatsRow], datetime]:
    """The counts since a moment, and until when they are complete."""
    at = await rollup.read_progress(tx)
    if at is None:
        rolled, seen = [], first
    elif time_range is TimeRange.WEEK:
        rolled = await rollup.read(tx, tenant_id, first, at.summed_until, width=HOUR_SECONDS)
        since = max(first, at.summed_until)
        rolled += await rollup.read(tx, tenant_id, since, at.seen_until, width=MINUTE_SECONDS)
        seen = at.seen_until
    else:
        rolled = await rollup.read(tx, tenant_id, first, at.seen_until, width=MINUTE_SECONDS)
        seen = at.seen_until
    seen = max(seen, first)
    tail = await rollup.read_unrolled(tx, tenant_id, seen, now + timedelta(minutes=1), limit=MAX_SCANNED_ROWS)
    return (rolled, seen) if tail is None else (rolled + tail, now)


def _to_interval_counts(one: StatsRow) -> IntervalCounts:
    return IntervalCounts(one.at, one.outcomes, one.latencies)
