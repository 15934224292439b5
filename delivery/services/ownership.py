"""Whose a thing is: for pages of staff, whose addresses name the thing alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.domain.errors import NotFound
from delivery.domain.ids import format_id
from delivery.ledger.records import ownership

if TYPE_CHECKING:
    from uuid import UUID

    from delivery.domain.ids import Prefix, TenantId
    from delivery.ledger.db.session import Ledger


class OwnershipService:
    """Knows the tenant of everything. Only for those who may see every tenant."""

    def __init__(self, ledger: Ledger) -> None:
        """Read from this ledger."""
        self._ledger = ledger

    async def find_tenant(self, prefix: Prefix, id_: UUID) -> TenantId:
        """The tenant that has the thing with this id, deleted endpoints too; raises NotFound."""
        async with self._ledger.transaction() as tx:
            found = await ownership.find_tenant(tx, prefix, id_)
        if found is None:
            raise NotFound(prefix.name.lower(), format_id(prefix, id_))
        return found
