"""Read, lock, write and journal one endpoint within a transaction, for all use cases."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from delivery.domain.ids import Prefix, require_found
from delivery.ledger.queue import endpoint_health
from delivery.ledger.records import endpoints, journal, tenants
from delivery.ledger.records.journal import JournalEntry

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from delivery.domain.accounts import Actor
    from delivery.domain.endpoint import Endpoint
    from delivery.domain.ids import EndpointId, TenantId
    from delivery.ledger.db.session import Transaction
    from delivery.ledger.queue.endpoint_health import EndpointHealthRow


async def read(
    tx: Transaction, tenant_id: TenantId, endpoint_id: EndpointId, *, lock: bool = False
) -> Endpoint:
    """Read an endpoint; raises NotFound. With `lock` alone, do not change what its health decides."""
    row = await endpoints.read(tx, tenant_id, endpoint_id, lock=lock)
    return require_found(row, Prefix.ENDPOINT, endpoint_id)


async def read_locked(
    tx: Transaction, tenant_id: TenantId, endpoint_id: EndpointId
) -> tuple[Endpoint, EndpointHealthRow | None]:
    """Lock and read an endpoint and its health, in the lock order of the whole engine; raises NotFound.

    No delivery of it is claimed, and its health does not change, until the transaction ends.
    """
    await read(tx, tenant_id, endpoint_id)  # never lock, or wait for, another tenant's rows
    health = (await endpoint_health.lock(tx, [endpoint_id])).get(endpoint_id)
    return await read(tx, tenant_id, endpoint_id, lock=True), health


async def write(tx: Transaction, endpoint: Endpoint, *, now: datetime) -> Endpoint:
    """Write a locked endpoint, and bump the versions that invalidate cached copies."""
    changed = replace(endpoint, version=endpoint.version + 1, updated_at=now)
    await endpoints.write(tx, changed)
    await tenants.bump_endpoints_version(tx, endpoint.tenant_id)
    return changed


async def append_entry(  # noqa: PLR0913  the facts of an entry
    tx: Transaction,
    endpoint: Endpoint,
    action: str,
    *,
    actor: Actor,
    at: datetime,
    reason: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> JournalEntry:
    """Append a journal entry about an endpoint."""
    entry = JournalEntry.by_actor(
        endpoint.tenant_id, action, actor, at=at, reason=reason, endpoint_id=endpoint.id, details=details
    )
    await journal.append(tx, [entry])
    return entry
