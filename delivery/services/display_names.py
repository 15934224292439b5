"""What things are called that a list only knows by id: for pages and tables that people read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from delivery.ledger import endpoints, tenants

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from delivery.ledger import Ledger
    from delivery.model import EndpointId, TenantId


@dataclass(frozen=True, slots=True)
class Called:
    """The URLs of endpoints, deleted ones too, and the names of tenants."""

    urls: Mapping[EndpointId, str] = field(default_factory=dict)
    tenants: Mapping[TenantId, str] = field(default_factory=dict)


class Names:
    """Looks up names for ids that the caller may see."""

    def __init__(self, ledger: Ledger) -> None:
        """Read from this ledger."""
        self._ledger = ledger

    async def of(
        self,
        tenant_id: TenantId | None,
        *,
        endpoint_ids: Iterable[EndpointId] = (),
        tenant_ids: Iterable[TenantId] = (),
    ) -> Called:
        """What these are called, as far as they are a tenant's; who asks has seen the ids already."""
        async with self._ledger.transaction(of=tenant_id) as tx:
            urls = await endpoints.urls(tx, endpoint_ids)
            return Called(urls, await tenants.names(tx, tenant_ids))
