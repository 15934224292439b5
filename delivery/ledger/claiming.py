"""Claims: which endpoints have something due, who takes what, and what is taken back.

Nothing here reads history. `schedule` holds a row per unfinished delivery; its index `schedule_due_idx`
holds those that no claim has, ordered by endpoint and time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from delivery.ledger.session import Transaction
    from delivery.model import ClaimId, DeliveryId, EndpointId, EventId, Lane, TenantId

# A loose index scan: from endpoint to endpoint, touching the first row of each, whatever lies behind it.
_READY = text("""
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
    from head join endpoints e on e.id = head.endpoint_id
    where e.state = 'active' or e.deleted_at is not null
""")
# Rows that another relay is just taking are skipped; an endpoint that was paused meanwhile gives none. The
# statement's own time is a bound that the index takes; `clock_timestamp()` would look at all that is not due.
_CLAIM = text("""
    with quota as (
        select * from unnest(cast(:endpoints as uuid[]), cast(:takes as int[])) with ordinality
            as q (endpoint_id, take, place)
    ), picked as materialized (
        select s.delivery_id, quota.endpoint_id, quota.place
        from quota
        join endpoints e on e.id = quota.endpoint_id and e.state = 'active' and e.deleted_at is null
        cross join lateral (
            select delivery_id from schedule
            where lane = :lane and claim_id is null and endpoint_id = quota.endpoint_id
              and due_at <= statement_timestamp()
            order by due_at limit quota.take
            for update skip locked
        ) as s
    ), numbered as materialized (
        select delivery_id, endpoint_id,
               (cast(:claims as uuid[]))[1 + (row_number() over (order by place) - 1) / :batch] as claim_id
        from picked
    ), opened as (
        insert into claims (id, lane, size, remaining, created_at, lease_until)
        select claim_id, :lane, count(*), count(*), clock_timestamp(), clock_timestamp() + :lease
        from numbered group by claim_id
    ), taken as (
        update schedule set claim_id = numbered.claim_id
        from numbered where schedule.delivery_id = numbered.delivery_id
    )
    select claim_id, endpoint_id, count(*) as size from numbered group by claim_id, endpoint_id
""")
_UNSTARTED = text("select coalesce(sum(size), 0) from claims where lane = :lane and started_at is null")
_START = text("""
    with started as (
        update claims set started_at = clock_timestamp(), worker = :worker,
                          lease_until = clock_timestamp() + :lease
        where id = :claim and started_at is null
        returning id
    )
    select s.delivery_id, s.tenant_id, s.endpoint_id, s.event_id, s.attempts, s.step,
           e.version, ev.body, ev.body_sha256
    from started
    join schedule s on s.claim_id = started.id
    join endpoints e on e.id = s.endpoint_id
    join events ev on ev.id = s.event_id and ev.tenant_id = s.tenant_id
""")
_HAND_BACK = text("""
    with closed as (
        delete from claims where id = any (cast(:claims as uuid[])) and started_at is null returning id
    )
    update schedule set claim_id = null from closed where claim_id = closed.id
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
        returning delivery_id, lapsed.unstarted
    )
    select count(*) as deliveries, count(*) filter (where unstarted) as unstarted from freed
""")
_LAPSE_ALL = text("update claims set lease_until = '-infinity'")


@dataclass(frozen=True, slots=True)
class Head:
    """The first unclaimed delivery of an endpoint: when it is due, whether that is now, or never more."""

    tenant_id: TenantId
    endpoint_id: EndpointId
    due_at: datetime
    due: bool
    deleted: bool


@dataclass(frozen=True, slots=True)
class Quota:
    """How many deliveries of one endpoint the relay wants to take now."""

    endpoint_id: EndpointId
    take: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What a claim statement took: the claims to publish, and how many deliveries of each endpoint."""

    claims: tuple[ClaimId, ...]
    by_endpoint: dict[EndpointId, int]

    @property
    def size(self) -> int:
        """Deliveries in all."""
        return sum(self.by_endpoint.values())


@dataclass(frozen=True, slots=True)
class Work:
    """One delivery of a started claim, with the exact bytes that are owed."""

    delivery_id: DeliveryId
    tenant_id: TenantId
    endpoint_id: EndpointId
    endpoint_version: int
    event_id: EventId
    attempts: int
    step: int
    body: bytes
    body_sha256: bytes


@dataclass(frozen=True, slots=True)
class Rescued:
    """What came back from lapsed leases; `unstarted` of it had never reached a worker."""

    deliveries: int
    unstarted: int


async def ready(tx: Transaction, *, lane: Lane) -> list[Head]:
    """The head of the line of every endpoint that is active, or deleted with something still owed.

    Costs a step for each endpoint, not for each delivery.
    """
    rows = await tx.execute(_READY, {"lane": lane})
    return [Head(row.tenant_id, row.endpoint_id, row.due_at, row.due, row.deleted) for row in rows]


async def claim(
    tx: Transaction,
    quotas: Sequence[Quota],
    *,
    lane: Lane,
    claims: Sequence[ClaimId],
    batch: int,
    lease: timedelta,
) -> Taken:
    """Take what is due within the quotas, in claims of at most `batch`; `claims` are ids to use."""
    rows = await tx.execute(
        _CLAIM,
        {
            "lane": lane,
            "endpoints": [quota.endpoint_id for quota in quotas],
            "takes": [quota.take for quota in quotas],
            "claims": list(claims),
            "batch": batch,
            "lease": lease,
        },
    )
    used: dict[ClaimId, None] = {}
    by_endpoint: dict[EndpointId, int] = {}
    for row in rows:
        used[row.claim_id] = None
        by_endpoint[row.endpoint_id] = by_endpoint.get(row.endpoint_id, 0) + row.size
    return Taken(tuple(used), by_endpoint)


async def unstarted(tx: Transaction, *, lane: Lane) -> int:
    """How many deliveries are claimed and wait in the queue."""
    return int((await tx.execute(_UNSTARTED, {"lane": lane})).scalar_one())


async def start(tx: Transaction, claim_id: ClaimId, *, worker: str, lease: timedelta) -> list[Work]:
    """Make the claim this worker's and load its deliveries; nothing if it was started before or rescued."""
    rows = await tx.execute(_START, {"claim": claim_id, "worker": worker, "lease": lease})
    return [
        Work(
            delivery_id=row.delivery_id,
            tenant_id=row.tenant_id,
            endpoint_id=row.endpoint_id,
            endpoint_version=row.version,
            event_id=row.event_id,
            attempts=row.attempts,
            step=row.step,
            body=row.body,
            body_sha256=row.body_sha256,
        )
        for row in rows
    ]


async def hand_back(tx: Transaction, claims: Sequence[ClaimId]) -> None:
    """Close these claims and make what they held claimable again, as if they had never been.

    One that a worker has started after all stays the worker's: the message came through, only its
    confirmation did not.
    """
    await tx.execute(_HAND_BACK, {"claims": list(claims)})


async def rescue(tx: Transaction) -> Rescued:
    """Close up to 100 claims whose lease lapsed and make what they still held claimable again."""
    row = (await tx.execute(_RESCUE)).one()
    return Rescued(row.deliveries, row.unstarted)


async def lapse_all(tx: Transaction) -> None:
    """End every lease: for the embedded default, whose queue is empty whenever it starts."""
    await tx.execute(_LAPSE_ALL)
