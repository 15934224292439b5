"""One endpoint within a transaction: read, locked, written and noted, the same for every use case."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from delivery.domain.errors import NotFound
from delivery.domain.ids import Prefix, format_id
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
    """One endpoint; raises NotFound. Locked without its health, nothing that health decides may change."""
    endpoint = await endpoints.read(tx, tenant_id, endpoint_id, lock=lock)
    if endpoint is None:
        raise endpoint_not_found(endpoint_id)
    return endpoint


async def read_locked(
    tx: Transaction, tenant_id: TenantId, endpoint_id: EndpointId
) -> tuple[Endpoint, EndpointHealthRow | None]:
    """One endpoint and its health, both locked in the order in which everybody locks them; raises NotFound.

    Nothing of it is claimed or judged until the transaction ends.
    """
    await read(tx, tenant_id, endpoint_id)  # nobody waits for, or holds up, what is another tenant's
    standing = (await endpoint_health.lock(tx, [endpoint_id])).get(endpoint_id)
    return await read(tx, tenant_id, endpoint_id, lock=True), standing


async def write(tx: Transaction, endpoint: Endpoint, *, now: datetime) -> Endpoint:
    """Write a locked endpoint; everybody who keeps a copy hears of it by the versions."""
    counted = replace(endpoint, version=endpoint.version + 1, updated_at=now)
    await endpoints.write(tx, counted)
    await tenants.bump_endpoints_version(tx, endpoint.tenant_id)
    return counted


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
    """Write into the journal what has happened to an endpoint."""
    entry = JournalEntry(
        tenant_id=endpoint.tenant_id,
        action=action,
        actor=actor.name,
        address=actor.address,
        at=at,
        reason=reason,
        endpoint_id=endpoint.id,
        details=details or {},
    )
    await journal.append(tx, [entry])
    return entry


def endpoint_not_found(endpoint_id: EndpointId) -> NotFound:
    """There is no such endpoint of this tenant."""
    return NotFound("endpoint", format_id(Prefix.ENDPOINT, endpoint_id))
