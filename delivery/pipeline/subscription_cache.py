"""Tenants' subscriptions, cached in each process, so that events are matched without a query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from delivery.domain.single_flight import BoundedDict
from delivery.ledger.queue import enqueue
from delivery.pipeline.fanout import Subscriptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from delivery.domain.ids import TenantId
    from delivery.ledger.db.session import Transaction

# Tenants whose subscriptions one process caches.
MAX_CACHED_TENANTS = 20_000


@dataclass(frozen=True, slots=True)
class CachedSubscriptions:
    """A tenant's subscriptions, and the version of its endpoints that they were loaded at."""

    version: int
    subscriptions: Subscriptions


class SubscriptionCache:
    """Each tenant's subscriptions as last loaded; a writer checks that their version is still current."""

    def __init__(self) -> None:
        self._cache: BoundedDict[TenantId, CachedSubscriptions] = BoundedDict(MAX_CACHED_TENANTS)

    def get_cached(self, tenant_ids: set[TenantId]) -> Mapping[TenantId, CachedSubscriptions] | None:
        """Return the cached subscriptions of these tenants; None if any tenant is missing."""
        cached = {tenant: self._cache[tenant] for tenant in tenant_ids if tenant in self._cache}
        return cached if len(cached) == len(tenant_ids) else None

    def get_cached_tenant(self, tenant_id: TenantId) -> CachedSubscriptions | None:
        """Return the cached subscriptions of this tenant; None if there are none."""
        return self._cache.get(tenant_id)

    async def load_subscriptions(
        self, tx: Transaction, tenant_ids: set[TenantId]
    ) -> Mapping[TenantId, CachedSubscriptions]:
        """Load current subscriptions; unknown tenants are left out."""
        versions = await enqueue.load_endpoint_versions(tx, tenant_ids)
        current = {
            tenant: cached
            for tenant, version in versions.items()
            if (cached := self._cache.get(tenant)) is not None and cached.version == version
        }
        stale = versions.keys() - current.keys()
        entries = await enqueue.load_subscriptions(tx, stale) if stale else {}
        for tenant in stale:
            subscriptions = Subscriptions.from_entries(entries.get(tenant, []))
            current[tenant] = self._cache[tenant] = CachedSubscriptions(versions[tenant], subscriptions)
        for tenant in tenant_ids - versions.keys():
            self._cache.pop(tenant, None)
        return current
