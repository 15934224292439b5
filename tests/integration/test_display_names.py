"""Display names of objects that a page knows only by id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.domain.ids import EndpointId, TenantId, new_id
from delivery.services.lookups import Labels, LookupService
from tests.support import ledger_builders as build
from tests.support.ledger_builders import EndpointSpec

if TYPE_CHECKING:
    from delivery.ledger.db.session import Ledger

URL = "https://shop.example/hooks"


async def test_endpoints_are_called_by_their_urls_and_tenants_by_their_names(
    ledger: Ledger, tenant: TenantId
) -> None:
    endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(url=URL))
    called = await LookupService(ledger).load_labels(
        None, endpoint_ids=[endpoint, endpoint], tenant_ids=[tenant]
    )
    assert called == Labels({endpoint: URL}, {tenant: "a tenant"})


async def test_what_was_deleted_still_has_a_name(ledger: Ledger, tenant: TenantId) -> None:
    endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(url=URL))
    await build.delete_endpoint(ledger, tenant, endpoint)
    assert (await LookupService(ledger).load_labels(tenant, endpoint_ids=[endpoint])).endpoint_urls == {
        endpoint: URL
    }


async def test_what_nobody_knows_has_no_name(ledger: Ledger) -> None:
    called = await LookupService(ledger).load_labels(
        None, endpoint_ids=[EndpointId(new_id())], tenant_ids=[TenantId(new_id())]
    )
    assert called == Labels()


async def test_asked_for_nothing_nothing_is_looked_up(ledger: Ledger) -> None:
    assert await LookupService(ledger).load_labels(None) == Labels()


async def test_for_one_tenant_what_is_another_tenants_has_no_name(ledger: Ledger, tenant: TenantId) -> None:
    other = await build.create_tenant(ledger)
    endpoint = await build.create_endpoint(ledger, other)
    assert (
        await LookupService(ledger).load_labels(tenant, endpoint_ids=[endpoint], tenant_ids=[other])
        == Labels()
    )
