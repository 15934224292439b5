"""Live counts: waiting deliveries, their age, and failing endpoints. All within bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from delivery.domain.delivery import Priority
from delivery.domain.ids import DeliveryId, EndpointId, ReplayId, TenantId
from delivery.ledger.db.bounded_scan import disable_sort
from delivery.ledger.queue.eligibility import IS_UNHEALTHY, NOT_HELD
from retries.outcome import INTERNAL_OUTCOMES, Delivered, label_outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from delivery.ledger.db.session import Transaction

# Counting goes no further than this.
MAX_COUNTED: Final = 50_000
MAX_ENDPOINTS: Final = 500
MAX_ENDPOINTS_SCANNED: Final = 3_000

_COUNT_CLAIMED = text("""
    select count(*) filter (where c.started_at is null) as queued,
           count(*) filter (where c.started_at is not null) as started
    from schedule s join claims c on c.id = s.claim_id
    where s.claim_id is not null and (cast(:tenant as uuid) is null or s.tenant_id = :tenant)
""")
_COUNT_WAITING = text(
    "select count(*) from (select from schedule where claim_id is null limit :most) as counted"
)
_COUNT_WAITING_OF_TENANT = text("""
    select count(*) from (
        select from endpoints e
        cross join unnest(cast(:lanes as smallint[])) as lanes (lane)
        cross join lateral (
            select from schedule
            where lane = lanes.lane and endpoint_id = e.id and claim_id is null limit :most
        ) as each
        where e.tenant_id = :tenant limit :most
    ) as counted
""")
# From one endpoint's first row to the next one's: the cost follows endpoints, not their backlogs.
_OLDEST_DUE = text(f"""
    with recursive head as (
        (select endpoint_id, due_at, delivery_id from schedule
         where lane = :lane and claim_id is null order by endpoint_id, due_at limit 1)
        union all
        select following.endpoint_id, following.due_at, following.delivery_id
        from head cross join lateral (
            select endpoint_id, due_at, delivery_id from schedule
            where lane = :lane and claim_id is null and endpoint_id > head.endpoint_id
            order by endpoint_id, due_at limit 1
        ) as following
    )
    select head.due_at, head.delivery_id
    from (select * from head limit :most) as head
    join endpoints e on e.id = head.endpoint_id
    left join endpoint_health h on h.endpoint_id = e.id
    where head.due_at <= clock_timestamp() and {NOT_HELD}
    order by head.due_at limit 1
""")  # noqa: S608  our own words
_OLDEST_DUE_OF_TENANT = text(f"""
    select head.due_at, head.delivery_id
    from endpoints e left join endpoint_health h on h.endpoint_id = e.id
    cross join lateral (
        select due_at, delivery_id from schedule
        where lane = :lane and claim_id is null and endpoint_id = e.id order by due_at limit 1
    ) as head
    where e.tenant_id = :tenant and head.due_at <= clock_timestamp() and {NOT_HELD}
    order by head.due_at limit 1
""")  # noqa: S608  our own words
_COUNT_DUE = text("""
    select counted.id as endpoint_id, count(*) as n
    from (
        select each.id from unnest(cast(:ids as uuid[])) with ordinality as each (id, place)
        cross join lateral (
            select from unnest(cast(:lanes as smallint[])) as lanes (lane)
            cross join lateral (
                select from schedule
                where lane = lanes.lane and endpoint_id = each.id and claim_id is null
                  and due_at <= statement_timestamp()
                limit :most_each
            ) as of_lane
            limit :most_each
        ) as due
        limit :most
    ) as counted group by counted.id
""")
_UNHEALTHY = text(f"""
    select e.id, e.tenant_id, e.url, e.state, e.state_reason, h.breaker,
           case when e.state <> 'active' then e.state_changed_at else h.breaker_since end as since
    from endpoints e left join endpoint_health h on h.endpoint_id = e.id
    where e.deleted_at is null and {IS_UNHEALTHY}
      and (cast(:tenant as uuid) is null or e.tenant_id = :tenant)
    order by since desc nulls last limit :most
""")  # noqa: S608  a constant
_OPEN_REPLAYS = text("""
    select id, tenant_id from replays
    where state in ('running', 'paused', 'cancelling')
      and (cast(:tenant as uuid) is null or tenant_id = :tenant)
    order by id desc limit :most
""")
_RECENT_RESULTS = text("""
    select wanted.id as endpoint_id, found.outcome, found.total_us
    from unnest(cast(:ids as uuid[])) as wanted (id)
    cross join lateral (
        select id, outcome, total_us from attempts
        where endpoint_id = wanted.id and outcome <> all (cast(:ours as text[])) and id >= :since
        order by id desc limit :most
    ) as found
    order by wanted.id, found.id
""")
_RECENT_TYPES = text("""
    select type, count(*) as n, max(created_at) as newest from (
        select type, created_at from events
        where id < :before and (cast(:tenant as uuid) is null or tenant_id = :tenant)
        order by id desc limit :most
    ) as newest group by type order by n desc, type limit :most_types
""")


@dataclass(frozen=True, slots=True)
class OldestDue:
    """The delivery that has been due longest and is not held."""

    delivery_id: DeliveryId
    due_at: datetime


@dataclass(frozen=True, slots=True)
class UnhealthyEndpoint:
    """An endpoint that is paused or disabled, or whose breaker is not closed."""

    id: EndpointId
    tenant_id: TenantId
    url: str
    state: str
    reason: str | None
    breaker: str
    since: datetime | None


@dataclass(frozen=True, slots=True)
class RecentResult:
    """One result of an endpoint: success, and duration."""

    succeeded: bool
    duration_us: int | None


@dataclass(frozen=True, slots=True)
class EventTypeCount:
    """An event type among the newest events."""

    type: str
    count: int
    newest: datetime


async def count_claimed(tx: Transaction, tenant_id: TenantId | None) -> tuple[int, int]:
    """Count the deliveries in the queue, and those that workers have started."""
    row = (await tx.execute(_COUNT_CLAIMED, {"tenant": tenant_id})).one()
    return row.queued, row.started


async def count_waiting(tx: Transaction, tenant_id: TenantId | None) -> int:
    """Count the unclaimed deliveries, up to one more than MAX_COUNTED."""
    values = {"most": MAX_COUNTED + 1}
    if tenant_id is None:
        return int((await tx.execute(_COUNT_WAITING, values)).scalar_one())
    of = {**values, "tenant": tenant_id, "lanes": list(map(int, Priority))}
    return int((await tx.execute(_COUNT_WAITING_OF_TENANT, of)).scalar_one())


async def find_oldest_due(
    tx: Transaction, tenant_id: TenantId | None, *, priority: Priority = Priority.LIVE
) -> OldestDue | None:
    """The delivery of this priority that has been due longest and is not held.

    With very many endpoints, only the first of them are read; of one tenant, all.
    """
    if tenant_id is None:
        found = await tx.execute(_OLDEST_DUE, {"lane": int(priority), "most": MAX_ENDPOINTS_SCANNED})
    else:
        found = await tx.execute(_OLDEST_DUE_OF_TENANT, {"lane": int(priority), "tenant": tenant_id})
    row = found.one_or_none()
    return None if row is None else OldestDue(DeliveryId(row.delivery_id), row.due_at)


async def count_due(
    tx: Transaction, endpoint_ids: Iterable[EndpointId], *, limit_per_endpoint: int, limit: int | None = None
) -> dict[EndpointId, int]:
    """Count the due, unclaimed deliveries of each of these; those without any are missing.

    Counts at most `most_each` of each, and `most` in all, in order.
    """
    wanted = list(endpoint_ids)
    if not wanted:
        return {}
    bound = limit_per_endpoint * len(wanted) if limit is None else limit
    values = {
        "ids": wanted,
        "lanes": list(map(int, Priority)),
        "most_each": limit_per_endpoint,
        "most": bound,
    }
    return {EndpointId(row.endpoint_id): row.n for row in await tx.execute(_COUNT_DUE, values)}


async def find_unhealthy_endpoints(
    tx: Transaction, tenant_id: TenantId | None, *, limit: int
) -> list[UnhealthyEndpoint]:
    """Endpoints that are paused or disabled, or whose breaker is not closed; latest change first."""
    rows = await tx.execute(_UNHEALTHY, {"tenant": tenant_id, "most": limit})
    return [
        UnhealthyEndpoint(
            EndpointId(row.id),
            TenantId(row.tenant_id),
            row.url,
            row.state,
            row.state_reason,
            row.breaker or "closed",
            row.since,
        )
        for row in rows
    ]


async def find_open_replays(
    tx: Transaction, tenant_id: TenantId | None, *, limit: int
) -> list[tuple[TenantId, ReplayId]]:
    """The unfinished replays, newest first, with their tenants."""
    rows = await tx.execute(_OPEN_REPLAYS, {"tenant": tenant_id, "most": limit})
    return [(TenantId(row.tenant_id), ReplayId(row.id)) for row in rows]


async def read_recent_results(
    tx: Transaction, endpoint_ids: Sequence[EndpointId], *, since: UUID, limit: int
) -> dict[EndpointId, tuple[RecentResult, ...]]:
    """The last results of each of these endpoints, oldest first."""
    if not endpoint_ids:
        return {}
    await disable_sort(tx)
    well = label_outcome(Delivered(200))
    values = {"ids": list(endpoint_ids), "ours": list(INTERNAL_OUTCOMES), "since": since, "most": limit}
    found: dict[EndpointId, list[RecentResult]] = {}
    for row in await tx.execute(_RECENT_RESULTS, values):
        found.setdefault(EndpointId(row.endpoint_id), []).append(
            RecentResult(row.outcome == well, row.total_us)
        )
    return {id_: tuple(some) for id_, some in found.items()}


async def count_recent_types(
    tx: Transaction, tenant_id: TenantId | None, *, before: UUID, limit: int, max_types: int
) -> list[EventTypeCount]:
    """The types of the newest `most` events, the most frequent first."""
    values = {"tenant": tenant_id, "before": before, "most": limit, "most_types": max_types}
    return [EventTypeCount(row.type, row.n, row.newest) for row in await tx.execute(_RECENT_TYPES, values)]
