"""The audit as it is read: every change that a person or a key has made, and every replay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.ledger import auditing
from delivery.ledger.auditing import Audited, AuditSelection

if TYPE_CHECKING:
    from delivery.ledger import Ledger
    from delivery.model import TenantId
    from delivery.paging import Cut, Page

__all__ = ["Audit", "AuditSelection", "Audited"]


class Audit:
    """Who did what, when, from where and why. Nothing changes or takes away what it tells."""

    def __init__(self, ledger: Ledger) -> None:
        """Read from this ledger."""
        self._ledger = ledger

    async def page(self, tenant_id: TenantId | None, wanted: AuditSelection, cut: Cut) -> Page[Audited]:
        """Entries, newest first: a tenant's, or all tenants' where none is named (the operator's to ask)."""
        async with self._ledger.transaction(of=tenant_id) as tx:
            return await auditing.page(tx, tenant_id, wanted, cut)
