"""What a process knows of its tenants' subscriptions, without asking for each event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from delivery.ledger.queue import enqueue
from delivery.pipeline.fanout import Subscriptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from delivery.domain.ids import TenantId
    from delivery.ledger.db.session import Transaction

# Tenants whose subscriptions one process keeps in memory.
MAX_CACHED_TENANTS = 20_000


@dataclass(frozen=True, slots=True)
class CachedSubscriptions:
    """A tenant's subscriptions, and the version of its endpoints that they are of."""

    version: int
    subscriptions: Subscriptions


class SubscriptionCache:
    """Each tenant's subscriptions as they were when last looked at; whoever writes checks the version."""

    def __init__(self) -> None:
        self._cache: dict[TenantId, CachedSubscriptions] = {}

    def get_cached(self, tenant_ids: set[TenantId]) -> Mapping[TenantId, CachedSubscriptions] | None:
        """What is known of all of these tenants; None: somebody has to look."""
        known = {tenant: self._cache[tenant] for tenant in tenant_ids if tenant in self._cache}
        return known if len(known) == len(tenant_ids) else None

    def get_cached_tenant(self, tenant_id: TenantId) -> CachedSubscriptions | None:
        """What is known of this tenant; None: somebody has to look."""
        return self._cache.get(tenant_id)

    async def load_subscriptions(
        self, tx: Transaction, tenant_ids: set[TenantId]
    ) -> Mapping[TenantId, CachedSubscriptions]:
        """Subscriptions as they are now; unknown tenants are left out."""
        versions = await enqueue.load_endpoint_versions(tx, tenant_ids)
        stale = {
            tenant for tenant, version in versions.items() if self._get_cached_version(tenant) != version
        }
        if len(self._cache) > MAX_CACHED_TENANTS:
            self._cache.clear()
            stale = set(versions)
        wants = await enqueue.load_subscriptions(tx, stale) if stale else {}
        for tenant in stale:
            self._cache[tenant] = CachedSubscriptions(
                versions[tenant], Subscriptions.from_entries(wants.get(tenant, []))
            )
        for tenant in tenant_ids - versions.keys():
            self._cache.pop(tenant, None)
        return {tenant: self._cache[tenant] for tenant in versions}

    def _get_cached_version(self, tenant_id: TenantId) -> int | None:
        known = self._cache.get(tenant_id)
        return None if known is None else known.version
