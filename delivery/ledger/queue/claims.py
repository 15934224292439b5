"""Claims: find endpoints with due deliveries, claim, start, hand back and rescue.

Nothing here reads history. `schedule` has a row per unfinished delivery; its index `schedule_due_idx` has the
unclaimed ones, ordered by endpoint and time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from delivery.domain.delivery import Priority
from delivery.ledger.db.fast_path import execute
from delivery.ledger.queue import endpoint_health
from delivery.ledger.queue.eligibility import MAY_CLAIM

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from delivery.domain.ids import ClaimId, DeliveryId, EndpointId, EventId, TenantId
    from delivery.ledger.db.fast_path import Executor
    from delivery.ledger.db.session import Transaction

# A loose index scan: from endpoint to endpoint, reading only the first row of each.
_READY = text(f"""
    with recursive head as (
        (select endpoint_id, due_at from schedule
         where lane = :lane and claim_id is null order by endpoint_id, due_at limit 1)
        union all
        select following.endpoint_id, following.due_at
        from head cross join lateral (
            select endpoint_id, due_at from schedule
            where lane = :lane and claim_id is null and endpoint_id > head.endpoint_id
            order by endpoint_id, due_at limit 1
        ) as following
    )
    select e.tenant_id, e.id as endpoint_id, head.due_at, head.due_at <= clock_timestamp() as due,
           e.deleted_at is not null as deleted
    from head
    join endpoints e on e.id = head.endpoint_id
    left join endpoint_health h on h.endpoint_id = e.id
    where e.deleted_at is not null or {MAY_CLAIM}
""")  # noqa: S608  a constant
# Rows locked by other transactions are skipped. The health rows of these endpoints are locked by this
# transaction already, so no other relay claims from them. The statement's own time is a bound that the index
# can use; `clock_timestamp()` would read everything that is not due.
# The commit need not wait for the disk: a worker's start waits before anything is sent, and flushes the claim
# with it. If a crash undoes a claim, its message finds nothing, and its deliveries are claimed again.
_CLAIM = text("""
    with quota as (
        select * from unnest(cast(:endpoints as uuid[]), cast(:takes as int[]), cast(:probes as bool[]),
                             cast(:counts_from as timestamptz[]), cast(:intervals as interval[]))
            with ordinality as q (endpoint_id, take, probe, counts_from, pause, place)
    ), picked as materialized (
        select s.delivery_id, s.sequence, quota.endpoint_id, quota.place
        from quota
        cross join lateral (
            select delivery_id, sequence from schedule
            where lane = :lane and claim_id is null and endpoint_id = quota.endpoint_id
              and due_at <= statement_timestamp()
            order by due_at limit quota.take
            for update skip locked
        ) as s
    ), numbered as materialized (
        select picked.delivery_id, picked.endpoint_id, picked.sequence is null as is_new,
               (cast(:claims as uuid[]))[1 + (:begun + row_number() over (order by place) - 1) / :batch]
                   as claim_id,
               coalesce(picked.sequence, h.sequence + count(*) filter (where picked.sequence is null) over (
                   partition by picked.endpoint_id order by picked.delivery_id)) as sequence
        from picked join endpoint_health h on h.endpoint_id = picked.endpoint_id
    ), entered as (
        insert into endpoint_sequence (endpoint_id, sequence, delivery_id)
        select endpoint_id, sequence, delivery_id from numbered where is_new
    ), opened as (
        insert into claims (id, lane, size, remaining, created_at, lease_until)
        select claim_id, :lane, count(*), count(*), clock_timestamp(), clock_timestamp() + :lease
        from numbered group by claim_id
        on conflict (id) do update
        set size = claims.size + excluded.size, remaining = claims.remaining + excluded.remaining
    ), taken as (
        update schedule set claim_id = numbered.claim_id, sequence = numbered.sequence
        from numbered where schedule.delivery_id = numbered.delivery_id
    ), counted as (
        select endpoint_id, count(*) as count, (array_agg(delivery_id))[1] as first,
               count(*) filter (where is_new) as new
        from numbered group by endpoint_id
    ), gated as (
        update endpoint_health h
        set in_flight = h.in_flight + counted.count, sequence = h.sequence + counted.new,
            breaker = case when quota.probe then 'half_open' else h.breaker end,
            probe_id = case when quota.probe then counted.first else h.probe_id end,
            rate_next_at = coalesce(quota.counts_from + counted.count * quota.pause, h.rate_next_at)
        from counted join quota on quota.endpoint_id = counted.endpoint_id
        where h.endpoint_id = counted.endpoint_id
    )
    select claim_id, endpoint_id, count(*) as size
    from numbered cross join (select set_config('synchronous_commit', 'off', true)) as lazy
    group by claim_id, endpoint_id
""")
_COUNT_QUEUED = text(
    "select coalesce(sum(size), 0) as waiting from claims where lane = :lane and started_at is null"
)
_COUNT_IN_PROGRESS = text("""
    select coalesce(sum(remaining), 0) as working from claims
    where lane = :lane and (started_at is null or started_at > clock_timestamp() - :lately)
""")
_START_TEMPLATE: Final = """
    with started as (
        update claims set started_at = clock_timestamp(), worker = :worker,
                          lease_until = clock_timestamp() + :lease
        where id = :claim and started_at is null
        returning id, created_at
    )
    select s.delivery_id, s.tenant_id, s.endpoint_id, s.event_id, s.attempts, s.step, s.lane, s.sequence,
           e.version, ev.body, ev.body_sha256, started.created_at as claimed_at{column}
    from started
    join schedule s on s.claim_id = started.id
    join endpoints e on e.id = s.endpoint_id
    left join events ev on ev.id = s.event_id and ev.tenant_id = s.tenant_id
"""
_START = text(_START_TEMPLATE.format(column=""))
# A statement of its own, so that traces cost nothing where they are off.
_START_TRACED = text(_START_TEMPLATE.format(column=", ev.traceparent"))
_RETURN_CLAIMS = text("""
    with closed as (
        delete from claims where id = any (cast(:claims as uuid[])) and started_at is null returning id
    )
    update schedule set claim_id = null from closed where claim_id = closed.id
    returning schedule.endpoint_id, schedule.delivery_id
""")
_RESCUE = text("""
    with lapsed as materialized (
        select id, started_at is null as unstarted from claims
        where lease_until < clock_timestamp() order by lease_until limit 100
        for update skip locked
    ), closed as (
        delete from claims using lapsed where claims.id = lapsed.id
    ), freed as (
        update schedule set claim_id = null from lapsed where claim_id = lapsed.id
        returning endpoint_id, delivery_id, lapsed.unstarted
    )
    select endpoint_id, delivery_id, unstarted from freed
""")
_EXPIRE_LEASES = text("update claims set lease_until = '-infinity'")


@dataclass(frozen=True, slots=True)
class ReadyEndpoint:
    """An endpoint's first unclaimed delivery: when it is due, and whether it is due now."""

    tenant_id: TenantId
    endpoint_id: EndpointId
    due_at: datetime
    due: bool
    deleted: bool


@dataclass(frozen=True, slots=True)
class ClaimGrant:
    """The most deliveries of one endpoint to claim now; its health row is locked.

    A probe is one delivery that an open breaker lets through. With a rate limit, each claimed delivery takes
    one `interval`, from `rate_from` on.
    """

    endpoint_id: EndpointId
    limit: int
    probe: bool = False
    rate_from: datetime | None = None
    interval: timedelta | None = None


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """The number of claimed deliveries, by claim and by endpoint."""

    claims: dict[ClaimId, int]
    by_endpoint: dict[EndpointId, int]

    @property
    def size(self) -> int:
        """All claimed deliveries."""
        return sum(self.by_endpoint.values())


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """One delivery of a started claim, with the event's exact bytes; None: erased or expired.

    `sequence` is its number at the endpoint; `traceparent` is the event's trace, if it was requested.
    """

    delivery_id: DeliveryId
    tenant_id: TenantId
    endpoint_id: EndpointId
    endpoint_version: int
    event_id: EventId
    attempts: int
    step: int
    claimed_at: datetime
    body: bytes | None
    body_sha256: bytes
    priority: Priority
    sequence: int
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class RescueResult:
    """The deliveries rescued from lapsed leases; `unstarted`: those that no worker had started."""

    deliveries: int
    unstarted: int


async def find_ready_endpoints(tx: Transaction, *, priority: Priority) -> list[ReadyEndpoint]:
    """The first waiting delivery of every endpoint that is active, or deleted with deliveries left.

    The cost follows the number of endpoints, not of deliveries.
    """
    rows = await tx.execute(_READY, {"lane": priority})
    return [ReadyEndpoint(row.tenant_id, row.endpoint_id, row.due_at, row.due, row.deleted) for row in rows]


async def claim_deliveries(  # noqa: PLR0913  what claims are made of, each by its name
    tx: Transaction,
    grants: Sequence[ClaimGrant],
    *,
    priority: Priority,
    claim_ids: Sequence[ClaimId],
    batch_size: int,
    lease: timedelta,
    already_claimed: int = 0,
) -> ClaimResult:
    """Claim due deliveries within the grants, in claims of at most `batch`; `claims` are ids to use.

    The first claim may be one of this transaction that already has `begun` deliveries.
    """
    rows = await execute(
        tx,
        _CLAIM,
        {
            "lane": priority,
            "endpoints": [grant.endpoint_id for grant in grants],
            "takes": [grant.limit for grant in grants],
            "probes": [grant.probe for grant in grants],
            "counts_from": [grant.rate_from for grant in grants],
            "intervals": [grant.interval for grant in grants],
            "claims": list(claim_ids),
            "batch": batch_size,
            "begun": already_claimed,
            "lease": lease,
        },
    )
    claimed: dict[ClaimId, int] = {}
    by_endpoint: dict[EndpointId, int] = {}
    for row in rows:
        claimed[row.claim_id] = claimed.get(row.claim_id, 0) + row.size
        by_endpoint[row.endpoint_id] = by_endpoint.get(row.endpoint_id, 0) + row.size
    return ClaimResult(claimed, by_endpoint)


async def count_queued(executor: Executor, *, priority: Priority) -> int:
    """Count the claimed deliveries that wait in the queue."""
    (row,) = await execute(executor, _COUNT_QUEUED, {"lane": priority})
    return int(row.waiting)


async def count_in_progress(tx: Transaction, *, priority: Priority, max_age: timedelta) -> int:
    """Count the deliveries in the queue or in flight, in claims not older than that."""
    (row,) = await execute(tx, _COUNT_IN_PROGRESS, {"lane": priority, "lately": max_age})
    return int(row.working)


async def start_claim(
    executor: Executor, claim_id: ClaimId, *, worker: str, lease: timedelta, traced: bool = False
) -> list[ClaimedDelivery]:
    """Start the claim and load its deliveries; nothing if it was started before or rescued.

    `traced`: also load the events' traces.
    """
    words = _START_TRACED if traced else _START
    rows = await execute(executor, words, {"claim": claim_id, "worker": worker, "lease": lease})
    return [
        ClaimedDelivery(
            delivery_id=row.delivery_id,
            tenant_id=row.tenant_id,
            endpoint_id=row.endpoint_id,
            endpoint_version=row.version,
            event_id=row.event_id,
            attempts=row.attempts,
            step=row.step,
            claimed_at=row.claimed_at,
            body=row.body,
            body_sha256=row.body_sha256 or b"",
            priority=Priority(row.lane),
            sequence=row.sequence or 0,
            traceparent=row.traceparent if traced else None,
        )
        for row in rows
    ]


async def return_claims(tx: Transaction, claim_ids: Sequence[ClaimId]) -> None:
    """Close these claims and make their deliveries claimable again, as if they had not been claimed.

    A claim that a worker has started stays with the worker: its message arrived, only the confirmation was
    lost.
    """
    freed = await tx.execute(_RETURN_CLAIMS, {"claims": list(claim_ids)})
    await endpoint_health.release_in_flight(tx, [(row.endpoint_id, row.delivery_id) for row in freed])


async def rescue_claims(tx: Transaction) -> RescueResult:
    """Close up to 100 claims with a lapsed lease, and make their unfinished deliveries claimable again."""
    freed = (await tx.execute(_RESCUE)).all()
    await endpoint_health.release_in_flight(tx, [(row.endpoint_id, row.delivery_id) for row in freed])
    return RescueResult(len(freed), sum(row.unstarted for row in freed))


async def expire_all_leases(tx: Transaction) -> None:
    """End every lease: for the embedded engine, whose queue is empty at start."""
    await tx.execute(_EXPIRE_LEASES)
