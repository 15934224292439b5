"""The audit: every change and replay by a user or an API key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.ledger.records import audit
from delivery.ledger.records.audit import AuditFilter, AuditRecord

if TYPE_CHECKING:
    from delivery.domain.ids import TenantId
    from delivery.domain.pagination import Page, PageRequest
    from delivery.ledger.db.session import Ledger

__all__ = ["AuditFilter", "AuditRecord", "AuditService"]


class AuditService:
    """Reads who did what, when, from where and why. Entries are never changed."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def list_entries(
        self, tenant_id: TenantId | None, audit_filter: AuditFilter, page_request: PageRequest
    ) -> Page[AuditRecord]:
        """List a tenant's entries, newest first; `tenant_id` None: all tenants', for the operator."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            return await audit.read_page(tx, tenant_id, audit_filter, page_request)
