"""What things are called that a list only knows by id: for pages and tables that people read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from delivery.ledger.records import endpoints, tenants

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from delivery.domain.ids import EndpointId, TenantId
    from delivery.ledger.db.session import Ledger


@dataclass(frozen=True, slots=True)
class Labels:
    """The URLs of endpoints, deleted ones too, and the names of tenants."""

    endpoint_urls: Mapping[EndpointId, str] = field(default_factory=dict)
    tenant_names: Mapping[TenantId, str] = field(default_factory=dict)


class DisplayNames:
    """Looks up names for ids that the caller may see."""

    def __init__(self, ledger: Ledger) -> None:
        """Read from this ledger."""
        self._ledger = ledger

    async def load_labels(
        self,
        tenant_id: TenantId | None,
        *,
        endpoint_ids: Iterable[EndpointId] = (),
        tenant_ids: Iterable[TenantId] = (),
    ) -> Labels:
        """What these are called, as far as they are a tenant's; who asks has seen the ids already."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            urls = await endpoints.read_urls(tx, endpoint_ids)
            return Labels(urls, await tenants.read_names(tx, tenant_ids))
