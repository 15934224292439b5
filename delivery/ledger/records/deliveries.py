"""Deliveries, as they are shown and as a person asks for one again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import case, func, select, update
from sqlalchemy import insert as insert_into

from delivery.domain.delivery import Delivery, DeliveryStatus
from delivery.domain.ids import DeliveryId, EndpointId, EventId, TenantId
from delivery.ledger.db.tables import claims, deliveries, schedule
from delivery.ledger.queue.enqueue import notify_due

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import FromClause, Row, Select

    from delivery.ledger.db.session import Transaction


@dataclass(frozen=True, slots=True)
class DeliveryProgress:
    """How far a delivery is that is not over, and since when which worker has it.

    `step` counts what is burned of its retry schedule. `claimed_at` None: nobody has it; `worker` None: it is
    still in the queue.
    """

    step: int
    claimed_at: datetime | None
    started_at: datetime | None
    worker: str | None


async def read(tx: Transaction, tenant_id: TenantId, delivery_id: DeliveryId) -> Delivery | None:
    """One delivery as it stands now."""
    query = select_with_schedule(deliveries).where(
        deliveries.c.id == delivery_id, deliveries.c.tenant_id == tenant_id
    )
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else delivery_from_row(row)


async def read_progress(
    tx: Transaction, tenant_id: TenantId, delivery_id: DeliveryId
) -> DeliveryProgress | None:
    """How far a delivery is; None when it is over."""
    query = (
        select(schedule.c.step, claims.c.created_at, claims.c.started_at, claims.c.worker)
        .select_from(schedule.outerjoin(claims, claims.c.id == schedule.c.claim_id))
        .where(schedule.c.delivery_id == delivery_id, schedule.c.tenant_id == tenant_id)
    )
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else DeliveryProgress(row.step, row.created_at, row.started_at, row.worker)


async def make_due(tx: Transaction, delivery: Delivery, *, reason: str) -> DeliveryStatus:
    """Make a delivery due now: a waiting one sooner, a final one anew. Returns how it stood.

    One that a worker has just now is left alone: in flight. Rows are locked in the order in which the record
    locks them: schedule, then history.
    """
    row = await tx.execute(
        select(schedule.c.claim_id).where(schedule.c.delivery_id == delivery.id).with_for_update()
    )
    waiting = row.one_or_none()
    if waiting is None:
        stood = await _reopen(tx, delivery.id, reason=reason)
    elif waiting.claim_id is not None:
        return DeliveryStatus.IN_FLIGHT
    else:
        stood = DeliveryStatus.PENDING
        await tx.execute(
            update(schedule)
            .where(schedule.c.delivery_id == delivery.id)
            .values(due_at=func.least(schedule.c.due_at, func.clock_timestamp()))
        )
    await notify_due(tx, {(delivery.tenant_id, delivery.endpoint_id)})
    return stood


async def _reopen(tx: Transaction, delivery_id: DeliveryId, *, reason: str) -> DeliveryStatus:
    """Owe a final delivery again, from the start of its schedule; whoever asks second changes nothing."""
    history = deliveries
    locked = await tx.execute(select(history).where(history.c.id == delivery_id).with_for_update())
    row = locked.one()
    if row.status != DeliveryStatus.PENDING:
        await tx.execute(
            update(history)
            .where(history.c.id == delivery_id)
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


def select_with_schedule(history: FromClause) -> Select[Any]:
    """Deliveries, of the table or of some rows of it, with what `schedule` knows of those not over."""
    return select(
        history.c.id,
        history.c.tenant_id,
        history.c.event_id,
        history.c.event_type,
        history.c.endpoint_id,
        history.c.matched_by,
        history.c.condition_failed,
        case((schedule.c.claim_id.is_not(None), DeliveryStatus.IN_FLIGHT), else_=history.c.status).label(
            "status"
        ),
        history.c.reason,
        func.coalesce(schedule.c.attempts, history.c.attempts).label("attempts"),
        history.c.created_at,
        schedule.c.due_at,
        history.c.finished_at,
        func.coalesce(schedule.c.outcome, history.c.outcome).label("outcome"),
        func.coalesce(schedule.c.http_status, history.c.http_status).label("http_status"),
        func.coalesce(schedule.c.sequence, history.c.sequence).label("sequence"),
    ).select_from(history.outerjoin(schedule, schedule.c.delivery_id == history.c.id))


def delivery_from_row(row: Row[*tuple[Any, ...]]) -> Delivery:
    """The delivery in a row of `with_schedule`."""
    return Delivery(
        id=DeliveryId(row.id),
        tenant_id=TenantId(row.tenant_id),
        event_id=EventId(row.event_id),
        event_type=row.event_type,
        endpoint_id=EndpointId(row.endpoint_id),
        matched_by=row.matched_by,
        status=DeliveryStatus(row.status),
        reason=row.reason,
        attempts=row.attempts,
        created_at=row.created_at,
        due_at=row.due_at,
        finished_at=row.finished_at,
        outcome=row.outcome,
        http_status=row.http_status,
        sequence=row.sequence,
        condition_failed=row.condition_failed,
    )
