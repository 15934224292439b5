"""Erasing what was sent and what came back, for good; that there was something stays in the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from delivery.domain.ids import DeliveryId, build_min_id, extract_id_time
from delivery.ledger.db.bounded_scan import MAX_CLOCK_SKEW

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from delivery.domain.ids import AttemptId, EventId, TenantId
    from delivery.ledger.db.session import Transaction

# The tenant is asked for outside, so that no index by tenant seems to help: it would read all of its day.
_UNFINISHED = text("""
    with of_event as materialized (
        select id, tenant_id from deliveries where event_id = :event and id >= :floor
    )
    select s.delivery_id, s.claim_id is not null as in_flight
    from of_event join schedule s on s.delivery_id = of_event.id
    where of_event.tenant_id = :tenant
""")
# Those that somebody has locked are left: whoever records a claim locks its rows in an order of its own.
_CANCEL = text("""
    with doomed as materialized (
        select delivery_id from schedule
        where delivery_id = any (cast(:ids as uuid[])) and claim_id is null
        for update skip locked
    ), unscheduled as (
        delete from schedule using doomed where schedule.delivery_id = doomed.delivery_id
        returning schedule.*
    )
    update deliveries
    set status = 'cancelled', reason = :reason, attempts = unscheduled.attempts,
        finished_at = clock_timestamp(), outcome = unscheduled.outcome,
        http_status = unscheduled.http_status, sequence = unscheduled.sequence
    from unscheduled
    where deliveries.id = unscheduled.delivery_id and deliveries.tenant_id = unscheduled.tenant_id
""")
_ERASE_EVENT = text("""
    update events set body = null, erased_at = :at
    where id = :id and tenant_id = :tenant and erased_at is null
""")
_ERASE_ATTEMPT = text("""
    update attempts set response_headers = '[]', response_body = '', erased_at = :at
    where id = :id and tenant_id = :tenant and erased_at is null
""")


@dataclass(frozen=True, slots=True)
class UnfinishedDelivery:
    """A delivery of an event that is not over; in flight: a claim has it."""

    delivery_id: DeliveryId
    in_flight: bool


async def find_unfinished(
    tx: Transaction, tenant_id: TenantId, event_id: EventId
) -> list[UnfinishedDelivery]:
    """What is still owed of an event."""
    floor = build_min_id(extract_id_time(event_id) - MAX_CLOCK_SKEW)
    rows = await tx.execute(_UNFINISHED, {"event": event_id, "tenant": tenant_id, "floor": floor})
    return [UnfinishedDelivery(DeliveryId(row.delivery_id), row.in_flight) for row in rows]


async def cancel(tx: Transaction, deliveries: Sequence[DeliveryId], *, reason: str) -> int:
    """Cancel those of these deliveries that nobody has just now; returns how many."""
    return (await tx.execute(_CANCEL, {"ids": list(deliveries), "reason": reason})).rowcount


async def erase_event(tx: Transaction, tenant_id: TenantId, event_id: EventId, *, at: datetime) -> bool:
    """Empty an event's body; False when that was done before. Its hash stays."""
    return (await tx.execute(_ERASE_EVENT, {"id": event_id, "tenant": tenant_id, "at": at})).rowcount > 0


async def erase_attempt(tx: Transaction, tenant_id: TenantId, attempt_id: AttemptId, *, at: datetime) -> bool:
    """Empty what came back to an attempt, headers and body; False when that was done before."""
    return (await tx.execute(_ERASE_ATTEMPT, {"id": attempt_id, "tenant": tenant_id, "at": at})).rowcount > 0
