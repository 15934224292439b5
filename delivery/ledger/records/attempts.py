"""Attempts, as they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import LargeBinary, literal, select, text

from delivery.ledger.scan import CLOCKS_APART, follows
from delivery.ledger.tables import attempts, events
from delivery.model import (
    Attempt,
    AttemptId,
    DeliveryId,
    EndpointId,
    EventId,
    TenantId,
    Timings,
    id_floor,
    moment_of,
)
from delivery.paging import NEWEST, OLDEST, Page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Row

    from delivery.ledger.session import Transaction
    from delivery.model import Delivery
    from delivery.paging import Cut

_WITHOUT_BODY = [column for column in attempts.c if column.name != "response_body"]

# Each delivery's attempts are looked for in the days between its making and its end, and in no other.
_OF_DELIVERIES = text(f"""
    select {", ".join(f"found.{column.name}" for column in _WITHOUT_BODY)},
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
class Place:
    """How far the attempts of some deliveries were read: behind this one, of that delivery."""

    delivery: int = 0
    last: UUID = OLDEST


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


async def read(
    tx: Transaction, tenant_id: TenantId, attempt_id: AttemptId
) -> tuple[Attempt, bytes | None] | None:
    """One attempt with the body that came back, and its event's envelope; None: that is no longer kept."""
    query = (
        select(attempts, events.c.body)
        .select_from(attempts.outerjoin(events, events.c.id == attempts.c.event_id))
        .where(attempts.c.id == attempt_id, attempts.c.tenant_id == tenant_id)
    )
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else (_attempt(row), row.body)


async def of_deliveries(
    tx: Transaction, some: Sequence[Delivery], place: Place, *, before: datetime, most: int
) -> tuple[list[Attempt], Place | None]:
    """The attempts of these deliveries that were made before then, in their order, and where to go on.

    At most `most` of them, without the bodies that came back. No place: that was all.
    """
    left = some[place.delivery :]
    firsts = [_earliest(one) for one in left]
    firsts[0] = max(firsts[0], UUID(int=place.last.int + 1))
    found = await tx.execute(
        _OF_DELIVERIES,
        {
            "ids": [one.id for one in left],
            "tenants": [one.tenant_id for one in left],
            "firsts": firsts,
            "ends": [min(_latest(one), id_floor(before)) for one in left],
            "most": most,
        },
    )
    rows = found.all()
    if len(rows) < most:
        return [_attempt(row) for row in rows], None
    end = Place(place.delivery + rows[-1].place - 1, rows[-1].id)
    return [_attempt(row) for row in rows], end


def _earliest(one: Delivery) -> UUID:
    return id_floor(moment_of(one.id) - CLOCKS_APART)


def _latest(one: Delivery) -> UUID:
    return NEWEST if one.finished_at is None else id_floor(one.finished_at + CLOCKS_APART)


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
        erased_at=row.erased_at,
    )


def _duration(microseconds: int | None) -> timedelta | None:
    return None if microseconds is None else timedelta(microseconds=microseconds)
