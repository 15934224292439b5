"""Reading endpoints. Apart from `EndpointService`, so that a command that lists them loads no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.ledger.records import endpoint_secrets, endpoints
from delivery.services.endpoints import store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from delivery.domain.endpoint import Endpoint, EndpointState, SealedSecret
    from delivery.domain.ids import EndpointId, TenantId
    from delivery.domain.pagination import Page, PageRequest
    from delivery.ledger.db.session import Ledger


class EndpointQueries:
    """Reads the endpoints of tenants."""

    def __init__(self, ledger: Ledger, *, clock: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._clock = clock

    async def read(self, tenant_id: TenantId, endpoint_id: EndpointId) -> Endpoint:
        """Read an endpoint; raises NotFound."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            return await store.read(tx, tenant_id, endpoint_id)

    async def list_endpoints(
        self,
        tenant_id: TenantId | None,
        page_request: PageRequest,
        *,
        states: Sequence[EndpointState] = (),
        unhealthy: bool = False,
        search_text: str = "",
    ) -> Page[Endpoint]:
        """List a tenant's endpoints, newest first; `tenant_id` None: all tenants'.

        `unhealthy` selects those that are not active and healthy; `search_text` those that contain it in
        their URL or description.
        """
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            return await endpoints.read_page(
                tx, tenant_id, page_request, states=states, unhealthy=unhealthy, search_text=search_text
            )

    async def list_secrets(self, tenant_id: TenantId, endpoint_id: EndpointId) -> list[SealedSecret]:
        """List the secrets that sign now, newest first; raises NotFound."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            await store.read(tx, tenant_id, endpoint_id)
            return await endpoint_secrets.read_active(tx, tenant_id, endpoint_id, now=self._clock())
