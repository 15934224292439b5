"""The audit as it is read: every change that a person or a key has made, and every replay."""

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
    """Who did what, when, from where and why. Nothing changes or takes away what it tells."""

    def __init__(self, ledger: Ledger) -> None:
        """Read from this ledger."""
        self._ledger = ledger

    async def list_entries(
        self, tenant_id: TenantId | None, audit_filter: AuditFilter, page_request: PageRequest
    ) -> Page[AuditRecord]:
        """Entries, newest first: a tenant's, or all tenants' where none is named (the operator's to ask)."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            return await audit.read_page(tx, tenant_id, audit_filter, page_request)
