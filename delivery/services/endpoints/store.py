"""One endpoint within a transaction: read, locked, written and noted, the same for every use case."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from delivery.errors import NotFound
from delivery.ledger import endpoints, health, journal, tenants
from delivery.ledger.journal import Entry
from delivery.model import Prefix, show_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from delivery.ledger import Transaction
    from delivery.ledger.health import Standing
    from delivery.model import Actor, Endpoint, EndpointId, TenantId


async def read(
    tx: Transaction, tenant_id: TenantId, endpoint_id: EndpointId, *, lock: bool = False
) -> Endpoint:
    """One endpoint; raises NotFound. Locked without its health, nothing that health decides may change."""
    endpoint = await endpoints.read(tx, tenant_id, endpoint_id, lock=lock)
    if endpoint is None:
        raise no_endpoint(endpoint_id)
    return endpoint


async def locked(
    tx: Transaction, tenant_id: TenantId, endpoint_id: EndpointId
) -> tuple[Endpoint, Standing | None]:
    """One endpoint and its health, both locked in the order in which everybody locks them; raises NotFound.

    Nothing of it is claimed or judged until the transaction ends.
    """
    await read(tx, tenant_id, endpoint_id)  # nobody waits for, or holds up, what is another tenant's
    standing = (await health.lock(tx, [endpoint_id])).get(endpoint_id)
    return await read(tx, tenant_id, endpoint_id, lock=True), standing


async def write(tx: Transaction, endpoint: Endpoint, *, now: datetime) -> Endpoint:
    """Write a locked endpoint; everybody who keeps a copy hears of it by the versions."""
    counted = replace(endpoint, version=endpoint.version + 1, updated_at=now)
    await endpoints.write(tx, counted)
    await tenants.endpoints_changed(tx, endpoint.tenant_id)
    return counted


async def note(  # noqa: PLR0913  the facts of an entry
    tx: Transaction,
    endpoint: Endpoint,
    what: str,
    *,
    actor: Actor,
    at: datetime,
    reason: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> Entry:
    """Write into the journal what has happened to an endpoint."""
    entry = Entry(
        tenant_id=endpoint.tenant_id,
        what=what,
        actor=actor.name,
        address=actor.address,
        at=at,
        reason=reason,
        endpoint_id=endpoint.id,
        details=details or {},
    )
    await journal.append(tx, [entry])
    return entry


def no_endpoint(endpoint_id: EndpointId) -> NotFound:
    """There is no such endpoint of this tenant."""
    return NotFound("endpoint", show_id(Prefix.ENDPOINT, endpoint_id))
