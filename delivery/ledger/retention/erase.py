"""Erases event bodies and responses for good; their metadata stays in the ledger."""

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

# The tenant is checked outside: otherwise the planner may choose an index by tenant and read its whole day.
_UNFINISHED = text("""
    with of_event as materialized (
        select id, tenant_id from deliveries where event_id = :event and id >= :floor
    )
    select s.delivery_id, s.claim_id is not null as in_flight
    from of_event join schedule s on s.delivery_id = of_event.id
    where of_event.tenant_id = :tenant
""")
# Locked rows are skipped: a recorder locks a claim's rows in another order.
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
    """An unfinished delivery of an event; in flight: a claim has it."""

    delivery_id: DeliveryId
    in_flight: bool


async def find_unfinished(
    tx: Transaction, tenant_id: TenantId, event_id: EventId
) -> list[UnfinishedDelivery]:
    """The unfinished deliveries of an event."""
    floor = build_min_id(extract_id_time(event_id) - MAX_CLOCK_SKEW)
    rows = await tx.execute(_UNFINISHED, {"event": event_id, "tenant": tenant_id, "floor": floor})
    return [UnfinishedDelivery(DeliveryId(row.delivery_id), row.in_flight) for row in rows]


async def cancel(tx: Transaction, deliveries: Sequence[DeliveryId], *, reason: str) -> int:
    """Cancel these deliveries, except claimed and locked ones; returns how many."""
    return (await tx.execute(_CANCEL, {"ids": list(deliveries), "reason": reason})).rowcount


async def erase_event(tx: Transaction, tenant_id: TenantId, event_id: EventId, *, at: datetime) -> bool:
    """Erase an event's body; False if it was erased before. Its hash stays."""
    return (await tx.execute(_ERASE_EVENT, {"id": event_id, "tenant": tenant_id, "at": at})).rowcount > 0


async def erase_attempt(tx: Transaction, tenant_id: TenantId, attempt_id: AttemptId, *, at: datetime) -> bool:
    """Erase an attempt's response, headers and body; False if it was erased before."""
    return (await tx.execute(_ERASE_ATTEMPT, {"id": attempt_id, "tenant": tenant_id, "at": at})).rowcount > 0
