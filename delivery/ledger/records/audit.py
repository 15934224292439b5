"""The audit log: the journal's entries of users and keys, newest first, within a bound per page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from delivery.domain.accounts import ENGINE_ACTOR
from delivery.ledger.db.bounded_scan import (
    build_page,
    build_scope,
    force_custom_plan,
    match_patterns,
    select_first_rows,
)
from delivery.ledger.db.tables import journal
from delivery.ledger.records.journal import JournalEntry, entry_from_row

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import ColumnElement, Subquery

    from delivery.domain.ids import DeliveryId, EndpointId, TenantId
    from delivery.domain.pagination import Page, PageRequest
    from delivery.ledger.db.session import Transaction


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """A filter of entries. `what` are patterns such as `endpoint.*`; `engine`: the engine's own too."""

    actor: str | None = None
    actions: tuple[str, ...] = ()
    endpoint_id: EndpointId | None = None
    delivery_id: DeliveryId | None = None
    since: datetime | None = None
    until: datetime | None = None
    include_engine: bool = False


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One entry, with its id."""

    id: UUID
    entry: JournalEntry


async def read_page(
    tx: Transaction, tenant_id: TenantId | None, audit_filter: AuditFilter, page_request: PageRequest
) -> Page[AuditRecord]:
    """The matching entries, newest first; of all tenants if none is named."""
    await force_custom_plan(tx)
    scope = build_scope(journal.c.id, page_request, since=audit_filter.since, until=audit_filter.until)
    if tenant_id is not None:
        scope.append(journal.c.tenant_id == tenant_id)
    elif not audit_filter.include_engine:
        scope.append(journal.c.actor != ENGINE_ACTOR)  # an index has these alone
    if audit_filter.endpoint_id is not None:
        scope.append(journal.c.endpoint_id == audit_filter.endpoint_id)
    if audit_filter.delivery_id is not None:
        scope.append(journal.c.delivery_id == audit_filter.delivery_id)
    seen = select_first_rows(list(journal.c), scope, page_request)
    query = (
        select(seen)
        .where(*_build_conditions(seen, audit_filter))
        .order_by(seen.c.id.desc())
        .limit(page_request.limit + 1)
    )
    found = [AuditRecord(row.id, entry_from_row(row)) for row in await tx.execute(query)]
    return await build_page(tx, found, page_request, id_=journal.c.id, scope=scope)


def _build_conditions(scanned: Subquery, audit_filter: AuditFilter) -> Sequence[ColumnElement[bool]]:
    filters: list[ColumnElement[bool]] = []
    if not audit_filter.include_engine:
        filters.append(scanned.c.actor != ENGINE_ACTOR)
    if audit_filter.actor is not None:
        filters.append(scanned.c.actor == audit_filter.actor)
    if audit_filter.actions:
        filters.append(match_patterns(scanned.c.what, audit_filter.actions))
    return filters
