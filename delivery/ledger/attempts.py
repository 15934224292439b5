"""Attempts, as they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import LargeBinary, literal, select

from delivery.ledger.scan import follows
from delivery.ledger.tables import attempts, events
from delivery.model import Attempt, AttemptId, DeliveryId, EndpointId, EventId, TenantId, Timings
from delivery.paging import Page

if TYPE_CHECKING:
    from sqlalchemy import Row

    from delivery.ledger.session import Transaction
    from delivery.paging import Cut

_WITHOUT_BODY = [column for column in attempts.c if column.name != "response_body"]


@dataclass(frozen=True, slots=True)
class Told:
    """One attempt with everything that is known of it; `body` None: the event is no longer kept."""

    attempt: Attempt
    body: bytes | None


async def page(tx: Transaction, tenant_id: TenantId, delivery_id: DeliveryId, cut: Cut) -> Page[Attempt]:
    """The attempts of a delivery, newest first, without the bodies that came back."""
    rows = await tx.execute(
        select(*_WITHOUT_BODY, literal(b"", LargeBinary).label("response_body"))
        .where(
            attempts.c.delivery_id == delivery_id,
            follows(attempts.c.id, delivery_id),
            attempts.c.tenant_id == tenant_id,
            attempts.c.id < cut.before,
        )
        .order_by(attempts.c.id.desc())
        .limit(cut.limit + 1)
    )
    return Page.of([_attempt(row) for row in rows], cut)


async def read(tx: Transaction, tenant_id: TenantId, attempt_id: AttemptId) -> Told | None:
    """One attempt, with the bodies that went out and came back."""
    query = (
        select(attempts, events.c.body)
        .select_from(attempts.outerjoin(events, events.c.id == attempts.c.event_id))
        .where(attempts.c.id == attempt_id, attempts.c.tenant_id == tenant_id)
    )
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else Told(_attempt(row), row.body)


def _attempt(row: Row[*tuple[Any, ...]]) -> Attempt:
    return Attempt(
        id=AttemptId(row.id),
        delivery_id=DeliveryId(row.delivery_id),
        tenant_id=TenantId(row.tenant_id),
        endpoint_id=EndpointId(row.endpoint_id),
        event_id=EventId(row.event_id),
        number=row.number,
        claimed_at=row.claimed_at,
        started_at=row.started_at,
        timings=Timings(
            dns=_duration(row.dns_us),
            connect=_duration(row.connect_us),
            tls=_duration(row.tls_us),
            first_byte=_duration(row.first_byte_us),
            total=_duration(row.total_us),
        ),
        url=row.url,
        address=row.address,
        request_headers=row.request_headers,
        body_sha256=row.body_sha256,
        key_ids=tuple(row.key_ids.split(",")) if row.key_ids else (),
        status=row.status,
        response_headers=tuple((name, value) for name, value in row.response_headers),
        response_body=row.response_body,
        response_truncated=row.response_truncated,
        outcome=row.outcome,
        detail=row.detail,
        decision=row.decision,
        reason=row.reason,
        next_due_at=row.next_due_at,
        worker=row.worker,
    )


def _duration(microseconds: int | None) -> timedelta | None:
    return None if microseconds is None else timedelta(microseconds=microseconds)
