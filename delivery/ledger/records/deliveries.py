"""Deliveries, for display."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import case, func, select

from delivery.domain.delivery import Delivery, DeliveryStatus
from delivery.domain.ids import DeliveryId, EndpointId, EventId, TenantId
from delivery.ledger.db.tables import claims, deliveries, schedule

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import FromClause, Row, Select

    from delivery.ledger.db.session import Transaction


@dataclass(frozen=True, slots=True)
class DeliveryProgress:
    """The progress of an unfinished delivery: its claim and worker.

    `step` counts the used steps of its retry schedule. `claimed_at` None: unclaimed; `worker` None: still in
    the queue.
    """

    step: int
    claimed_at: datetime | None
    started_at: datetime | None
    worker: str | None


async def read(tx: Transaction, tenant_id: TenantId, delivery_id: DeliveryId) -> Delivery | None:
    """Read one delivery."""
    query = select_with_schedule(deliveries).where(
        deliveries.c.id == delivery_id, deliveries.c.tenant_id == tenant_id
    )
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else delivery_from_row(row)


async def read_progress(
    tx: Transaction, tenant_id: TenantId, delivery_id: DeliveryId
) -> DeliveryProgress | None:
    """The progress of a delivery; None if it is finished."""
    query = (
        select(schedule.c.step, claims.c.created_at, claims.c.started_at, claims.c.worker)
        .select_from(schedule.outerjoin(claims, claims.c.id == schedule.c.claim_id))
        .where(schedule.c.delivery_id == delivery_id, schedule.c.tenant_id == tenant_id)
    )
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else DeliveryProgress(row.step, row.created_at, row.started_at, row.worker)


def select_with_schedule(history: FromClause) -> Select[Any]:
    """Deliveries, of the table or of some rows of it, joined with `schedule` for unfinished ones."""
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
    """Build the delivery from a row of `with_schedule`."""
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
