"""Attempts, for display."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import LargeBinary, literal, select, text

from delivery.domain.attempt import Attempt, Timings
from delivery.domain.ids import (
    AttemptId,
    DeliveryId,
    EndpointId,
    EventId,
    TenantId,
    build_min_id,
    extract_id_time,
)
from delivery.domain.pagination import MAX_ID, MIN_ID, Page
from delivery.ledger.db.bounded_scan import MAX_CLOCK_SKEW, match_ids_after
from delivery.ledger.db.tables import attempts, events

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Row

    from delivery.domain.delivery import Delivery
    from delivery.domain.pagination import PageRequest
    from delivery.ledger.db.session import Transaction

_COLUMNS_WITHOUT_BODY = [column for column in attempts.c if column.name != "response_body"]

# Each delivery's attempts are searched in the days between its creation and its end only.
_BY_DELIVERIES = text(f"""
    select {", ".join(f"found.{column.name}" for column in _COLUMNS_WITHOUT_BODY)},
           cast('' as bytea) as response_body, wanted.place
    from unnest(
        cast(:ids as uuid[]), cast(:tenants as uuid[]), cast(:firsts as uuid[]), cast(:ends as uuid[])
    ) with ordinality as wanted (id, tenant_id, first, before, place)
    cross join lateral (
        select * from attempts
        where delivery_id = wanted.id and tenant_id = wanted.tenant_id
          and id >= wanted.first and id < wanted.before
        order by id limit :most
    ) as found
    order by wanted.place, found.id limit :most
""")  # noqa: S608  names of our own columns


@dataclass(frozen=True, slots=True)
class AttemptCursor:
    """A position among the attempts of some deliveries: after this attempt of that delivery."""

    delivery_index: int = 0
    last_id: UUID = MIN_ID


async def read_page(
    tx: Transaction, tenant_id: TenantId, delivery_id: DeliveryId, page_request: PageRequest
) -> Page[Attempt]:
    """The attempts of a delivery, newest first, without response bodies."""
    rows = await tx.execute(
        select(*_COLUMNS_WITHOUT_BODY, literal(b"", LargeBinary).label("response_body"))
        .where(
            attempts.c.delivery_id == delivery_id,
            match_ids_after(attempts.c.id, delivery_id),
            attempts.c.tenant_id == tenant_id,
            attempts.c.id < page_request.before,
        )
        .order_by(attempts.c.id.desc())
        .limit(page_request.limit + 1)
    )
    return Page.from_rows([_attempt_from_row(row) for row in rows], page_request)


async def read(
    tx: Transaction, tenant_id: TenantId, attempt_id: AttemptId
) -> tuple[Attempt, bytes | None] | None:
    """One attempt with its response body, and its event's envelope; None: erased or expired."""
    query = (
        select(attempts, events.c.body)
        .select_from(attempts.outerjoin(events, events.c.id == attempts.c.event_id))
        .where(attempts.c.id == attempt_id, attempts.c.tenant_id == tenant_id)
    )
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else (_attempt_from_row(row), row.body)


async def read_by_deliveries(
    tx: Transaction, deliveries: Sequence[Delivery], cursor: AttemptCursor, *, before: datetime, limit: int
) -> tuple[list[Attempt], AttemptCursor | None]:
    """The attempts of these deliveries made before then, in their order, and where to continue.

    At most `most` of them, without response bodies. No cursor: these were all.
    """
    left = deliveries[cursor.delivery_index :]
    firsts = [_min_attempt_id(one) for one in left]
    firsts[0] = max(firsts[0], UUID(int=cursor.last_id.int + 1))
    found = await tx.execute(
        _BY_DELIVERIES,
        {
            "ids": [one.id for one in left],
            "tenants": [one.tenant_id for one in left],
            "firsts": firsts,
            "ends": [min(_max_attempt_id(one), build_min_id(before)) for one in left],
            "most": limit,
        },
    )
    rows = found.all()
    if len(rows) < limit:
        return [_attempt_from_row(row) for row in rows], None
    end = AttemptCursor(cursor.delivery_index + rows[-1].place - 1, rows[-1].id)
    return [_attempt_from_row(row) for row in rows], end


def _min_attempt_id(delivery: Delivery) -> UUID:
    return build_min_id(extract_id_time(delivery.id) - MAX_CLOCK_SKEW)


def _max_attempt_id(delivery: Delivery) -> UUID:
    return MAX_ID if delivery.finished_at is None else build_min_id(delivery.finished_at + MAX_CLOCK_SKEW)


def _attempt_from_row(row: Row[*tuple[Any, ...]]) -> Attempt:
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
            dns=_to_timedelta(row.dns_us),
            connect=_to_timedelta(row.connect_us),
            tls=_to_timedelta(row.tls_us),
            first_byte=_to_timedelta(row.first_byte_us),
            total=_to_timedelta(row.total_us),
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
        erased_at=row.erased_at,
    )


def _to_timedelta(microseconds: int | None) -> timedelta | None:
    return None if microseconds is None else timedelta(microseconds=microseconds)
