"""Tenants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import insert as insert_into
from sqlalchemy import select, update

from delivery.domain.ids import TenantId
from delivery.domain.pagination import Page
from delivery.domain.tenant import Tenant
from delivery.ledger.db.bounded_scan import build_page, build_scope, select_first_rows
from delivery.ledger.db.tables import tenants

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Row

    from delivery.domain.pagination import PageRequest
    from delivery.ledger.db.session import Transaction

_COLUMNS = (tenants.c.id, tenants.c.name, tenants.c.created_at, tenants.c.retention)


async def insert(tx: Transaction, tenant: Tenant) -> None:
    """Write a new tenant."""
    await tx.execute(
        insert_into(tenants).values(id=tenant.id, name=tenant.name, created_at=tenant.created_at)
    )


async def read(tx: Transaction, tenant_id: TenantId, *, lock: bool = False) -> Tenant | None:
    """One tenant, optionally locked against other changes of its row."""
    query = select(*_COLUMNS).where(tenants.c.id == tenant_id)
    row = (await tx.execute(query.with_for_update(key_share=True) if lock else query)).one_or_none()
    return None if row is None else _tenant_from_row(row)


async def write(tx: Transaction, tenant: Tenant) -> None:
    """Update a tenant."""
    changed = {"name": tenant.name, "retention": dict(tenant.retention) or None}
    await tx.execute(update(tenants).where(tenants.c.id == tenant.id).values(**changed))


async def read_page(
    tx: Transaction, page_request: PageRequest, *, name_contains: str | None = None
) -> Page[Tenant]:
    """Tenants, newest first; optionally only those whose name contains this text, in any case.

    The cost is bounded: a page may have fewer rows than requested, even none, and still a `last`.
    """
    scope = build_scope(tenants.c.id, page_request)
    if name_contains is None:
        query = select(*_COLUMNS).where(*scope).order_by(tenants.c.id.desc()).limit(page_request.limit + 1)
        return Page.from_rows([_tenant_from_row(row) for row in await tx.execute(query)], page_request)
    seen = select_first_rows(_COLUMNS, scope, page_request)
    query = (
        select(seen).where(seen.c.name.icontains(name_contains, autoescape=True)).order_by(seen.c.id.desc())
    )
    found = [_tenant_from_row(row) for row in await tx.execute(query.limit(page_request.limit + 1))]
    return await build_page(tx, found, page_request, id_=tenants.c.id, scope=scope)


async def read_names(tx: Transaction, tenant_ids: Iterable[TenantId]) -> dict[TenantId, str]:
    """The names of these tenants."""
    wanted = list(set(tenant_ids))
    if not wanted:
        return {}
    query = select(tenants.c.id, tenants.c.name).where(tenants.c.id.in_(wanted))
    return {TenantId(row.id): row.name for row in await tx.execute(query)}


async def bump_endpoints_version(tx: Transaction, tenant_id: TenantId) -> bool:
    """Make every web process reload the tenant's endpoints; False for an unknown tenant."""
    row = await tx.execute(
        update(tenants)
        .where(tenants.c.id == tenant_id)
        .values(endpoints_version=tenants.c.endpoints_version + 1)
        .returning(tenants.c.id)
    )
    return row.one_or_none() is not None


def _tenant_from_row(row: Row[*tuple[Any, ...]]) -> Tenant:
    return Tenant(TenantId(row.id), row.name, row.created_at, row.retention or {})
