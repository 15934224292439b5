"""Events, as they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from delivery.ledger.scan import (
    BODIES_AT_ONCE,
    MOST_BODIES,
    MOST_BODY_BYTES,
    first_of,
    in_order,
    like,
    page_of,
    plan_for_this_tenant,
    scope_of,
)
from delivery.ledger.tables import events
from delivery.model import EventId, TenantId
from delivery.paging import Page

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Row

    from delivery.ledger.scan import Scope
    from delivery.ledger.session import Transaction
    from delivery.paging import Cut
    from delivery.payload import PayloadEquals

_HEAD = (
    events.c.id,
    events.c.tenant_id,
    events.c.type,
    events.c.matched,
    events.c.created_at,
    events.c.erased_at,
    events.c.channels,
)


@dataclass(frozen=True, slots=True)
class EventHead:
    """An event without its body; `matched` counts the endpoints it was owed to when it came.

    `channels` are those that its producer gave it.
    `erased_at`: when its body was erased because somebody asked for it.
    """

    id: EventId
    tenant_id: TenantId
    type: str
    matched: int
    created_at: datetime
    erased_at: datetime | None = None
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EventSelection:
    """Which events are asked for: of any of these types, accepted from `since` on and before `until`."""

    types: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    idempotency_key: str | None = None
    payload: tuple[PayloadEquals, ...] = ()


async def read(
    tx: Transaction, tenant_id: TenantId, event_id: EventId
) -> tuple[EventHead, bytes | None] | None:
    """One event, and its envelope as the standard format sends it; None: that is no longer kept."""
    query = select(*_HEAD, events.c.body).where(events.c.id == event_id, events.c.tenant_id == tenant_id)
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else (_head(row), row.body)


async def page(
    tx: Transaction, tenant_id: TenantId | None, wanted: EventSelection, cut: Cut
) -> Page[EventHead]:
    """The events that were asked for, newest or oldest first; of all tenants where none is named."""
    await plan_for_this_tenant(tx)
    scope = scope_of(events.c.id, cut, since=wanted.since, until=wanted.until)
    if tenant_id is not None:
        scope.append(events.c.tenant_id == tenant_id)
    if wanted.idempotency_key is not None:
        scope.append(events.c.idempotency_key == wanted.idempotency_key)
    if wanted.payload:
        return await _with_payload(tx, scope, wanted, cut)
    seen = first_of(_HEAD, scope, cut)
    query = select(seen).order_by(in_order(seen.c.id, cut)).limit(cut.limit + 1)
    if wanted.types:
        query = query.where(like(seen.c.type, wanted.types))
    found = [_head(row) for row in await tx.execute(query)]
    return await page_of(tx, found, cut, id_=events.c.id, scope=scope)


async def _with_payload(tx: Transaction, scope: Scope, wanted: EventSelection, cut: Cut) -> Page[EventHead]:
    """Payloads are read by us: a bounded number of events for a page, and of their bytes."""
    query = select(*_HEAD, events.c.body).where(*scope).order_by(in_order(events.c.id, cut))
    if wanted.types:
        query = query.where(like(events.c.type, wanted.types))
    kept: list[EventHead] = []
    read = size = 0
    last = None
    while len(kept) <= cut.limit and read < MOST_BODIES and size < MOST_BODY_BYTES:
        beyond = () if last is None else (events.c.id > last if cut.oldest_first else events.c.id < last,)
        rows = (await tx.execute(query.where(*beyond).limit(BODIES_AT_ONCE))).all()
        kept += [_head(row) for row in rows if row.body is not None and _holds(row.body, wanted)]
        read, size = read + len(rows), size + sum(len(row.body or b"") for row in rows)
        if len(rows) < BODIES_AT_ONCE:
            return Page.of(kept, cut)
        last = rows[-1].id
    return Page.of(kept, cut) if len(kept) > cut.limit else Page(tuple(kept), last)


def _holds(body: bytes, wanted: EventSelection) -> bool:
    return all(condition.matches(body) for condition in wanted.payload)


def _head(row: Row[*tuple[Any, ...]]) -> EventHead:
    return EventHead(
        EventId(row.id),
        TenantId(row.tenant_id),
        row.type,
        row.matched,
        row.created_at,
        row.erased_at,
        tuple(row.channels or ()),
    )
