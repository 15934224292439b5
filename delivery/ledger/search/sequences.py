"""The sequence numbers of an endpoint's deliveries, in order and without a gap.

A delivery gets its number at its first claim, under the lock of its endpoint's health. So a reader who sees a
number sees all smaller ones, except those whose history has expired.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from delivery.domain.delivery import DeliveryStatus
from delivery.domain.ids import DeliveryId, EventId

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Row

    from delivery.domain.ids import EndpointId
    from delivery.ledger.db.session import Transaction

# Each delivery is looked up by its id, in its own day only.
_AFTER = text("""
    with wanted as materialized (
        select sequence, delivery_id from endpoint_sequence
        where endpoint_id = :endpoint and sequence > :after order by sequence limit :most
    )
    select wanted.sequence, d.id, d.event_id, d.event_type, d.created_at, d.finished_at,
           case when s.claim_id is not null then 'in_flight' else d.status end as status,
           coalesce(s.attempts, d.attempts) as attempts
    from wanted
    left join lateral (select * from deliveries where id = wanted.delivery_id limit 1) as d on true
    left join schedule s on s.delivery_id = d.id
    order by wanted.sequence
""")
_EARLIEST = text("""
    select sequence from endpoint_sequence where endpoint_id = :endpoint order by sequence limit 1
""")
_LATEST = text("select sequence from endpoint_health where endpoint_id = :endpoint")


@dataclass(frozen=True, slots=True)
class SequencedDelivery:
    """A delivery with its sequence number."""

    sequence: int
    delivery_id: DeliveryId
    event_id: EventId
    event_type: str
    status: DeliveryStatus
    attempts: int
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class SequencePage:
    """A page of an endpoint's deliveries, in order; `next` is the number to continue after, None: the end.

    `earliest` is the first stored number, None: there is none; `latest` is the last assigned one.
    """

    items: tuple[SequencedDelivery, ...]
    next_sequence: int | None
    earliest: int | None
    latest: int


async def read_after(tx: Transaction, endpoint_id: EndpointId, sequence: int, *, limit: int) -> SequencePage:
    """Up to `limit` deliveries after this number; all statements need the same snapshot."""
    values = {"endpoint": endpoint_id}
    latest = (await tx.execute(_LATEST, values)).scalar_one_or_none()
    earliest = (await tx.execute(_EARLIEST, values)).scalar_one_or_none()
    # One row extra: a full page proves that there is a next.
    found = (await tx.execute(_AFTER, values | {"after": sequence, "most": limit + 1})).all()
    return SequencePage(
        # A number may outlive its delivery for a moment, while retention deletes both.
        items=tuple(_delivery_from_row(row) for row in found[:limit] if row.id is not None),
        next_sequence=found[limit - 1].sequence if len(found) > limit else None,
        earliest=earliest,
        latest=latest or 0,
    )


def _delivery_from_row(row: Row[*tuple[Any, ...]]) -> SequencedDelivery:
    return SequencedDelivery(
        sequence=row.sequence,
        delivery_id=DeliveryId(row.id),
        event_id=EventId(row.event_id),
        event_type=row.event_type,
        status=DeliveryStatus(row.status),
        attempts=row.attempts,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )
