"""The use cases of figures: over time, of one endpoint, and what is so now."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from delivery.figures.spans import Counted, Series, Span, first_of, series
from delivery.holding import hold_of
from delivery.ledger import figures, present, replays, situations
from delivery.ledger.figures import HOUR, MINUTE, Range
from delivery.ledger.present import MOST_COUNTED, MOST_ENDPOINTS
from delivery.ledger.scan import MOST_SCANNED, plan_for_this_tenant
from delivery.model import id_floor
from delivery.paging import NEWEST
from retries.health import Hold

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from delivery.jobs import Replay
    from delivery.ledger import Ledger, Transaction
    from delivery.ledger.figures import Rolled
    from delivery.ledger.present import Oldest, Spark, Troubled, TypeSeen
    from delivery.model import EndpointId, TenantId

SPARKS: Final = 40
MOST_OF_ENDPOINT: Final = 5_000
MOST_TROUBLED: Final = 12
MOST_REPLAYS: Final = 10
MOST_TYPED: Final = 5_000
MOST_TYPES: Final = 200
_SPARKS_BACK: Final = timedelta(days=7)
DUE_EACH: Final = 1_000
# A full in-flight limit is how a busy endpoint looks at any moment, and no reason to look at it.
_HOLDS: Final = tuple(hold for hold in Hold if hold is not Hold.IN_FLIGHT_LIMIT)


@dataclass(frozen=True, slots=True)
class Present:
    """What is so now.

    `queued` is in the queue, `started` at a worker, `waiting` at neither. `held` counts what is due and held,
    by what holds it. `bounded`: there is more than `waiting` says; `held_bounded` the same of `held`.
    `held_each` counts up to DUE_EACH of each endpoint that is shown.
    """

    at: datetime
    queued: int
    started: int
    waiting: int
    bounded: bool
    oldest: Oldest | None
    held: Mapping[Hold, int]
    held_bounded: bool
    troubled: Sequence[Troubled]
    held_each: Mapping[EndpointId, int]
    more_troubled: bool
    replays: Sequence[Replay]


@dataclass(frozen=True, slots=True)
class _Held:
    """What is due and held: by what holds it, and by endpoint. `bounded`: there may be more."""

    by: Mapping[Hold, int]
    due: Mapping[EndpointId, int]
    bounded: bool


class Figures:
    """What is counted of deliveries, for pages that people look at. Every answer is bounded in its cost."""

    def __init__(self, ledger: Ledger, *, clock: Callable[[], datetime], in_flight: int) -> None:
        """`in_flight` is how many an endpoint may have on their way that has no limit of its own."""
        self._ledger = ledger
        self._clock = clock
        self._in_flight = in_flight

    async def series(self, tenant_id: TenantId | None, span: Span) -> Series:
        """How a tenant's attempts went over a span of time; of all tenants where none is named."""
        now = self._clock()
        async with self._ledger.transaction(of=tenant_id) as tx:
            counted, as_of = await _counted(tx, tenant_id, first_of(span, now=now), span=span, now=now)
        return series(span, map(_as_counted, counted), now=now, as_of=as_of)

    async def of_endpoint(self, tenant_id: TenantId, endpoint_id: EndpointId, span: Span) -> Series:
        """How an endpoint's newest attempts went over a span of time."""
        now = self._clock()
        async with self._ledger.transaction(of=tenant_id) as tx:
            await plan_for_this_tenant(tx)
            when = Range(first_of(span, now=now), now + span.step, span.step)
            # One more proves that there are more.
            counted = await figures.of_endpoint(tx, tenant_id, endpoint_id, when, most=MOST_OF_ENDPOINT + 1)
        whole = sum(sum(one.outcomes.values()) for one in counted)
        told = series(span, map(_as_counted, counted), now=now, as_of=now)
        return replace(told, sampled=whole > MOST_OF_ENDPOINT)

    async def sparks(
        self, tenant_id: TenantId | None, ids: Sequence[EndpointId]
    ) -> Mapping[EndpointId, tuple[Spark, ...]]:
        """The last results of each of these endpoints, oldest first; who asks has seen the ids already."""
        since = id_floor(self._clock() - _SPARKS_BACK)
        async with self._ledger.transaction(of=tenant_id) as tx:
            await plan_for_this_tenant(tx)
            return await present.sparks(tx, ids, since=since, most=SPARKS)

    async def types(self, tenant_id: TenantId | None) -> Sequence[TypeSeen]:
        """The types of the newest 5,000 events, the most frequent first."""
        async with self._ledger.transaction(of=tenant_id) as tx:
            await plan_for_this_tenant(tx)
            return await present.types(tx, tenant_id, before=NEWEST, most=MOST_TYPED, most_types=MOST_TYPES)

    async def now(self, tenant_id: TenantId | None) -> Present:
        """What is so now, of a tenant or of all."""
        async with self._ledger.transaction(of=tenant_id) as tx:
            await plan_for_this_tenant(tx)
            queued, started = await present.on_the_way(tx, tenant_id)
            waiting = await present.waiting(tx, tenant_id)
            troubled = await present.troubled(tx, tenant_id, most=MOST_TROUBLED + 1)
            shown = troubled[:MOST_TROUBLED]
            held = await self._held(tx, tenant_id, first=[one.id for one in shown])
            open_ = await present.open_replays(tx, tenant_id, most=MOST_REPLAYS)
            read = [await replays.read(tx, whose, id_) for whose, id_ in open_]
            return Present(
                at=self._clock(),
                queued=queued,
                started=started,
                waiting=min(waiting, MOST_COUNTED),
                bounded=waiting > MOST_COUNTED,
                oldest=await present.oldest(tx, tenant_id),
                held=held.by,
                held_bounded=held.bounded,
                troubled=shown,
                held_each={one.id: held.due.get(one.id, 0) for one in shown},
                more_troubled=len(troubled) > MOST_TROUBLED,
                replays=[one for one in read if one is not None],
            )

    async def _held(self, tx: Transaction, tenant_id: TenantId | None, *, first: list[EndpointId]) -> _Held:
        """What holds deliveries, at these endpoints first, and how many are due there."""
        some = await situations.some_perhaps_held(tx, tenant_id, _HOLDS, most=MOST_ENDPOINTS)
        ids = list(dict.fromkeys([*first, *some]))
        known = await situations.of(tx, ids)
        holds = {id_: hold_of(known[id_], in_flight=self._in_flight) for id_ in ids if id_ in known}
        held_by = {id_: hold.by for id_, hold in holds.items() if hold is not None and hold.by in _HOLDS}
        due = await present.due(tx, held_by, most_each=DUE_EACH, most=MOST_COUNTED)
        by: dict[Hold, int] = {}
        for id_, count in due.items():
            by[held_by[id_]] = by.get(held_by[id_], 0) + count
        cut = len(some) == MOST_ENDPOINTS or sum(due.values()) == MOST_COUNTED
        return _Held(by, due, cut or any(count == DUE_EACH for count in due.values()))


async def _counted(
    tx: Transaction, tenant_id: TenantId | None, first: datetime, *, span: Span, now: datetime
) -> tuple[list[Rolled], datetime]:
    """What is counted from then on, and until when that is everything."""
    at = await figures.progress(tx)
    if at is None:
        rolled, seen = [], first
    elif span is Span.WEEK:
        rolled = await figures.read(tx, tenant_id, first, at.summed_until, width=HOUR)
        since = max(first, at.summed_until)
        rolled += await figures.read(tx, tenant_id, since, at.seen_until, width=MINUTE)
        seen = at.seen_until
    else:
        rolled = await figures.read(tx, tenant_id, first, at.seen_until, width=MINUTE)
        seen = at.seen_until
    seen = max(seen, first)
    tail = await figures.tail(tx, tenant_id, seen, now + timedelta(minutes=1), most=MOST_SCANNED)
    return (rolled, seen) if tail is None else (rolled + tail, now)


def _as_counted(one: Rolled) -> Counted:
    return Counted(one.at, one.outcomes, one.latencies)
