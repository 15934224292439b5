"""Whose a thing is: for pages of staff, whose addresses name the thing alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.errors import NotFound
from delivery.ledger import whose
from delivery.model import show_id

if TYPE_CHECKING:
    from uuid import UUID

    from delivery.ledger import Ledger
    from delivery.model import Prefix, TenantId


class Whose:
    """Knows the tenant of everything. Only for those who may see every tenant."""

    def __init__(self, ledger: Ledger) -> None:
        """Read from this ledger."""
        self._ledger = ledger

    async def tenant_of(self, prefix: Prefix, id_: UUID) -> TenantId:
        """The tenant that has the thing with this id, deleted endpoints too; raises NotFound."""
        async with self._ledger.transaction() as tx:
            found = await whose.tenant_of(tx, prefix, id_)
        if found is None:
            raise NotFound(prefix.name.lower(), show_id(prefix, id_))
        return found
