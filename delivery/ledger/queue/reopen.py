"""Send one delivery again: make a waiting one due now, reopen a finished one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select, update
from sqlalchemy import insert as insert_into

from delivery.domain.delivery import DeliveryStatus
from delivery.ledger.db.tables import deliveries, schedule
from delivery.ledger.queue.enqueue import notify_due

if TYPE_CHECKING:
    from delivery.domain.delivery import Delivery
    from delivery.domain.ids import DeliveryId
    from delivery.ledger.db.session import Transaction


async def make_due(tx: Transaction, delivery: Delivery, *, reason: str) -> DeliveryStatus:
    """Make a delivery due now and return its status before: a waiting one sooner, a finished one again.

    A claimed delivery is unchanged: in flight. Rows are locked in the order of recording: `schedule`, then
    `deliveries`.
    """
    row = await tx.execute(
        select(schedule.c.claim_id).where(schedule.c.delivery_id == delivery.id).with_for_update()
    )
    waiting = row.one_or_none()
    if waiting is None:
        before = await _reopen(tx, delivery.id, reason=reason)
    elif waiting.claim_id is not None:
        return DeliveryStatus.IN_FLIGHT
    else:
        before = DeliveryStatus.PENDING
        await tx.execute(
            update(schedule)
            .where(schedule.c.delivery_id == delivery.id)
            .values(due_at=func.least(schedule.c.due_at, func.clock_timestamp()))
        )
    await notify_due(tx, {(delivery.tenant_id, delivery.endpoint_id)})
    return before


async def _reopen(tx: Transaction, delivery_id: DeliveryId, *, reason: str) -> DeliveryStatus:
    """Reopen a finished delivery, from the start of its schedule; a second request changes nothing."""
    locked = await tx.execute(select(deliveries).where(deliveries.c.id == delivery_id).with_for_update())
    row = locked.one()
    if row.status != DeliveryStatus.PENDING:
        await tx.execute(
            update(deliveries)
            .where(deliveries.c.id == delivery_id)
            .values(status=DeliveryStatus.PENDING, finished_at=None, reason=reason)
        )
        await tx.execute(
            insert_into(schedule).values(
                delivery_id=delivery_id,
                tenant_id=row.tenant_id,
                endpoint_id=row.endpoint_id,
                event_id=row.event_id,
                due_at=func.clock_timestamp(),
                reopened_at=func.clock_timestamp(),
                attempts=row.attempts,
                sequence=row.sequence,
            )
        )
    return DeliveryStatus(row.status)
