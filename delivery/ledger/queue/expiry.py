"""Cancels deliveries of deleted endpoints, expires old deliveries, deletes old idempotency keys.

Each statement is bounded; the caller repeats it while there is more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from delivery.domain.delivery import Priority
from delivery.domain.ids import build_min_id
from delivery.ledger.db.batches import build_delete

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from delivery.domain.ids import DeliveryId, EndpointId, EventId, TenantId
    from delivery.ledger.db.session import Transaction

EXPIRY_BATCH_SIZE = 1_000

_CANCEL = text("""
    with doomed as materialized (
        select s.delivery_id
        from unnest(cast(:endpoints as uuid[])) as gone (id)
        join endpoints e on e.id = gone.id and e.deleted_at is not null
        cross join unnest(cast(:lanes as smallint[])) as lanes (lane)
        cross join lateral (
            select delivery_id from schedule
            where endpoint_id = e.id and lane = lanes.lane and claim_id is null
            limit :most for update skip locked
        ) as s
        limit :most
    ), unscheduled as (
        delete from schedule using doomed where schedule.delivery_id = doomed.delivery_id
        returning schedule.*
    )
    update deliveries
    set status = 'cancelled', reason = 'endpoint_deleted', attempts = unscheduled.attempts,
        finished_at = clock_timestamp(), outcome = unscheduled.outcome,
        http_status = unscheduled.http_status, sequence = unscheduled.sequence
    from unscheduled
    where deliveries.id = unscheduled.delivery_id and deliveries.tenant_id = unscheduled.tenant_id
""")
# A delivery's id has its creation time, and `schedule` is ordered by it: only old rows are read. That
# no claim has it is written so that the planner does not choose the index of due rows and read all of them.
_EXPIRE = text("""
    with old as materialized (
        select delivery_id from schedule
        where delivery_id < :floor and coalesce(claim_id, delivery_id) = delivery_id
          and (reopened_at is null or reopened_at < clock_timestamp() - :age)
        order by delivery_id limit :most for update skip locked
    ), unscheduled as (
        delete from schedule using old where schedule.delivery_id = old.delivery_id
        returning schedule.*
    ), ended as (
        update deliveries
        set status = 'failed', reason = 'expired', attempts = unscheduled.attempts,
            finished_at = clock_timestamp(), outcome = unscheduled.outcome,
            http_status = unscheduled.http_status, sequence = unscheduled.sequence
        from unscheduled
        where deliveries.id = unscheduled.delivery_id and deliveries.tenant_id = unscheduled.tenant_id
    )
    select unscheduled.*, e.operational from unscheduled join endpoints e on e.id = unscheduled.endpoint_id
""")
_DELETE_IDEMPOTENCY_KEYS = build_delete(
    "idempotency_keys",
    "tenant_id, key",
    expired="created_at < statement_timestamp() - :age",
    order="created_at",
)


async def cancel_for_deleted_endpoints(tx: Transaction, endpoint_ids: Sequence[EndpointId]) -> int:
    """Cancel up to 1,000 unclaimed deliveries of deleted endpoints; returns how many."""
    values = {"endpoints": list(endpoint_ids), "lanes": list(map(int, Priority)), "most": EXPIRY_BATCH_SIZE}
    return (await tx.execute(_CANCEL, values)).rowcount


@dataclass(frozen=True, slots=True)
class ExpiredDelivery:
    """A delivery that reached its maximum age."""

    delivery_id: DeliveryId
    tenant_id: TenantId
    endpoint_id: EndpointId
    event_id: EventId
    attempts: int
    operational: bool


async def expire_deliveries(
    tx: Transaction, *, older_than: timedelta, now: datetime
) -> list[ExpiredDelivery]:
    """Expire up to 1,000 unclaimed deliveries that are older than that."""
    values = {"floor": build_min_id(now - older_than), "age": older_than, "most": EXPIRY_BATCH_SIZE}
    return [
        ExpiredDelivery(
            delivery_id=row.delivery_id,
            tenant_id=row.tenant_id,
            endpoint_id=row.endpoint_id,
            event_id=row.event_id,
            attempts=row.attempts,
            operational=row.operational,
        )
        for row in await tx.execute(_EXPIRE, values)
    ]


async def delete_idempotency_keys(tx: Transaction, *, older_than: timedelta) -> int:
    """Delete up to 1,000 expired idempotency keys; returns how many."""
    return (
        await tx.execute(_DELETE_IDEMPOTENCY_KEYS, {"age": older_than, "most": EXPIRY_BATCH_SIZE})
    ).rowcount
