"""Events, as they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from delivery.ledger.scan import newest, page_of, plan_for_this_tenant, scope_of
from delivery.ledger.tables import events
from delivery.model import EventId, TenantId

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Row

    from delivery.ledger.session import Transaction
    from delivery.paging import Cut, Page

_HEAD = (events.c.id, events.c.tenant_id, events.c.type, events.c.matched, events.c.created_at)


@dataclass(frozen=True, slots=True)
class EventHead:
    """An event without its body; `matched` counts the endpoints it was owed to when it came."""

    id: EventId
    tenant_id: TenantId
    type: str
    matched: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class EventSelection:
    """Which events of a tenant are asked for: of a type, accepted from `since` on and before `until`."""

    type: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def read(tx: Transaction, tenant_id: TenantId, event_id: EventId) -> tuple[EventHead, bytes] | None:
    """One event, and its body as every receiver gets it."""
    query = select(*_HEAD, events.c.body).where(events.c.id == event_id, events.c.tenant_id == tenant_id)
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else (_head(row), row.body)


async def page(tx: Transaction, tenant_id: TenantId, wanted: EventSelection, cut: Cut) -> Page[EventHead]:
    """The events that were asked for, newest first."""
    await plan_for_this_tenant(tx)
    scope = scope_of(events.c.id, cut, since=wanted.since, until=wanted.until)
    scope.append(events.c.tenant_id == tenant_id)
    seen = newest(_HEAD, scope)
    query = select(seen).order_by(seen.c.id.desc()).limit(cut.limit + 1)
    if wanted.type is not None:
        query = query.where(seen.c.type == wanted.type)
    found = [_head(row) for row in await tx.execute(query)]
    return await page_of(tx, found, cut, id_=events.c.id, scope=scope)


def _head(row: Row[*tuple[Any, ...]]) -> EventHead:
    return EventHead(EventId(row.id), TenantId(row.tenant_id), row.type, row.matched, row.created_at)
