"""The audit: what the journal has of people and keys, newest first, with a bound on what a page looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from delivery.ledger.journal import ENGINE, Entry, entry_of
from delivery.ledger.scan import first_of, like, page_of, plan_for_this_tenant, scope_of
from delivery.ledger.tables import journal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import ColumnElement, Subquery

    from delivery.ledger.session import Transaction
    from delivery.model import DeliveryId, EndpointId, TenantId
    from delivery.paging import Cut, Page


@dataclass(frozen=True, slots=True)
class AuditSelection:
    """Which entries are asked for. `what` are patterns such as `endpoint.*`; `engine`: also its own."""

    actor: str | None = None
    what: tuple[str, ...] = ()
    endpoint_id: EndpointId | None = None
    delivery_id: DeliveryId | None = None
    since: datetime | None = None
    until: datetime | None = None
    engine: bool = False


@dataclass(frozen=True, slots=True)
class Audited:
    """One entry of the audit, under its id."""

    id: UUID
    entry: Entry


async def page(
    tx: Transaction, tenant_id: TenantId | None, wanted: AuditSelection, cut: Cut
) -> Page[Audited]:
    """The entries that were asked for, newest first; of all tenants where none is named."""
    await plan_for_this_tenant(tx)
    scope = scope_of(journal.c.id, cut, since=wanted.since, until=wanted.until)
    if tenant_id is not None:
        scope.append(journal.c.tenant_id == tenant_id)
    elif not wanted.engine:
        scope.append(journal.c.actor != ENGINE)  # an index has these alone
    if wanted.endpoint_id is not None:
        scope.append(journal.c.endpoint_id == wanted.endpoint_id)
    if wanted.delivery_id is not None:
        scope.append(journal.c.delivery_id == wanted.delivery_id)
    seen = first_of(list(journal.c), scope, cut)
    query = select(seen).where(*_filters(seen, wanted)).order_by(seen.c.id.desc()).limit(cut.limit + 1)
    found = [Audited(row.id, entry_of(row)) for row in await tx.execute(query)]
    return await page_of(tx, found, cut, id_=journal.c.id, scope=scope)


def _filters(seen: Subquery, wanted: AuditSelection) -> Sequence[ColumnElement[bool]]:
    filters: list[ColumnElement[bool]] = []
    if not wanted.engine:
        filters.append(seen.c.actor != ENGINE)
    if wanted.actor is not None:
        filters.append(seen.c.actor == wanted.actor)
    if wanted.what:
        filters.append(like(seen.c.what, wanted.what))
    return filters
