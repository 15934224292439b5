"""Lookups for pages of staff: the names of objects that a list knows by id, and the owner of an object."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from delivery.domain.ids import require_found
from delivery.ledger.records import endpoints, ownership, tenants

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

    from delivery.domain.ids import EndpointId, Prefix, TenantId
    from delivery.ledger.db.session import Ledger


@dataclass(frozen=True, slots=True)
class Labels:
    """The URLs of endpoints, deleted ones too, and the names of tenants."""

    endpoint_urls: Mapping[EndpointId, str] = field(default_factory=dict)
    tenant_names: Mapping[TenantId, str] = field(default_factory=dict)


class LookupService:
    """Finds labels and owners of objects."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def load_labels(
        self,
        tenant_id: TenantId | None,
        *,
        endpoint_ids: Iterable[EndpointId] = (),
        tenant_ids: Iterable[TenantId] = (),
    ) -> Labels:
        """Load the labels of these objects, as far as they are the tenant's; None: all tenants'.

        The caller must have been shown the ids already.
        """
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            urls = await endpoints.read_urls(tx, endpoint_ids)
            return Labels(urls, await tenants.read_names(tx, tenant_ids))

    async def find_tenant(self, prefix: Prefix, id_: UUID) -> TenantId:
        """Find the tenant that owns an object, deleted endpoints too; raises NotFound.

        Only for callers who may see every tenant.
        """
        async with self._ledger.transaction() as tx:
            return require_found(await ownership.find_tenant(tx, prefix, id_), prefix, id_)
