"""The fair queue: every tenant gets an even share of the window, and so does each of its endpoints. Pure.

It is only a hint of where deliveries are due; the ledger is authoritative. Queueing an endpoint with nothing
due costs an empty claim, and the next scan finds missing endpoints.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, TypeVar

from delivery.pipeline.claiming import Quota

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from delivery.domain.ids import EndpointId, TenantId

K = TypeVar("K")


class FairQueue:
    """Endpoints with something due, by tenant, in the order in which they were last served."""

    def __init__(self) -> None:
        self._tenants: OrderedDict[TenantId, OrderedDict[EndpointId, None]] = OrderedDict()
        self._tenant_of: dict[EndpointId, TenantId] = {}
        self._delayed: dict[EndpointId, tuple[float, TenantId]] = {}

    def __bool__(self) -> bool:
        """Whether any endpoint is queued."""
        return bool(self._tenants)

    def __len__(self) -> int:
        """The number of queued endpoints."""
        return len(self._tenant_of)

    def add_due(self, due: Iterable[tuple[TenantId, EndpointId]]) -> None:
        """Add endpoints that have something due; queued ones keep their position."""
        for tenant, endpoint in due:
            self._tenants.setdefault(tenant, OrderedDict()).setdefault(endpoint)
            self._tenant_of[endpoint] = tenant

    def split_capacity(self, capacity: int) -> list[Quota]:
        """Split the capacity evenly among the first tenants, and each share among the tenant's endpoints."""
        quotas: list[Quota] = []
        for tenant, share in _split_evenly(capacity, self._tenants):
            quotas += [
                Quota(endpoint, limit) for endpoint, limit in _split_evenly(share, self._tenants[tenant])
            ]
        return quotas

    @property
    def next_at(self) -> float:
        """When the next delayed endpoint is due, on the clock of `record_served`; infinity if none is."""
        return min((at for at, _ in self._delayed.values()), default=math.inf)

    def promote_delayed(self, now: float) -> None:
        """Queue the delayed endpoints whose time has come."""
        due = [(tenant, endpoint) for endpoint, (at, tenant) in self._delayed.items() if at <= now]
        for _, endpoint in due:
            del self._delayed[endpoint]
        self.add_due(due)

    def record_served(
        self, quotas: Sequence[Quota], taken: Mapping[EndpointId, int], retry_at: Mapping[EndpointId, float]
    ) -> None:
        """Move endpoints that used their quota to the end, and remove those that had less due.

        `retry_at` says when some of the removed ones must be queued again.
        """
        for quota in quotas:
            tenant = self._tenant_of[quota.endpoint_id]
            endpoints = self._tenants[tenant]
            if taken.get(quota.endpoint_id, 0) < quota.limit:
                del endpoints[quota.endpoint_id], self._tenant_of[quota.endpoint_id]
                if quota.endpoint_id in retry_at:
                    self._delayed[quota.endpoint_id] = (retry_at[quota.endpoint_id], tenant)
            else:
                endpoints.move_to_end(quota.endpoint_id)
            if endpoints:
                self._tenants.move_to_end(tenant)
            else:
                del self._tenants[tenant]


def _split_evenly(capacity: int, queue: Mapping[K, object]) -> list[tuple[K, int]]:
    """Deal the capacity out to the first keys of the queue, as evenly as whole numbers allow."""
    count = min(capacity, len(queue))
    if count <= 0:
        return []
    share, remainder = divmod(capacity, count)
    return [(key, share + (position < remainder)) for position, key in zip(range(count), queue, strict=False)]
