"""What things are called that a page only knows by id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.model import EndpointId, TenantId, new_id
from delivery.names import Called, Names
from tests.support import ledger as on
from tests.support.ledger import Wanted

if TYPE_CHECKING:
    from delivery.ledger import Ledger

URL = "https://shop.example/hooks"


async def test_endpoints_are_called_by_their_urls_and_tenants_by_their_names(
    ledger: Ledger, tenant: TenantId
) -> None:
    endpoint = await on.new_endpoint(ledger, tenant, Wanted(url=URL))
    called = await Names(ledger).of(None, endpoint_ids=[endpoint, endpoint], tenant_ids=[tenant])
    assert called == Called({endpoint: URL}, {tenant: "a tenant"})


async def test_what_was_deleted_still_has_a_name(ledger: Ledger, tenant: TenantId) -> None:
    endpoint = await on.new_endpoint(ledger, tenant, Wanted(url=URL))
    await on.delete_endpoint(ledger, tenant, endpoint)
    assert (await Names(ledger).of(tenant, endpoint_ids=[endpoint])).urls == {endpoint: URL}


async def test_what_nobody_knows_has_no_name(ledger: Ledger) -> None:
    called = await Names(ledger).of(
        None, endpoint_ids=[EndpointId(new_id())], tenant_ids=[TenantId(new_id())]
    )
    assert called == Called()


async def test_asked_for_nothing_nothing_is_looked_up(ledger: Ledger) -> None:
    assert await Names(ledger).of(None) == Called()


async def test_for_one_tenant_what_is_another_tenants_has_no_name(ledger: Ledger, tenant: TenantId) -> None:
    other = await on.new_tenant(ledger)
    endpoint = await on.new_endpoint(ledger, other)
    assert await Names(ledger).of(tenant, endpoint_ids=[endpoint], tenant_ids=[other]) == Called()
