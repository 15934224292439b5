"""Finds the tenant that owns a record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from delivery.domain.ids import Prefix, TenantId
from delivery.ledger.db.tables import api_keys, attempts, deliveries, endpoints, events, replays, tenants

if TYPE_CHECKING:
    from uuid import UUID

    from delivery.ledger.db.session import Transaction

# Each id is a primary key and tells the day of its partition: one partition is read.
_OWNER_COLUMNS: Final = {
    Prefix.TENANT: (tenants.c.id, tenants.c.id),
    Prefix.KEY: (api_keys.c.id, api_keys.c.tenant_id),
    Prefix.ENDPOINT: (endpoints.c.id, endpoints.c.tenant_id),
    Prefix.EVENT: (events.c.id, events.c.tenant_id),
    Prefix.DELIVERY: (deliveries.c.id, deliveries.c.tenant_id),
    Prefix.ATTEMPT: (attempts.c.id, attempts.c.tenant_id),
    Prefix.REPLAY: (replays.c.id, replays.c.tenant_id),
}


async def find_tenant(tx: Transaction, prefix: Prefix, object_id: UUID) -> TenantId | None:
    """The tenant of the record with this id; None: no such record, or no tenant."""
    known = _OWNER_COLUMNS.get(prefix)
    if known is None:
        return None
    key, tenant = known
    found = (await tx.execute(select(tenant).where(key == object_id))).scalar_one_or_none()
    return None if found is None else TenantId(found)
