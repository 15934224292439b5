"""Whose turn it is: a fair share of the window for every tenant, then for each of its endpoints. Pure.

The backlog is only a hint of where something is due; the ledger is the truth. What is noted here and not
due any more costs an empty look, what is due and not noted is found by the next scan.
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
    """Endpoints with something due, by tenant; those served last stand last."""

    def __init__(self) -> None:
        """Start with nothing known."""
        self._tenants: OrderedDict[TenantId, OrderedDict[EndpointId, None]] = OrderedDict()
        self._tenant_of: dict[EndpointId, TenantId] = {}
        self._delayed: dict[EndpointId, tuple[float, TenantId]] = {}

    def __bool__(self) -> bool:
        """Whether anything is known to be due."""
        return bool(self._tenants)

    def __len__(self) -> int:
        """How many endpoints have something due."""
        return len(self._tenant_of)

    def add_due(self, due: Iterable[tuple[TenantId, EndpointId]]) -> None:
        """Add endpoints that have something due; those known keep their place."""
        for tenant, endpoint in due:
            self._tenants.setdefault(tenant, OrderedDict()).setdefault(endpoint)
            self._tenant_of[endpoint] = tenant

    def split_capacity(self, capacity: int) -> list[Quota]:
        """Split the capacity evenly over the tenants whose turn it is, and within each over its endpoints."""
        quotas: list[Quota] = []
        for tenant, part in _split_evenly(capacity, self._tenants):
            quotas += [Quota(endpoint, take) for endpoint, take in _split_evenly(part, self._tenants[tenant])]
        return quotas

    @property
    def next_at(self) -> float:
        """When somebody is to be looked at again, by the clock that `served` was told; infinity: never."""
        return min((at for at, _ in self._delayed.values()), default=math.inf)

    def promote_delayed(self, now: float) -> None:
        """Note those whose time has come."""
        ripe = [(tenant, endpoint) for endpoint, (at, tenant) in self._delayed.items() if at <= now]
        for _, endpoint in ripe:
            del self._delayed[endpoint]
        self.add_due(ripe)

    def record_served(
        self, quotas: Sequence[Quota], taken: Mapping[EndpointId, int], retry_at: Mapping[EndpointId, float]
    ) -> None:
        """Send those who were served to the end of the line, and drop those who had less than their quota.

        `later` says of some of those at what moment they are to be noted again.
        """
        for quota in quotas:
            tenant = self._tenant_of[quota.endpoint_id]
            line = self._tenants[tenant]
            if taken.get(quota.endpoint_id, 0) < quota.limit:
                del line[quota.endpoint_id], self._tenant_of[quota.endpoint_id]
                if quota.endpoint_id in retry_at:
                    self._delayed[quota.endpoint_id] = (retry_at[quota.endpoint_id], tenant)
            else:
                line.move_to_end(quota.endpoint_id)
            if line:
                self._tenants.move_to_end(tenant)
            else:
                del self._tenants[tenant]


def _split_evenly(capacity: int, queue: Mapping[K, object]) -> list[tuple[K, int]]:
    """Deal the capacity out to the first of the line, as evenly as whole numbers allow."""
    count = min(capacity, len(queue))
    if count <= 0:
        return []
    each, over = divmod(capacity, count)
    return [(key, each + (position < over)) for position, key in zip(range(count), queue, strict=False)]
