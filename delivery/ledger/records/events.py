"""Events, for display."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from delivery.domain.ids import EventId, TenantId
from delivery.domain.pagination import Page
from delivery.ledger.db.bounded_scan import (
    BODY_BATCH_SIZE,
    MAX_SCANNED_BODIES,
    MAX_SCANNED_BODY_BYTES,
    build_page,
    build_scope,
    force_custom_plan,
    match_patterns,
    order_by_id,
    select_first_rows,
)
from delivery.ledger.db.tables import events

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Row

    from delivery.domain.pagination import PageRequest
    from delivery.domain.payload_path import PayloadEquals
    from delivery.ledger.db.bounded_scan import ScanScope
    from delivery.ledger.db.session import Transaction

_SUMMARY_COLUMNS = (
    events.c.id,
    events.c.tenant_id,
    events.c.type,
    events.c.matched,
    events.c.created_at,
    events.c.erased_at,
    events.c.channels,
)


@dataclass(frozen=True, slots=True)
class EventSummary:
    """An event without its body; `matched` counts the endpoints it was owed to when it came.

    `channels` are the producer's. `erased_at`: when its body was erased on request.
    """

    id: EventId
    tenant_id: TenantId
    type: str
    matched: int
    created_at: datetime
    erased_at: datetime | None = None
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EventFilter:
    """A filter of events: of any of these types, accepted from `since` on and before `until`."""

    types: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    idempotency_key: str | None = None
    payload: tuple[PayloadEquals, ...] = ()


async def read(
    tx: Transaction, tenant_id: TenantId, event_id: EventId
) -> tuple[EventSummary, bytes | None] | None:
    """One event, and its envelope in the standard format; None: erased or expired."""
    query = select(*_SUMMARY_COLUMNS, events.c.body).where(
        events.c.id == event_id, events.c.tenant_id == tenant_id
    )
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else (_summary_from_row(row), row.body)


async def read_page(
    tx: Transaction, tenant_id: TenantId | None, event_filter: EventFilter, page_request: PageRequest
) -> Page[EventSummary]:
    """The matching events, newest or oldest first; of all tenants if none is named."""
    await force_custom_plan(tx)
    scope = build_scope(events.c.id, page_request, since=event_filter.since, until=event_filter.until)
    if tenant_id is not None:
        scope.append(events.c.tenant_id == tenant_id)
    if event_filter.idempotency_key is not None:
        scope.append(events.c.idempotency_key == event_filter.idempotency_key)
    if event_filter.payload:
        return await _read_page_by_payload(tx, scope, event_filter, page_request)
    seen = select_first_rows(_SUMMARY_COLUMNS, scope, page_request)
    query = select(seen).order_by(order_by_id(seen.c.id, page_request)).limit(page_request.limit + 1)
    if event_filter.types:
        query = query.where(match_patterns(seen.c.type, event_filter.types))
    found = [_summary_from_row(row) for row in await tx.execute(query)]
    return await build_page(tx, found, page_request, id_=events.c.id, scope=scope)


async def _read_page_by_payload(
    tx: Transaction, scope: ScanScope, event_filter: EventFilter, page_request: PageRequest
) -> Page[EventSummary]:
    """Filter by payload, in Python: a bounded number of events, and of bytes, per page."""
    query = (
        select(*_SUMMARY_COLUMNS, events.c.body)
        .where(*scope)
        .order_by(order_by_id(events.c.id, page_request))
    )
    if event_filter.types:
        query = query.where(match_patterns(events.c.type, event_filter.types))
    kept: list[EventSummary] = []
    read = size = 0
    last = None
    while len(kept) <= page_request.limit and read < MAX_SCANNED_BODIES and size < MAX_SCANNED_BODY_BYTES:
        beyond = (
            () if last is None else (events.c.id > last if page_request.oldest_first else events.c.id < last,)
        )
        rows = (await tx.execute(query.where(*beyond).limit(BODY_BATCH_SIZE))).all()
        kept += [
            _summary_from_row(row)
            for row in rows
            if row.body is not None and _matches_payload(row.body, event_filter)
        ]
        read, size = read + len(rows), size + sum(len(row.body or b"") for row in rows)
        if len(rows) < BODY_BATCH_SIZE:
            return Page.from_rows(kept, page_request)
        last = rows[-1].id
    return Page.from_rows(kept, page_request) if len(kept) > page_request.limit else Page(tuple(kept), last)


def _matches_payload(body: bytes, event_filter: EventFilter) -> bool:
    return all(condition.matches(body) for condition in event_filter.payload)


def _summary_from_row(row: Row[*tuple[Any, ...]]) -> EventSummary:
    return EventSummary(
        EventId(row.id),
        TenantId(row.tenant_id),
        row.type,
        row.matched,
        row.created_at,
        row.erased_at,
        tuple(row.channels or ()),
    )
