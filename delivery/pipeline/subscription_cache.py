"""What a process knows of its tenants' subscriptions, without asking for each event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from delivery.accept.draft import Subscriptions
from delivery.ledger import accepting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from delivery.ledger import Transaction
    from delivery.model import TenantId

# Tenants whose subscriptions one process keeps in memory.
MOST_KEPT = 20_000


@dataclass(frozen=True, slots=True)
class Known:
    """A tenant's subscriptions, and the version of its endpoints that they are of."""

    version: int
    subscriptions: Subscriptions


class Filters:
    """Each tenant's subscriptions as they were when last looked at; whoever writes checks the version."""

    def __init__(self) -> None:
        self._kept: dict[TenantId, Known] = {}

    def kept(self, tenants: set[TenantId]) -> Mapping[TenantId, Known] | None:
        """What is known of all of these tenants; None: somebody has to look."""
        known = {tenant: self._kept[tenant] for tenant in tenants if tenant in self._kept}
        return known if len(known) == len(tenants) else None

    def known(self, tenant: TenantId) -> Known | None:
        """What is known of this tenant; None: somebody has to look."""
        return self._kept.get(tenant)

    async def of(self, tx: Transaction, tenants: set[TenantId]) -> Mapping[TenantId, Known]:
        """Subscriptions as they are now; unknown tenants are left out."""
        versions = await accepting.endpoint_versions(tx, tenants)
        stale = {tenant for tenant, version in versions.items() if self._version_of(tenant) != version}
        if len(self._kept) > MOST_KEPT:
            self._kept.clear()
            stale = set(versions)
        wants = await accepting.wants(tx, stale) if stale else {}
        for tenant in stale:
            self._kept[tenant] = Known(versions[tenant], Subscriptions.of(wants.get(tenant, [])))
        for tenant in tenants - versions.keys():
            self._kept.pop(tenant, None)
        return {tenant: self._kept[tenant] for tenant in versions}

    def _version_of(self, tenant: TenantId) -> int | None:
        known = self._kept.get(tenant)
        return None if known is None else known.version
