"""Whose a thing is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from delivery.bootstrap import clock
from delivery.errors import NotFound
from delivery.filters import EVERYTHING
from delivery.model import Actor, Prefix, new_id
from delivery.replay import NewReplay, Replays
from delivery.selection import DeliverySelection
from delivery.whose import Whose
from tests.support import ledger as on

if TYPE_CHECKING:
    from uuid import UUID

    from delivery.ledger import Ledger
    from delivery.model import EndpointId, TenantId

KEPT_IN = {
    Prefix.ENDPOINT: "endpoints",
    Prefix.EVENT: "events",
    Prefix.DELIVERY: "deliveries",
    Prefix.ATTEMPT: "attempts",
    Prefix.REPLAY: "replays",
}


async def with_one_of_each(ledger: Ledger) -> tuple[TenantId, dict[Prefix, UUID]]:
    """A tenant, and one of everything that it can have."""
    tenant = await on.new_tenant(ledger)
    endpoint = await on.new_endpoint(ledger, tenant)
    await on.accept(ledger, tenant)
    claim_id, (work,) = await on.claim_and_start(ledger, endpoint)
    await on.record(ledger, on.success(work, claim_id))
    asked = NewReplay(DeliverySelection(types=(EVERYTHING,)), "so")
    await Replays(ledger, clock=clock, in_flight=9).create(tenant, asked, operator=True, actor=Actor("ada"))
    ids: dict[Prefix, UUID] = {Prefix.TENANT: tenant}
    for prefix, table in KEPT_IN.items():
        query = f"select id from {table} where tenant_id = :tenant"  # noqa: S608  our own names
        ids[prefix] = (await on.row(ledger, query, tenant=tenant)).id
    return tenant, ids


async def test_everything_of_a_tenant_is_known_to_be_its(ledger: Ledger) -> None:
    await with_one_of_each(ledger)
    tenant, ids = await with_one_of_each(ledger)
    for prefix, id_ in ids.items():
        assert await Whose(ledger).tenant_of(prefix, id_) == tenant


async def test_a_deleted_endpoint_is_still_its_tenants(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.delete_endpoint(ledger, tenant, endpoint)
    assert await Whose(ledger).tenant_of(Prefix.ENDPOINT, endpoint) == tenant


@pytest.mark.parametrize("prefix", Prefix)
async def test_what_there_is_not_is_nobodys(ledger: Ledger, prefix: Prefix) -> None:
    with pytest.raises(NotFound):
        await Whose(ledger).tenant_of(prefix, new_id())
